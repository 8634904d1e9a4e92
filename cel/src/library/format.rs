//! `"...".format([...])`: clauses `%s %d %f %e %b %x %X %o`, as the library `strings` has them in version 2.

use crate::{
    eval::{EvalError, Outcome},
    library::{bounded, conversions},
    value::{List, Map, Value},
};

const PRECISION: usize = 6;
/// More digits than this say nothing of a float.
const MOST_DIGITS: usize = 1_000;

type Wrong<P> = (Option<P>, String);

/// Calls `with` for every clause of a format and the index of its argument.
///
/// # Errors
/// What is wrong with the format, or what `with` says, with the place it gives.
pub(crate) fn each_clause<P>(
    format: &str,
    count: usize,
    mut with: impl FnMut(char, usize) -> Result<(), Wrong<P>>,
) -> Result<(), Wrong<P>> {
    clauses(format, count, |_| {}, |clause, _, index| with(clause, index))
}

fn clauses<P>(
    format: &str,
    count: usize,
    mut plain: impl FnMut(&str),
    mut with: impl FnMut(char, Option<usize>, usize) -> Result<(), Wrong<P>>,
) -> Result<(), Wrong<P>> {
    let mut rest = format;
    let mut index = 0;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        plain(before);
        let after = after.get(1..).unwrap_or_default();
        if let Some(after) = after.strip_prefix('%') {
            plain("%");
            rest = after;
            continue;
        }
        if index >= count {
            return Err((None, format!("index {index} out of range")));
        }
        if after.is_empty() {
            return Err((None, "unexpected end of string".to_owned()));
        }
        let (precision, after) = precision(after).map_err(|why| (None, why))?;
        let Some(clause) = after.chars().next() else {
            let why = "could not parse formatting clause: error while parsing precision: could not find end of precision specifier";
            return Err((None, why.to_owned()));
        };
        if !matches!(clause, 's' | 'd' | 'f' | 'e' | 'b' | 'x' | 'X' | 'o') {
            let why =
                format!("could not parse formatting clause: unrecognized formatting clause \"{clause}\"");
            return Err((None, why));
        }
        with(clause, precision, index)
            .map_err(|(place, why)| (place, format!("error during formatting: {why}")))?;
        index += 1;
        rest = after.get(clause.len_utf8()..).unwrap_or_default();
    }
    plain(rest);
    Ok(())
}

fn precision(text: &str) -> Result<(Option<usize>, &str), String> {
    const WRONG: &str = "could not parse formatting clause: error while parsing precision: ";
    let Some(rest) = text.strip_prefix('.') else { return Ok((None, text)) };
    let Some(end) = rest.find(|it: char| !it.is_ascii_digit()) else {
        return Err(format!("{WRONG}could not find end of precision specifier"));
    };
    let (digits, rest) = rest.split_at(end);
    match digits.parse() {
        Ok(precision) => Ok((Some(precision), rest)),
        Err(_) => Err(format!(
            "{WRONG}error while converting precision to integer: strconv.Atoi: parsing {digits:?}: invalid syntax"
        )),
    }
}

/// That a clause cannot show a type.
pub(crate) fn misfit(clause: char, type_name: &str) -> String {
    let what = match clause {
        's' => {
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
        }
        'd' => "decimal clause can only be used on integers",
        'f' => "fixed-point clause can only be used on doubles",
        'e' => "scientific clause can only be used on doubles",
        'b' => "only integers and bools can be formatted as binary",
        'o' => "octal clause can only be used on integers",
        _ => "only integers, byte buffers, and strings can be formatted as hex",
    };
    format!("{what}, was given {type_name}")
}

pub(crate) fn format<'v>(format: &str, args: &List<'v>) -> Outcome<'v> {
    let args = args.to_vec()?;
    let out = std::cell::RefCell::new(String::new());
    let result = clauses::<()>(
        format,
        args.len(),
        |text| out.borrow_mut().push_str(text),
        |clause, precision, index| {
            let value = args.get(index).unwrap_or(&Value::Null);
            let shown = one(clause, precision, value).map_err(|why| (None, why))?;
            let mut out = out.borrow_mut();
            out.push_str(&shown);
            bounded(Some(out.len())).map_err(|_error| (None, String::new()))
        },
    );
    match result {
        Ok(()) => Ok(Value::string(out.into_inner())),
        Err(_) if bounded(Some(out.borrow().len())).is_err() => Err(EvalError::cost_exceeded()),
        Err((_, why)) => Err(EvalError::new(why)),
    }
}

