//! The formats that texts may have to keep, as `format` of the API concept "CustomResourceDefinition" lists them.
//!
//! Dashes in their names do not count. A format that is not listed says nothing.

use std::{net::Ipv6Addr, sync::LazyLock};

use jiff::civil::Date;
use regex::Regex;

use super::Types;
use crate::resources::shared::{
    addresses::{parse_cidr_sloppy, parse_sloppy},
    url::Url,
};

/// Whether a text keeps a format.
type Check = fn(&str) -> bool;

const OF_TEXT: &[(&str, Check)] = &[
    ("bsonobjectid", |text| text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())),
    ("byte", |text| matches(&BASE64, text)),
    ("cidr", |text| parse_cidr_sloppy(text).is_some()),
    ("creditcard", is_credit_card),
    ("date", is_date),
    ("datetime", is_date_time),
    ("duration", is_duration),
    ("email", is_email),
    ("hexcolor", |text| matches(&HEX_COLOR, text)),
    ("hostname", is_hostname),
    ("ipv4", |text| text.contains('.') && parse_sloppy(text).is_some()),
    ("ipv6", |text| text.parse::<Ipv6Addr>().is_ok()),
    ("isbn", |text| is_isbn10(text) || is_isbn13(text)),
    ("isbn10", is_isbn10),
    ("isbn13", is_isbn13),
    ("k8slongname", |text| text.len() <= 253 && matches(&LONG_NAME, text)),
    ("k8sshortname", |text| text.len() <= 63 && matches(&SHORT_NAME, text)),
    ("mac", is_mac),
    ("password", |_| true),
    ("rgbcolor", |text| matches(&RGB_COLOR, text)),
    ("ssn", |text| text.len() == 11 && matches(&SSN, text)),
    ("uri", is_request_uri),
    ("uuid", |text| matches(&UUID, text)),
    ("uuid3", |text| matches(&UUID3, text)),
    ("uuid4", |text| matches(&UUID4, text)),
    ("uuid5", |text| matches(&UUID5, text)),
];

/// An expression that is written here, and so compiles.
type Rule = LazyLock<Option<Regex>>;

static BASE64: Rule = LazyLock::new(|| {
    Regex::new("^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$").ok()
});
static HEX_COLOR: Rule = LazyLock::new(|| Regex::new("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$").ok());
static RGB_COLOR: Rule = LazyLock::new(|| {
    let part = r"\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*";
    Regex::new(&format!(r"^rgb\({part},{part},{part}\)$")).ok()
});
static SSN: Rule = LazyLock::new(|| Regex::new("^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$").ok());
static SHORT_NAME: Rule = LazyLock::new(|| Regex::new("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$").ok());
static LONG_NAME: Rule = LazyLock::new(|| {
    let part = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
    Regex::new(&format!(r"^{part}(\.{part})*$")).ok()
});
static HOSTNAME: Rule = LazyLock::new(|| {
    Regex::new(
        r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$",
    )
    .ok()
});
static CREDIT_CARD: Rule = LazyLock::new(|| {
    Regex::new("^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$").ok()
});
static UUID: Rule = LazyLock::new(|| uuid("[0-9a-f]{4}", "[0-9a-f]{4}"));
static UUID3: Rule = LazyLock::new(|| uuid("3[0-9a-f]{3}", "[0-9a-f]{4}"));
static UUID4: Rule = LazyLock::new(|| uuid("4[0-9a-f]{3}", "[89ab][0-9a-f]{3}"));
static UUID5: Rule = LazyLock::new(|| uuid("5[0-9a-f]{3}", "[89ab][0-9a-f]{3}"));
static TIME: Rule = LazyLock::new(|| {
    Regex::new("^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$").ok()
});
static DURATION_PART: Rule = LazyLock::new(|| Regex::new(r"([0-9]+)[\t\n\f\r ]*([A-Za-zµ]+)").ok());
static GO_DURATION: Rule = LazyLock::new(|| {
    let number = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)";
    Regex::new(&format!("^[-+]?(0|({number}(ns|us|µs|μs|ms|s|m|h))+)$")).ok()
});

fn uuid(third: &str, fourth: &str) -> Option<Regex> {
    Regex::new(&format!("(?i-u)^[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{third}-?{fourth}-?[0-9a-f]{{12}}$")).ok()
}

