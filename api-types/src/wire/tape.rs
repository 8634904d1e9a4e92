//! A JSON text cut into tokens, in document order, without a tree.
//!
//! One pass over the bytes, with a stack of our own: nesting can neither overflow a stack here nor when the
//! tape is dropped, and skipping a value is one step. Keys stay in the order they came in, and duplicates stay,
//! because error messages depend on both. What is refused, and in which words, is as in Go's scanner.

use super::go;
use std::borrow::Cow;

/// Go's limit.
const DEPTH_MAX: usize = 10_000;

/// Position of a token on the tape.
pub(super) type At = usize;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Null,
    True,
    False,
    Number,
    String,
    Array,
    Object,
}

#[derive(Clone, Copy)]
struct Token {
    kind: Kind,
    /// A string without escapes: its text is its bytes, if they are UTF-8.
    plain: bool,
    /// Where its text begins: a string's after the quote.
    start: u32,
    /// Where its text ends; for an array or object, the first token that is not inside it.
    end: u32,
}

pub(super) struct Tape<'a> {
    bytes: &'a [u8],
    /// The same, if all of it is UTF-8, which is checked once.
    text: Option<&'a str>,
    tokens: Vec<Token>,
}

/// What may come next.
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
}

// === impl Tape ===

impl<'a> Tape<'a> {
    /// Cuts a JSON text.
    ///
    /// # Errors
    /// Go's message for the first byte that does not fit.
    pub(super) fn cut(bytes: &'a [u8]) -> Result<Self, String> {
        if u32::try_from(bytes.len()).is_err() {
            return Err("more than 4 GiB of JSON".to_owned());
        }
        let mut cutter = Cutter { bytes, at: 0, tokens: Vec::with_capacity(bytes.len() / 16 + 4) };
        cutter.document()?;
        Ok(Self { bytes, text: std::str::from_utf8(bytes).ok(), tokens: cutter.tokens })
    }

    fn token(&self, at: At) -> Token {
        self.tokens.get(at).copied().unwrap_or(Token { kind: Kind::Null, plain: true, start: 0, end: 0 })
    }

    pub(super) fn kind(&self, at: At) -> Kind {
        self.token(at).kind
    }

    /// The token after the value at `at`.
    pub(super) fn after(&self, at: At) -> At {
        let token = self.token(at);
        if matches!(token.kind, Kind::Array | Kind::Object) { token.end as usize } else { at + 1 }
    }

    /// The source text of a literal; a string's without its quotes, and still escaped.
    pub(super) fn raw(&self, at: At) -> &'a [u8] {
        let token = self.token(at);
        match token.kind {
            Kind::Array => b"[",
            Kind::Object => b"{",
            _ => self.bytes.get(token.start as usize..token.end as usize).unwrap_or_default(),
        }
    }

    /// A number's source text.
    pub(super) fn number(&self, at: At) -> &'a str {
        std::str::from_utf8(self.raw(at)).unwrap_or_default()
    }

    /// A string's text; what is no UTF-8 and no Unicode is replaced, as Go replaces it.
    pub(super) fn string(&self, at: At) -> Cow<'a, str> {
        let token = self.token(at);
        if token.plain
            && let Some(text) = self.text.and_then(|text| text.get(token.start as usize..token.end as usize))
        {
            return Cow::Borrowed(text);
        }
        Cow::Owned(unescape(self.raw(at)))
    }

    /// The elements of an array.
    pub(super) fn elements(&self, at: At) -> impl Iterator<Item = At> + use<'_, 'a> {
        let end = self.after(at);
        std::iter::successors(Some(at + 1), |at| Some(self.after(*at))).take_while(move |at| *at < end)
    }

    /// The keys and values of an object, in the order they came in.
    pub(super) fn members(&self, at: At) -> impl Iterator<Item = (At, At)> + use<'_, 'a> {
        let end = self.after(at);
        std::iter::successors(Some(at + 1), |key| Some(self.after(key + 1)))
            .take_while(move |key| *key < end)
            .map(|key| (key, key + 1))
    }
}

// === cutting ===

struct Cutter<'a> {
    bytes: &'a [u8],
    at: usize,
    tokens: Vec<Token>,
}