fn one(clause: char, precision: Option<usize>, value: &Value<'_>) -> Result<String, String> {
    let wrong = || misfit(clause, value.type_name());
    let precision = precision.unwrap_or(PRECISION);
    if matches!(clause, 'f' | 'e') && precision > MOST_DIGITS {
        return Err(format!("precision {precision} is too large"));
    }
    Ok(match (clause, value) {
        ('s', value) => string(value).map_err(|()| wrong())?,
        ('d', Value::Int(_) | Value::Uint(_)) => value.to_string(),
        ('f' | 'e', Value::String(text)) => match &**text {
            "NaN" => "NaN".to_owned(),
            "Infinity" => "∞".to_owned(),
            "-Infinity" => "-∞".to_owned(),
            _ => return Err(wrong()),
        },
        ('f' | 'e', Value::Double(number)) if !number.is_finite() => infinite(*number),
        ('f', Value::Double(number)) => grouped(&format!("{number:.precision$}")),
        ('e', Value::Double(number)) => {
            let shown = format!("{number:.precision$e}");
            let (digits, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
            let exponent: i32 = exponent.parse().unwrap_or_default();
            format!("{digits}\u{202f}×\u{202f}10{}", superscript(exponent))
        }
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('b', Value::Int(value)) => signed(*value, |it| format!("{it:b}")),
        ('b', Value::Uint(value)) => format!("{value:b}"),
        ('o', Value::Int(value)) => signed(*value, |it| format!("{it:o}")),
        ('o', Value::Uint(value)) => format!("{value:o}"),
        ('x', Value::Int(value)) => signed(*value, |it| format!("{it:x}")),
        ('x', Value::Uint(value)) => format!("{value:x}"),
        ('X', Value::Int(value)) => signed(*value, |it| format!("{it:X}")),
        ('X', Value::Uint(value)) => format!("{value:X}"),
        ('x', Value::String(text)) => hex(text.as_bytes()),
        ('x', Value::Bytes(bytes)) => hex(bytes),
        ('X', Value::String(text)) => hex(text.as_bytes()).to_uppercase(),
        ('X', Value::Bytes(bytes)) => hex(bytes).to_uppercase(),
        _ => return Err(wrong()),
    })
}

fn infinite(number: f64) -> String {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "∞"
    } else {
        "-∞"
    }
    .to_owned()
}

/// Thousands are set apart, as in the English of the United States.
fn grouped(text: &str) -> String {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) =
        text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut shown = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    if let Some(fraction) = fraction {
        shown.push('.');
        shown.push_str(fraction);
    }
    shown
}

/// Upstream's number printer writes exponents with raised digits.
fn superscript(exponent: i32) -> String {
    let raised = |digit: char| match digit {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' | '4'..='9' => char::from_u32(0x2070 + digit.to_digit(10).unwrap_or_default()).unwrap_or(digit),
        other => other,
    };
    let digits = format!("{:02}", exponent.abs());
    let sign = if exponent < 0 { "-" } else { "" };
    format!("{sign}{digits}").chars().map(raised).collect()
}

fn signed(value: i64, show: impl Fn(u64) -> String) -> String {
    format!("{}{}", if value < 0 { "-" } else { "" }, show(value.unsigned_abs()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn string(value: &Value<'_>) -> Result<String, ()> {
    Ok(match value {
        Value::List(list) => {
            let mut parts = Vec::new();
            for element in list.iter() {
                parts.push(inner(&element.map_err(|_error| ())?)?);
            }
            format!("[{}]", parts.join(", "))
        }
        Value::Map(map) => of_map(map)?,
        Value::Null => "null".to_owned(),
        Value::Opaque(_) | Value::Optional(_) | Value::Lazy => return Err(()),
        other => match conversions::to_string(other) {
            Ok(Value::String(text)) => (*text).to_owned(),
            _ => return Err(()),
        },
    })
}

fn of_map(map: &Map<'_>) -> Result<String, ()> {
    let mut pairs = Vec::new();
    for key in map.keys() {
        if !matches!(key, Value::String(_) | Value::Bool(_) | Value::Int(_) | Value::Uint(_)) {
            return Err(());
        }
        let value = map.get(&key).ok_or(())?.map_err(|_error| ())?;
        pairs.push((inner(&key)?, inner(&value)?));
    }
    pairs.sort();
    let shown: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", shown.join(", ")))
}

/// Within a list or map: as an expression would write it.
fn inner(value: &Value<'_>) -> Result<String, ()> {
    Ok(match value {
        Value::String(text) => go_quoted(text),
        Value::Bytes(bytes) => format!("b{}", go_quoted(&String::from_utf8_lossy(bytes))),
        Value::Timestamp(_) => format!("timestamp({})", go_quoted(&value.to_string())),
        Value::Duration(_) => format!("duration({})", go_quoted(&value.to_string())),
        Value::Double(number) if number.is_finite() => format!("{number:.PRECISION$}"),
        Value::Double(number) => {
            let name = if number.is_nan() {
                "NaN"
            } else if *number > 0.0 {
                "+Inf"
            } else {
                "-Inf"
            };
            format!("\"{name}\"")
        }
        other => string(other)?,
    })
}

/// As Go prints text with `%q`.
pub(crate) fn go_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\u{b}' => quoted.push_str("\\v"),
            letter if letter.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(letter))),
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}
