//! Regular expressions as Go writes them (RE2 syntax), compiled for the engine here.
//!
//! The two syntaxes differ in what they take and in what `\d`, `\w`, `\s` and nested brackets mean, so an expression is
//! read by Go's rules, with Go's words for what is wrong, and written out in the form that means the same here.
//! Compiled expressions are shared: definitions repeat each other's, and one takes much more room than its text.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use parking_lot::Mutex;
use regex::{Regex, RegexBuilder};

/// How many compiled expressions are kept. When full: all are forgotten, and those in use are compiled again.
const KEPT_MAX: usize = 1024;
/// How often a part may be repeated by a count.
const REPEAT_MAX: u32 = 1000;
/// How deep groups may nest.
const DEPTH_MAX: u32 = 1000;
const PREFIX: &str = "error parsing regexp";

static KEPT: LazyLock<Mutex<BTreeMap<Box<str>, Arc<Regex>>>> = LazyLock::new(Mutex::default);

/// The expression, compiled now or before.
///
/// # Errors
/// What is wrong with it, as Go says it.
pub fn compile(pattern: &str) -> Result<Arc<Regex>, String> {
    if let Some(regex) = KEPT.lock().get(pattern) {
        return Ok(Arc::clone(regex));
    }
    let regex = Arc::new(build(pattern)?);
    let mut kept = KEPT.lock();
    if kept.len() >= KEPT_MAX {
        kept.clear();
    }
    kept.insert(pattern.into(), Arc::clone(&regex));
    Ok(regex)
}

/// What is wrong with an expression, as Go says it.
pub fn wrong(pattern: &str) -> Option<String> {
    build(pattern).err()
}

fn build(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated)
        .nest_limit(DEPTH_MAX + 1)
        .build()
        .map_err(|_beyond_its_bounds| error("expression too large", pattern))
}

fn error(what: &str, part: &str) -> String {
    format!("{PREFIX}: {what}: `{part}`")
}

/// The expression in this engine's syntax, with the same meaning.
fn translate(pattern: &str) -> Result<String, String> {
    let mut reader = Reader { whole: pattern, rest: pattern, out: String::new() };
    reader.expression()?;
    Ok(reader.out)
}

struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    out: String,
}

impl<'a> Reader<'a> {
    fn expression(&mut self) -> Result<(), String> {
        let mut depth = 0_u32;
        // Whether there is something that could be repeated, in this group and in those around it.
        let mut operand = false;
        let mut repeated: Option<&'a str> = None;
        while let Some(next) = self.rest.chars().next() {
            let before = self.rest;
            let mut repetition = None;
            match next {
                '(' if before.starts_with("(?") => {
                    if self.perl_group()? {
                        depth += 1;
                        operand = false;
                    }
                }
                '(' => {
                    self.take(1);
                    self.out.push('(');
                    depth += 1;
                    operand = false;
                }
                ')' => {
                    if depth == 0 {
                        return Err(error("unexpected )", self.whole));
                    }
                    self.take(1);
                    self.out.push(')');
                    depth -= 1;
                    operand = true;
                }
                '|' => {
                    self.take(1);
                    self.out.push('|');
                    operand = false;
                }
                '^' | '$' | '.' => {
                    self.take(1);
                    self.out.push(next);
                    operand = true;
                }
                '[' => {
                    self.class()?;
                    operand = true;
                }
                '*' | '+' | '?' => {
                    self.take(1);
                    self.repetition(before, operand, repeated)?;
                    repetition = Some(before);
                }
                '{' => match count(before) {
                    None => {
                        self.take(1);
                        self.literal('{');
                        operand = true;
                    }
                    Some((least, most, length)) => {
                        self.take(length);
                        let is_too_many = |count: Option<u32>| count.is_none_or(|count| count > REPEAT_MAX);
                        let wrong =
                            is_too_many(least) || most.is_some_and(|most| is_too_many(most) || most < least);
                        if wrong {
                            return Err(error("invalid repeat count", self.since(before)));
                        }
                        self.repetition(before, operand, repeated)?;
                        repetition = Some(before);
                    }
                },
                '\\' => {
                    self.escape()?;
                    operand = true;
                }
                other => {
                    self.take(other.len_utf8());
                    self.literal(other);
                    operand = true;
                }
            }
            repeated = repetition;
            if depth > DEPTH_MAX {
                return Err(error("expression nests too deeply", self.whole));
            }
        }
        if depth > 0 {
            return Err(error("missing closing )", self.whole));
        }
        Ok(())
    }

