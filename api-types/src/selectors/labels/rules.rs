//! What a label may be called and hold (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels>).

/// Characters of a name or a value, prefix aside.
const NAME_MAX: usize = 63;
/// Characters of a prefix, which is a DNS name.
const PREFIX_MAX: usize = 253;

const NAME_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

fn not_empty() -> &'static str {
    "must be non-empty"
}

fn at_most(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn name_rule() -> String {
    format!(
        "{NAME_RULE} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{NAME_FORMAT}')"
    )
}

/// What is wrong with a label key (upstream's "qualified name"): an optional DNS prefix with a slash, and a name.
pub fn key_faults(key: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let name = match key.split_once('/') {
        None => key,
        Some((_, name)) if name.contains('/') => {
            let rule = name_rule();
            return vec![format!(
                "a valid label key {rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some(("", name)) => {
            faults.push(format!("prefix part {}", not_empty()));
            name
        }
        Some((prefix, name)) => {
            faults.extend(prefix_faults(prefix).iter().map(|fault| format!("prefix part {fault}")));
            name
        }
    };
    if name.is_empty() {
        faults.push(format!("name part {}", not_empty()));
    } else if name.len() > NAME_MAX {
        faults.push(format!("name part {}", at_most(NAME_MAX)));
    }
    if !is_name(name) {
        faults.push(format!("name part {}", name_rule()));
    }
    faults
}

/// What is wrong with a label value: it may be empty, else it reads like a name.
pub fn value_faults(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > NAME_MAX {
        faults.push(at_most(NAME_MAX));
    }
    if !value.is_empty() && !is_name(value) {
        faults.push(format!(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
             for validation is '({NAME_FORMAT})?')"
        ));
    }
    faults
}

fn prefix_faults(prefix: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if prefix.len() > PREFIX_MAX {
        faults.push(at_most(PREFIX_MAX));
    }
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let outer = |byte: Option<&u8>| byte.is_some_and(|byte| inner(*byte) && *byte != b'-');
    let is_dns = prefix
        .split('.')
        .map(str::as_bytes)
        .all(|part| outer(part.first()) && outer(part.last()) && part.iter().all(|byte| inner(*byte)));
    if !is_dns {
        faults.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    faults
}

fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    outer(bytes.first())
        && outer(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