fn matches(rule: &Rule, text: &str) -> bool {
    rule.as_ref().is_some_and(|rule| rule.is_match(text))
}

/// Whether a schema of these types may say this format.
pub(super) fn is_known(format: &str, types: Types) -> bool {
    match types.single() {
        Some(Types::INTEGER) => matches!(format, "int32" | "int64"),
        Some(Types::NUMBER) => matches!(format, "float" | "double"),
        Some(Types::STRING) | None => is_of_text(format),
        Some(_) => false,
    }
}

/// Whether it is a format of texts.
pub(super) fn is_of_text(format: &str) -> bool {
    check(format).is_some()
}

/// Whether a text keeps a format; one that is not known is kept by all.
pub(super) fn keeps(format: &str, text: &str) -> bool {
    check(format).is_none_or(|check| check(text))
}

fn check(format: &str) -> Option<Check> {
    let name = format.replace('-', "");
    OF_TEXT.iter().find(|(other, _)| *other == name).map(|(_, check)| *check)
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = |(at, byte): (usize, &u8)| {
        if matches!(at, 4 | 7) { *byte == b'-' } else { byte.is_ascii_digit() }
    };
    bytes.len() == 10
        && bytes.iter().enumerate().all(shape)
        // The calendar here begins with the year 0 too.
        && text.parse::<Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    let Some(found) = TIME.as_ref().and_then(|rule| rule.captures(time)) else { return false };
    let part = |at: usize| found.get(at).map_or("", |part| part.as_str());
    is_date(date) && part(1) <= "23" && part(2) <= "59" && part(3) <= "59"
}

/// A duration of Go, or numbers with units somewhere in the text.
fn is_duration(text: &str) -> bool {
    const UNITS: &[&[&str]] = &[
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    if matches(&GO_DURATION, text) && is_in_range(text) {
        return true;
    }
    let Some(rule) = DURATION_PART.as_ref() else { return false };
    let mut found = false;
    for part in rule.captures_iter(text) {
        let of = |at: usize| part.get(at).map_or("", |part| part.as_str());
        if of(1).parse::<i64>().is_err() {
            return false;
        }
        let unit = of(2).to_lowercase();
        found |= UNITS.iter().any(|names| {
            names.contains(&unit.as_str()) || names.last().is_some_and(|long| unit.starts_with(long))
        });
    }
    found
}

/// Whether the nanoseconds of a Go duration fit 64 bits.
fn is_in_range(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['-', '+']);
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let factor = match unit {
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => 1.0,
        };
        nanoseconds += number.parse::<f64>().unwrap_or(f64::INFINITY) * factor;
        rest = behind;
    }
    nanoseconds < 9_223_372_036_854_775_807.0
}

fn is_hostname(text: &str) -> bool {
    matches(&HOSTNAME, text) && text.len() <= 255 && text.split('.').all(|label| label.len() <= 63)
}

/// An address as RFC 5322 has it: a name and an address in angles, or an address alone.
fn is_email(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t']);
    let address = match text.strip_suffix('>') {
        None => text,
        Some(rest) => match rest.rsplit_once('<') {
            Some((name, address)) if is_phrase(name.trim()) => address,
            _ => return false,
        },
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let local_fits = match local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => is_quoted(quoted),
        None => is_dot_atom(local),
    };
    let domain_fits = match domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.strip_prefix("IPv6:").unwrap_or(literal).parse::<std::net::IpAddr>().is_ok(),
        None => is_dot_atom(domain),
    };
    local_fits && domain_fits
}

fn is_atom_char(it: char) -> bool {
    it.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(it) || !it.is_ascii()
}

fn is_dot_atom(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom_char))
}

fn is_quoted(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(it) = chars.next() {
        let fits = match it {
            '\\' => chars.next().is_some(),
            '"' => false,
            other => other == ' ' || other == '\t' || !other.is_control(),
        };
        if !fits {
            return false;
        }
    }
    true
}

