//! What is wrong with IP addresses and ranges (CIDRs), and what is worth a warning.
//!
//! *Legacy* fields take any spelling of an address that means one thing; *new* fields only the canonical one. Values
//! that a stored object has may stay, whatever they look like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api_types::field::{Fault, Faults, Path, go_quote};

/// An address in one of its spellings: leading zeros in the numbers of IPv4 are overlooked, and an IPv4 address mapped
/// into IPv6 is IPv4.
pub fn parse_sloppy(text: &str) -> Option<IpAddr> {
    if text.contains(':') { parse_v6_sloppy(text) } else { parse_v4_sloppy(text).map(IpAddr::V4) }
}

/// A range in one of its spellings: the address as it is written, and the length of the prefix.
pub fn parse_cidr_sloppy(text: &str) -> Option<Range> {
    let (address, length) = text.split_once('/')?;
    let is_v6 = address.contains(':');
    let bits = if is_v6 { 128 } else { 32 };
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length: u8 = length.parse().ok().filter(|&length| length <= bits)?;
    let address = parse_sloppy(address)?;
    // A mapped address stays IPv6 for the length of its prefix.
    let address = match address {
        IpAddr::V4(v4) if is_v6 => IpAddr::V6(v4.to_ipv6_mapped()),
        other => other,
    };
    Some(Range { address, length })
}

/// An address and the length of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// As written, bits beyond the prefix included.
    pub address: IpAddr,
    /// In bits.
    pub length: u8,
}

// === impl Range ===

impl Range {
    /// The address with the bits beyond the prefix cleared.
    pub fn network(self) -> IpAddr {
        let length = u32::from(self.length);
        match self.address {
            IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(
                address.to_bits() & u32::MAX.checked_shl(32 - length).unwrap_or(0),
            )),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
                address.to_bits() & u128::MAX.checked_shl(128 - length).unwrap_or(0),
            )),
        }
    }

    /// Whether the address is in the range.
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Self { address, length: self.length }.network() == self.network()
    }
}

impl std::fmt::Display for Range {
    /// The canonical form of the network.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let network = self.network();
        match network {
            // Go prints a mapped network as IPv4, with the prefix counted there if it reaches so far.
            IpAddr::V6(v6) if self.length >= 96 => match v6.to_ipv4_mapped() {
                Some(v4) => write!(f, "{v4}/{}", self.length - 96),
                None => write!(f, "{network}/{}", self.length),
            },
            _ => write!(f, "{network}/{}", self.length),
        }
    }
}

/// Faults of an address in a legacy field. `old` holds the values that may stay.
pub fn legacy_ip(path: &Path, value: &str, old: &[&str]) -> Faults {
    if old.contains(&value) {
        return Vec::new();
    }
    parse_ip(path, value).err().into_iter().collect()
}

/// Faults of an address in a new field.
pub fn ip(path: &Path, value: &str) -> Faults {
    match parse_ip(path, value) {
        Err(fault) => vec![fault],
        Ok(address) if address.to_string() != value => vec![not_canonical(path, value, &address.to_string())],
        Ok(_) => Vec::new(),
    }
}

/// Faults of a range in a legacy field. `old` holds the values that may stay.
pub fn legacy_cidr(path: &Path, value: &str, old: &[&str]) -> Faults {
    if old.contains(&value) {
        return Vec::new();
    }
    parse_cidr(path, value).err().into_iter().collect()
}

/// Faults of a range in a new field.
pub fn cidr(path: &Path, value: &str) -> Faults {
    match parse_cidr(path, value) {
        Err(fault) => vec![fault],
        Ok(range) if range.to_string() != value => vec![not_canonical(path, value, &range.to_string())],
        Ok(_) => Vec::new(),
    }
}

