//! Signed tokens for ServiceAccounts.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Signs tokens with one key.
pub struct Maker {
    header: Header,
    key: EncodingKey,
}

// === impl Maker ===

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maker").field("algorithm", &self.header.alg).finish_non_exhaustive()
    }
}

impl Maker {
    /// With a private key in PEM form.
    ///
    /// # Errors
    /// Why the key is of no use.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        let pair = KeyPair::from_pem(pem).map_err(|error| format!("the key cannot be read: {error}"))?;
        let (algorithm, key) = if pair.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256 {
            (Algorithm::ES256, EncodingKey::from_ec_pem(pem.as_bytes()))
        } else if pair.algorithm() == &rcgen::PKCS_ECDSA_P384_SHA384 {
            (Algorithm::ES384, EncodingKey::from_ec_pem(pem.as_bytes()))
        } else {
            (Algorithm::RS256, EncodingKey::from_rsa_pem(pem.as_bytes()))
        };
        let key = key.map_err(|error| format!("the key cannot be read: {error}"))?;
        // By this the server knows which of its keys to verify with.
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.subject_public_key_info()));
        let header = Header { typ: None, kid: Some(id), ..Header::new(algorithm) };
        Ok(Self { header, key })
    }

    /// A token that says this.
    ///
    /// # Errors
    /// Why it cannot be signed.
    pub fn make(&self, claims: &Value) -> Result<String, String> {
        jsonwebtoken::encode(&self.header, claims, &self.key).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn maker() -> Maker {
        Maker::from_pem(&KeyPair::generate().unwrap().serialize_pem()).unwrap()
    }

    #[test]
    fn a_token_names_its_key() {
        let token = maker().make(&serde_json::json!({"sub": "x"})).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!((header.alg, header.typ), (Algorithm::ES256, None));
        assert_eq!(header.kid.unwrap().len(), 43);
    }
}
