//! How Go prints strings, bytes and numbers in JSON and in error messages.

use std::fmt::Write as _;

/// A string in double quotes, as `%q` prints it.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        push_escaped(&mut quoted, letter, '"');
    }
    quoted.push('"');
    quoted
}

/// A byte in single quotes, as the JSON scanner names the character it cannot use.
pub(super) fn quote_byte(byte: u8) -> String {
    let mut quoted = String::from("'");
    // A byte beyond ASCII is taken for the character with its number.
    match char::from(byte) {
        '\'' => quoted.push_str("\\'"),
        '"' => quoted.push('"'),
        letter => push_escaped(&mut quoted, letter, '"'),
    }
    quoted.push('\'');
    quoted
}

fn push_escaped(into: &mut String, letter: char, delimiter: char) {
    let short = match letter {
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{b}' => "\\v",
        '\\' => "\\\\",
        _ => "",
    };
    let code = u32::from(letter);
    // Writing to a string cannot fail.
    let _ = if !short.is_empty() {
        into.write_str(short)
    } else if letter == delimiter {
        write!(into, "\\{letter}")
    } else if code < 0x20 || code == 0x7f {
        write!(into, "\\x{code:02x}")
    } else if is_printable(letter) {
        into.write_char(letter)
    } else if code < 0x10000 {
        write!(into, "\\u{code:04x}")
    } else {
        write!(into, "\\U{code:08x}")
    };
}

/// Letters, marks, numbers, punctuation and symbols; of spaces only the ASCII one.
fn is_printable(letter: char) -> bool {
    // Rust's debug form escapes what is not printable (and some marks that cannot stand alone).
    letter == ' '
        || letter == '\''
        || !letter.is_whitespace() && letter != '\u{ad}' && {
            let mut escaped = letter.escape_debug();
            escaped.len() == 1 && escaped.next() == Some(letter)
        }
}

/// Appends a floating point number in the notation of Go's JSON encoder.
pub(super) fn push_float(into: &mut Vec<u8>, number: f64) {
    let magnitude = number.abs();
    let text = if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{number:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
            _ => text,
        }
    } else {
        number.to_string()
    };
    into.extend_from_slice(text.as_bytes());
}

/// Appends a string in the notation of Go's JSON encoder, which escapes HTML.
pub(super) fn push_string(into: &mut Vec<u8>, text: &str) {
    into.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            8 => b"\\b",
            12 => b"\\f",
            b'<' => b"\\u003c",
            b'>' => b"\\u003e",
            b'&' => b"\\u0026",
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                into.extend_from_slice(bytes.get(done..at).unwrap_or_default());
                into.extend_from_slice(b"\\u00");
                into.extend([digit(byte >> 4), digit(byte & 15)]);
                at += 1;
                done = at;
                continue;
            }
            // The line and paragraph separators end a line in JavaScript.
            0xe2 if bytes.get(at + 1) == Some(&0x80) => match bytes.get(at + 2) {
                Some(0xa8) => b"\\u2028",
                Some(0xa9) => b"\\u2029",
                _ => b"",
            },
            _ => b"",
        };
        if escaped.is_empty() {
            at += 1;
            continue;
        }
        into.extend_from_slice(bytes.get(done..at).unwrap_or_default());
        into.extend_from_slice(escaped);
        at += if *byte == 0xe2 { 3 } else { 1 };
        done = at;
    }
    into.extend_from_slice(bytes.get(done..).unwrap_or_default());
    into.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_quotes_them() {
        let cases = [
            ("a", r#""a""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("a'b", r#""a'b""#),
            ("\n\t\r\u{7}\u{8}\u{c}\u{b}", r#""\n\t\r\a\b\f\v""#),
            ("\u{0}\u{7f}", r#""\x00\x7f""#),
            ("ä世", "\"ä世\""),
            ("\u{a0}\u{200b}\u{feff}", r#""\u00a0\u200b\ufeff""#),
        ];
        for (text, quoted) in cases {
            assert_eq!(quote(text), quoted);
        }
        assert_eq!(
            [b'o', b'\'', b'"', b'\n', 0x81, 0xef].map(quote_byte),
            ["'o'", r"'\''", "'\"'", r"'\n'", r"'\u0081'", "'ï'"]
        );
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        let cases = [
            (1.0, "1"),
            (0.5, "0.5"),
            (-0.25, "-0.25"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-7"),
            (0.000_001, "0.000001"),
            (0.0, "0"),
            (123_456.789, "123456.789"),
        ];
        for (number, written) in cases {
            let mut into = Vec::new();
            push_float(&mut into, number);
            assert_eq!(String::from_utf8(into).unwrap(), written);
        }
    }

    #[test]
    fn html_and_control_characters_are_escaped() {
        let mut into = Vec::new();
        push_string(&mut into, "<a> & \"b\"\\\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}\u{2028}\u{2029}\u{2027}ä");
        let expected = "\"\\u003ca\\u003e \\u0026 \\\"b\\\"\\\\\\n\\r\\t\\b\\f\\u0001\\u001f\u{7f}\\u2028\\u2029\u{2027}ä\"";
        assert_eq!(String::from_utf8(into).unwrap(), expected);
    }
}
