//! From characters to tokens. What is no token is told as ANTLR tells it, and left out.

use std::sync::Arc;

use crate::source::Issue;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// An operator, bracket or keyword; the text says which.
    Sign,
    Ident,
    EscapedIdent,
    Int,
    Uint,
    Float,
    String,
    Bytes,
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) text: Arc<str>,
    /// In characters.
    pub(crate) place: usize,
}

const SIGNS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":",
    "+", "*", "/", "%", "in",
];
const KEYWORDS: [&str; 4] = ["in", "true", "false", "null"];

/// The tokens, ending with one of [`TokenKind::End`].
pub(crate) fn tokens(letters: &[char], issues: &mut Vec<Issue>) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        let rest = letters.get(at..).unwrap_or_default();
        let hidden = blank(rest);
        if hidden > 0 {
            at += hidden;
            continue;
        }
        match token(rest) {
            Ok((kind, length)) => {
                let text: String = rest.iter().take(length).collect();
                tokens.push(Token { kind, text: text.into(), place: at });
                at += length;
            }
            Err(length) => {
                let text: String = rest.iter().take(length).collect();
                let message = format!("Syntax error: token recognition error at: {}", quoted(&text));
                issues.push(Issue { place: Some(at), message });
                at += length.max(1);
            }
        }
    }
    tokens.push(Token { kind: TokenKind::End, text: "<EOF>".into(), place: letters.len() });
    tokens
}

/// A token's text as messages show it.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
}

fn blank(rest: &[char]) -> usize {
    let space = rest.iter().take_while(|it| matches!(it, '\t' | ' ' | '\r' | '\n' | '\u{c}')).count();
    if space > 0 {
        return space;
    }
    if rest.starts_with(&['/', '/']) { rest.iter().take_while(|it| **it != '\n').count() } else { 0 }
}

/// The longest token at the start; or how far it was read before nothing could come of it.
fn token(rest: &[char]) -> Result<(TokenKind, usize), usize> {
    let first = rest.first().copied().unwrap_or_default();
    let is = |at: usize, letter: char| rest.get(at) == Some(&letter);
    let mut string_failed = None;
    if let Some(prefix) = string_prefix(rest) {
        let raw = rest.iter().take(prefix).any(|it| matches!(it, 'r' | 'R'));
        let bytes = rest.iter().take(prefix).any(|it| matches!(it, 'b' | 'B'));
        let kind = if bytes { TokenKind::Bytes } else { TokenKind::String };
        match string(rest.get(prefix..).unwrap_or_default(), raw) {
            Ok(length) => return Ok((kind, prefix + length)),
            Err(length) => string_failed = Some(prefix + length),
        }
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = rest.iter().take_while(|it| it.is_ascii_alphanumeric() || **it == '_').count();
        let word: String = rest.iter().take(length).collect();
        let keyword = KEYWORDS.contains(&word.as_str());
        return Ok((if keyword { TokenKind::Sign } else { TokenKind::Ident }, length));
    }
    if let Some(length) = string_failed {
        return Err(length);
    }
    if first.is_ascii_digit() || (first == '.' && rest.get(1).is_some_and(char::is_ascii_digit)) {
        return Ok(number(rest));
    }
    if first == '`' {
        let inside = |it: &&char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.' | '-' | '/' | ' ');
        let length = rest.iter().skip(1).take_while(inside).count();
        if length > 0 && is(length + 1, '`') {
            return Ok((TokenKind::EscapedIdent, length + 2));
        }
        return Err((length + 2).min(rest.len()));
    }
    for sign in SIGNS {
        if sign.chars().enumerate().all(|(at, letter)| is(at, letter)) {
            return Ok((TokenKind::Sign, sign.len()));
        }
    }
    // The beginning of a sign of two characters is read together with what disappointed.
    let begun = matches!(first, '=' | '&' | '|');
    Err(if begun { rest.len().min(2) } else { 1 })
}