impl Cutter<'_> {
    fn document(&mut self) -> Result<(), String> {
        let mut open: Vec<usize> = Vec::new();
        let mut expect = Expect::Value;
        loop {
            self.skip_space();
            let Some(byte) = self.bytes.get(self.at).copied() else { return Err(end_of_input()) };
            match expect {
                Expect::ValueOrEnd if byte == b']' => self.close(&mut open),
                Expect::KeyOrEnd if byte == b'}' => self.close(&mut open),
                Expect::Value | Expect::ValueOrEnd => match byte {
                    b'{' | b'[' => {
                        if open.len() == DEPTH_MAX {
                            return Err(unexpected(byte, "exceeded max depth"));
                        }
                        open.push(self.tokens.len());
                        let (kind, next) = if byte == b'{' {
                            (Kind::Object, Expect::KeyOrEnd)
                        } else {
                            (Kind::Array, Expect::ValueOrEnd)
                        };
                        self.push(kind, true, self.at, self.at);
                        self.at += 1;
                        expect = next;
                        continue;
                    }
                    _ => self.literal(byte)?,
                },
                Expect::Key | Expect::KeyOrEnd => {
                    if byte != b'"' {
                        return Err(unexpected(byte, "looking for beginning of object key string"));
                    }
                    self.string()?;
                    self.skip_space();
                    match self.bytes.get(self.at) {
                        Some(b':') => self.at += 1,
                        Some(other) => return Err(unexpected(*other, "after object key")),
                        None => return Err(end_of_input()),
                    }
                    expect = Expect::Value;
                    continue;
                }
                Expect::CommaOrEnd => {
                    let in_object = open.last().and_then(|at| self.tokens.get(*at)).map(|it| it.kind);
                    let is_object = in_object == Some(Kind::Object);
                    match (byte, is_object) {
                        (b',', true) => expect = Expect::Key,
                        (b',', false) => expect = Expect::Value,
                        (b'}', true) | (b']', false) => {
                            self.close(&mut open);
                            if open.is_empty() {
                                return self.nothing_more();
                            }
                            continue;
                        }
                        (_, true) => return Err(unexpected(byte, "after object key:value pair")),
                        (_, false) => return Err(unexpected(byte, "after array element")),
                    }
                    self.at += 1;
                    continue;
                }
            }
            if open.is_empty() {
                return self.nothing_more();
            }
            expect = Expect::CommaOrEnd;
        }
    }

    fn nothing_more(&mut self) -> Result<(), String> {
        self.skip_space();
        match self.bytes.get(self.at) {
            None => Ok(()),
            Some(byte) => Err(unexpected(*byte, "after top-level value")),
        }
    }

    fn close(&mut self, open: &mut Vec<usize>) {
        let end = position(self.tokens.len());
        if let Some(token) = open.pop().and_then(|at| self.tokens.get_mut(at)) {
            token.end = end;
        }
        self.at += 1;
    }

    fn push(&mut self, kind: Kind, plain: bool, start: usize, end: usize) {
        self.tokens.push(Token { kind, plain, start: position(start), end: position(end) });
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn literal(&mut self, first: u8) -> Result<(), String> {
        match first {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(Kind::True, "true"),
            b'f' => self.word(Kind::False, "false"),
            b'n' => self.word(Kind::Null, "null"),
            _ => Err(unexpected(first, "looking for beginning of value")),
        }
    }

    /// The byte at `at`. Past the end it is a space, so that a word cut short is reported as in Go.
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(b' ')
    }

    fn word(&mut self, kind: Kind, word: &str) -> Result<(), String> {
        let start = self.at;
        for letter in word.bytes() {
            if self.peek() != letter {
                let expected = char::from(letter);
                return Err(unexpected(self.peek(), &format!("in literal {word} (expecting '{expected}')")));
            }
            self.at += 1;
        }
        self.push(kind, true, start, self.at);
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        let start = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1,
            _ => self.digits("in numeric literal")?,
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        self.push(Kind::Number, true, start, self.at);
        Ok(())
    }

    fn digits(&mut self, context: &str) -> Result<(), String> {
        if !self.peek().is_ascii_digit() {
            return Err(unexpected(self.peek(), context));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        let start = self.at;
        let mut plain = true;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let run = rest.iter().position(|byte| STOPS[usize::from(*byte)]).unwrap_or(rest.len());
            self.at += run;
            let Some(byte) = rest.get(run).copied() else { return Err(end_of_input()) };
            match byte {
                b'"' => break,
                b'\\' => {
                    plain = false;
                    self.at += 1;
                    self.escape()?;
                }
                _ => return Err(unexpected(byte, "in string literal")),
            }
            self.at += 1;
        }
        self.push(Kind::String, plain, start, self.at);
        self.at += 1;
        Ok(())
    }

    /// Stands after the backslash, ends on the escape's last byte.
    fn escape(&mut self) -> Result<(), String> {
        match self.peek() {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    self.at += 1;
                    if !self.peek().is_ascii_hexdigit() {
                        return Err(unexpected(self.peek(), "in \\u hexadecimal character escape"));
                    }
                }
                Ok(())
            }
            other => Err(unexpected(other, "in string escape code")),
        }
    }
}

/// Bytes that are more than text within a string.
const STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        stops[byte] = byte < 0x20 || byte == b'"' as usize || byte == b'\\' as usize;
        byte += 1;
    }
    stops
};

/// Fits, because the length of the text was checked first.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn unexpected(byte: u8, context: &str) -> String {
    format!("invalid character {} {context}", go::quote_byte(byte))
}

fn end_of_input() -> String {
    "unexpected end of JSON input".to_owned()
}

// === strings ===

