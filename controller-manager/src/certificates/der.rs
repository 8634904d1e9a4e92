//! The bytes of a certificate (RFC 5280), in DER.

use std::{collections::BTreeSet, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{Timestamp, tz::TimeZone};
use rcgen::SignatureAlgorithm;

use super::{Asked, Name};

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;

/// A value with its tag and length.
pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut whole = vec![tag];
    let length = content.len();
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => whole.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let bytes: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            whole.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0x7f));
            whole.extend(bytes);
        }
    }
    whole.extend_from_slice(content);
    whole
}

/// Values one after the other.
pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

/// A positive number of 127 bits.
pub(super) fn serial(random: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = random.iter().copied().take(16).collect();
    if let Some(first) = bytes.first_mut() {
        // Neither negative nor with a leading zero.
        *first = *first & 0x3f | 0x40;
    }
    tlv(0x02, &bytes)
}

/// A time: in two digits of the year as long as these are enough.
pub(super) fn time(at: Timestamp) -> Vec<u8> {
    let at = at.to_zoned(TimeZone::UTC);
    if at.year() < 2050 {
        tlv(0x17, at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        tlv(0x18, at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

/// How a key signs, for those that are supported.
pub(super) fn algorithm(of: &SignatureAlgorithm) -> Option<&'static [u8]> {
    let all: [(&SignatureAlgorithm, &[u8]); 4] = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03"),
        (&rcgen::PKCS_RSA_SHA256, b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"),
        (&rcgen::PKCS_ED25519, b"\x30\x05\x06\x03\x2b\x65\x70"),
    ];
    all.into_iter().find(|(known, _)| *known == of).map(|(_, bytes)| bytes)
}

fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![tlv(OID, oid)];
    if critical {
        parts.push(tlv(0x01, &[0xff]));
    }
    parts.push(tlv(0x04, value));
    sequence(&parts)
}

/// All extensions of a certificate.
pub(super) fn extensions(
    asked: &Asked,
    usages: &[Box<str>],
    key_id: Option<&[u8]>,
) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    let (bits, purposes) = purposes(usages)?;
    if !bits.is_empty() {
        all.push(extension(b"\x55\x1d\x0f", true, &key_usage(&bits)));
    }
    if !purposes.is_empty() {
        let purposes: Vec<_> = purposes.into_iter().map(|oid| tlv(OID, oid)).collect();
        all.push(extension(b"\x55\x1d\x25", false, &sequence(&purposes)));
    }
    // No authority.
    all.push(extension(b"\x55\x1d\x13", true, &sequence(&[])));
    if let Some(id) = key_id {
        all.push(extension(b"\x55\x1d\x23", false, &sequence(&[tlv(0x80, id)])));
    }
    if !asked.names.is_empty() {
        let names: Vec<_> = asked.names.iter().map(name).collect();
        let only_these = asked.subject == sequence(&[]);
        all.push(extension(b"\x55\x1d\x11", only_these, &sequence(&names)));
    }
    Ok(sequence(&all))
}

fn name(name: &Name) -> Vec<u8> {
    match name {
        Name::Email(text) => tlv(0x81, text.as_bytes()),
        Name::Dns(text) => tlv(0x82, text.as_bytes()),
        Name::Uri(text) => tlv(0x86, text.as_bytes()),
        Name::Ip(IpAddr::V4(ip)) => tlv(0x87, &ip.octets()),
        Name::Ip(IpAddr::V6(ip)) => tlv(0x87, &ip.octets()),
    }
}

/// What a key may be used for: bits of the key usage, and purposes beyond.
type Purposes = (BTreeSet<u32>, Vec<&'static [u8]>);

fn purposes(usages: &[Box<str>]) -> Result<Purposes, String> {
    let (mut bits, mut purposes) = (BTreeSet::new(), Vec::<&[u8]>::new());
    for usage in usages {
        let bit = match &**usage {
            "signing" | "digital signature" => Some(0),
            "content commitment" => Some(1),
            "key encipherment" => Some(2),
            "data encipherment" => Some(3),
            "key agreement" => Some(4),
            "cert sign" => Some(5),
            "crl sign" => Some(6),
            "encipher only" => Some(7),
            "decipher only" => Some(8),
            _ => None,
        };
        if let Some(bit) = bit {
            bits.insert(bit);
            continue;
        }
        let oid: &[u8] = match &**usage {
            "any" => b"\x55\x1d\x25\x00",
            "server auth" => b"\x2b\x06\x01\x05\x05\x07\x03\x01",
            "client auth" => b"\x2b\x06\x01\x05\x05\x07\x03\x02",
            "code signing" => b"\x2b\x06\x01\x05\x05\x07\x03\x03",
            "email protection" | "s/mime" => b"\x2b\x06\x01\x05\x05\x07\x03\x04",
            "ipsec end system" => b"\x2b\x06\x01\x05\x05\x07\x03\x05",
            "ipsec tunnel" => b"\x2b\x06\x01\x05\x05\x07\x03\x06",
            "ipsec user" => b"\x2b\x06\x01\x05\x05\x07\x03\x07",
            "timestamping" => b"\x2b\x06\x01\x05\x05\x07\x03\x08",
            "ocsp signing" => b"\x2b\x06\x01\x05\x05\x07\x03\x09",
            "microsoft sgc" => b"\x2b\x06\x01\x04\x01\x82\x37\x0a\x03\x03",
            "netscape sgc" => b"\x60\x86\x48\x01\x86\xf8\x42\x04\x01",
            other => return Err(format!("unrecognized usage values: [{other:?}]")),
        };
        if !purposes.contains(&oid) {
            purposes.push(oid);
        }
    }
    purposes.sort_unstable();
    Ok((bits, purposes))
}

/// Named bits, the first being the highest, without those at the end that are not set.
fn key_usage(bits: &BTreeSet<u32>) -> Vec<u8> {
    let last = bits.last().copied().unwrap_or_default();
    let mut bytes = [0_u8; 2];
    for bit in bits {
        if let Some(byte) = bytes.get_mut(usize::from(*bit > 7)) {
            *byte |= 0x80 >> (bit % 8);
        }
    }
    let unused = 7 - u8::try_from(last % 8).unwrap_or_default();
    let mut content = vec![unused];
    content.extend(bytes.iter().take(if last > 7 { 2 } else { 1 }));
    tlv(0x03, &content)
}

/// A block of PEM.
pub(super) fn pem(label: &str, content: &[u8]) -> String {
    let text = STANDARD.encode(content);
    let mut block = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        block.push_str(line);
        block.push('\n');
        rest = after;
    }
    block.push_str(&format!("-----END {label}-----\n"));
    block
}
