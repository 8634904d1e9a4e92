//! What may be a name, a key or a value of the small string types that all kinds use.
//!
//! There are two families. *Rules for names* take `(name, prefix)` and serve as [`Strategy::name_faults`]: with `prefix`
//! the text is what a generated name begins with, so that a trailing dash is fine. *Rules for values* take the value
//! alone. Both return what is wrong as sentences, in the order a client of upstream sees them; an empty list is good.
//!
//! Invariant: functions of strings and numbers; nothing here knows a kind or a path.
//!
//! [`Strategy::name_faults`]: crate::registry::strategy::Strategy::name_faults

use api_types::selectors::labels;

/// The longest DNS label, in bytes.
pub const DNS_LABEL_LENGTH_MAX: usize = 63;
/// The longest DNS subdomain, in bytes.
pub const DNS_SUBDOMAIN_LENGTH_MAX: usize = 253;

const DNS_1123_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS_1123_SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";

// --- rules for names

/// DNS subdomain (RFC 1123), the rule for most names.
pub fn dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    dns1123_subdomain(&judged(name, prefix))
}

/// DNS label (RFC 1123): namespaces and what becomes part of a host name.
pub fn dns_label(name: &str, prefix: bool) -> Vec<String> {
    dns1123_label(&judged(name, prefix))
}

/// DNS label (RFC 1035): a label that begins with a letter.
pub fn dns_1035_label(name: &str, prefix: bool) -> Vec<String> {
    dns1035_label(&judged(name, prefix))
}