/// Resolves the escapes of a string that was cut, and replaces what is no Unicode by U+FFFD.
fn unescape(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while !rest.is_empty() {
        let run = rest.iter().position(|byte| *byte == b'\\').unwrap_or(rest.len());
        let (before, after) = rest.split_at(run);
        push_lossy(&mut text, before);
        rest = match after {
            [b'\\', b'u', digits @ ..] => unescape_unicode(&mut text, digits),
            [b'\\', letter, more @ ..] => {
                text.push(match letter {
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    b'n' => '\n',
                    b'r' => '\r',
                    b't' => '\t',
                    other => char::from(*other),
                });
                more
            }
            _ => &[],
        };
    }
    text
}

/// Stands after `\u`; gives back what follows.
fn unescape_unicode<'a>(text: &mut String, digits: &'a [u8]) -> &'a [u8] {
    let (unit, rest) = (hex(digits), digits.get(4..).unwrap_or_default());
    if let (0xd800..0xdc00, [b'\\', b'u', low @ ..]) = (unit, rest)
        && let second @ 0xdc00..0xe000 = hex(low)
    {
        let code = 0x10000 + ((unit - 0xd800) << 10) + (second - 0xdc00);
        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        return low.get(4..).unwrap_or_default();
    }
    text.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
    rest
}

fn hex(digits: &[u8]) -> u32 {
    digits.iter().take(4).fold(0, |code, digit| code * 16 + char::from(*digit).to_digit(16).unwrap_or(0))
}

/// Each byte that belongs to no character becomes one U+FFFD, as in Go; Rust's own function makes fewer of them.
fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        Tape::cut(text.as_bytes()).err().unwrap_or_default()
    }

    #[test]
    fn broken_texts_are_refused_in_gos_words() {
        let cases = [
            ("", "unexpected end of JSON input"),
            ("  ", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("[", "unexpected end of JSON input"),
            ("{\"a\"", "unexpected end of JSON input"),
            ("{\"a\":", "unexpected end of JSON input"),
            ("{\"a\":1", "unexpected end of JSON input"),
            ("{\"a\":1,", "unexpected end of JSON input"),
            ("\"abc", "unexpected end of JSON input"),
            ("not json", "invalid character 'o' in literal null (expecting 'u')"),
            ("nul", "invalid character ' ' in literal null (expecting 'l')"),
            ("tru3", "invalid character '3' in literal true (expecting 'e')"),
            ("falze", "invalid character 'z' in literal false (expecting 's')"),
            ("apiVersion: v1", "invalid character 'a' looking for beginning of value"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("{\"a\":1]", "invalid character ']' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1}", "invalid character '}' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{} {}", "invalid character '{' after top-level value"),
            ("1 x", "invalid character 'x' after top-level value"),
            ("-", "invalid character ' ' in numeric literal"),
            ("-a", "invalid character 'a' in numeric literal"),
            ("01", "invalid character '1' after top-level value"),
            ("1.", "invalid character ' ' after decimal point in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1e", "invalid character ' ' in exponent of numeric literal"),
            ("1e+x", "invalid character 'x' in exponent of numeric literal"),
            ("\"a\nb\"", r"invalid character '\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u12g4\"", r"invalid character 'g' in \u hexadecimal character escape"),
            ("\u{feff}{}", "invalid character 'ï' looking for beginning of value"),
            ("'a'", r"invalid character '\'' looking for beginning of value"),
        ];
        for (text, expected) in cases {
            assert_eq!(error(text), expected, "{text:?}");
        }
    }

    #[test]
    fn nesting_beyond_ten_thousand_is_refused_without_recursion() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(error(&nested(10_000)), "");
        assert_eq!(error(&nested(10_001)), "invalid character '[' exceeded max depth");
        assert_eq!(error(&"[".repeat(3 << 20)), "invalid character '[' exceeded max depth");
        assert_eq!(error(&"{\"a\":".repeat(600_000)), "invalid character '{' exceeded max depth");
    }

    #[test]
    fn what_is_no_unicode_is_replaced() {
        let cases: &[(&[u8], &str)] = &[
            (b"\"a\"", "a"),
            ("\"ä世\"".as_bytes(), "ä世"),
            (br#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (br#""\u00e4\ud83d\ude00""#, "ä😀"),
            (br#""\ud83d""#, "\u{fffd}"),
            (br#""\ud83dx""#, "\u{fffd}x"),
            (br#""\ud83d\u0041""#, "\u{fffd}A"),
            (br#""\ude00""#, "\u{fffd}"),
            (b"\"a\xffb\"", "a\u{fffd}b"),
            (b"\"\xe4\xb8x\"", "\u{fffd}\u{fffd}x"),
        ];
        for (json, text) in cases {
            let tape = Tape::cut(json).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(tape.string(0), *text);
        }
    }

    proptest! {
        #[test]
        fn it_takes_exactly_what_serde_json_takes(text in "[\\[\\]{}\",:0-9tfn\\\\ue. -]{0,12}") {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            prop_assert_eq!(Tape::cut(text.as_bytes()).is_ok(), theirs.is_ok(), "{:?}", theirs);
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Tape::cut(&bytes);
        }
    }
}
