//! The words of a label selector.

/// One word. Keywords keep their text, since values may read like them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    End,
    Identifier(String),
    /// `in`
    In,
    /// `notin`
    NotIn,
    /// One of `! = == != < > ( ) ,`
    Symbol(&'static str),
}

impl Token {
    /// As error messages quote it.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::End => "",
            Self::Identifier(text) => text,
            Self::In => "in",
            Self::NotIn => "notin",
            Self::Symbol(symbol) => symbol,
        }
    }

    pub(super) fn is(&self, symbol: &str) -> bool {
        matches!(self, Self::Symbol(it) if *it == symbol)
    }
}

/// Longer ones first, so that the longest that fits is taken.
const SYMBOLS: &[&str] = &["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

/// Splits a selector into words; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(is_blank);
        // A NUL where a word would begin ends the selector, as it does upstream.
        if rest.is_empty() || rest.starts_with('\0') {
            tokens.push(Token::End);
            return tokens;
        }
        if let Some(symbol) = SYMBOLS.iter().copied().find(|symbol| rest.starts_with(symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = rest.get(symbol.len()..).unwrap_or_default();
            continue;
        }
        let end = rest.find(|it| is_blank(it) || is_symbol(it) || it == '\0').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        tokens.push(match word {
            "in" => Token::In,
            "notin" => Token::NotIn,
            word => Token::Identifier(word.to_owned()),
        });
        // A NUL right after a word only separates.
        rest = after.strip_prefix('\0').unwrap_or(after);
    }
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_symbol(character: char) -> bool {
    matches!(character, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}
