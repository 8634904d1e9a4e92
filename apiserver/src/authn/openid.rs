//! What relying parties read to verify service account tokens themselves (OpenID Connect Discovery 1.0).

use serde::Serialize;

use super::keys::PublicKeys;

/// The path of the discovery document.
pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
/// The path of the key set.
pub const KEYS_PATH: &str = "/openid/v1/jwks";
/// The content type of the key set.
pub const KEYS_CONTENT_TYPE: &str = "application/jwk-set+json";
/// The `Cache-Control` of both.
pub const CACHE_CONTROL: &str = "public, max-age=3600";

/// The discovery document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Configuration {
    issuer: String,
    jwks_uri: String,
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: Vec<&'static str>,
}

/// The discovery document. `keys_url` is `--service-account-jwks-uri` or, by default, our own address with [`KEYS_PATH`].
/// `None` if the issuer is no URL that the specification allows: then nothing is served, as upstream has it.
pub fn configuration(issuer: &str, keys_url: &str, keys: &PublicKeys) -> Option<Configuration> {
    let usable = issuer.starts_with("https://")
        && !issuer.contains(['?', '#'])
        && keys_url.starts_with("https://")
        && !keys.is_empty();
    usable.then(|| Configuration {
        issuer: issuer.to_owned(),
        jwks_uri: keys_url.to_owned(),
        response_types_supported: ["id_token"],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: keys.algorithms(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_issuers_are_published() {
        let mut keys = PublicKeys::default();
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        keys.add_pem("test", pem.as_bytes()).unwrap();
        let url = "https://192.0.2.1:6443/openid/v1/jwks";
        let document = configuration("https://kubernetes.default.svc", url, &keys).unwrap();
        assert_eq!(
            serde_json::to_string(&document).unwrap(),
            concat!(
                r#"{"issuer":"https://kubernetes.default.svc","jwks_uri":"https://192.0.2.1:6443/openid/v1/jwks","#,
                r#""response_types_supported":["id_token"],"subject_types_supported":["public"],"#,
                r#""id_token_signing_alg_values_supported":["ES256"]}"#
            )
        );
        for issuer in ["kubernetes/serviceaccount", "http://a", "https://a?b", "https://a#b"] {
            assert_eq!(configuration(issuer, url, &keys), None, "{issuer}");
        }
        assert_eq!(configuration("https://a", url, &PublicKeys::default()), None);
    }
}