/// What the writer of an address in a legacy field should know.
pub fn ip_warnings(path: &Path, value: &str) -> Vec<String> {
    let Some(address) = parse_sloppy(value) else { return Vec::new() };
    let value_quoted = go_quote(value);
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => {
            let canonical = address.to_string();
            if canonical == value {
                return Vec::new();
            }
            vec![format!(
                "{path}: IPv6 address {value_quoted} should be in RFC 5952 canonical format ({})",
                go_quote(&canonical)
            )]
        }
        Ok(IpAddr::V4(_)) => Vec::new(),
        Ok(IpAddr::V6(_)) | Err(_) => vec![format!(
            "{path}: non-standard IP address {value_quoted} is invalid: use {}",
            go_quote(&address.to_string())
        )],
    }
}

/// What the writer of a range in a legacy field should know.
pub fn cidr_warnings(path: &Path, value: &str) -> Vec<String> {
    let Some(range) = parse_cidr_sloppy(value) else { return Vec::new() };
    let quoted = go_quote(value);
    let mut warnings = Vec::new();
    if range.network() != range.address {
        let (address, bits) = match range.address {
            IpAddr::V4(v4) => (IpAddr::V4(v4), 32),
            IpAddr::V6(v6) => (v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4), 128),
        };
        warnings.push(format!(
            "{path}: CIDR value {quoted} is ambiguous in this context (should be {} or {}?)",
            go_quote(&range.to_string()),
            go_quote(&format!("{address}/{bits}"))
        ));
    }
    if !is_strict_cidr(value) || is_mapped(range.address) {
        warnings.push(format!(
            "{path}: non-standard CIDR value {quoted} is invalid: use {}",
            go_quote(&range.to_string())
        ));
    }
    let canonical = format!("{}/{}", range.address, range.length);
    if warnings.is_empty() && range.address.is_ipv6() && canonical != value {
        warnings.push(format!(
            "{path}: IPv6 CIDR value {quoted} should be in RFC 5952 canonical format ({})",
            go_quote(&canonical)
        ));
    }
    warnings
}

fn parse_ip(path: &Path, value: &str) -> Result<IpAddr, Fault> {
    let address = parse_sloppy(value).ok_or_else(|| {
        Fault::invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
    })?;
    match value.parse::<IpAddr>() {
        Err(_) => Err(Fault::invalid(path, value, "must not have leading 0s")),
        Ok(strict) if is_mapped(strict) => {
            Err(Fault::invalid(path, value, "must not be an IPv4-mapped IPv6 address"))
        }
        Ok(_) => Ok(address),
    }
}

fn parse_cidr(path: &Path, value: &str) -> Result<Range, Fault> {
    let range = parse_cidr_sloppy(value).ok_or_else(|| {
        Fault::invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
    })?;
    if !is_strict_cidr(value) {
        Err(Fault::invalid(path, value, "must not have leading 0s in IP or prefix length"))
    } else if is_mapped(range.address) {
        Err(Fault::invalid(path, value, "must not have an IPv4-mapped IPv6 address"))
    } else if range.network() != range.address {
        Err(Fault::invalid(path, value, "must not have bits set beyond the prefix length"))
    } else {
        Ok(range)
    }
}

