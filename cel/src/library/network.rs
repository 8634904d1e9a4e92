//! IP addresses and ranges of them.

use std::net::IpAddr;

use super::{Native, Opaque, format::go_quoted, unsuited};
use crate::{
    eval::{EvalError, Outcome},
    value::Value,
};

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "ip" => |args| match args {
            [Value::String(text)] => address(text).map(|it| Value::Opaque(Opaque::Ip(it))),
            [Value::Opaque(Opaque::Cidr(address, _))] => Ok(Value::Opaque(Opaque::Ip(*address))),
            _ => unsuited("ip"),
        },
        "isIP" => |args| match args {
            [Value::String(text)] => Ok(Value::Bool(address(text).is_ok())),
            _ => unsuited("isIP"),
        },
        "ip.isCanonical" => |args| match args {
            [Value::String(text)] => Ok(Value::Bool(show(address(text)?) == **text)),
            _ => unsuited("ip.isCanonical"),
        },
        "family" => |args| match args {
            [Value::Opaque(Opaque::Ip(address))] => Ok(Value::Int(if address.is_ipv4() { 4 } else { 6 })),
            _ => unsuited("family"),
        },
        "isUnspecified" => |args| is("isUnspecified", args, IpAddr::is_unspecified),
        "isLoopback" => |args| is("isLoopback", args, IpAddr::is_loopback),
        "isLinkLocalMulticast" => |args| is("isLinkLocalMulticast", args, is_link_local_multicast),
        "isLinkLocalUnicast" => |args| is("isLinkLocalUnicast", args, is_link_local),
        "isGlobalUnicast" => |args| is("isGlobalUnicast", args, is_global_unicast),
        "cidr" => |args| match args {
            [Value::String(text)] => range(text)
                .map(|(address, length)| Value::Opaque(Opaque::Cidr(address, length)))
                .map_err(|why| EvalError::new(format!("{BAD_RANGE}{}", why))),
            _ => unsuited("cidr"),
        },
        "isCIDR" => |args| match args {
            [Value::String(text)] => Ok(Value::Bool(range(text).is_ok())),
            _ => unsuited("isCIDR"),
        },
        "containsIP" => |args| match args {
            [Value::Opaque(Opaque::Cidr(net, length)), Value::Opaque(Opaque::Ip(other))] => {
                Ok(Value::Bool(contains(*net, *length, *other)))
            }
            [Value::Opaque(Opaque::Cidr(net, length)), Value::String(text)] => {
                Ok(Value::Bool(contains(*net, *length, address(text)?)))
            }
            _ => unsuited("containsIP"),
        },
        "containsCIDR" => |args| match args {
            [Value::Opaque(Opaque::Cidr(net, length)), Value::Opaque(Opaque::Cidr(other, longer))] => {
                Ok(Value::Bool(length <= longer && contains(*net, *length, *other)))
            }
            [Value::Opaque(Opaque::Cidr(net, length)), Value::String(text)] => {
                let (other, longer) =
                    range(text).map_err(|why| EvalError::new(format!("{BAD_RANGE}{}", why)))?;
                Ok(Value::Bool(*length <= longer && contains(*net, *length, other)))
            }
            _ => unsuited("containsCIDR"),
        },
        "prefixLength" => |args| match args {
            [Value::Opaque(Opaque::Cidr(_, length))] => Ok(Value::Int(i64::from(*length))),
            _ => unsuited("prefixLength"),
        },
        "masked" => |args| match args {
            [Value::Opaque(Opaque::Cidr(net, length))] => {
                Ok(Value::Opaque(Opaque::Cidr(masked(*net, *length), *length)))
            }
            _ => unsuited("masked"),
        },
        _ => return None,
    })
}

const BAD_RANGE: &str = "network address parse error during conversion from string: ";

pub(super) fn show(address: IpAddr) -> String {
    address.to_string()
}

fn is<'v>(name: &str, args: &[Value<'v>], test: fn(&IpAddr) -> bool) -> Outcome<'v> {
    match args {
        [Value::Opaque(Opaque::Ip(address))] => Ok(Value::Bool(test(address))),
        _ => unsuited(name),
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(address) => matches!(address.octets(), [0xff, second, ..] if second & 0x0f == 0x02),
    }
}

