//! Base64 as Go's decoder takes it: line breaks are skipped, and an error names the byte.

use ::base64::{Engine as _, engine::general_purpose::STANDARD};

/// The bytes a text stands for; or the position of the first byte that does not fit.
pub(super) fn decode(text: &[u8]) -> Result<Vec<u8>, usize> {
    // What the strict decoder takes, everyone takes; what it refuses may still pass below.
    STANDARD.decode(text).or_else(|_| decode_leniently(text))
}

/// The canonical text of some bytes.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Decoding and encoding gives the same text.
pub(super) fn is_canonical(text: &str) -> bool {
    STANDARD.decode(text).is_ok()
}

/// Takes line breaks anywhere and loose bits at the end.
fn decode_leniently(text: &[u8]) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut letters = text.iter().enumerate().filter(|(_, byte)| !matches!(byte, b'\n' | b'\r'));
    loop {
        let mut group = [0_u8; 4];
        let mut filled = 0;
        while filled < 4 {
            let Some((at, letter)) = letters.next() else {
                return if filled == 0 { Ok(bytes) } else { Err(text.len() - filled) };
            };
            if let Some(six) = six_bits(*letter) {
                group[filled] = six;
                filled += 1;
                continue;
            }
            if *letter != b'=' || filled < 2 {
                return Err(at);
            }
            if filled == 2 {
                match letters.next() {
                    Some((_, b'=')) => {}
                    Some((next, _)) => return Err(next - 1),
                    None => return Err(text.len()),
                }
            }
            if let Some((next, _)) = letters.next() {
                return Err(next);
            }
            bytes.extend_from_slice(three_bytes(group).get(..filled - 1).unwrap_or_default());
            return Ok(bytes);
        }
        bytes.extend_from_slice(&three_bytes(group));
    }
}

fn six_bits(letter: u8) -> Option<u8> {
    Some(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

fn three_bytes([a, b, c, d]: [u8; 4]) -> [u8; 3] {
    [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_byte_that_go_names() {
        let cases: &[(&str, Result<&[u8], usize>)] = &[
            ("", Ok(b"")),
            ("YQ==", Ok(b"a")),
            ("YWI=", Ok(b"ab")),
            ("YWJj", Ok(b"abc")),
            ("YW\nJj\r\n", Ok(b"abc")),
            ("YR==", Ok(b"a")),
            ("*", Err(0)),
            ("YQ", Err(0)),
            ("YQ=", Err(3)),
            ("Y===", Err(1)),
            ("YQ=a", Err(2)),
            ("YQ==a", Err(4)),
            ("YWJjY", Err(4)),
            ("YW Jj", Err(2)),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text.as_bytes()).as_deref(), expected.as_ref().copied(), "{text:?}");
        }
    }
}
