//! Text: the functions of the language itself, of the library `strings`, and those of regular expressions.

use super::{Native, bounded, format, unsuited};
use crate::{
    eval::{EvalError, Outcome},
    goregex,
    value::{List, Value},
};

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "contains" => |args| test("contains", args, |text, part| text.contains(part)),
        "startsWith" => |args| test("startsWith", args, |text, part| text.starts_with(part)),
        "endsWith" => |args| test("endsWith", args, |text, part| text.ends_with(part)),
        "charAt" => char_at,
        "lowerAscii" => |args| change("lowerAscii", args, str::to_ascii_lowercase),
        "upperAscii" => |args| change("upperAscii", args, str::to_ascii_uppercase),
        "trim" => |args| change("trim", args, |text| text.trim_matches(is_space).to_owned()),
        "replace" => replace,
        "split" => split,
        "substring" => substring,
        "join" => join,
        "strings.quote" => |args| change("strings.quote", args, quote),
        "format" => |args| match args {
            [Value::String(text), Value::List(list)] => format::format(text, list),
            _ => unsuited("format"),
        },
        "indexOf" => |args| index_of("indexOf", args),
        "lastIndexOf" => |args| index_of("lastIndexOf", args),
        "matches" | "find" | "findAll" => return None,
        "jsonpatch.escapeKey" => {
            |args| change("jsonpatch.escapeKey", args, |text| text.replace('~', "~0").replace('/', "~1"))
        }
        _ => return None,
    })
}

fn is_space(letter: char) -> bool {
    letter.is_whitespace()
}

fn test<'v>(name: &str, args: &[Value<'v>], test: fn(&str, &str) -> bool) -> Outcome<'v> {
    match args {
        [Value::String(text), Value::String(part)] => Ok(Value::Bool(test(text, part))),
        _ => unsuited(name),
    }
}

fn change<'v>(name: &str, args: &[Value<'v>], change: impl FnOnce(&str) -> String) -> Outcome<'v> {
    match args {
        [Value::String(text)] => Ok(Value::string(change(text))),
        _ => unsuited(name),
    }
}

fn out_of_range<'v>(index: i64) -> Outcome<'v> {
    Err(EvalError::new(format!("index out of range: {index}")))
}

fn char_at<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let [Value::String(text), Value::Int(index)] = args else { return unsuited("charAt") };
    let length = text.chars().count();
    match usize::try_from(*index) {
        Ok(at) if at < length => {
            Ok(Value::string(text.chars().nth(at).map(String::from).unwrap_or_default()))
        }
        Ok(at) if at == length => Ok(Value::string("")),
        _ => out_of_range(*index),
    }
}

fn substring<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let (text, start, end) = match args {
        [Value::String(text), Value::Int(start)] => (text, *start, None),
        [Value::String(text), Value::Int(start), Value::Int(end)] => (text, *start, Some(*end)),
        _ => return unsuited("substring"),
    };
    let length = text.chars().count();
    if let Some(end) = end
        && start > end
    {
        return Err(EvalError::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    let inside = |index: i64| usize::try_from(index).ok().filter(|it| *it <= length);
    let Some(from) = inside(start) else { return out_of_range(start) };
    let to = match end {
        None => length,
        Some(end) => match inside(end) {
            Some(to) => to,
            None => return out_of_range(end),
        },
    };
    Ok(Value::string(text.chars().skip(from).take(to - from).collect::<String>()))
}

fn replace<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let (text, old, new, count) = match args {
        [Value::String(text), Value::String(old), Value::String(new)] => (text, old, new, None),
        [Value::String(text), Value::String(old), Value::String(new), Value::Int(count)] => {
            (text, old, new, usize::try_from(*count).ok())
        }
        _ => return unsuited("replace"),
    };
    let places = if old.is_empty() { text.chars().count() + 1 } else { text.matches(&**old).count() };
    let places = places.min(count.unwrap_or(usize::MAX));
    bounded(places.checked_mul(new.len()).and_then(|it| it.checked_add(text.len())))?;
    Ok(Value::string(text.replacen(&**old, new, places)))
}

