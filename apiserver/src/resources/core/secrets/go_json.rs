//! What is wrong with a text that should be a JSON object, in the words of Go's `encoding/json`: they stand in faults
//! that clients see.

/// How deep values may nest.
const DEPTH_MAX: usize = 10_000;

/// What is wrong, if anything.
pub(super) fn object_error(bytes: &[u8]) -> Option<String> {
    if let Err(error) = (Scanner { bytes, at: 0, open: Vec::new() }).document() {
        return Some(error);
    }
    let kind = match bytes.iter().find(|byte| !is_space(**byte))? {
        b'{' | b'n' => return None,
        b'[' => "array",
        b'"' => "string",
        b't' | b'f' => "bool",
        _ => "number",
    };
    Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// What a bracket opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<Open>,
}

// === impl Scanner ===

impl Scanner<'_> {
    /// One value with nothing after it. Not recursive: the depth is the writer's choice.
    fn document(mut self) -> Result<(), String> {
        loop {
            if self.value()? {
                continue;
            }
            // A value has ended: what may follow depends on what it stands in.
            loop {
                self.spaces();
                let Some(open) = self.open.last().copied() else {
                    return match self.bytes.get(self.at) {
                        None => Ok(()),
                        Some(&byte) => Err(invalid(byte, "after top-level value")),
                    };
                };
                match (self.next()?, open) {
                    (b',', Open::Array) => break,
                    (b',', Open::Object) => {
                        self.spaces();
                        self.key()?;
                        break;
                    }
                    (b']', Open::Array) | (b'}', Open::Object) => {
                        self.open.pop();
                    }
                    (byte, Open::Array) => return Err(invalid(byte, "after array element")),
                    (byte, Open::Object) => return Err(invalid(byte, "after object key:value pair")),
                }
            }
        }
    }

    /// The beginning of a value, or all of it. Whether a value must follow now: the first of a list or of an object.
    fn value(&mut self) -> Result<bool, String> {
        self.spaces();
        match self.next()? {
            b'{' => {
                self.enter(Open::Object)?;
                self.spaces();
                if self.peek()? == b'}' {
                    return Ok(false);
                }
                self.key()?;
                Ok(true)
            }
            b'[' => {
                self.enter(Open::Array)?;
                self.spaces();
                Ok(self.peek()? != b']')
            }
            b'"' => self.string().map(|()| false),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            byte @ (b'-' | b'0'..=b'9') => self.number(byte).map(|()| false),
            byte => Err(invalid(byte, "looking for beginning of value")),
        }
    }

    fn enter(&mut self, open: Open) -> Result<(), String> {
        self.open.push(open);
        if self.open.len() > DEPTH_MAX { Err("exceeded max depth".to_owned()) } else { Ok(()) }
    }

    fn key(&mut self) -> Result<(), String> {
        match self.next()? {
            b'"' => self.string()?,
            byte => return Err(invalid(byte, "looking for beginning of object key string")),
        }
        self.spaces();
        match self.next()? {
            b':' => Ok(()),
            byte => Err(invalid(byte, "after object key")),
        }
    }

    fn string(&mut self) -> Result<(), String> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let byte = self.next()?;
                            if !byte.is_ascii_hexdigit() {
                                return Err(invalid(byte, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    byte => return Err(invalid(byte, "in string escape code")),
                },
                byte @ 0..0x20 => return Err(invalid(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn literal(&mut self, word: &str) -> Result<bool, String> {
        for &expected in word.as_bytes().iter().skip(1) {
            let byte = self.next()?;
            if byte != expected {
                let expected = char::from(expected);
                return Err(invalid(byte, &format!("in literal {word} (expecting '{expected}')")));
            }
        }
        Ok(false)
    }

    fn number(&mut self, first: u8) -> Result<(), String> {
        let first = if first == b'-' { self.next()? } else { first };
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            byte => return Err(invalid(byte, "in numeric literal")),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digit(&mut self, place: &str) -> Result<(), String> {
        let byte = self.next()?;
        if !byte.is_ascii_digit() {
            return Err(invalid(byte, place));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn spaces(&mut self) {
        while self.bytes.get(self.at).is_some_and(|&byte| is_space(byte)) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Result<u8, String> {
        self.bytes.get(self.at).copied().ok_or_else(|| "unexpected end of JSON input".to_owned())
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }
}

fn invalid(byte: u8, place: &str) -> String {
    let shown = match char::from(byte) {
        '\'' => "\\'".to_owned(),
        '"' => "\"".to_owned(),
        character => {
            let quoted = api_types::field::go_quote(&character.to_string());
            quoted.trim_matches('"').to_owned()
        }
    };
    format!("invalid character '{shown}' {place}")
}

#[cfg(test)]
mod tests {
    use super::object_error;

    #[test]
    fn what_is_no_json_object_is_refused_in_the_words_of_go() {
        for (text, error) in [
            ("{}", None),
            (" {\"a\": [1, -0.5e+3, \"x\\u00e9\", true, null, {}]} ", None),
            ("null", None),
            ("", Some("unexpected end of JSON input")),
            ("{\"a\"", Some("unexpected end of JSON input")),
            ("x", Some("invalid character 'x' looking for beginning of value")),
            ("{a", Some("invalid character 'a' looking for beginning of object key string")),
            ("{\"a\" 1}", Some("invalid character '1' after object key")),
            ("{\"a\":1 2}", Some("invalid character '2' after object key:value pair")),
            ("{\"a\":1,}", Some("invalid character '}' looking for beginning of object key string")),
            ("[1 2]", Some("invalid character '2' after array element")),
            ("[1,]", Some("invalid character ']' looking for beginning of value")),
            ("{}x", Some("invalid character 'x' after top-level value")),
            ("tru'", Some("invalid character '\\'' in literal true (expecting 'e')")),
            ("01", Some("invalid character '1' after top-level value")),
            ("1.x", Some("invalid character 'x' after decimal point in numeric literal")),
            ("-x", Some("invalid character 'x' in numeric literal")),
            ("1ex", Some("invalid character 'x' in exponent of numeric literal")),
            ("\"\n\"", Some("invalid character '\\n' in string literal")),
            ("\"\\x\"", Some("invalid character 'x' in string escape code")),
            ("[]", Some("json: cannot unmarshal array into Go value of type map[string]interface {}")),
            (" 1", Some("json: cannot unmarshal number into Go value of type map[string]interface {}")),
        ] {
            assert_eq!(object_error(text.as_bytes()).as_deref(), error, "{text}");
        }
    }
}