/// Anything that can be one segment of a path (roles and their bindings).
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if !prefix && (name == "." || name == "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|&&part| name.contains(part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// A generated name's prefix in the form that the rule for whole names can judge: what a trailing dash ends in is
/// replaced by a letter.
pub fn mask_trailing_dash(name: &str) -> String {
    // Upstream cuts the dash together with the character before it; the length matters to callers near the limit.
    match name.strip_suffix('-') {
        Some(stem) if !stem.is_empty() => {
            let mut masked = stem.to_owned();
            masked.pop();
            masked.push('a');
            masked
        }
        _ => name.to_owned(),
    }
}

fn judged(name: &str, prefix: bool) -> String {
    if prefix { mask_trailing_dash(name) } else { name.to_owned() }
}

// --- rules for values

/// DNS label (RFC 1123).
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut faults = at_most_characters(value, DNS_LABEL_LENGTH_MAX);
    if !is_dns1123_label_text(value) {
        faults.push(if is_dns1123_subdomain_text(value) {
            "must not contain dots".to_owned()
        } else {
            with_regex(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                DNS_1123_LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    faults
}

/// DNS subdomain (RFC 1123).
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut faults = at_most_characters(value, DNS_SUBDOMAIN_LENGTH_MAX);
    if !is_dns1123_subdomain_text(value) {
        faults.push(subdomain_form());
    }
    faults
}

/// As [`dns1123_subdomain`], for fields whose limit is told in bytes.
pub fn long_name(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > DNS_SUBDOMAIN_LENGTH_MAX {
        faults.push(format!("must be no more than {DNS_SUBDOMAIN_LENGTH_MAX} bytes"));
    }
    if !is_dns1123_subdomain_text(value) {
        faults.push(subdomain_form());
    }
    faults
}

/// DNS subdomain (RFC 1123) in which labels may also hold underscores, and begin with one.
pub fn dns1123_subdomain_with_underscore(value: &str) -> Vec<String> {
    let mut faults = at_most_characters(value, DNS_SUBDOMAIN_LENGTH_MAX);
    let good = value.split('.').all(|label| {
        let label = label.strip_prefix('_').unwrap_or(label);
        is_edged(label, is_lower_alphanumeric, |byte| {
            is_lower_alphanumeric(byte) || byte == b'-' || byte == b'_'
        })
    });
    if !good {
        faults.push(with_regex(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    faults
}

/// DNS label (RFC 1035).
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut faults = at_most_characters(value, DNS_LABEL_LENGTH_MAX);
    if !(is_dns1123_label_text(value) && value.as_bytes().first().is_some_and(u8::is_ascii_lowercase)) {
        faults.push(with_regex(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    faults
}

/// DNS subdomain whose first label is `*` (RFC 1034, 4.3.3).
pub fn wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut faults = at_most_characters(value, DNS_SUBDOMAIN_LENGTH_MAX);
    if !value.strip_prefix("*.").is_some_and(is_dns1123_subdomain_text) {
        faults.push(with_regex(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{DNS_1123_SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    faults
}

/// A key of a label or an annotation, a resource, a finalizer: an optional DNS subdomain, a slash, and a name.
pub fn qualified_name(value: &str) -> Vec<String> {
    labels::key_faults(value)
}

/// The value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    labels::value_faults(value)
}

/// An identifier of the language C.
pub fn c_identifier(value: &str) -> Vec<String> {
    let bytes = value.as_bytes();
    let good = bytes.first().is_some_and(|&byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if good {
        return Vec::new();
    }
    vec![with_regex(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// The name of an environment variable: printable ASCII without `=`.
pub fn env_var_name(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.is_empty() {
        faults.push(format!("environment variable name {}", must_be_non_empty()));
    }
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=') {
        faults.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    faults
}

/// A key of a ConfigMap or a Secret.
pub fn config_map_key(value: &str) -> Vec<String> {
    let mut faults = at_most_characters(value, DNS_SUBDOMAIN_LENGTH_MAX);
    let good = !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if !good {
        faults.push(with_regex(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    if value == "." || value == ".." {
        faults.push(format!("must not be '{value}'"));
    } else if value.starts_with("..") {
        faults.push("must not start with '..'".to_owned());
    }
    faults
}

/// The name of an HTTP header.
pub fn http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    vec![with_regex(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// The name of a port (RFC 6335, lower case only).
pub fn port_name(value: &str) -> Vec<String> {
    let mut faults = at_most_characters(value, 15);
    if value.is_empty() || !value.bytes().all(|byte| is_lower_alphanumeric(byte) || byte == b'-') {
        faults.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        faults.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        faults.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        faults.push("must not begin or end with a hyphen".to_owned());
    }
    faults
}

/// The number of a port.
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65_535)
}

/// The id of a user or a group.
pub fn user_or_group_id(id: i64) -> Vec<String> {
    in_range(id, 0, i64::from(i32::MAX))
}

/// A percentage such as `25%`.
pub fn percent(value: &str) -> Vec<String> {
    let good = value
        .strip_suffix('%')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    if good {
        return Vec::new();
    }
    vec![with_regex(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

/// A number within these bounds, which belong to the range.
pub fn in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) { Vec::new() } else { vec![between(low, high)] }
}

/// The sentence for a number outside a range.
pub fn between(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// The sentence for an empty text.
pub fn must_be_non_empty() -> &'static str {
    "must be non-empty"
}

/// Whether the text has the form of a path in a URL.
pub fn is_http_path(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte))
}

/// A sentence about a form, with the regular expression that says it exactly and examples that have it.
pub fn with_regex(sentence: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{sentence} (regex used for validation is '{regex}')");
    }
    let examples: Vec<String> = examples.iter().map(|it| format!("'{it}', ")).collect();
    format!("{sentence} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

fn subdomain_form() -> String {
    with_regex(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
        DNS_1123_SUBDOMAIN,
        &["example.com"],
    )
}

fn at_most_characters(value: &str, max: usize) -> Vec<String> {
    if value.len() > max { vec![format!("must be no more than {max} characters")] } else { Vec::new() }
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Not empty, the ends of one set, everything of another.
fn is_edged(value: &str, edge: fn(u8) -> bool, inside: fn(u8) -> bool) -> bool {
    let bytes = value.as_bytes();
    bytes.first().copied().is_some_and(edge)
        && bytes.last().copied().is_some_and(edge)
        && bytes.iter().copied().all(inside)
}

fn is_dns1123_label_text(value: &str) -> bool {
    is_edged(value, is_lower_alphanumeric, |byte| is_lower_alphanumeric(byte) || byte == b'-')
}

fn is_dns1123_subdomain_text(value: &str) -> bool {
    value.split('.').all(is_dns1123_label_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&str) -> Vec<String>;

    #[test]
    fn every_rule_takes_what_has_its_form_and_refuses_what_has_not() {
        let long_label = "a".repeat(64);
        let long_name = "a".repeat(254);
        let rules: &[(&str, Rule, &[&str], &[&str])] = &[
            (
                "label",
                dns1123_label,
                &["a", "a-b", "1a", &long_label[1..]],
                &["", "-a", "a-", "A", "a.b", "a_b", "é", &long_label],
            ),
            (
                "subdomain",
                dns1123_subdomain,
                &["a", "a.b-c.1", &long_name[1..]],
                &["", ".a", "a.", "a..b", "a-.b", "A.b", &long_name],
            ),
            (
                "subdomain with underscore",
                dns1123_subdomain_with_underscore,
                &["_a._b", "a_b.c"],
                &["__a", "a_.b", "A"],
            ),
            ("1035 label", dns1035_label, &["a", "a1-b"], &["1a", "a-", "", "a.b"]),
            ("wildcard", wildcard_dns1123_subdomain, &["*.a.b"], &["a.b", "*", "*.*.a", "f*.b"]),
            (
                "qualified name",
                qualified_name,
                &["a", "A_b.c-1", "example.com/A", "1"],
                &["", "/a", "a/", "a/b/c", "A.com/b", "a_", "example.com/-a"],
            ),
            ("label value", label_value, &["", "A", "a.b_c-d"], &["-a", "a b", &long_label]),
            ("C identifier", c_identifier, &["a", "_A1"], &["", "1a", "a-b"]),
            ("env name", env_var_name, &["A", "a b", "1", "a.b"], &["", "a=b", "é", "a\n"]),
            ("config key", config_map_key, &["a", ".a", "A_.-"], &["", "..a", "..", ".", "a/b"]),
            ("header", http_header_name, &["X-A"], &["", "a b", "a:"]),
            ("port name", port_name, &["a", "80-http"], &["", "80", "A", "-a", "a--b", "abcdefghijklmnop"]),
            ("percent", percent, &["1%", "100%"], &["%", "1", "-1%", "1 %"]),
        ];
        for (name, rule, good, bad) in rules {
            for value in *good {
                assert_eq!(rule(value), Vec::<String>::new(), "{name}: {value}");
            }
            for value in *bad {
                assert!(!rule(value).is_empty(), "{name}: {value}");
            }
        }
    }

    #[test]
    fn texts_are_those_that_clients_know() {
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"],);
        assert_eq!(
            qualified_name("a b"),
            [
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ],
        );
        assert_eq!(
            dns1123_subdomain(&format!("{}_", "a".repeat(253))),
            [
                "must be no more than 253 characters",
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ],
        );
        assert_eq!(
            port_name(""),
            [
                "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                "must contain at least one letter (a-z)"
            ],
        );
    }

    #[test]
    fn a_prefix_may_end_in_a_dash() {
        for (name, good) in
            [("ab-", true), ("a-", true), ("-", false), ("a--", true), ("-a", false), ("a.-", false)]
        {
            // The character before the dash goes too: `a.-` is judged as `aa`, and passes there.
            let expected = good || name == "a.-";
            assert_eq!(dns_subdomain(name, true).is_empty(), expected, "{name}");
        }
        assert!(!dns_subdomain("ab-", false).is_empty());
        assert_eq!(path_segment("..", true), Vec::<String>::new());
        assert_eq!(path_segment("..", false), ["may not be '..'"]);
        assert_eq!(path_segment("a/%", false), ["may not contain '/'", "may not contain '%'"]);
    }
}
