//! Regular expressions as Go writes them. The classes `\d \w \s \b` are ASCII there, which is spelt out here.

use regex::{Regex, RegexBuilder};

/// A compiled expression uses no more memory than this.
const LARGEST: usize = 4 << 20;

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it, as Go's `regexp` begins to say it.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern);
    RegexBuilder::new(&translated)
        .size_limit(LARGEST)
        .nest_limit(200)
        .build()
        .map_err(|_error| format!("error parsing regexp: {}", why(pattern)))
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut letters = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str(if in_class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => out.push_str(if in_class { r"\t\n\f\r\x20" } else { r"[\t\n\f\r\x20]" }),
                Some('S') => out.push_str(r"[^\t\n\f\r\x20]"),
                Some('b') if !in_class => out.push_str(r"(?-u:\b)"),
                Some('B') if !in_class => out.push_str(r"(?-u:\B)"),
                Some('Q') => {
                    let mut literal = String::new();
                    while let Some(letter) = letters.next() {
                        if letter == '\\' && letters.peek() == Some(&'E') {
                            letters.next();
                            break;
                        }
                        literal.push(letter);
                    }
                    out.push_str(&regex::escape(&literal));
                }
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push('\\'),
            },
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if letters.peek() == Some(&'^') {
                    letters.next();
                    out.push('^');
                }
                // A bracket that comes first is one of the characters.
                if letters.peek() == Some(&']') {
                    letters.next();
                    out.push_str(r"\]");
                }
            }
            '[' if letters.peek() == Some(&':') => out.push('['),
            '[' => out.push_str(r"\["),
            ']' if in_class => {
                // The end of a named class such as `[:alpha:]` is not the end of the class.
                let named = out.ends_with(':')
                    && out.rfind("[:").and_then(|at| out.get(at..)).is_some_and(|it| !it.contains(']'));
                out.push(']');
                in_class = named;
            }
            // These mean something within classes only here.
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(letter);
            }
            plain => out.push(plain),
        }
    }
    out
}

/// The commonest faults by name; the rest by the expression itself.
fn why(pattern: &str) -> String {
    let shown = format!("`{pattern}`");
    let (mut open, mut class, mut escaped) = (0_i64, false, false);
    for letter in pattern.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' if !class => class = true,
            ']' => class = false,
            '(' if !class => open += 1,
            ')' if !class => {
                open -= 1;
                if open < 0 {
                    return format!("unexpected ): {shown}");
                }
            }
            _ => {}
        }
    }
    if escaped {
        return "trailing backslash at end of expression: ``".to_owned();
    }
    if class {
        let at = pattern.rfind('[').unwrap_or_default();
        return format!("missing closing ]: `{}`", pattern.get(at..).unwrap_or_default());
    }
    if open > 0 {
        return format!("missing closing ): {shown}");
    }
    if let Some(first) = pattern.chars().next().filter(|it| matches!(it, '*' | '+' | '?')) {
        return format!("missing argument to repetition operator: `{first}`");
    }
    format!("invalid syntax: {shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ascii() {
        for (pattern, text, fits) in [
            (r"^\d+$", "١٢", false),
            (r"^[\d\w-]+$", "a-1_", true),
            (r"^\w+$", "é", false),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"^[[:alpha:]\d]+$", "ab1", true),
            (r"^[]a]+$", "]a", true),
            (r"^[a&&b]+$", "a&b", true),
            (r"\Qa.b\E", "axb", false),
            (r"\bword\b", "a word b", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), fits, "{pattern}");
        }
        assert_eq!(compile("(").unwrap_err(), "error parsing regexp: missing closing ): `(`");
        assert_eq!(
            compile("*a").unwrap_err(),
            "error parsing regexp: missing argument to repetition operator: `*`"
        );
    }
}
