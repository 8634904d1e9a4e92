//! Whether a certificate and a private key in PEM belong together, in the words of Go's `crypto/tls`: they stand in
//! warnings that clients see.

use rcgen::{KeyPair, PublicKeyData};
use x509_parser::{
    prelude::{FromDer, X509Certificate},
    x509::SubjectPublicKeyInfo,
};

use crate::resources::shared::pem::blocks;

/// What is wrong, if anything. Only the first certificate is looked at: it is the one that is presented.
pub(super) fn wrong(certificate: &[u8], key: &[u8]) -> Option<String> {
    check(certificate, key).err()
}

fn check(certificate: &[u8], key: &[u8]) -> Result<(), String> {
    let certificate = find(certificate, |label| label == "CERTIFICATE").map_err(|skipped| match skipped.as_slice() {
        [] => "tls: failed to find any PEM data in certificate input".to_owned(),
        [only] if only.ends_with("PRIVATE KEY") => {
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned()
        }
        more => format!(
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]",
            more.join(" ")
        ),
    })?;
    let is_key = |label: &str| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY");
    let key = find(key, is_key).map_err(|skipped| match skipped.as_slice() {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [only] if only == "CERTIFICATE" => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        more => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
            more.join(" ")
        ),
    })?;
    let (_, certificate) =
        X509Certificate::from_der(&certificate).map_err(|_parse| "x509: malformed certificate".to_owned())?;
    let key =
        KeyPair::try_from(key.as_slice()).map_err(|_parse| "tls: failed to parse private key".to_owned())?;
    let public = certificate.public_key();
    let ours = key.subject_public_key_info();
    if public.raw == ours.as_slice() {
        return Ok(());
    }
    let same_type = SubjectPublicKeyInfo::from_der(&ours)
        .is_ok_and(|(_, ours)| ours.algorithm.algorithm == public.algorithm.algorithm);
    Err(if same_type {
        "tls: private key does not match public key".to_owned()
    } else {
        "tls: private key type does not match public key type".to_owned()
    })
}

/// The content of the first block with such a label, or the labels of all blocks.
fn find(pem: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Vec<u8>, Vec<String>> {
    let mut skipped = Vec::new();
    for block in blocks(pem) {
        if wanted(&block.label) {
            return Ok(block.content);
        }
        skipped.push(block.label);
    }
    Err(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_pair_matches_or_the_reason_is_said() {
        let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let other = KeyPair::generate().unwrap().serialize_pem();
        let broken = certificate.replacen("MII", "AAA", 1);
        let switched = "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched";
        for (certificate, key, wrong_in) in [
            (&certificate, key.as_str(), None),
            (&"x".to_owned(), "x", Some("tls: failed to find any PEM data in certificate input")),
            (&key, &key, Some(switched)),
            (&certificate, "x", Some("tls: failed to find any PEM data in key input")),
            (
                &certificate,
                &certificate,
                Some("tls: found a certificate rather than a key in the PEM for the private key"),
            ),
            (&certificate, &other, Some("tls: private key does not match public key")),
            (&broken, &key, Some("x509: malformed certificate")),
        ] {
            assert_eq!(wrong(certificate.as_bytes(), key.as_bytes()).as_deref(), wrong_in);
        }
    }
}
