//! The keys that sign and verify service account tokens.
//!
//! RSA and ECDSA on P-256 and P-384, from PEM files as upstream takes them: private keys, public keys, certificates.

use std::path::Path;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::{
    PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
    pem::{PemObject, SectionKind},
};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use x509_parser::{prelude::FromDer, public_key::PublicKey as Parsed, x509::SubjectPublicKeyInfo};

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] crate::tls::Error),
    /// There is nothing like a key in it.
    #[error("{0} does not contain a valid RSA or ECDSA key")]
    Missing(String),
    /// There is a key, but not of a kind we can use.
    #[error("{0} contains a key of a kind that is not supported (RSA, ECDSA on P-256 or P-384)")]
    Unsupported(String),
}

/// A key to verify with.
#[derive(Clone)]
pub struct PublicKey {
    id: String,
    algorithm: Algorithm,
    decoding: DecodingKey,
    members: Members,
}

/// A public key as JSON (RFC 7517).
#[derive(Clone, Debug, Serialize)]
pub struct JsonWebKey {
    #[serde(rename = "use")]
    usage: &'static str,
    kty: &'static str,
    kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    alg: &'static str,
    #[serde(flatten)]
    members: Members,
}

/// Public keys as JSON (RFC 7517).
#[derive(Clone, Debug, Serialize)]
pub struct JsonWebKeySet {
    keys: Vec<JsonWebKey>,
}

/// What a key consists of, in base64.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Members {
    /// A point of a curve.
    Elliptic { x: String, y: String },
    /// A modulus and an exponent.
    Rsa { n: String, e: String },
}

/// All keys to verify with, in the order of the flags.
#[derive(Clone, Debug, Default)]
pub struct PublicKeys(Vec<PublicKey>);

/// The key to sign with.
#[derive(Clone)]
pub struct SigningKey {
    public: PublicKey,
    encoding: EncodingKey,
}

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// It is not a signed token at all.
    #[error("not a signed token")]
    Malformed,
    /// No key of ours has the id that it names.
    #[error("invalid signature, no keys found")]
    NoKey,
    /// No key of ours made its signature.
    #[error("{0}")]
    Signature(String),
}

// === impl PublicKey ===

impl PublicKey {
    /// From a SubjectPublicKeyInfo; `None` if it is of a kind that cannot be used.
    fn from_spki(der: &[u8]) -> Option<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        let bits: &[u8] = info.subject_public_key.data.as_ref();
        let (algorithm, decoding, members) = match info.parsed().ok()? {
            Parsed::RSA(key) => (
                Algorithm::RS256,
                DecodingKey::from_rsa_der(bits),
                Members::Rsa { n: number(key.modulus), e: number(key.exponent) },
            ),
            Parsed::EC(_) => {
                let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?.to_id_string();
                let (algorithm, size) = match curve.as_str() {
                    "1.2.840.10045.3.1.7" => (Algorithm::ES256, 32),
                    "1.3.132.0.34" => (Algorithm::ES384, 48),
                    _ => return None,
                };
                // An uncompressed point: 4, x, y.
                let (x, y) = bits.strip_prefix(&[4])?.split_at_checked(size)?;
                let members = Members::Elliptic { x: BASE64.encode(x), y: BASE64.encode(y) };
                (algorithm, DecodingKey::from_ec_der(bits), members)
            }
            _ => return None,
        };
        let id = BASE64.encode(Sha256::digest(der));
        Some(Self { id, algorithm, decoding, members })
    }

    /// The id that tokens name it by: a digest of the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn algorithm_name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            _ => "RS256",
        }
    }

    fn to_jwk(&self) -> JsonWebKey {
        let (kty, crv) = match self.algorithm {
            Algorithm::ES256 => ("EC", Some("P-256")),
            Algorithm::ES384 => ("EC", Some("P-384")),
            _ => ("RSA", None),
        };
        JsonWebKey {
            usage: "sig",
            kty,
            kid: self.id.clone(),
            crv,
            alg: self.algorithm_name(),
            members: self.members.clone(),
        }
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PublicKey").field(&self.id).finish()
    }
}