fn is_phrase(text: &str) -> bool {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => is_quoted(quoted),
        None => text.split_whitespace().all(|word| word.chars().all(|it| is_atom_char(it) || it == '.')),
    }
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let sum: u32 = digits
        .chars()
        .rev()
        .filter_map(|digit| digit.to_digit(10))
        .enumerate()
        .map(|(at, digit)| match digit * 2 {
            _ if at % 2 == 0 => digit,
            double if double >= 10 => double - 9,
            double => double,
        })
        .sum();
    matches(&CREDIT_CARD, &digits) && sum.is_multiple_of(10)
}

fn isbn_digits(text: &str) -> Vec<char> {
    text.chars().filter(|it| *it != '-' && !matches!(it, '\t' | '\n' | '\u{c}' | '\r' | ' ')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = isbn_digits(text);
    let [head @ .., last] = digits.as_slice() else { return false };
    let last = if *last == 'X' { Some(10) } else { last.to_digit(10) };
    let (Some(last), true, true) = (last, head.len() == 9, head.iter().all(char::is_ascii_digit)) else {
        return false;
    };
    let sum: u32 = (1..).zip(head).filter_map(|(weight, digit)| Some(weight * digit.to_digit(10)?)).sum();
    (sum + 10 * last).is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let digits = isbn_digits(text);
    if digits.len() != 13 || !digits.iter().all(char::is_ascii_digit) {
        return false;
    }
    let weights = [1, 3].into_iter().cycle();
    let sum: u32 =
        weights.zip(&digits).filter_map(|(weight, digit)| Some(weight * digit.to_digit(10)?)).sum();
    // The last digit has the weight one, and makes the sum whole.
    sum.is_multiple_of(10)
}

/// A hardware address of 6, 8 or 20 bytes, in pairs with colons or dashes, or in fours with dots.
fn is_mac(text: &str) -> bool {
    let of = |separator: char, width: usize, counts: [usize; 3]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len())
            && parts
                .iter()
                .all(|part| part.len() == width && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    of(':', 2, [6, 8, 20]) || of('-', 2, [6, 8, 20]) || of('.', 4, [3, 4, 10])
}

/// A URI as a request line has it: absolute, or a path from the root.
fn is_request_uri(text: &str) -> bool {
    // A hash is a letter of the path there.
    let plain = text.replace('#', "%23");
    match Url::parse(&plain) {
        Ok(url) => text == "*" || text.starts_with('/') || !url.scheme.is_empty(),
        Err(_) => text == "*",
    }
}

#[cfg(test)]
mod tests {
    use super::keeps;

    #[test]
    fn texts_keep_their_formats() {
        for (format, good, bad) in [
            ("bsonobjectid", "507f1f77bcf86cd799439011", "507f1f77bcf86cd79943901"),
            ("byte", "YQ==", "YQ"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("creditcard", "4111-1111-1111-1111", "4111-1111-1111-1112"),
            ("date", "2024-02-29", "2023-02-29"),
            ("date-time", "2014-12-15T19:30:20.000Z", "2014-12-15 19:30:20Z"),
            ("datetime", "2014-12-15t19:30:20+01:00", "2014-12-15T24:30:20Z"),
            ("duration", "1h30m", "1 parsec"),
            ("duration", "22 ns", ""),
            ("duration", "2 weeks", "h"),
            ("email", "a@b.example", "a@"),
            ("email", "A B <a.b@c>", "a b@c"),
            ("hexcolor", "#FFFfff", "#FFFF"),
            ("hostname", "a.example.com", "-a"),
            ("ipv4", "192.168.0.1", "::1"),
            ("ipv6", "fe80::1", "10.0.0.1"),
            ("isbn", "978-0-306-40615-7", "978-0-306-40615-8"),
            ("isbn10", "0-306-40615-2", "0-306-40615-3"),
            ("k8s-short-name", "a-b", "A"),
            ("k8s-long-name", "a.b-c", "a..b"),
            ("mac", "01:23:45:67:89:ab", "01:23:45:67:89"),
            ("rgbcolor", "rgb(1, 20,255)", "rgb(256,0,0)"),
            ("ssn", "123-45-6789", "123456789"),
            ("uri", "https://a/b?c#d", "a/b"),
            ("uuid", "123E4567-e89b-12d3-a456-426614174000", "123e4567"),
            ("uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ] {
            assert!(keeps(format, good), "{format}: {good}");
            assert!(!keeps(format, bad), "{format}: {bad}");
        }
        assert!(keeps("made-up", "anything"));
    }
}
