//! From value to text: block style, two spaces, sorted keys, lines folded beyond eighty columns.

use super::resolve::{Scalar, resolve};
use crate::wire::{DEPTH_KEPT_MAX, go, time};
use serde_json::{Number, Value};
use std::cmp::Ordering;

const INDENT: usize = 2;
const WIDTH: usize = 80;
/// A longer key stands behind a question mark.
const SIMPLE_KEY_MAX: usize = 128;

/// Writes a value as upstream's library does.
pub fn from_value(value: &Value) -> String {
    let mut writer = Writer { out: String::new(), column: 0, whitespace: true, indention: true };
    writer.node(value, None, Context::Root, 0);
    writer.indent(0);
    writer.out
}

/// What a node stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Root,
    Sequence,
    Mapping,
    SimpleKey,
}

/// How a string is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

struct Writer {
    out: String,
    column: usize,
    /// The last thing written was white space.
    whitespace: bool,
    /// Only indentation and indicators were written on this line.
    indention: bool,
}

// === impl Writer ===

impl Writer {
    fn node(&mut self, value: &Value, indent: Option<usize>, context: Context, depth: usize) {
        match value {
            Value::Null => self.scalar("null", Style::Plain, indent, context),
            Value::Bool(yes) => {
                self.scalar(if *yes { "true" } else { "false" }, Style::Plain, indent, context)
            }
            Value::Number(number) => self.scalar(&self::number(number), Style::Plain, indent, context),
            Value::String(text) => self.scalar(text, style(text, context), indent, context),
            Value::Array(list) if list.is_empty() || depth > DEPTH_KEPT_MAX => {
                self.indicator("[]", true, false)
            }
            Value::Object(map) if map.is_empty() || depth > DEPTH_KEPT_MAX => {
                self.indicator("{}", true, false)
            }
            Value::Array(list) => {
                // The dashes of a list stand right under the key it belongs to.
                let stays = context == Context::Mapping && !self.indention;
                let indent = indent.map_or(0, |indent| if stays { indent } else { indent + INDENT });
                for element in list {
                    self.indent(indent);
                    self.indicator("-", true, true);
                    self.node(element, Some(indent), Context::Sequence, depth + 1);
                }
            }
            Value::Object(map) => {
                let indent = indent.map_or(0, |indent| indent + INDENT);
                let mut members: Vec<(&String, &Value)> = map.iter().collect();
                members.sort_by(|(left, _), (right, _)| natural(left, right));
                for (key, value) in members {
                    self.indent(indent);
                    if key.len() <= SIMPLE_KEY_MAX && !key.contains(is_break) {
                        self.scalar(key, style(key, Context::SimpleKey), Some(indent), Context::SimpleKey);
                        self.indicator(":", false, false);
                    } else {
                        self.indicator("?", true, true);
                        self.scalar(key, style(key, Context::Mapping), Some(indent), Context::Mapping);
                        self.indent(indent);
                        self.indicator(":", true, true);
                    }
                    self.node(value, Some(indent), Context::Mapping, depth + 1);
                }
            }
        }
    }

    fn put(&mut self, letter: char) {
        self.out.push(letter);
        self.column += 1;
    }

    fn break_line(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn write_break(&mut self, letter: char) {
        self.out.push(letter);
        self.column = 0;
    }

    /// Starts a line, if this is not the start of one already.
    fn indent(&mut self, indent: usize) {
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.break_line();
        }
        while self.column < indent {
            self.put(' ');
        }
        self.whitespace = true;
        self.indention = true;
    }

    fn indicator(&mut self, text: &str, wants_space: bool, keeps_indention: bool) {
        if wants_space && !self.whitespace {
            self.put(' ');
        }
        text.chars().for_each(|letter| self.put(letter));
        self.whitespace = false;
        self.indention &= keeps_indention;
    }

    fn scalar(&mut self, text: &str, style: Style, indent: Option<usize>, context: Context) {
        let indent = indent.unwrap_or(0) + INDENT;
        let folds = context != Context::SimpleKey;
        match style {
            Style::Plain => {
                if !self.whitespace && !text.is_empty() {
                    self.put(' ');
                }
                self.folded(text, indent, folds, false);
            }
            Style::Single => {
                self.indicator("'", true, false);
                self.folded(text, indent, folds, true);
                self.indicator("'", false, false);
            }
            Style::Double => self.double(text, indent, folds),
            Style::Literal => return self.literal(text, indent),
        }
        self.whitespace = false;
        self.indention = false;
    }