    fn take(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.take(next.len_utf8());
        Some(next)
    }

    /// What was read since there.
    fn since(&self, before: &'a str) -> &'a str {
        before.get(..before.len() - self.rest.len()).unwrap_or(before)
    }

    /// A letter that stands for itself.
    fn literal(&mut self, it: char) {
        if it.is_ascii_alphanumeric() {
            self.out.push(it);
        } else {
            self.out.push_str(&format!("\\x{{{:x}}}", u32::from(it)));
        }
    }

    /// The rest of a repetition: whether it may stand here, and is lazy.
    fn repetition(&mut self, before: &'a str, operand: bool, last: Option<&'a str>) -> Result<(), String> {
        if self.rest.starts_with('?') {
            self.take(1);
        }
        if let Some(last) = last {
            return Err(error("invalid nested repetition operator", self.since(last)));
        }
        let text = self.since(before);
        if !operand {
            return Err(error("missing argument to repetition operator", text));
        }
        self.out.push_str(text);
        Ok(())
    }

    /// `(?…`. True if a group begins; else it is flags for what follows.
    fn perl_group(&mut self) -> Result<bool, String> {
        let before = self.rest;
        let name_at = if before.starts_with("(?P<") && before.len() > 4 {
            Some(4)
        } else {
            (before.starts_with("(?<") && before.len() > 3).then_some(3)
        };
        if let Some(name_at) = name_at {
            let Some(end) = before.find('>') else { return Err(error("invalid named capture", before)) };
            let name = before.get(name_at..end).unwrap_or_default();
            if name.is_empty() || !name.chars().all(|it| it == '_' || it.is_ascii_alphanumeric()) {
                return Err(error("invalid named capture", before.get(..=end).unwrap_or(before)));
            }
            self.take(end + 1);
            // Nobody asks for names here, and this engine is stricter about them.
            self.out.push('(');
            return Ok(true);
        }
        self.take(2);
        let (mut flags, mut negative, mut saw_flag) = (String::new(), false, false);
        while let Some(next) = self.next() {
            match next {
                'i' | 'm' | 's' | 'U' => {
                    saw_flag = true;
                    if !flags.contains(next) {
                        flags.push(next);
                    }
                }
                '-' if !negative => {
                    negative = true;
                    saw_flag = false;
                    flags.push('-');
                }
                ':' | ')' if !negative || saw_flag => {
                    if next == ')' && flags.is_empty() {
                        self.out.push_str("(?:)");
                    } else {
                        self.out.push_str(&format!("(?{flags}{next}"));
                    }
                    return Ok(next == ':');
                }
                _ => return Err(error("invalid or unsupported Perl syntax", self.since(before))),
            }
        }
        Err(error("missing closing )", self.whole))
    }

    /// An escape outside brackets.
    fn escape(&mut self) -> Result<(), String> {
        let plain = match self.rest.chars().nth(1) {
            Some('A') => Some("\\A"),
            Some('z') => Some("\\z"),
            Some('b') => Some("(?-u:\\b)"),
            Some('B') => Some("\\B"),
            Some('C') => return Err(error("invalid escape sequence", "\\C")),
            Some('Q') => {
                self.take(2);
                let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.rest = rest;
                quoted.chars().for_each(|it| self.literal(it));
                return Ok(());
            }
            _ => None,
        };
        if let Some(plain) = plain {
            self.take(2);
            self.out.push_str(plain);
            return Ok(());
        }
        if let Some(class) = self.named_class()? {
            self.out.push_str(&class);
            return Ok(());
        }
        let letter = self.escaped()?;
        self.literal(letter);
        Ok(())
    }

    /// `\d` and its like, `\p{Greek}`: in or out of brackets.
    fn named_class(&mut self) -> Result<Option<String>, String> {
        let before = self.rest;
        let Some(kind) = before.strip_prefix('\\').and_then(|rest| rest.chars().next()) else {
            return Ok(None);
        };
        let class = match kind {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            's' => "[\\t\\n\\x0C\\r ]",
            'S' => "[^\\t\\n\\x0C\\r ]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            'p' | 'P' => {
                self.take(2);
                let bad = |part: &str| Err(error("invalid character class range", part));
                let Some(first) = self.next() else { return bad(before) };
                let name = if first == '{' {
                    let Some(end) = self.rest.find('}') else { return bad(before) };
                    let name = self.rest.get(..end).unwrap_or_default();
                    self.take(end + 1);
                    name.to_owned()
                } else {
                    first.to_string()
                };
                let (negated, name) = match name.strip_prefix('^') {
                    Some(name) => (kind == 'p', name.to_owned()),
                    None => (kind == 'P', name),
                };
                let class = format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' });
                let known = name == "Any" || Regex::new(&class).is_ok();
                return if known { Ok(Some(class)) } else { bad(self.since(before)) };
            }
            _ => return Ok(None),
        };
        self.take(2);
        Ok(Some(class.to_owned()))
    }

