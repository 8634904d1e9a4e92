//! From tokens to a tree, by precedence climbing. Depth and size are bounded before anything recurses.
//!
//! The texts of syntax errors are those of the ANTLR parser that cel-go uses, for the first error of an expression:
//! where it would go on and tell of errors that follow from the first, this parser stops.

use crate::{
    ast::{Ast, Element, Entry, Expr, FieldInit, Id, Kind, Literal},
    escaping::RESERVED,
    lexer::{self, Token, TokenKind, quoted},
    macros::{self, Macros},
    source::{CompileErrors, Issue},
};

/// How deep expressions may nest.
const DEPTH: usize = 250;
/// How many characters an expression may have.
const SIZE: usize = 100_000;
/// How many nodes macros may make of it: some repeat their target.
const NODES: usize = 200_000;

const BEGINNINGS: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// A syntax error was noted, or a limit met: there is no tree.
#[derive(Debug)]
pub(crate) struct Abandoned;

pub(crate) type Parsed<T> = Result<T, Abandoned>;

pub(crate) fn parse(source: &str, macros: Macros) -> Result<Ast, CompileErrors> {
    let letters: Vec<char> = source.chars().take(SIZE + 1).collect();
    if letters.len() > SIZE {
        let size = source.chars().count();
        let message = format!("expression code point size exceeds limit: size: {size}, limit {SIZE}");
        return Err(CompileErrors::new(source, vec![Issue { place: None, message }]));
    }
    let mut issues = Vec::new();
    let tokens = lexer::tokens(&letters, &mut issues);
    let mut parser = Parser { tokens, at: 0, depth: 0, places: vec![0], issues, macros };
    match parser.whole() {
        Ok(root) if parser.issues.is_empty() => Ok(Ast { root, places: parser.places }),
        _ => Err(CompileErrors::new(source, parser.issues)),
    }
}

pub(crate) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    places: Vec<usize>,
    issues: Vec<Issue>,
    macros: Macros,
}

impl Parser {
    fn whole(&mut self) -> Parsed<Expr> {
        let expr = self.expr()?;
        if self.peek().kind != TokenKind::End {
            let rest = self.tokens.len() - self.at;
            let how = if rest == 2 { "extraneous" } else { "mismatched" };
            return self.syntax(format!("{how} input {} expecting <EOF>", quoted(&self.peek().text)));
        }
        Ok(expr)
    }

