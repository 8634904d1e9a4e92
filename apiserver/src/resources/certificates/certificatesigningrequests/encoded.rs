//! What is wrong with encoded certificates and requests for them, in the words of Go's `crypto/x509` where clients
//! are likely to see them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use x509_parser::{
    certification_request::X509CertificationRequest,
    error::X509Error,
    oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519},
    prelude::{FromDer, X509Certificate},
};

use crate::resources::shared::pem::blocks;

const TRAILING: &str = "asn1: syntax error: trailing data";

/// What is wrong with a request for a certificate, if anything: it must be signed by the key it is for.
pub(super) fn request_fault(pem: &[u8]) -> Option<String> {
    let first = blocks(pem).into_iter().next().filter(|block| block.label == "CERTIFICATE REQUEST");
    let Some(block) = first else { return Some("PEM block type must be CERTIFICATE REQUEST".to_owned()) };
    let Ok((rest, request)) = X509CertificationRequest::from_der(&block.content) else {
        return Some("asn1: structure error: malformed certificate request".to_owned());
    };
    if !rest.is_empty() {
        return Some(TRAILING.to_owned());
    }
    let algorithm = &request.certification_request_info.subject_pki.algorithm.algorithm;
    let wrong = match request.verify_signature() {
        Ok(()) => return None,
        Err(X509Error::SignatureUnsupportedAlgorithm) => {
            "x509: cannot verify signature: algorithm unimplemented"
        }
        Err(_) if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY => "x509: ECDSA verification failure",
        Err(_) if *algorithm == OID_SIG_ED25519 => "x509: Ed25519 verification failure",
        Err(_) => "crypto/rsa: verification error",
    };
    Some(wrong.to_owned())
}

/// The common name that a request for a certificate, as an object has it, names as its subject's: the last, if several.
///
/// # Errors
/// Why it is no such request, in Go's words.
pub(crate) fn common_name(request: &str) -> Result<String, String> {
    let pem = STANDARD.decode(request).map_err(|error| error.to_string())?;
    let first = blocks(&pem).into_iter().next().filter(|block| block.label == "CERTIFICATE REQUEST");
    let Some(block) = first else { return Err("PEM block type must be CERTIFICATE REQUEST".to_owned()) };
    let (_, request) = X509CertificationRequest::from_der(&block.content)
        .map_err(|_malformed| "asn1: structure error: malformed certificate request".to_owned())?;
    let subject = &request.certification_request_info.subject;
    let name = subject.iter_common_name().filter_map(|it| it.as_str().ok()).last();
    Ok(name.unwrap_or_default().to_owned())
}

/// The organizations that a request for a certificate names as its subject's: the groups of the client it will be of.
///
/// # Errors
/// Why it is no such request, in Go's words.
pub(crate) fn organizations(pem: &[u8]) -> Result<Vec<String>, String> {
    let first = blocks(pem).into_iter().next().filter(|block| block.label == "CERTIFICATE REQUEST");
    let Some(block) = first else { return Err("PEM block type must be CERTIFICATE REQUEST".to_owned()) };
    let (_, request) = X509CertificationRequest::from_der(&block.content)
        .map_err(|_malformed| "asn1: structure error: malformed certificate request".to_owned())?;
    let subject = &request.certification_request_info.subject;
    Ok(subject.iter_organization().filter_map(|it| it.as_str().ok()).map(str::to_owned).collect())
}

/// What is wrong with a chain of certificates, if anything. None at all is fine.
pub(super) fn certificate_fault(pem: &[u8]) -> Option<String> {
    if pem.is_empty() {
        return None;
    }
    let blocks = blocks(pem);
    for block in &blocks {
        if block.label != "CERTIFICATE" {
            let label = api_types::field::go_quote(&block.label);
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {label}"));
        }
        if block.has_headers {
            return Some("no PEM block headers are permitted".to_owned());
        }
        if block.content.is_empty() {
            return Some("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        let mut rest = block.content.as_slice();
        while !rest.is_empty() {
            match X509Certificate::from_der(rest) {
                Ok((after, _)) => rest = after,
                Err(_) => return Some("x509: malformed certificate".to_owned()),
            }
        }
    }
    blocks.is_empty().then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    fn pem(label: &str, content: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(content))
    }

    #[test]
    fn a_request_must_be_signed_by_its_own_key() {
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::new(["example.com".to_owned()])
            .unwrap()
            .serialize_request(&key)
            .unwrap();
        let good = request.der().to_vec();
        let changed = good.windows(7).position(|window| window == b"example").unwrap();
        let (mut forged, mut long) = (good.clone(), good.clone());
        forged[changed] = b'E';
        long.push(0);
        for (content, expected) in [
            (&good, None),
            (&forged, Some("x509: ECDSA verification failure")),
            (&long, Some(TRAILING)),
            (&b"x".to_vec(), Some("asn1: structure error: malformed certificate request")),
        ] {
            assert_eq!(request_fault(pem("CERTIFICATE REQUEST", content).as_bytes()).as_deref(), expected);
        }
        assert_eq!(
            request_fault(pem("CERTIFICATE", &good).as_bytes()).as_deref(),
            Some("PEM block type must be CERTIFICATE REQUEST")
        );
    }

    #[test]
    fn every_organization_of_a_request_counts() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
        params.distinguished_name.push(rcgen::DnType::CommonName, "x");
        let request = pem("CERTIFICATE REQUEST", params.serialize_request(&key).unwrap().der());
        assert_eq!(organizations(request.as_bytes()), Ok(vec!["system:masters".to_owned()]));
        assert_eq!(organizations(b"x"), Err("PEM block type must be CERTIFICATE REQUEST".to_owned()));
    }

    #[test]
    fn certificates_are_blocks_of_certificates_and_nothing_else() {
        let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let good = made.cert.pem();
        let headed =
            good.replacen("-----\n", "-----\nA: b\n\n", 1).replacen("-----\r\n", "-----\nA: b\n\n", 1);
        for (pem, expected) in [
            (String::new(), None),
            (good.clone(), None),
            (format!("{good}{good}"), None),
            ("x".to_owned(), Some("must contain at least one CERTIFICATE PEM block")),
            (pem("X", b"x"), Some(r#"only CERTIFICATE PEM blocks are allowed, found "X""#)),
            (headed, Some("no PEM block headers are permitted")),
            (pem("CERTIFICATE", b""), Some("found CERTIFICATE PEM block containing 0 certificates")),
            (pem("CERTIFICATE", b"x"), Some("x509: malformed certificate")),
        ] {
            assert_eq!(certificate_fault(pem.as_bytes()).as_deref(), expected);
        }
    }
}
