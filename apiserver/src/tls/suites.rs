//! `--tls-cipher-suites`: which cipher suites of TLS 1.2 are spoken, by the names of IANA, as upstream's flag has them.
//!
//! Those of TLS 1.3 cannot be chosen, as upstream's cannot. What is known to be weak is not there at all.

use rustls::{CipherSuite, SupportedCipherSuite, crypto::CryptoProvider};

/// What there is to choose from: our name for it, upstream's names.
const CHOICES: [(CipherSuite, &[&str]); 6] = [
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, &["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, &["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, &["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        &["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        &["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"],
    ),
];
/// Those of TLS 1.3: naming them chooses nothing.
const ALWAYS: [(CipherSuite, &str); 3] = [
    (CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
    (CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"),
    (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256"),
];

/// The suite of a name.
///
/// # Errors
/// A sentence that says what there is.
pub fn named(name: &str) -> Result<CipherSuite, String> {
    let chosen = CHOICES.iter().find(|(_, names)| names.contains(&name)).map(|(suite, _)| *suite);
    let always = || ALWAYS.iter().find(|(_, it)| *it == name).map(|(suite, _)| *suite);
    chosen.or_else(always).ok_or_else(|| {
        let all: Vec<&str> = CHOICES.iter().filter_map(|(_, names)| names.first().copied()).collect();
        format!("Cipher suite {name} not supported or doesn't exist; there are {}", all.join(", "))
    })
}

/// A provider that speaks only these of TLS 1.2; all if there are none.
pub fn only(mut provider: CryptoProvider, suites: &[CipherSuite]) -> CryptoProvider {
    if !suites.is_empty() {
        let is_spoken =
            |suite: &SupportedCipherSuite| suite.tls13().is_some() || suites.contains(&suite.suite());
        provider.cipher_suites.retain(is_spoken);
    }
    provider
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_known_by_their_names_and_weak_ones_are_not() {
        for name in ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"] {
            assert_eq!(named(name), Ok(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256));
        }
        assert_eq!(named("TLS_AES_128_GCM_SHA256"), Ok(CipherSuite::TLS13_AES_128_GCM_SHA256));
        for name in ["TLS_RSA_WITH_RC4_128_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA", "", "nonsense"] {
            assert!(named(name).is_err(), "{name}");
        }
    }

    #[test]
    fn only_what_was_chosen_of_tls_12_is_spoken_and_all_of_tls_13() {
        let provider = || rustls::crypto::aws_lc_rs::default_provider();
        let chosen = CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
        let spoken = only(provider(), &[chosen]).cipher_suites;
        let old: Vec<_> = spoken.iter().filter(|it| it.tls13().is_none()).map(|it| it.suite()).collect();
        assert_eq!(old, [chosen]);
        assert_eq!(spoken.len(), 4);
        assert_eq!(only(provider(), &[]).cipher_suites.len(), provider().cipher_suites.len());
    }
}