    /// Text that is broken at single spaces beyond the width.
    fn folded(&mut self, text: &str, indent: usize, folds: bool, is_quoted: bool) {
        let (mut spaces, mut breaks) = (false, false);
        let mut letters = text.char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            let next = letters.peek().map(|(_, next)| *next);
            if letter == ' ' {
                let inside = !is_quoted || (at > 0 && next.is_some());
                if folds && !spaces && self.column > WIDTH && inside && next != Some(' ') {
                    self.indent(indent);
                } else {
                    self.put(' ');
                }
                spaces = true;
            } else if is_break(letter) {
                self.write_break(letter);
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.indent(indent);
                }
                if is_quoted && letter == '\'' {
                    self.put('\'');
                }
                self.put(letter);
                self.indention = false;
                (spaces, breaks) = (false, false);
            }
        }
    }

    fn double(&mut self, text: &str, indent: usize, folds: bool) {
        self.indicator("\"", true, false);
        let mut spaces = false;
        let mut letters = text.char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            let next = letters.peek().map(|(_, next)| *next);
            if !is_printable(letter) || is_break(letter) || matches!(letter, '"' | '\\' | '\u{feff}') {
                escape(letter).chars().for_each(|letter| self.put(letter));
                spaces = false;
            } else if letter == ' ' {
                if folds && !spaces && self.column > WIDTH && at > 0 && next.is_some() {
                    self.indent(indent);
                    if next == Some(' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(' ');
                }
                spaces = true;
            } else {
                self.put(letter);
                spaces = false;
            }
        }
        self.indicator("\"", false, false);
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.indicator("|", true, false);
        if text.starts_with(|letter| letter == ' ' || is_break(letter)) {
            self.indicator("2", false, false);
        }
        let mut from_end = text.chars().rev();
        match (from_end.next().is_some_and(is_break), from_end.next()) {
            (false, _) => self.indicator("-", false, false),
            (true, None) => self.indicator("+", false, false),
            (true, Some(before)) if is_break(before) => self.indicator("+", false, false),
            (true, Some(_)) => {}
        }
        self.break_line();
        self.indention = true;
        self.whitespace = true;
        let mut breaks = true;
        for letter in text.chars() {
            if is_break(letter) {
                self.write_break(letter);
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.indent(indent);
                }
                self.put(letter);
                self.indention = false;
                breaks = false;
            }
        }
    }
}

// === scalars ===

/// What a string's letters allow.
fn style(text: &str, context: Context) -> Style {
    let is_string = matches!(resolve(text), Scalar::String(_)) && text != "<<" && !is_time(text);
    if text.contains('\n') {
        let allowed = Allowed::of(text);
        return if allowed.block && context != Context::SimpleKey { Style::Literal } else { Style::Double };
    }
    if !is_string || is_base_60(text) {
        return Style::Double;
    }
    let allowed = Allowed::of(text);
    if allowed.plain {
        Style::Plain
    } else if allowed.single {
        Style::Single
    } else {
        Style::Double
    }
}

struct Allowed {
    plain: bool,
    single: bool,
    block: bool,
}

impl Allowed {
    fn of(text: &str) -> Self {
        let letters: Vec<char> = text.chars().collect();
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut breaks, mut special, mut break_space, mut space_break) = (false, false, false, false);
        let mut before = None;
        for (at, letter) in letters.iter().copied().enumerate() {
            let next_is_blank = letters.get(at + 1).is_none_or(|next| matches!(next, ' ' | '\t'));
            let before_is_blank =
                before.is_none_or(|before| matches!(before, ' ' | '\t') || is_break(before));
            indicators |= match letter {
                '#' => before_is_blank,
                ':' => next_is_blank,
                '?' | '-' => at == 0 && next_is_blank,
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                    at == 0
                }
                _ => false,
            };
            special |= !is_printable(letter);
            break_space |= letter == ' ' && before.is_some_and(is_break);
            space_break |= is_break(letter) && before == Some(' ');
            breaks |= is_break(letter);
            before = Some(letter);
        }
        let is_edge =
            |letter: Option<&char>| letter.is_some_and(|letter| *letter == ' ' || is_break(*letter));
        let edges = is_edge(letters.first()) || is_edge(letters.last());
        Self {
            plain: !(indicators || edges || breaks || break_space || space_break || special),
            single: !(break_space || space_break || special),
            block: !(space_break || special || letters.last() == Some(&' ')),
        }
    }
}