fn not_canonical(path: &Path, value: &str, canonical: &str) -> Fault {
    Fault::invalid(path, value, format!("must be in canonical form ({})", go_quote(canonical)))
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn is_strict_cidr(value: &str) -> bool {
    value.split_once('/').is_some_and(|(address, length)| {
        address.parse::<IpAddr>().is_ok() && (length == "0" || !length.starts_with('0'))
    })
}

fn parse_v4_sloppy(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

fn parse_v6_sloppy(text: &str) -> Option<IpAddr> {
    let address = match text.parse::<Ipv6Addr>() {
        Ok(address) => address,
        // Leading zeros may stand in an IPv4 tail.
        Err(_) => {
            let (head, tail) = text.rsplit_once(':')?;
            let tail = parse_v4_sloppy(tail)?;
            format!("{head}:{tail}").parse().ok()?
        }
    };
    Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(faults: Faults) -> String {
        faults.iter().map(Fault::body).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn an_address_has_no_second_meaning_and_in_new_fields_one_spelling() {
        let path = Path::new("ip");
        for (value, legacy, new) in [
            ("10.0.0.1", "", ""),
            ("fe80::abc", "", ""),
            ("FE80:0:0:0:0:0:0:0abc", "", r#"must be in canonical form ("fe80::abc")"#),
            ("010.0.0.1", "must not have leading 0s", "must not have leading 0s"),
            (
                "::ffff:1.2.3.4",
                "must not be an IPv4-mapped IPv6 address",
                "must not be an IPv4-mapped IPv6 address",
            ),
            (
                "1.2.3",
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ),
        ] {
            let body = |detail: &str| {
                if detail.is_empty() { String::new() } else { format!("Invalid value: {value:?}: {detail}") }
            };
            assert_eq!(texts(legacy_ip(&path, value, &[])), body(legacy));
            assert_eq!(texts(ip(&path, value)), body(new));
            assert_eq!(legacy_ip(&path, value, &[value]), []);
        }
    }

    #[test]
    fn a_range_is_a_network() {
        let path = Path::new("cidr");
        for (value, legacy, new) in [
            ("10.0.0.0/8", "", ""),
            ("0.0.0.0/0", "", ""),
            ("2001:db8::/64", "", ""),
            ("2001:DB8::/64", "", r#"must be in canonical form ("2001:db8::/64")"#),
            (
                "10.0.0.1/8",
                "must not have bits set beyond the prefix length",
                "must not have bits set beyond the prefix length",
            ),
            (
                "10.0.0.0/08",
                "must not have leading 0s in IP or prefix length",
                "must not have leading 0s in IP or prefix length",
            ),
            (
                "::ffff:1.2.3.0/120",
                "must not have an IPv4-mapped IPv6 address",
                "must not have an IPv4-mapped IPv6 address",
            ),
            (
                "10.0.0.0/33",
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            ),
        ] {
            let body = |detail: &str| {
                if detail.is_empty() { String::new() } else { format!("Invalid value: {value:?}: {detail}") }
            };
            assert_eq!(texts(legacy_cidr(&path, value, &[])), body(legacy));
            assert_eq!(texts(cidr(&path, value)), body(new));
        }
    }

    #[test]
    fn odd_spellings_are_worth_a_warning() {
        let path = Path::new("f");
        for (value, expected) in [
            ("1.2.3.4", ""),
            ("01.2.3.4", r#"f: non-standard IP address "01.2.3.4" is invalid: use "1.2.3.4""#),
            ("::ffff:1.2.3.4", r#"f: non-standard IP address "::ffff:1.2.3.4" is invalid: use "1.2.3.4""#),
            (
                "2001:db8:0::1",
                r#"f: IPv6 address "2001:db8:0::1" should be in RFC 5952 canonical format ("2001:db8::1")"#,
            ),
        ] {
            assert_eq!(ip_warnings(&path, value).join("; "), expected);
        }
        for (value, expected) in [
            ("10.0.0.0/8", ""),
            (
                "10.1.0.0/8",
                r#"f: CIDR value "10.1.0.0/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.1.0.0/32"?)"#,
            ),
            ("010.0.0.0/8", r#"f: non-standard CIDR value "010.0.0.0/8" is invalid: use "10.0.0.0/8""#),
            (
                "::ffff:1.2.3.0/120",
                r#"f: non-standard CIDR value "::ffff:1.2.3.0/120" is invalid: use "1.2.3.0/24""#,
            ),
            (
                "2001:db8:0::/48",
                r#"f: IPv6 CIDR value "2001:db8:0::/48" should be in RFC 5952 canonical format ("2001:db8::/48")"#,
            ),
        ] {
            assert_eq!(cidr_warnings(&path, value).join("; "), expected);
        }
    }
}