    fn expr(&mut self) -> Parsed<Expr> {
        self.enter()?;
        let condition = self.binary(1)?;
        let expr = if self.is("?") {
            let id = self.sign();
            let then = self.binary(1)?;
            self.expect(":")?;
            let otherwise = self.expr()?;
            self.call(id, "_?_:_", vec![condition, then, otherwise])?
        } else {
            condition
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// Everything that binds at least as strongly. Few frames a level, since nesting is what the stack pays for.
    fn binary(&mut self, least: usize) -> Parsed<Expr> {
        let mut left = self.unary()?;
        let depth = self.depth;
        while let Some((sign, function, strength)) = self.operator(least) {
            let id = self.sign();
            if strength <= 2 {
                // Any number of terms make one call.
                let mut terms = vec![left, self.binary(strength + 1)?];
                while self.skip(sign) {
                    terms.push(self.binary(strength + 1)?);
                }
                left = self.call(id, function, terms)?;
            } else {
                self.enter()?;
                let right = self.binary(strength + 1)?;
                left = self.call(id, function, vec![left, right])?;
            }
        }
        self.depth = depth;
        Ok(left)
    }

    /// The operator that comes next: sign, function and how strongly it binds.
    fn operator(&self, least: usize) -> Option<(&'static str, &'static str, usize)> {
        const OPERATORS: [(&str, &str, usize); 14] = [
            ("||", "_||_", 1),
            ("&&", "_&&_", 2),
            ("<", "_<_", 3),
            ("<=", "_<=_", 3),
            (">=", "_>=_", 3),
            (">", "_>_", 3),
            ("==", "_==_", 3),
            ("!=", "_!=_", 3),
            ("in", "@in", 3),
            ("+", "_+_", 4),
            ("-", "_-_", 4),
            ("*", "_*_", 5),
            ("/", "_/_", 5),
            ("%", "_%_", 5),
        ];
        OPERATORS.into_iter().find(|(sign, _, strength)| *strength >= least && self.is(sign))
    }

    fn unary(&mut self) -> Parsed<Expr> {
        for (sign, function) in [("!", "!_"), ("-", "-_")] {
            if !self.is(sign) {
                continue;
            }
            if sign == "-" && matches!(self.peek_at(1).kind, TokenKind::Int | TokenKind::Float) {
                break;
            }
            let id = self.sign();
            let mut odd = true;
            while self.is(sign) {
                self.at += 1;
                odd = !odd;
            }
            let operand = self.member()?;
            return if odd { self.call(id, function, vec![operand]) } else { Ok(operand) };
        }
        self.member()
    }

    fn member(&mut self) -> Parsed<Expr> {
        let mut expr = self.primary()?;
        let depth = self.depth;
        loop {
            if self.is(".") {
                self.enter()?;
                expr = self.selection(expr)?;
            } else if self.is("[") {
                self.enter()?;
                let id = self.sign();
                let optional = self.skip("?");
                let index = self.expr()?;
                self.expect("]")?;
                let function = if optional { "_[?_]" } else { "_[_]" };
                expr = self.call(id, function, vec![expr, index])?;
            } else {
                self.depth = depth;
                return Ok(expr);
            }
        }
    }

    fn selection(&mut self, operand: Expr) -> Parsed<Expr> {
        let dot = self.peek().place;
        self.at += 1;
        let optional = self.skip("?");
        let name = self.peek().clone();
        match name.kind {
            TokenKind::Ident => {}
            TokenKind::EscapedIdent => {
                self.at += 1;
                self.note(name.place, "unsupported syntax: '`'");
                return Ok(operand);
            }
            TokenKind::End => {
                let seen = if optional { ".?" } else { "." };
                return self.syntax(format!("no viable alternative at input '{seen}'"));
            }
            _ => {
                let seen = if optional { ".?" } else { "." };
                let message =
                    format!("no viable alternative at input {}", quoted(&format!("{seen}{}", name.text)));
                return self.syntax(message);
            }
        }
        self.at += 1;
        if !optional && self.is("(") {
            let id = self.sign();
            let args = self.arguments(")")?;
            return self.member_call(id, &name.text, operand, args);
        }
        let id = self.id(dot)?;
        if optional {
            let field = self.literal_at(name.place, Literal::String(name.text))?;
            return Ok(self.node(id, call("_?._", None, vec![operand, field])));
        }
        let field = name.text.as_ref().to_owned();
        Ok(self.node(id, Kind::Select { operand: Box::new(operand), field, test: false }))
    }

    fn arguments(&mut self, end: &str) -> Parsed<Vec<Expr>> {
        let mut args = Vec::new();
        if self.skip(end) {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if !self.skip(",") {
                self.expect(end)?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.peek().clone();
        match token.kind {
            TokenKind::Ident => return self.name(token.place, ""),
            TokenKind::Int | TokenKind::Uint | TokenKind::Float => return self.number(token.place, false),
            TokenKind::String => {
                self.at += 1;
                let text = lexer::unescape(&token.text).map(|it| it.into_iter().collect::<String>());
                return self.literal_or(
                    token.place,
                    text.map(|it| Literal::String(it.into())),
                    "unable to unescape string",
                );
            }
            TokenKind::Bytes => {
                self.at += 1;
                let bytes = lexer::unescape_bytes(&token.text).map(|it| Literal::Bytes(it.into()));
                return self.literal_or(token.place, bytes, "unable to unescape string");
            }
            TokenKind::Sign | TokenKind::EscapedIdent | TokenKind::End => {}
        }
        match token.text.as_ref() {
            "true" | "false" | "null" if token.kind == TokenKind::Sign => {
                self.at += 1;
                let literal = match token.text.as_ref() {
                    "null" => Literal::Null,
                    text => Literal::Bool(text == "true"),
                };
                self.literal_at(token.place, literal)
            }
            "-" => {
                self.at += 1;
                self.number(token.place, true)
            }
            "." if self.peek_at(1).kind == TokenKind::Ident => {
                self.at += 1;
                self.name(token.place, ".")
            }
            "(" => {
                self.at += 1;
                let inner = self.expr()?;
                self.expect(")")?;
                Ok(inner)
            }
            "[" => self.list(),
            "{" => self.map(),
            _ => {
                let next = self.peek_at(1);
                let begins = match next.kind {
                    TokenKind::Sign => {
                        matches!(
                            next.text.as_ref(),
                            "[" | "{" | "(" | "." | "-" | "!" | "true" | "false" | "null"
                        )
                    }
                    kind => !matches!(kind, TokenKind::End | TokenKind::EscapedIdent),
                };
                let how = if begins && token.kind != TokenKind::End { "extraneous" } else { "mismatched" };
                self.syntax(format!("{how} input {} expecting {BEGINNINGS}", quoted(&token.text)))
            }
        }
    }

    /// A variable, a call, or the making of a message.
    fn name(&mut self, place: usize, dot: &str) -> Parsed<Expr> {
        let mut ahead = 1;
        while self.peek_at(ahead).text.as_ref() == "." && self.peek_at(ahead + 1).kind == TokenKind::Ident {
            ahead += 2;
        }
        if self.peek_at(ahead).text.as_ref() == "{" && self.peek_at(ahead).kind == TokenKind::Sign {
            let names: Vec<String> =
                (0..ahead).step_by(2).map(|it| self.peek_at(it).text.as_ref().to_owned()).collect();
            self.at += ahead;
            return self.message(format!("{dot}{}", names.join(".")));
        }
        let token = self.peek().clone();
        self.at += 1;
        let called = self.is("(");
        if RESERVED.contains(&token.text.as_ref()) {
            self.note(place, &format!("reserved identifier: {}", token.text));
            if called {
                self.at += 1;
                self.arguments(")")?;
            }
            // Nothing that reads like a name: what comes of it is not used, as there is an error.
            return self.literal_at(place, Literal::Null);
        }
        let name = format!("{dot}{}", token.text);
        if called {
            let id = self.sign();
            let args = self.arguments(")")?;
            return self.call(id, &name, args);
        }
        let id = self.id(token.place)?;
        Ok(self.node(id, Kind::Ident(name)))
    }

    fn number(&mut self, place: usize, negative: bool) -> Parsed<Expr> {
        let token = self.peek().clone();
        self.at += 1;
        let text = token.text.as_ref();
        let sign = if negative { "-" } else { "" };
        match token.kind {
            TokenKind::Uint => {
                let digits = text.trim_end_matches(['u', 'U']);
                let value = match digits.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => digits.parse(),
                };
                self.literal_or(place, value.ok().map(Literal::Uint), "invalid uint literal")
            }
            TokenKind::Float => {
                let value: Option<f64> = format!("{sign}{text}").parse().ok();
                let value = value.filter(|it| it.is_finite());
                self.literal_or(place, value.map(Literal::Double), "invalid double literal")
            }
            _ => {
                let value = match text.strip_prefix("0x") {
                    Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16),
                    None => format!("{sign}{text}").parse(),
                };
                self.literal_or(place, value.ok().map(Literal::Int), "invalid int literal")
            }
        }
    }

    fn list(&mut self) -> Parsed<Expr> {
        let id = self.sign();
        let mut elements = Vec::new();
        loop {
            if self.skip("]") {
                break;
            }
            if elements.is_empty() && self.skip(",") {
                self.expect("]")?;
                break;
            }
            let optional = self.skip("?");
            elements.push(Element { value: self.expr()?, optional });
            if !self.skip(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(self.node(id, Kind::List(elements)))
    }

    fn map(&mut self) -> Parsed<Expr> {
        let id = self.sign();
        let mut entries = Vec::new();
        loop {
            if self.skip("}") {
                break;
            }
            if entries.is_empty() && self.peek().kind == TokenKind::End {
                return self.syntax(format!(
                    "mismatched input '<EOF>' expecting {}",
                    BEGINNINGS
                        .replace("'{', '('", "'{', '}', '('")
                        .replace("'.', '-', '!'", "'.', ',', '-', '!', '?'")
                ));
            }
            if entries.is_empty() && self.skip(",") {
                self.expect("}")?;
                break;
            }
            let optional = self.skip("?");
            let key = self.expr()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expr()?, optional });
            if !self.skip(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(self.node(id, Kind::Map(entries)))
    }

    fn message(&mut self, name: String) -> Parsed<Expr> {
        let id = self.sign();
        let mut fields = Vec::new();
        loop {
            if self.skip("}") {
                break;
            }
            if fields.is_empty() && self.skip(",") {
                self.expect("}")?;
                break;
            }
            let optional = self.skip("?");
            let field = self.peek().clone();
            match field.kind {
                TokenKind::Ident => self.at += 1,
                TokenKind::EscapedIdent => {
                    self.at += 1;
                    self.note(field.place, "unsupported syntax: '`'");
                }
                _ => {
                    let next = matches!(self.peek_at(1).kind, TokenKind::Ident | TokenKind::EscapedIdent);
                    let how = if next { "extraneous" } else { "mismatched" };
                    return self.syntax(format!(
                        "{how} input {} expecting {{'}}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}}",
                        quoted(&field.text)
                    ));
                }
            }
            let colon = self.peek().place;
            self.expect(":")?;
            let id = self.id(colon)?;
            let value = self.expr()?;
            fields.push(FieldInit { id, name: field.text.as_ref().to_owned(), value, optional });
            if !self.skip(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(self.node(id, Kind::Struct { name, fields }))
    }

    // === making nodes ===

    fn call(&mut self, id: Id, function: &str, args: Vec<Expr>) -> Parsed<Expr> {
        match macros::expand(self, id, function, None, args)? {
            macros::Expansion::Made(expr) => Ok(expr),
            macros::Expansion::None(_, args) => Ok(self.node(id, call(function, None, args))),
        }
    }

    fn member_call(&mut self, id: Id, function: &str, target: Expr, args: Vec<Expr>) -> Parsed<Expr> {
        match macros::expand(self, id, function, Some(target), args)? {
            macros::Expansion::Made(expr) => Ok(expr),
            macros::Expansion::None(target, args) => Ok(self.node(id, call(function, target, args))),
        }
    }

    pub(crate) fn macros(&self) -> Macros {
        self.macros
    }

    pub(crate) fn place_of(&self, id: Id) -> usize {
        usize::try_from(id).ok().and_then(|index| self.places.get(index)).copied().unwrap_or_default()
    }

    pub(crate) fn node(&self, id: Id, kind: Kind) -> Expr {
        Expr { id, kind }
    }

    /// A new id for something at this place.
    pub(crate) fn id(&mut self, place: usize) -> Parsed<Id> {
        if self.places.len() >= NODES {
            self.issues.push(Issue { place: None, message: format!("expression exceeds {NODES} nodes") });
            return Err(Abandoned);
        }
        let id = Id::try_from(self.places.len()).map_err(|_error| Abandoned)?;
        self.places.push(place);
        Ok(id)
    }

    pub(crate) fn literal_at(&mut self, place: usize, literal: Literal) -> Parsed<Expr> {
        let id = self.id(place)?;
        Ok(self.node(id, Kind::Literal(literal)))
    }

    fn literal_or(&mut self, place: usize, literal: Option<Literal>, message: &str) -> Parsed<Expr> {
        if literal.is_none() {
            self.note(place, message);
        }
        self.literal_at(place, literal.unwrap_or(Literal::Null))
    }

    /// An error that reading can go on after.
    pub(crate) fn note(&mut self, place: usize, message: &str) {
        self.issues.push(Issue { place: Some(place), message: message.to_owned() });
    }

    // === reading tokens ===

    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        const NONE: &[Token] = &[];
        let tokens = if self.tokens.is_empty() { NONE } else { &self.tokens };
        tokens.get(self.at + ahead).or_else(|| tokens.last()).expect("tokens end with one of their own")
    }

    fn is(&self, sign: &str) -> bool {
        let token = self.peek();
        token.kind == TokenKind::Sign && token.text.as_ref() == sign
    }

    fn skip(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    /// The id of a node that stands where the present token does, which is taken.
    fn sign(&mut self) -> Id {
        let place = self.peek().place;
        self.at += 1;
        // Limits are met by the nodes beneath.
        self.id(place).unwrap_or_default()
    }

    fn expect(&mut self, sign: &str) -> Parsed<()> {
        if self.skip(sign) {
            return Ok(());
        }
        let token = self.peek().clone();
        let next = self.peek_at(1);
        let follows = token.kind == TokenKind::End
            || (token.kind == TokenKind::Sign
                && !matches!(token.text.as_ref(), "!" | "{" | "(" | "true" | "false" | "null"));
        let shown = quoted(&token.text);
        if token.kind != TokenKind::End && next.kind == TokenKind::Sign && next.text.as_ref() == sign {
            return self.syntax(format!("extraneous input {shown} expecting '{sign}'"));
        }
        if follows && sign != ":" {
            return self.syntax(format!("missing '{sign}' at {shown}"));
        }
        self.syntax(format!("mismatched input {shown} expecting '{sign}'"))
    }

    fn syntax<T>(&mut self, message: String) -> Parsed<T> {
        let place = self.peek().place;
        self.note(place, &format!("Syntax error: {message}"));
        Err(Abandoned)
    }

    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH {
            let message = format!("expression recursion limit exceeded: {DEPTH}");
            self.issues.push(Issue { place: None, message });
            return Err(Abandoned);
        }
        Ok(())
    }
}

pub(crate) fn call(function: &str, target: Option<Expr>, args: Vec<Expr>) -> Kind {
    Kind::Call { function: function.to_owned(), target: target.map(Box::new), args }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong(source: &str) -> String {
        parse(source, Macros::default()).map(|_| String::new()).unwrap_or_else(|it| it.messages().join(" | "))
    }

    #[test]
    fn syntax_errors_read_as_antlr_tells_them() {
        for (source, expected) in [
            ("object.", "Syntax error: no viable alternative at input '.'"),
            (r#"{"a": 1}."a""#, r#"Syntax error: no viable alternative at input '."a"'"#),
            (
                "request.user = 'test'",
                "Syntax error: token recognition error at: '= ' | Syntax error: extraneous input ''test'' expecting <EOF>",
            ),
            ("1 + 2\n3 +", "Syntax error: mismatched input '3' expecting <EOF>"),
            ("TestAllTypes(){}", "Syntax error: mismatched input '{' expecting <EOF>"),
            (
                "msg{:a}",
                "Syntax error: extraneous input ':' expecting {'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}",
            ),
            ("[1, 2", "Syntax error: missing ']' at '<EOF>'"),
            ("(1", "Syntax error: missing ')' at '<EOF>'"),
            ("0xFFFFFFFFFFFFFFFFF", "invalid int literal"),
            ("1.99e90000009", "invalid double literal"),
            ("namespace", "reserved identifier: namespace"),
            ("has(m)", "invalid argument to has() macro"),
            ("1.all(2, 3)", "argument must be a simple name"),
            ("m.filter(a.b, false)", "argument is not an identifier"),
            ("[1].all(i, i, true)", "duplicate variable name: i"),
            ("m.?x.optMap(1, 2)", "optMap() variable name must be a simple identifier"),
        ] {
            assert_eq!(wrong(source), expected, "{source}");
        }
        assert!(wrong("1 + ").starts_with("Syntax error: mismatched input '<EOF>' expecting {'[', '{'"));
        assert!(wrong("in").starts_with("Syntax error: mismatched input 'in' expecting"));
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = [
            format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000)),
            format!("a{}", ".b".repeat(1_000)),
            format!("a{}", "[0]".repeat(1_000)),
            vec!["1"; 1_000].join("+"),
            format!("{}x", "x ? y : ".repeat(1_000)),
        ];
        for source in deep {
            assert_eq!(wrong(&source), "expression recursion limit exceeded: 250");
        }
        assert_eq!(wrong(&vec!["a"; 5_000].join(" && ")), "");
        assert!(wrong(&"a".repeat(100_001)).starts_with("expression code point size exceeds limit"));
        let doubling = format!("a{}", ".optMap(x, x)".repeat(30));
        assert_eq!(wrong(&doubling), "expression exceeds 200000 nodes");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(source in "\\PC{0,60}") {
            let _ = parse(&source, Macros::default());
        }

        #[test]
        fn any_sequence_of_words_is_parsed_or_refused(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "b", ".", "?", "[", "]", "(", ")", "{", "}", ",", ":", "+", "-", "!", "&&", "||", "in",
                    "1", "2u", "1.5", "'s'", "b'x'", "has", "all", "map", "x", "optMap", "true", "null", "==",
                ]),
                0..24,
            )
        ) {
            let _ = parse(&words.join(" "), Macros::default());
            let _ = parse(&words.concat(), Macros::default());
        }
    }
}
