//! What may be a name.

/// Faults of a DNS subdomain (RFC 1123), the rule for most names. With `prefix` a trailing dash is fine, since a
/// suffix will follow.
pub fn dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    let name = if prefix { mask_trailing_dash(name) } else { name.to_owned() };
    let mut faults = Vec::new();
    if name.len() > 253 {
        faults.push("must be no more than 253 bytes".to_owned());
    }
    let label = |label: &str| {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(alphanumeric)
            && bytes.last().copied().is_some_and(alphanumeric)
            && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
    };
    if !name.split('.').all(label) {
        faults.push("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_owned());
    }
    faults
}

/// A generated name's prefix with its trailing dash made into a letter, so that the rule for names can judge it.
pub fn mask_trailing_dash(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(stem) if !stem.is_empty() => format!("{stem}a"),
        _ => name.to_owned(),
    }
}