/// A big number as keys write it: without leading zeros.
fn number(bytes: &[u8]) -> String {
    let leading = bytes.iter().take_while(|&&byte| byte == 0).count();
    BASE64.encode(bytes.get(leading..).unwrap_or_default())
}

// === impl PublicKeys ===

impl PublicKeys {
    /// All keys in these files, each of which has one at least.
    pub fn from_files<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<Self, KeyError> {
        let mut keys = Self::default();
        for file in files {
            keys.add_pem(&file.display().to_string(), &crate::tls::files::read(file)?)?;
        }
        Ok(keys)
    }

    /// Adds all keys in a PEM text; `what` names it in errors.
    pub fn add_pem(&mut self, what: &str, pem: &[u8]) -> Result<(), KeyError> {
        let before = self.0.len();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let Ok((kind, der)) = section else { break };
            let Some(spki) = public_key_of(kind, &der) else { continue };
            let key = PublicKey::from_spki(&spki).ok_or_else(|| KeyError::Unsupported(what.to_owned()))?;
            self.0.push(key);
        }
        if self.0.len() == before { Err(KeyError::Missing(what.to_owned())) } else { Ok(()) }
    }

    /// Adds a key.
    pub fn add(&mut self, key: PublicKey) {
        self.0.push(key);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The claims of a token that one of the keys signed. Times, issuer and audience are not looked at.
    pub fn verify(&self, token: &str) -> Result<Map<String, Value>, NotVerified> {
        let Ok(header) = jsonwebtoken::decode_header(token) else { return Err(NotVerified::Malformed) };
        // We understand no extension, so none may be critical (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(NotVerified::Malformed);
        }
        let named = header.kid.as_deref().unwrap_or_default();
        let mut last = NotVerified::NoKey;
        for key in self.0.iter().filter(|key| named.is_empty() || key.id == named) {
            let mut validation = Validation::new_for_family(key.decoding.family());
            validation.required_spec_claims.clear();
            validation.validate_exp = false;
            validation.validate_aud = false;
            match jsonwebtoken::decode::<Map<String, Value>>(token, &key.decoding, &validation) {
                Ok(verified) => return Ok(verified.claims),
                Err(error) => last = NotVerified::Signature(error.to_string()),
            }
        }
        Err(last)
    }

    /// All of them, for relying parties.
    pub fn to_jwks(&self) -> JsonWebKeySet {
        JsonWebKeySet { keys: self.0.iter().map(PublicKey::to_jwk).collect() }
    }

    /// The signature algorithms of the keys, sorted, each once.
    pub fn algorithms(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.0.iter().map(PublicKey::algorithm_name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn public_key_of(kind: SectionKind, der: &[u8]) -> Option<Vec<u8>> {
    match kind {
        SectionKind::PublicKey => Some(der.to_vec()),
        SectionKind::Certificate => {
            let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
            Some(certificate.public_key().raw.to_vec())
        }
        _ => {
            let key = KeyPair::try_from(&private_key_of(kind, der)?).ok()?;
            Some(key.subject_public_key_info())
        }
    }
}

fn private_key_of(kind: SectionKind, der: &[u8]) -> Option<PrivateKeyDer<'_>> {
    match kind {
        SectionKind::PrivateKey => Some(PrivatePkcs8KeyDer::from(der).into()),
        SectionKind::RsaPrivateKey => Some(PrivatePkcs1KeyDer::from(der).into()),
        SectionKind::EcPrivateKey => Some(PrivateSec1KeyDer::from(der).into()),
        _ => None,
    }
}

// === impl SigningKey ===

impl SigningKey {
    /// `--service-account-signing-key-file`
    pub fn from_file(file: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&file.display().to_string(), &crate::tls::files::read(file)?)
    }

    /// The first private key of a PEM text; `what` names it in errors.
    pub fn from_pem(what: &str, pem: &[u8]) -> Result<Self, KeyError> {
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let Ok((kind, der)) = section else { break };
            let Some(private) = private_key_of(kind, &der) else { continue };
            let unsupported = || KeyError::Unsupported(what.to_owned());
            let spki = KeyPair::try_from(&private).ok().ok_or_else(unsupported)?.subject_public_key_info();
            let public = PublicKey::from_spki(&spki).ok_or_else(unsupported)?;
            let encoding = match (public.algorithm, &private) {
                (Algorithm::RS256, PrivateKeyDer::Pkcs1(key)) => {
                    EncodingKey::from_rsa_der(key.secret_pkcs1_der())
                }
                (Algorithm::RS256, _) => EncodingKey::from_rsa_pem(pem).ok().ok_or_else(unsupported)?,
                (_, PrivateKeyDer::Sec1(key)) => {
                    EncodingKey::from_ec_der(&sec1_to_pkcs8(key.secret_sec1_der(), public.algorithm))
                }
                (_, key) => EncodingKey::from_ec_der(key.secret_der()),
            };
            return Ok(Self { public, encoding });
        }
        Err(KeyError::Missing(what.to_owned()))
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(self.public.algorithm);
        header.typ = None;
        header.kid = Some(self.public.id.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public.id).finish()
    }
}

