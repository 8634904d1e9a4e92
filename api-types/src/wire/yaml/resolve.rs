//! What a scalar's text means.

/// A scalar's value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// Beyond the signed integers.
    Uint(u64),
    /// May be infinite or not a number.
    Float(f64),
    String(String),
}

/// The meaning of a scalar without quotes and tag.
pub(super) fn resolve(text: &str) -> Scalar {
    if let Some(word) = word(text) {
        return word;
    }
    match text.as_bytes().first() {
        Some(b'.') => float(text),
        Some(b'+' | b'-' | b'0'..=b'9') => number(&text.replace('_', "")),
        _ => None,
    }
    .unwrap_or_else(|| Scalar::String(text.to_owned()))
}

/// The meaning of a scalar with a core tag, such as `int`.
///
/// # Errors
/// The text means something else.
pub(super) fn resolve_as(tag: &str, text: &str) -> Result<Scalar, String> {
    if tag == "str" {
        return Ok(Scalar::String(text.to_owned()));
    }
    let scalar = resolve(text);
    let found = match &scalar {
        Scalar::Null => "null",
        Scalar::Bool(_) => "bool",
        Scalar::Int(_) | Scalar::Uint(_) => "int",
        Scalar::Float(_) => "float",
        Scalar::String(_) => "str",
    };
    match (tag, scalar) {
        (_, scalar) if tag == found => Ok(scalar),
        ("float", Scalar::Int(number)) => Ok(number.to_string().parse().map_or(Scalar::Null, Scalar::Float)),
        // Times are read, but stay the strings they were.
        ("timestamp", Scalar::String(text)) => Ok(Scalar::String(text)),
        _ => Err(format!("cannot decode !!{found} `{text}` as a !!{tag}")),
    }
}

fn word(text: &str) -> Option<Scalar> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => return None,
    })
}

fn number(text: &str) -> Option<Scalar> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    integer(negative, unsigned, text.starts_with('+')).or_else(|| float(text))
}

/// Go's integer literals: 0x, 0o, 0b, and a plain 0 before octal digits.
fn integer(negative: bool, unsigned: &str, has_plus: bool) -> Option<Scalar> {
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.as_str() {
        rest if rest.starts_with("0x") => (16, rest.get(2..)?),
        rest if rest.starts_with("0o") => (8, rest.get(2..)?),
        rest if rest.starts_with("0b") => (2, rest.get(2..)?),
        rest if rest.len() > 1 && rest.starts_with('0') => (8, rest.get(1..)?),
        rest => (10, rest),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
    if let Ok(number) = i64::from_str_radix(&signed, radix) {
        return Some(Scalar::Int(number));
    }
    // Go's unsigned integers take no sign at all.
    let number = u64::from_str_radix(digits, radix).ok()?;
    (!negative && !has_plus).then_some(Scalar::Uint(number))
}

/// A decimal number with digits, and with a point or an exponent, or none of them; infinity is no number.
fn float(text: &str) -> Option<Scalar> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let looks_right = unsigned.bytes().any(|byte| byte.is_ascii_digit())
        && unsigned
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    let number: f64 = text.parse().ok().filter(|_| looks_right)?;
    number.is_finite().then_some(Scalar::Float(number))
}
