//! Formats with a name, such as `format.dns1123Label()`, and what a text that does not fit them is told.

use std::sync::{Arc, LazyLock};

use regex::Regex;

use super::{Native, Opaque, time, unsuited, url};
use crate::{eval::Outcome, value::Value};

/// A format: its name, how long a regular expression for it is, and what is wrong with a text.
#[derive(Debug)]
pub struct NamedFormat {
    pub(crate) function: &'static str,
    pub(crate) name: &'static str,
    pub(crate) pattern_size: u64,
    check: fn(&str) -> Vec<String>,
}

static FORMATS: [NamedFormat; 13] = [
    NamedFormat { function: "dns1123Label", name: "DNS1123Label", pattern_size: 30, check: dns1123_label },
    NamedFormat {
        function: "dns1123Subdomain",
        name: "DNS1123Subdomain",
        pattern_size: 60,
        check: dns1123_subdomain,
    },
    NamedFormat { function: "dns1035Label", name: "DNS1035Label", pattern_size: 30, check: dns1035_label },
    NamedFormat { function: "qualifiedName", name: "QualifiedName", pattern_size: 60, check: qualified_name },
    NamedFormat {
        function: "dns1123LabelPrefix",
        name: "DNS1123LabelPrefix",
        pattern_size: 30,
        check: |text| dns1123_label(&without_dash(text)),
    },
    NamedFormat {
        function: "dns1123SubdomainPrefix",
        name: "DNS1123SubdomainPrefix",
        pattern_size: 60,
        check: |text| dns1123_subdomain(&without_dash(text)),
    },
    NamedFormat {
        function: "dns1035LabelPrefix",
        name: "DNS1035LabelPrefix",
        pattern_size: 30,
        check: |text| dns1035_label(&without_dash(text)),
    },
    NamedFormat { function: "labelValue", name: "LabelValue", pattern_size: 40, check: label_value },
    NamedFormat {
        function: "uri",
        name: "URI",
        pattern_size: 1_256,
        check: |text| url::parse(text).err().into_iter().collect(),
    },
    NamedFormat {
        function: "uuid",
        name: "uuid",
        pattern_size: 87,
        check: |text| unless(is_uuid(text), "does not match the UUID format"),
    },
    NamedFormat {
        function: "byte",
        name: "byte",
        pattern_size: 84,
        check: |text| unless(is_base64(text), "invalid base64"),
    },
    NamedFormat {
        function: "date",
        name: "date",
        pattern_size: 138,
        check: |text| unless(time::parse_date(text).is_some(), "invalid date"),
    },
    NamedFormat {
        function: "datetime",
        name: "datetime",
        pattern_size: 138,
        check: |text| unless(time::parse_date_time(text).is_some(), "invalid datetime"),
    },
];

/// For estimates, the longest that the size of a name's expression can be.
pub(crate) const LONGEST_NAME_PATTERN: f64 = 128.0;

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "validate" => validate,
        "format.named" => |args| match args {
            [Value::String(name)] => {
                let found = FORMATS.iter().find(|it| *it.function == **name);
                Ok(Value::Optional(found.map(|it| Arc::new(Value::Opaque(Opaque::Format(it))))))
            }
            _ => unsuited("format.named"),
        },
        "format.dns1123Label" => |_| constant(0),
        "format.dns1123Subdomain" => |_| constant(1),
        "format.dns1035Label" => |_| constant(2),
        "format.qualifiedName" => |_| constant(3),
        "format.dns1123LabelPrefix" => |_| constant(4),
        "format.dns1123SubdomainPrefix" => |_| constant(5),
        "format.dns1035LabelPrefix" => |_| constant(6),
        "format.labelValue" => |_| constant(7),
        "format.uri" => |_| constant(8),
        "format.uuid" => |_| constant(9),
        "format.byte" => |_| constant(10),
        "format.date" => |_| constant(11),
        "format.datetime" => |_| constant(12),
        _ => return None,
    })
}

fn constant<'v>(index: usize) -> Outcome<'v> {
    FORMATS
        .get(index)
        .map(|it| Value::Opaque(Opaque::Format(it)))
        .ok_or_else(crate::eval::EvalError::no_such_overload)
}

fn validate<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let [Value::Opaque(Opaque::Format(format)), Value::String(text)] = args else {
        return unsuited("validate");
    };
    let faults = (format.check)(text);
    if faults.is_empty() {
        return Ok(Value::Optional(None));
    }
    Ok(Value::some(Value::list(faults.into_iter().map(Value::string).collect())))
}

fn unless(good: bool, message: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![message.to_owned()] }
}

/// A prefix may end where a name may not.
fn without_dash(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(front) if !front.is_empty() => format!("{front}a"),
        _ => text.to_owned(),
    }
}

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

fn pattern(text: &str) -> Option<Regex> {
    Regex::new(&format!("^(?:{text})$")).ok()
}

fn matches(pattern: &LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern.as_ref().is_some_and(|it| it.is_match(text))
}

fn too_long(text: &str, most: usize) -> Option<String> {
    (text.len() > most).then(|| format!("must be no more than {most} bytes"))
}

fn dns1123_label(text: &str) -> Vec<String> {
    static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(LABEL));
    let mut faults: Vec<String> = too_long(text, 63).into_iter().collect();
    if !matches(&PATTERN, text) {
        faults.push("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')".to_owned());
    }
    faults
}

fn dns1123_subdomain(text: &str) -> Vec<String> {
    static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(&format!(r"{LABEL}(\.{LABEL})*")));
    let mut faults: Vec<String> = too_long(text, 253).into_iter().collect();
    if !matches(&PATTERN, text) {
        faults.push(r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_owned());
    }
    faults
}

fn dns1035_label(text: &str) -> Vec<String> {
    static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| pattern("[a-z]([-a-z0-9]*[a-z0-9])?"));
    let mut faults: Vec<String> = too_long(text, 63).into_iter().collect();
    if !matches(&PATTERN, text) {
        faults.push("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')".to_owned());
    }
    faults
}

static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| pattern("([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"));

fn qualified_name(text: &str) -> Vec<String> {
    const NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let mut faults = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                faults.push("prefix part must be non-empty".to_owned());
            } else {
                faults.extend(dns1123_subdomain(prefix).into_iter().map(|it| format!("prefix part {it}")));
            }
            *name
        }
        _ => {
            return vec![format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                NAME_RULE
            )];
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else {
        faults.extend(too_long(name, 63).map(|it| format!("name part {it}")));
    }
    if !matches(&NAME, name) {
        faults.push(format!("name part {NAME_RULE}"));
    }
    faults
}

fn label_value(text: &str) -> Vec<String> {
    let mut faults: Vec<String> = too_long(text, 63).into_iter().collect();
    if !text.is_empty() && !matches(&NAME, text) {
        faults.push("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')".to_owned());
    }
    faults
}

fn is_uuid(text: &str) -> bool {
    static PATTERN: LazyLock<Option<Regex>> =
        LazyLock::new(|| pattern("(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"));
    matches(&PATTERN, text)
}

fn is_base64(text: &str) -> bool {
    !text.is_empty() && base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).is_ok()
}