/// Wraps an elliptic curve key as openssl writes it (RFC 5915) into the form that signing takes (RFC 5958).
fn sec1_to_pkcs8(sec1: &[u8], algorithm: Algorithm) -> Vec<u8> {
    const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    let curve = if algorithm == Algorithm::ES384 { P384 } else { P256 };
    let version: &[u8] = &[0x02, 0x01, 0x00];
    let kind = der(0x30, &[EC_PUBLIC_KEY, curve]);
    der(0x30, &[version, &kind, &der(0x04, &[sec1])])
}

/// A DER value of this tag around these contents.
fn der(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let mut value = vec![tag];
    match u8::try_from(contents.len()) {
        Ok(short) if short < 0x80 => value.push(short),
        _ => {
            let length = contents.len().to_be_bytes();
            let length: Vec<u8> = length.into_iter().skip_while(|&byte| byte == 0).collect();
            // At most eight bytes.
            value.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
            value.extend(length);
        }
    }
    value.extend(contents);
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pkcs8(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
        KeyPair::generate_for(algorithm).unwrap().serialize_pem()
    }

    /// The key inside a PKCS #8 text, in its own older form.
    fn unwrapped(label: &str, pkcs8: &str) -> String {
        let (_, pem) = x509_parser::pem::parse_x509_pem(pkcs8.as_bytes()).unwrap();
        let (_, outer) = x509_parser::der_parser::parse_der(&pem.contents).unwrap();
        let inner = outer.as_sequence().unwrap()[2].as_slice().unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(inner);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    fn rsa() -> String {
        unwrapped("RSA PRIVATE KEY", &pkcs8(&rcgen::PKCS_RSA_SHA256))
    }

    /// As `openssl ecparam -genkey` writes it.
    fn sec1(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
        let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        format!("{parameters}{}", unwrapped("EC PRIVATE KEY", &pkcs8(algorithm)))
    }

    fn keys(pems: &[&str]) -> PublicKeys {
        let mut keys = PublicKeys::default();
        for pem in pems {
            keys.add_pem("test", pem.as_bytes()).unwrap();
        }
        keys
    }

    #[test]
    fn keys_of_all_forms_sign_and_verify() {
        let rsa = rsa();
        for pem in [
            rsa.clone(),
            pkcs8(&rcgen::PKCS_RSA_SHA256),
            sec1(&rcgen::PKCS_ECDSA_P256_SHA256),
            sec1(&rcgen::PKCS_ECDSA_P384_SHA384),
            pkcs8(&rcgen::PKCS_ECDSA_P256_SHA256),
            pkcs8(&rcgen::PKCS_ECDSA_P384_SHA384),
        ] {
            let signing = SigningKey::from_pem("test", pem.as_bytes()).unwrap();
            let token = signing.sign(&json!({"sub": "x"})).unwrap();
            assert_eq!(keys(&[&pem]).verify(&token).unwrap()["sub"], json!("x"));
            let header = jsonwebtoken::decode_header(&token).unwrap();
            assert_eq!((header.typ, header.kid.as_deref()), (None, Some(signing.public().id())));
        }
        let public = keys(&[&KeyPair::from_pem(&rsa).unwrap().public_key_pem()]);
        let token = SigningKey::from_pem("test", rsa.as_bytes()).unwrap().sign(&json!({})).unwrap();
        assert!(public.verify(&token).is_ok(), "the public half alone verifies");
    }

    #[test]
    fn only_a_signature_of_one_of_the_keys_is_believed() {
        let (ours, theirs) = (pkcs8(&rcgen::PKCS_ECDSA_P256_SHA256), pkcs8(&rcgen::PKCS_ECDSA_P256_SHA256));
        let keys = keys(&[&rsa(), &ours]);
        let sign =
            |pem: &str| SigningKey::from_pem("test", pem.as_bytes()).unwrap().sign(&json!({"a": 1})).unwrap();
        assert!(keys.verify(&sign(&ours)).is_ok());
        assert_eq!(keys.verify(&sign(&theirs)), Err(NotVerified::NoKey));
        assert_eq!(keys.verify("a.b"), Err(NotVerified::Malformed));
        let forge = |header: Value| {
            let token = sign(&ours);
            let rest = token.split_once('.').unwrap().1.to_owned();
            keys.verify(&format!("{}.{rest}", BASE64.encode(header.to_string())))
        };
        assert!(
            matches!(forge(json!({"alg": "ES256"})), Err(NotVerified::Signature(_))),
            "no id: all are tried"
        );
        assert!(matches!(forge(json!({"alg": "HS256"})), Err(NotVerified::Signature(_))));
        assert_eq!(forge(json!({"alg": "none"})), Err(NotVerified::Malformed));
        assert_eq!(forge(json!({"alg": "ES256", "crit": ["b64"]})), Err(NotVerified::Malformed));
    }

    #[test]
    fn keys_are_published_by_kind_and_id() {
        let elliptic = sec1(&rcgen::PKCS_ECDSA_P256_SHA256);
        let keys = keys(&[&elliptic, &rsa()]);
        assert_eq!(keys.algorithms(), ["ES256", "RS256"]);
        let text = serde_json::to_string(&keys.to_jwks()).unwrap();
        let start = r#"{"keys":[{"use":"sig","kty":"EC","kid":""#;
        assert!(text.starts_with(start), "{text}");
        let jwks: Value = serde_json::from_str(&text).unwrap();
        let members = |index: usize| -> Vec<String> {
            jwks["keys"][index].as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(members(0), ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!(members(1), ["alg", "e", "kid", "kty", "n", "use"]);
        assert_eq!(jwks["keys"][1]["e"], json!("AQAB"));
        assert_eq!(jwks["keys"][1]["n"].as_str().unwrap().len(), 342, "2048 bits without a leading zero");
        let inner =
            elliptic.split_once("-----BEGIN EC PRIVATE").map(|it| format!("-----BEGIN EC PRIVATE{}", it.1));
        let info = KeyPair::from_pem(&inner.unwrap()).unwrap().subject_public_key_info();
        assert_eq!(jwks["keys"][0]["kid"], json!(BASE64.encode(Sha256::digest(info))));
    }

    #[test]
    fn files_without_usable_keys_are_refused_by_name() {
        let mut keys = PublicKeys::default();
        for (pem, wanted) in [
            ("nothing".to_owned(), "f does not contain a valid RSA or ECDSA key"),
            (
                pkcs8(&rcgen::PKCS_ED25519),
                "f contains a key of a kind that is not supported (RSA, ECDSA on P-256 or P-384)",
            ),
        ] {
            assert_eq!(keys.add_pem("f", pem.as_bytes()).unwrap_err().to_string(), wanted);
            assert_eq!(SigningKey::from_pem("f", pem.as_bytes()).unwrap_err().to_string(), wanted);
        }
    }
}
