//! Addresses as networking kinds need them: their families, where traffic may be sent, the addresses of interfaces.
//!
//! The spelling of addresses and ranges is the business of [`super::addresses`].

use std::net::IpAddr;

use api_types::field::{Fault, Faults, Path, go_quote};

use super::addresses::{parse_cidr_sloppy, parse_sloppy};

/// The family of an address, in the words of Service specs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// `IPv4`
    V4,
    /// `IPv6`
    V6,
}

// === impl Family ===

impl Family {
    /// As Services spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "IPv4" => Some(Self::V4),
            "IPv6" => Some(Self::V6),
            _ => None,
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// The family of an address; IPv4 mapped into IPv6 is IPv6 here.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// The family of an address in any of its spellings, `None` if the text is no address.
pub(crate) fn family(text: &str) -> Option<Family> {
    parse_sloppy(text).map(Family::of)
}

/// The family of a range in any of its spellings, `None` if the text is no range.
pub(crate) fn range_family(text: &str) -> Option<Family> {
    parse_cidr_sloppy(text).map(|range| Family::of(range.address.to_canonical()))
}

/// What is wrong with an address that traffic is sent to: it must not be one of the special ones.
pub(crate) fn endpoint_ip(path: &Path, value: &str) -> Faults {
    let Some(address) = parse_sloppy(value) else {
        return vec![Fault::invalid(path, value, "must be a valid IP address")];
    };
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets().starts_with(&[224, 0, 0])),
        IpAddr::V6(v6) => {
            let [first, ..] = v6.segments();
            (first & 0xffc0 == 0xfe80, first & 0xff0f == 0xff02)
        }
    };
    [
        (address.is_unspecified(), format!("may not be unspecified ({value})")),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()),
        (
            link_local_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned(),
        ),
    ]
    .into_iter()
    .filter_map(|(wrong, detail)| wrong.then(|| Fault::invalid(path, value, detail)))
    .collect()
}

/// What is wrong with the address of an interface: an address with the prefix of its network.
pub(crate) fn interface_address(path: &Path, value: &str) -> Faults {
    let Some(range) = parse_cidr_sloppy(value) else {
        return vec![Fault::invalid(
            path,
            value,
            "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
        )];
    };
    let address = range.address.to_canonical();
    // A prefix of IPv4 written as IPv6 counts from the start of the IPv4 part, if it reaches so far.
    let mapped = address.is_ipv4() && range.address.is_ipv6() && range.length > 32;
    let length = if mapped { range.length.saturating_sub(96) } else { range.length };
    let canonical = format!("{address}/{length}");
    if value == canonical {
        return Vec::new();
    }
    vec![Fault::invalid(path, value, format!("must be in canonical form ({})", go_quote(&canonical)))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_not_sent_to_special_addresses() {
        let path = Path::new("ip");
        for (text, count) in [
            ("10.0.0.1", 0),
            ("0.0.0.0", 1),
            ("::", 1),
            ("127.3.3.3", 1),
            ("::1", 1),
            ("169.254.1.1", 1),
            ("fe80::1", 1),
            ("febf::1", 1),
            ("224.0.0.251", 1),
            ("ff02::1", 1),
            ("224.0.1.1", 0),
            ("x", 1),
        ] {
            assert_eq!(endpoint_ip(&path, text).len(), count, "{text}");
        }
    }

    #[test]
    fn an_interface_has_an_address_and_a_prefix() {
        let path = Path::new("ip");
        for (text, fault) in [
            ("10.9.8.7/24", None),
            ("2001:db8::1/64", None),
            (
                "::ffff:192.168.0.1/120",
                Some(
                    r#"ip: Invalid value: "::ffff:192.168.0.1/120": must be in canonical form ("192.168.0.1/24")"#,
                ),
            ),
            (
                "10.9.8.7",
                Some(
                    r#"ip: Invalid value: "10.9.8.7": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"#,
                ),
            ),
        ] {
            let faults: Vec<String> =
                interface_address(&path, text).iter().map(ToString::to_string).collect();
            assert_eq!(faults.first().map(String::as_str), fault, "{text}");
        }
    }
}
