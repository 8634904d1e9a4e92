//! The text of an expression, and what is wrong with it, as cel-go shows it: with the line and a mark under the place.

use std::fmt;

/// Errors beyond these are only counted.
const SHOWN: usize = 100;
/// A longer line is not shown.
const LONGEST_LINE: usize = 16_384;

/// A place in the source, counted in characters from the start. `None` is no place.
pub(crate) type Place = Option<usize>;

/// The stage after the checker.
const PLANNING: &str = "program instantiation failed";

/// What one error says, and of where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// Why an expression does not compile. Displays as cel-go does: `ERROR: <input>:1:6: ...` with the line and a mark
/// beneath it, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileErrors {
    text: String,
    messages: Vec<String>,
    stage: &'static str,
}

impl CompileErrors {
    pub(crate) fn new(source: &str, mut issues: Vec<Issue>) -> Self {
        let more = issues.len().saturating_sub(SHOWN);
        issues.truncate(SHOWN);
        let lines: Vec<&str> = source.split('\n').collect();
        let mut located: Vec<(i64, usize, Issue)> = issues
            .into_iter()
            .map(|issue| {
                let (line, column) = locate(&lines, issue.place);
                (line, column, issue)
            })
            .collect();
        located.sort_by_key(|(line, column, _)| (*line, *column));
        let mut shown: Vec<String> = located.iter().map(|it| show(&lines, it)).collect();
        if more > 0 {
            shown.push(format!("{more} more errors were truncated"));
        }
        let messages = located.into_iter().map(|(_, _, issue)| issue.message).collect();
        Self { text: shown.join("\n"), messages, stage: "compilation failed" }
    }

    /// What is constant in a checked expression cannot be computed.
    pub(crate) fn instantiation(why: String) -> Self {
        Self { text: why.clone(), messages: vec![why], stage: PLANNING }
    }

    /// What failed: upstream's messages begin with it.
    pub fn stage(&self) -> &'static str {
        self.stage
    }

    /// It passed the checker, but something constant in it cannot be computed.
    pub fn is_of_planning(&self) -> bool {
        self.stage == PLANNING
    }

    /// The bare messages, in order of their places.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }
}

impl fmt::Display for CompileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CompileErrors {}

/// Line, from 1, and column, from 0; no place is line -1, column 0, which shows as `-1:0`.
fn locate(lines: &[&str], place: Place) -> (i64, usize) {
    let Some(mut left) = place else { return (-1, 0) };
    for (line, number) in lines.iter().zip(1..) {
        let length = line.chars().count();
        if left <= length {
            return (number, left);
        }
        left -= length + 1;
    }
    (i64::try_from(lines.len()).unwrap_or(i64::MAX), left)
}

fn show(lines: &[&str], (line, column, issue): &(i64, usize, Issue)) -> String {
    if issue.place.is_none() {
        return format!("ERROR: <input>:-1:0: {}", issue.message);
    }
    let mut shown = format!("ERROR: <input>:{line}:{}: {}", column + 1, issue.message);
    let text = usize::try_from(line - 1).ok().and_then(|index| lines.get(index)).copied().unwrap_or_default();
    if text.len() > LONGEST_LINE {
        return shown;
    }
    let text = text.replace('\t', " ");
    shown.push_str("\n | ");
    shown.push_str(&text);
    shown.push_str("\n | ");
    let mut letters = text.chars();
    for letter in letters.by_ref().take(*column) {
        shown.push(if letter.len_utf8() > 1 { '\u{ff0e}' } else { '.' });
    }
    shown.push(if letters.next().is_some_and(|it| it.len_utf8() > 1) { '\u{ff3e}' } else { '^' });
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_their_line_and_place() {
        let issue = |place, message: &str| Issue { place, message: message.to_owned() };
        for (source, issues, text) in [
            ("a + b", vec![issue(Some(4), "no")], "ERROR: <input>:1:5: no\n | a + b\n | ....^"),
            ("a\n\tb", vec![issue(Some(3), "no")], "ERROR: <input>:2:2: no\n |  b\n | .^"),
            ("😁😁", vec![issue(Some(1), "no")], "ERROR: <input>:1:2: no\n | 😁😁\n | ．＾"),
            (
                "ab",
                vec![issue(Some(1), "two"), issue(Some(0), "one")],
                "ERROR: <input>:1:1: one\n | ab\n | ^\nERROR: <input>:1:2: two\n | ab\n | .^",
            ),
            ("a", vec![issue(Some(1), "end")], "ERROR: <input>:1:2: end\n | a\n | .^"),
            ("a", vec![issue(None, "deep")], "ERROR: <input>:-1:0: deep"),
        ] {
            assert_eq!(CompileErrors::new(source, issues).to_string(), text);
        }
    }
}