fn number(rest: &[char]) -> (TokenKind, usize) {
    let digits = |from: usize| rest.iter().skip(from).take_while(|it| it.is_ascii_digit()).count();
    let unsigned = |at: usize| matches!(rest.get(at), Some('u' | 'U'));
    if rest.starts_with(&['0', 'x']) {
        let hex = rest.iter().skip(2).take_while(|it| it.is_ascii_hexdigit()).count();
        if hex > 0 {
            return if unsigned(2 + hex) { (TokenKind::Uint, 3 + hex) } else { (TokenKind::Int, 2 + hex) };
        }
    }
    let whole = digits(0);
    let mut end = whole;
    let mut float = false;
    if rest.get(end) == Some(&'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
        float = true;
    }
    if matches!(rest.get(end), Some('e' | 'E')) {
        let sign = usize::from(matches!(rest.get(end + 1), Some('+' | '-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
            float = true;
        }
    }
    match float {
        true => (TokenKind::Float, end),
        false if unsigned(end) => (TokenKind::Uint, end + 1),
        false => (TokenKind::Int, end),
    }
}

/// How many letters stand before the quote of a string, if one begins here.
fn string_prefix(rest: &[char]) -> Option<usize> {
    let mut at = 0;
    if matches!(rest.get(at), Some('b' | 'B')) {
        at += 1;
    }
    if matches!(rest.get(at), Some('r' | 'R')) {
        at += 1;
    }
    matches!(rest.get(at), Some('"' | '\'')).then_some(at)
}

/// The length of the string that begins with a quote here.
fn string(rest: &[char], raw: bool) -> Result<usize, usize> {
    let quote = rest.first().copied().unwrap_or_default();
    let triple = [quote; 3];
    if rest.starts_with(&triple)
        && let Some(length) = triple_quoted(rest, triple, raw)
    {
        return Ok(length);
    }
    let mut at = 1;
    loop {
        match rest.get(at) {
            Some(letter) if *letter == quote => return Ok(at + 1),
            Some('\n' | '\r') => return Err(at + 1),
            None => return Err(at),
            Some('\\') if !raw => {
                at += escape(rest.get(at..).unwrap_or_default()).map_err(|read| at + read)?
            }
            Some(_) => at += 1,
        }
    }
}

fn triple_quoted(rest: &[char], quotes: [char; 3], raw: bool) -> Option<usize> {
    let mut at = 3;
    loop {
        let rest = rest.get(at..).unwrap_or_default();
        match rest.first() {
            None => return None,
            Some(_) if rest.starts_with(&quotes) => return Some(at + 3),
            Some('\\') if !raw => at += escape(rest).ok()?,
            Some(_) => at += 1,
        }
    }
}

/// The length of the escape at the start; or how far it was read.
fn escape(rest: &[char]) -> Result<usize, usize> {
    let all = |from: usize, count: usize, good: fn(char) -> bool| {
        for at in from..from + count {
            match rest.get(at) {
                Some(letter) if good(*letter) => {}
                Some(_) => return Err(at + 1),
                None => return Err(at),
            }
        }
        Ok(from + count)
    };
    let hex = |it: char| it.is_ascii_hexdigit();
    let octal = |it: char| matches!(it, '0'..='7');
    match rest.get(1) {
        Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`') => Ok(2),
        Some('x' | 'X') => all(2, 2, hex),
        Some('u') => all(2, 4, hex),
        Some('U') => all(2, 8, hex),
        Some('0'..='3') => all(2, 2, octal),
        Some(_) => Err(2),
        None => Err(1),
    }
}

/// The content of a string token, or `None` if an escape stands for no character.
pub(crate) fn unescape(token: &str) -> Option<Vec<char>> {
    content(token, false)
}

/// The content of a token for bytes: each escape of two digits is a byte, everything else is UTF-8.
pub(crate) fn unescape_bytes(token: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for letter in content(token.get(1..)?, true)? {
        match byte_of(letter) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(bytes)
}

/// Bytes given by escapes travel as characters of a private area, since a `char` cannot be any byte.
const BYTES: u32 = 0x10_FE00;

fn byte_of(letter: char) -> Option<u8> {
    u32::from(letter).checked_sub(BYTES).and_then(|it| u8::try_from(it).ok())
}

fn content(token: &str, bytes: bool) -> Option<Vec<char>> {
    let raw = token.starts_with(['r', 'R']);
    let text = if raw { token.get(1..)? } else { token };
    let triple = text.len() >= 6 && (text.starts_with("\"\"\"") || text.starts_with("'''"));
    let edge = if triple { 3 } else { 1 };
    let inner = text.get(edge..text.len().checked_sub(edge)?)?.replace("\r\n", "\n").replace('\r', "\n");
    if raw {
        return Some(inner.chars().collect());
    }
    let mut out = Vec::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        let small = |code: u32| char::from_u32(if bytes { BYTES + code } else { code });
        // Code points that are no characters make the whole literal wrong.
        out.push(match letters.clone().next()? {
            'a' => one(&mut letters, '\u{7}'),
            'b' => one(&mut letters, '\u{8}'),
            'f' => one(&mut letters, '\u{c}'),
            'n' => one(&mut letters, '\n'),
            'r' => one(&mut letters, '\r'),
            't' => one(&mut letters, '\t'),
            'v' => one(&mut letters, '\u{b}'),
            'x' | 'X' => {
                letters.next();
                small(code(&mut letters, 16, 2)?)?
            }
            wide @ ('u' | 'U') if !bytes => {
                letters.next();
                char::from_u32(code(&mut letters, 16, if wide == 'u' { 4 } else { 8 })?)?
            }
            '0'..='3' => small(code(&mut letters, 8, 3)?)?,
            'u' | 'U' => return None,
            plain => one(&mut letters, plain),
        });
    }
    Some(out)
}

fn code(letters: &mut std::str::Chars<'_>, base: u32, count: usize) -> Option<u32> {
    (0..count).try_fold(0_u32, |sum, _| sum.checked_mul(base)?.checked_add(letters.next()?.to_digit(base)?))
}

fn one(letters: &mut std::str::Chars<'_>, meaning: char) -> char {
    letters.next();
    meaning
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_tokens_and_tells_of_the_rest() {
        for (source, expected, wrong) in [
            ("a.b==1u", vec!["a", ".", "b", "==", "1u"], None),
            ("1.5e3 .5 0xFF 1.x", vec!["1.5e3", ".5", "0xFF", "1", ".", "x"], None),
            (r#"r"\d" b'x' """a"b""" ''"#, vec![r#"r"\d""#, "b'x'", r#""""a"b""""#, "''"], None),
            ("a // rest\n b", vec!["a", "b"], None),
            ("a.`b-c`", vec!["a", ".", "`b-c`"], None),
            ("a = 'b'", vec!["a", "'b'"], Some("'= '")),
            ("a | b", vec!["a", "b"], Some("'| '")),
            ("1 + $", vec!["1", "+"], Some("'$'")),
            (r#""\xFh"#, vec![], Some(r#"'"\xFh'"#)),
        ] {
            let mut issues = Vec::new();
            let letters: Vec<char> = source.chars().collect();
            let found = tokens(&letters, &mut issues);
            let texts: Vec<&str> =
                found.iter().filter(|it| it.kind != TokenKind::End).map(|it| it.text.as_ref()).collect();
            assert_eq!(texts, expected, "{source}");
            let wrong = wrong.map(|it| format!("Syntax error: token recognition error at: {it}"));
            assert_eq!(issues.first().map(|it| it.message.clone()), wrong, "{source}");
        }
    }

    #[test]
    fn unescapes_strings_and_bytes() {
        for (token, text) in [
            (r#""a\n\x41\u00e9\101""#, Some("a\nA\u{e9}A")),
            (r"r'\d'", Some(r"\d")),
            (r#"'''it's'''"#, Some("it's")),
            (r"'\uD800'", None),
        ] {
            assert_eq!(
                unescape(token).map(|it| it.into_iter().collect::<String>()).as_deref(),
                text,
                "{token}"
            );
        }
        assert_eq!(unescape_bytes(r"b'\xff\000é'"), Some(vec![0xff, 0, 0xc3, 0xa9]));
    }
}
