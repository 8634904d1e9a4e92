//! An issuer's keys (RFC 7517) and the signatures they make (RFC 7518).

use aws_lc_rs::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::Deserialize;

/// The algorithms that are ever taken.
pub const ALGORITHMS: [&str; 9] =
    ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];
/// How many keys of an issuer are looked at.
const KEYS_MAX: usize = 1000;

/// The keys of an issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    id: String,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point.
    Elliptic {
        curve: Curve,
        point: Vec<u8>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct JsonWebKey {
    kid: String,
    kty: String,
    #[serde(rename = "use")]
    usage: String,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

// === impl KeySet ===

impl KeySet {
    /// What can be used of a document of keys; keys of other kinds are left out.
    ///
    /// # Errors
    /// It is no such document.
    pub fn read(document: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(document).map_err(|error| error.to_string())?;
        let keys = document.keys.into_iter().take(KEYS_MAX);
        Ok(Self(keys.filter_map(|key| Key::read(serde_json::from_value(key).ok()?)).collect()))
    }

    /// Whether one of the keys of this id (any, if it is empty) made the signature.
    pub fn verify(&self, algorithm: &str, id: &str, message: &[u8], signature: &[u8]) -> bool {
        self.0
            .iter()
            .filter(|key| id.is_empty() || key.id == id)
            .any(|key| key.material.verify(algorithm, message, signature))
    }
}

// === impl Key ===

impl Key {
    fn read(key: JsonWebKey) -> Option<Self> {
        if !["", "sig"].contains(&key.usage.as_str()) {
            return None;
        }
        let bytes = |text: &str| BASE64.decode(text.trim_end_matches('=')).ok().filter(|it| !it.is_empty());
        let material = match (key.kty.as_str(), key.crv.as_str()) {
            ("RSA", _) => Material::Rsa { modulus: bytes(&key.n)?, exponent: bytes(&key.e)? },
            ("EC", crv) => {
                let (curve, size) = match crv {
                    "P-256" => (Curve::P256, 32),
                    "P-384" => (Curve::P384, 48),
                    "P-521" => (Curve::P521, 66),
                    _ => return None,
                };
                let (x, y) = (bytes(&key.x)?, bytes(&key.y)?);
                if x.len() != size || y.len() != size {
                    return None;
                }
                Material::Elliptic { curve, point: [&[4][..], &x, &y].concat() }
            }
            _ => return None,
        };
        Some(Self { id: key.kid, material })
    }
}

// === impl Material ===

impl Material {
    fn verify(&self, algorithm: &str, message: &[u8], signed: &[u8]) -> bool {
        match self {
            Self::Rsa { modulus, exponent } => {
                let with: &RsaParameters = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(with, message, signed).is_ok()
            }
            Self::Elliptic { curve, point } => {
                let with = match (algorithm, curve) {
                    ("ES256", Curve::P256) => &signature::ECDSA_P256_SHA256_FIXED,
                    ("ES384", Curve::P384) => &signature::ECDSA_P384_SHA384_FIXED,
                    ("ES512", Curve::P521) => &signature::ECDSA_P521_SHA512_FIXED,
                    _ => return false,
                };
                UnparsedPublicKey::new(with, point).verify(message, signed).is_ok()
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        rsa::KeyPair as RsaKeyPair,
        signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RsaEncoding},
    };
    use serde_json::{Value, json};

    use super::*;

    /// A key that signs, for tests.
    pub(in super::super) enum Signer {
        Rsa(RsaKeyPair, &'static str, &'static dyn RsaEncoding),
        Elliptic(EcdsaKeyPair, &'static str, &'static str),
    }

    impl Signer {
        pub(in super::super) fn rsa(algorithm: &'static str) -> Self {
            let encoding: &'static dyn RsaEncoding = match algorithm {
                "RS256" => &signature::RSA_PKCS1_SHA256,
                "RS384" => &signature::RSA_PKCS1_SHA384,
                "RS512" => &signature::RSA_PKCS1_SHA512,
                "PS256" => &signature::RSA_PSS_SHA256,
                "PS384" => &signature::RSA_PSS_SHA384,
                _ => &signature::RSA_PSS_SHA512,
            };
            Self::Rsa(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap(), algorithm, encoding)
        }

        pub(in super::super) fn elliptic(algorithm: &'static str) -> Self {
            let (with, curve): (&'static EcdsaSigningAlgorithm, _) = match algorithm {
                "ES256" => (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
                "ES384" => (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
                _ => (&signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
            };
            Self::Elliptic(EcdsaKeyPair::generate(with).unwrap(), algorithm, curve)
        }

        fn algorithm(&self) -> &'static str {
            match self {
                Self::Rsa(_, algorithm, _) | Self::Elliptic(_, algorithm, _) => algorithm,
            }
        }

        fn signature(&self, message: &[u8]) -> Vec<u8> {
            match self {
                Self::Rsa(key, _, encoding) => {
                    let mut signed = vec![0; key.public_modulus_len()];
                    key.sign(*encoding, &SystemRandom::new(), message, &mut signed).unwrap();
                    signed
                }
                Self::Elliptic(key, ..) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            }
        }

        /// A token of these claims.
        pub(in super::super) fn token(&self, id: &str, claims: &Value) -> String {
            let header = json!({"alg": self.algorithm(), "kid": id, "typ": "JWT"});
            let [header, claims] = [&header, claims].map(|it| BASE64.encode(it.to_string()));
            let message = format!("{header}.{claims}");
            let signed = BASE64.encode(self.signature(message.as_bytes()));
            format!("{message}.{signed}")
        }

        /// Its public half.
        pub(in super::super) fn public(&self, id: &str) -> Value {
            match self {
                Self::Rsa(key, ..) => {
                    let public = key.public_key();
                    let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
                    let exponent = public.exponent().big_endian_without_leading_zero().to_vec();
                    json!({"kty": "RSA", "use": "sig", "kid": id, "n": BASE64.encode(modulus), "e": BASE64.encode(exponent)})
                }
                Self::Elliptic(key, _, curve) => {
                    let (x, y) =
                        key.public_key().as_ref()[1..].split_at((key.public_key().as_ref().len() - 1) / 2);
                    json!({"kty": "EC", "kid": id, "crv": curve, "x": BASE64.encode(x), "y": BASE64.encode(y)})
                }
            }
        }
    }

    #[test]
    fn every_algorithm_is_verified_by_its_own_key_and_no_other() {
        for signer in [
            Signer::rsa("RS256"),
            Signer::rsa("RS384"),
            Signer::rsa("RS512"),
            Signer::rsa("PS256"),
            Signer::rsa("PS384"),
            Signer::rsa("PS512"),
            Signer::elliptic("ES256"),
            Signer::elliptic("ES384"),
            Signer::elliptic("ES512"),
        ] {
            let algorithm = signer.algorithm();
            let other = json!({"kty": "oct", "kid": "one", "k": "AAAA"});
            let document = json!({"keys": [other, signer.public("one"), 7]}).to_string();
            let keys = KeySet::read(document.as_bytes()).unwrap();
            let signed = signer.signature(b"message");
            assert!(keys.verify(algorithm, "one", b"message", &signed), "{algorithm}");
            assert!(keys.verify(algorithm, "", b"message", &signed), "{algorithm}");
            for (with, id, message) in [
                (algorithm, "two", "message"),
                (algorithm, "one", "massage"),
                ("HS256", "one", "message"),
                ("none", "one", "message"),
            ] {
                assert!(
                    !keys.verify(with, id, message.as_bytes(), &signed),
                    "{algorithm} {with} {id} {message}"
                );
            }
            assert!(!keys.verify(algorithm, "one", b"message", b""));
        }
        assert!(KeySet::read(b"[]").is_err());
    }
}