fn split<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let (text, separator, limit) = match args {
        [Value::String(text), Value::String(separator)] => (text, separator, -1),
        [Value::String(text), Value::String(separator), Value::Int(limit)] => (text, separator, *limit),
        _ => return unsuited("split"),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(Value::list(Vec::new()));
    }
    let part = |text: &str| Value::string(text);
    if !separator.is_empty() {
        return Ok(Value::list(text.splitn(limit, &**separator).map(part).collect()));
    }
    // An empty separator stands between all characters.
    let mut parts = Vec::new();
    let mut rest: &str = text;
    while let Some(letter) = rest.chars().next() {
        if parts.len() + 1 == limit {
            parts.push(part(rest));
            break;
        }
        let (first, after) = rest.split_at(letter.len_utf8());
        parts.push(part(first));
        rest = after;
    }
    Ok(Value::list(parts))
}

fn join<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let (list, separator) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return unsuited("join"),
    };
    let mut joined = String::new();
    for (index, element) in list.iter().enumerate() {
        if index > 0 {
            joined.push_str(separator);
        }
        match element? {
            Value::String(text) => joined.push_str(&text),
            other => return Err(EvalError::new(format!("join: invalid input: {other}"))),
        }
        bounded(Some(joined.len()))?;
    }
    Ok(Value::string(joined))
}

/// Of text in text, or of an element in a list.
fn index_of<'v>(name: &str, args: &[Value<'v>]) -> Outcome<'v> {
    let last = name == "lastIndexOf";
    let (text, part, offset) = match args {
        [Value::String(text), Value::String(part)] => (text, part, None),
        [Value::String(text), Value::String(part), Value::Int(offset)] => (text, part, Some(*offset)),
        [Value::List(list), item] => return super::lists::index_of(list, item, last),
        _ => return unsuited(name),
    };
    let letters: Vec<char> = text.chars().collect();
    let wanted: Vec<char> = part.chars().collect();
    let count = i64::try_from(letters.len()).unwrap_or(i64::MAX);
    if wanted.is_empty() {
        return Ok(Value::Int(offset.unwrap_or(if last { count } else { 0 })));
    }
    if last && offset.is_none() && text.len() < part.len() {
        return Ok(Value::Int(-1));
    }
    let offset = offset.unwrap_or(if last { count - 1 } else { 0 });
    let Ok(from) = usize::try_from(offset) else { return out_of_range(offset) };
    if from >= letters.len() || wanted.len() > letters.len() {
        return Ok(Value::Int(-1));
    }
    let is_at = |at: &usize| letters.get(*at..).is_some_and(|rest| rest.starts_with(&wanted));
    let end = letters.len() - wanted.len();
    let found = if last { (0..=from.min(end)).rev().find(is_at) } else { (from..=end).find(is_at) };
    Ok(Value::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

/// With double quotes around and everything special escaped.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

/// `matches`, `find` and `findAll`, with the pattern compiled beforehand if it is a literal.
pub(crate) fn pattern_call<'v>(
    name: &str,
    args: &[Value<'v>],
    compiled: Option<&regex::Regex>,
) -> Outcome<'v> {
    let [Value::String(text), Value::String(pattern), rest @ ..] = args else { return unsuited(name) };
    let made;
    let regex = match compiled {
        Some(regex) => regex,
        None => {
            let prefix = if name == "matches" { "" } else { "Illegal regex: " };
            made = goregex::compile(pattern).map_err(|why| EvalError::new(format!("{prefix}{why}")))?;
            &made
        }
    };
    match (name, rest) {
        ("matches", []) => Ok(Value::Bool(regex.is_match(text))),
        ("find", []) => Ok(Value::string(regex.find(text).map(|it| it.as_str()).unwrap_or_default())),
        ("findAll", [] | [Value::Int(_)]) => {
            let most = match rest {
                [Value::Int(most)] => usize::try_from(*most).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            let found = regex.find_iter(text).take(most).map(|it| Value::string(it.as_str())).collect();
            Ok(Value::List(List::Made(std::sync::Arc::new(found), None)))
        }
        _ => unsuited(name),
    }
}