    /// An escape for one letter.
    fn escaped(&mut self) -> Result<char, String> {
        let before = self.rest;
        self.take(1);
        let Some(next) = self.next() else {
            return Err(format!("{PREFIX}: trailing backslash at end of expression: ``"));
        };
        let octal = |it: char| it.to_digit(8);
        let found = match next {
            'a' => Some('\u{7}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            '0'..='7' if next == '0' || self.rest.chars().next().and_then(octal).is_some() => {
                let mut code = octal(next).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(octal) else { break };
                    code = code * 8 + digit;
                    self.take(1);
                }
                char::from_u32(code)
            }
            'x' => self.hexadecimal(),
            punctuation if punctuation.is_ascii() && !punctuation.is_ascii_alphanumeric() => {
                Some(punctuation)
            }
            _ => None,
        };
        found.ok_or_else(|| error("invalid escape sequence", self.since(before)))
    }

    fn hexadecimal(&mut self) -> Option<char> {
        let first = self.next()?;
        let mut code = 0_u32;
        if first != '{' {
            let second = self.next()?;
            return char::from_u32(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let mut digits = 0;
        loop {
            match self.next()? {
                '}' if digits > 0 => return char::from_u32(code),
                digit => {
                    code = code.checked_mul(16)?.checked_add(digit.to_digit(16)?)?;
                    digits += 1;
                }
            }
        }
    }

    /// `[…]`.
    fn class(&mut self) -> Result<(), String> {
        let whole = self.rest;
        self.take(1);
        self.out.push('[');
        if self.rest.starts_with('^') {
            self.take(1);
            self.out.push('^');
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if self.rest.starts_with("[:")
                && let Some(end) = self.rest.find(":]")
            {
                let name = self.rest.get(..end + 2).unwrap_or_default();
                if Regex::new(&format!("[{name}]")).is_err() || !is_posix(name) {
                    return Err(error("invalid character class range", name));
                }
                self.out.push_str(name);
                self.take(end + 2);
                continue;
            }
            if let Some(class) = self.named_class()? {
                self.out.push_str(&class);
                continue;
            }
            let range = self.rest;
            let low = self.class_letter(whole)?;
            self.literal(low);
            let is_range = self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]");
            if is_range {
                self.take(1);
                let high = self.class_letter(whole)?;
                if high < low {
                    return Err(error("invalid character class range", self.since(range)));
                }
                self.out.push('-');
                self.literal(high);
            }
        }
        self.take(1);
        self.out.push(']');
        Ok(())
    }

    fn class_letter(&mut self, whole: &str) -> Result<char, String> {
        match self.rest.chars().next() {
            None => Err(error("missing closing ]", whole)),
            Some('\\') => self.escaped(),
            Some(letter) => {
                self.take(letter.len_utf8());
                Ok(letter)
            }
        }
    }
}