fn is_global_unicast(address: &IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(it) if it.is_broadcast());
    !broadcast
        && !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !is_link_local(address)
}

fn address(text: &str) -> Result<IpAddr, EvalError> {
    let quoted = go_quoted(text);
    let (bare, zone) = text.split_once('%').map_or((text, None), |(bare, zone)| (bare, Some(zone)));
    let parsed: Result<IpAddr, _> = bare.parse();
    let bad = |why: String| {
        EvalError::new(format!(
            "IP Address {quoted} parse error during conversion from string: ParseAddr({quoted}): {why}"
        ))
    };
    match (parsed, zone) {
        (Ok(IpAddr::V6(_)), Some("")) => Err(bad("zone must be a non-empty string".to_owned())),
        (Ok(IpAddr::V6(_)), Some(_)) => {
            Err(EvalError::new(format!("IP address {quoted} with zone value is not allowed")))
        }
        (Ok(IpAddr::V6(address)), None) if address.to_ipv4_mapped().is_some() => {
            Err(EvalError::new(format!("IPv4-mapped IPv6 address {quoted} is not allowed")))
        }
        (Ok(address), None) => Ok(address),
        _ => Err(bad(why_no_address(text))),
    }
}

/// What Go says of a text that is no address.
fn why_no_address(text: &str) -> String {
    let Some(sign) = text.chars().find(|it| matches!(it, '.' | ':' | '%')) else {
        return "unable to parse IP".to_owned();
    };
    match sign {
        '.' => {
            let fields: Vec<&str> = text.split('.').collect();
            for field in &fields {
                if let Some(at) = field.find(|it: char| !it.is_ascii_digit()) {
                    let rest = text.get(text.find(field).unwrap_or_default() + at..).unwrap_or_default();
                    return format!("unexpected character (at {})", go_quoted(rest));
                }
                if field.is_empty() {
                    return "IPv4 field must have at least one digit".to_owned();
                }
                if field.len() > 1 && field.starts_with('0') {
                    return "IPv4 field has octet with leading zero".to_owned();
                }
                if field.parse::<u8>().is_err() {
                    return "IPv4 field has value >255".to_owned();
                }
            }
            if fields.len() > 4 { "IPv4 address too long" } else { "IPv4 address too short" }.to_owned()
        }
        '%' => "missing IPv6 address".to_owned(),
        _ => "unable to parse IP".to_owned(),
    }
}

fn range(text: &str) -> Result<(IpAddr, u8), EvalError> {
    let quoted = go_quoted(text);
    let bad = |why: &str| EvalError::new(format!("{BAD_RANGE}netip.ParsePrefix({quoted}): {why}"));
    let Some((front, bits)) = text.rsplit_once('/') else { return Err(bad("no '/'")) };
    if front.contains('%') {
        return Err(bad("IPv6 zones cannot be present in a prefix"));
    }
    let Ok(address) = front.parse::<IpAddr>() else {
        return Err(bad(&format!("ParseAddr({}): {}", go_quoted(front), why_no_address(front))));
    };
    if bits.is_empty()
        || !bits.bytes().all(|it| it.is_ascii_digit())
        || (bits.len() > 1 && bits.starts_with('0'))
    {
        return Err(bad(&format!("bad bits after slash: {}", go_quoted(bits))));
    }
    let most = if address.is_ipv4() { 32 } else { 128 };
    let Some(length) = bits.parse::<u8>().ok().filter(|it| *it <= most) else {
        return Err(bad("prefix length out of range"));
    };
    if matches!(address, IpAddr::V6(it) if it.to_ipv4_mapped().is_some()) {
        return Err(EvalError::new(format!("IPv4-mapped IPv6 address {quoted} is not allowed")));
    }
    Ok((address, length))
}

fn contains(net: IpAddr, length: u8, other: IpAddr) -> bool {
    net.is_ipv4() == other.is_ipv4() && masked(net, length) == masked(other, length)
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or_default();
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or_default();
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}
