//! Blocks of PEM (RFC 7468) as Go's `encoding/pem` finds them: what is no block is passed over.

use base64::{Engine, engine::general_purpose::STANDARD};

/// A block of PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// What it says it is, such as `CERTIFICATE`.
    pub(crate) label: String,
    /// Whether there are headers before the content.
    pub(crate) has_headers: bool,
    /// The content.
    pub(crate) content: Vec<u8>,
}

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// The well-formed blocks of a text, in order.
pub(crate) fn blocks(text: &[u8]) -> Vec<Block> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        let label = line.strip_prefix(BEGIN).and_then(|rest| rest.trim_end().strip_suffix(DASHES));
        let Some(label) = label else { continue };
        // A block without an end hides nothing that follows.
        let mut ahead = lines.clone();
        if let Some(block) = block(label, &mut ahead) {
            blocks.push(block);
            lines = ahead;
        }
    }
    blocks
}

fn block<'a>(label: &str, lines: &mut impl Iterator<Item = &'a str>) -> Option<Block> {
    let end = format!("-----END {label}{DASHES}");
    let mut content = String::new();
    let mut has_headers = false;
    loop {
        let line = lines.next()?.trim_end();
        if line == end {
            break;
        }
        if content.is_empty() && line.contains(':') {
            has_headers = true;
        } else {
            content.extend(line.split_whitespace());
        }
    }
    let content = STANDARD.decode(content).ok()?;
    Some(Block { label: label.to_owned(), has_headers, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_other_text() {
        let block = |label: &str, has_headers, content: &str| Block {
            label: label.to_owned(),
            has_headers,
            content: content.as_bytes().to_vec(),
        };
        for (text, expected) in [
            ("", vec![]),
            ("x", vec![]),
            ("a\n-----BEGIN A B-----\neA==\n-----END A B-----\nb", vec![block("A B", false, "x")]),
            ("-----BEGIN A-----\r\nk: v\r\n\r\ne\r\nA==\r\n-----END A-----", vec![block("A", true, "x")]),
            (
                "-----BEGIN A-----\neA==\n-----BEGIN B-----\neQ==\n-----END B-----",
                vec![block("B", false, "y")],
            ),
            ("-----BEGIN A-----\n!\n-----END A-----\n", vec![]),
        ] {
            assert_eq!(blocks(text.as_bytes()), expected, "{text}");
        }
    }
}