fn is_posix(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    ];
    let bare = name.trim_start_matches("[:").trim_end_matches(":]");
    NAMES.contains(&bare.strip_prefix('^').unwrap_or(bare))
}

/// A least and a most count, and how long they are written: `{2}`, `{2,}`, `{2,5}`. A count is `None` if it is beyond
/// all bounds; the most is `None` if there is none.
type Count = (Option<u32>, Option<Option<u32>>, usize);

/// A count in braces at the beginning, if it is one.
fn count(text: &str) -> Option<Count> {
    let (inside, _) = text.strip_prefix('{')?.split_once('}')?;
    let length = inside.len() + 2;
    let number = |text: &str| -> Option<Option<u32>> {
        let fits = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text.len() == 1 || !text.starts_with('0'));
        fits.then(|| text.parse().ok())
    };
    match inside.split_once(',') {
        None => {
            let count = number(inside)?;
            Some((count, Some(count), length))
        }
        Some((least, "")) => Some((number(least)?, None, length)),
        Some((least, most)) => Some((number(least)?, Some(number(most)?), length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        for (pattern, expected) in [
            ("^[a-z]+$", None),
            ("a[b", Some("missing closing ]: `[b`")),
            ("a(b", Some("missing closing ): `a(b`")),
            ("a)b", Some("unexpected ): `a)b`")),
            ("*a", Some("missing argument to repetition operator: `*`")),
            ("a|*", Some("missing argument to repetition operator: `*`")),
            ("a**", Some("invalid nested repetition operator: `**`")),
            ("a{2}{3}", Some("invalid nested repetition operator: `{2}{3}`")),
            ("a{1001}", Some("invalid repeat count: `{1001}`")),
            ("a{3,2}", Some("invalid repeat count: `{3,2}`")),
            ("a(?=b)", Some("invalid or unsupported Perl syntax: `(?=`")),
            (r"a\1", Some(r"invalid escape sequence: `\1`")),
            (r"a\", Some("trailing backslash at end of expression: ``")),
            (r"[b-a]", Some("invalid character class range: `b-a`")),
            (r"[[:nosuch:]]", Some("invalid character class range: `[:nosuch:]`")),
            (r"\p{Nosuch}", Some(r"invalid character class range: `\p{Nosuch}`")),
            ("(?P<a-b>x)", Some("invalid named capture: `(?P<a-b>`")),
            ("a{,5}", None),
            ("a{", None),
        ] {
            let expected = expected.map(|wrong| format!("error parsing regexp: {wrong}"));
            assert_eq!(wrong(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn an_expression_means_what_it_means_to_go() {
        for (pattern, text, matches) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{661}", false),
            (r"^\w$", "\u{e4}", false),
            (r"^\s$", "\u{a0}", false),
            (r"^[\w.-]+$", "a.b-c", true),
            (r"^[^\d]$", "a", true),
            (r"^[a&&b]+$", "&", true),
            (r"^[[a]+$", "[", true),
            (r"^[]a]+$", "]", true),
            (r"^a{,5}$", "a{,5}", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"(?i)^ABC$", "abc", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"^\p{Greek}$", "\u{3b1}", true),
            (r"^\x{61}\x62$", "ab", true),
            (r"^~#/ é$", "~#/ é", true),
        ] {
            let regex = compile(pattern).unwrap();
            assert_eq!(regex.is_match(text), matches, "{pattern} on {text}");
        }
    }
}