/// What needs no escape; of the characters beyond the basic plane none, as in the library.
fn is_printable(letter: char) -> bool {
    matches!(letter, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && letter != '\u{feff}'
}

fn is_break(letter: char) -> bool {
    matches!(letter, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn escape(letter: char) -> String {
    let code = u32::from(letter);
    let short = match letter {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ if code <= 0xff => return format!("\\x{code:02X}"),
        _ if code <= 0xffff => return format!("\\u{code:04X}"),
        _ => return format!("\\U{code:08X}"),
    };
    format!("\\{short}")
}

/// Base 60, which this library does not read, but others do.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    first.starts_with(|letter: char| letter.is_ascii_digit())
        && is_digits(first)
        && is_digits(fraction)
        && !rest.is_empty()
        && rest.iter().all(|part| match part.as_bytes() {
            [ones] => ones.is_ascii_digit(),
            [tens, ones] => (b'0'..=b'5').contains(tens) && ones.is_ascii_digit(),
            _ => false,
        })
}

/// A time or a date in one of the notations the library takes for one.
fn is_time(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at..)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let (Some(month), Some(day), None) = (month, day, parts.next()) else { return false };
    if year.len() != 4 || [year, month, day].iter().any(|part| part.is_empty() || part.len() > 4) {
        return false;
    }
    // The library takes parts of one digit, which the API's own layout does not: fill them up and ask that one.
    let date = format!("{year}-{month:0>2}-{day:0>2}");
    let clock = match time {
        None => "00:00:00Z".to_owned(),
        Some(time) => {
            let (separator, clock) = time.split_at(1);
            let end = clock.find(|letter| !matches!(letter, '0'..='9' | ':')).unwrap_or(clock.len());
            let (clock, rest) = clock.split_at(end);
            let parts: Vec<String> = clock.split(':').map(|part| format!("{part:0>2}")).collect();
            let zone = if separator == " " { "Z" } else { "" };
            format!("{}{rest}{zone}", parts.join(":"))
        }
    };
    time::Layout::Seconds.parse(&format!("{date}T{clock}")).is_ok()
}

/// A number as the library prints it after it has read it from JSON.
fn number(number: &Number) -> String {
    let Some(value) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    let mut json = Vec::new();
    go::push_float(&mut json, value);
    let json = String::from_utf8(json).unwrap_or_default();
    if matches!(resolve(&json), Scalar::Int(_) | Scalar::Uint(_)) { json } else { float(value) }
}

/// Go's `%g`: an exponent of two digits below 1e-4 and from 1e21 (or from 1e6, if that is shorter) on.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if number != 0.0 && !(-4..21).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    number.to_string()
}

/// The library's order of keys: letters after everything else, and digits by the number they make.
fn natural(left: &str, right: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let Some(at) = (0..a.len().min(b.len())).find(|at| a.get(*at) != b.get(*at)) else {
        return a.len().cmp(&b.len());
    };
    let (Some(x), Some(y)) = (a.get(at).copied(), b.get(at).copied()) else { return Ordering::Equal };
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Digits before the difference that make a leading zero count.
    let shared = a.get(..at).unwrap_or_default().iter().rev().take_while(|letter| letter.is_ascii_digit());
    let is_inside = (x == '0' || y == '0') && shared.into_iter().any(|digit| *digit != '0');
    let run = |letters: &[char]| {
        let digits = letters.get(at..).unwrap_or_default().iter().map_while(|letter| letter.to_digit(10));
        let mut count = 0_usize;
        let number = digits.fold(i64::from(is_inside), |number, digit| {
            count += 1;
            number.wrapping_mul(10).wrapping_add(i64::from(digit))
        });
        (number, count)
    };
    run(&a).cmp(&run(&b)).then(x.cmp(&y))
}
