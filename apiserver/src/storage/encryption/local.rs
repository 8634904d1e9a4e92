//! The ciphers, in upstream's forms of what they give. Pure but for random bytes.

use anyhow::Context as _;
use aws_lc_rs::{
    aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    cipher::{
        AES_128, AES_192, AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
        PaddedBlockEncryptingKey, UnboundCipherKey,
    },
    hkdf::{HKDF_SHA256, KeyType, Prk},
    iv::{FixedLength, IV_LEN_128_BIT},
    rand,
};
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305, aead::Aead as _};

const TOO_SHORT: &str = "the stored data was shorter than the required size";
const TAG_BYTES: usize = 16;
const SECRETBOX_NONCE_BYTES: usize = 24;
/// Of a seed, of what a key is derived with, and of the key.
pub(super) const SEED_BYTES: usize = 32;

/// How values are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cipher {
    /// Nonce, ciphertext, tag; the place in the store is authenticated.
    AesGcm,
    /// Initialisation vector, padded ciphertext; nothing is authenticated.
    AesCbc,
    /// Nonce, tag, ciphertext.
    Secretbox,
}

/// A key, ready for use.
pub(super) enum Key {
    AesGcm(LessSafeKey),
    AesCbc { encrypting: Box<PaddedBlockEncryptingKey>, decrypting: Box<PaddedBlockDecryptingKey> },
    Secretbox(Box<XSalsa20Poly1305>),
}

/// A seed that a key is derived from for every value: random bytes, then what AES-GCM gives under the key derived with them.
pub(super) struct Seed(Prk);

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed")
    }
}

/// Random bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_unspecified| "unable to read sufficient random bytes".to_owned())?;
    Ok(bytes)
}

// === impl Key ===

impl Key {
    /// A key for a cipher.
    ///
    /// # Errors
    /// A wrong length.
    pub(super) fn new(cipher: Cipher, secret: &[u8]) -> anyhow::Result<Self> {
        let size = || format!("crypto/aes: invalid key size {}", secret.len());
        match cipher {
            Cipher::AesGcm => {
                let algorithm = match secret.len() {
                    16 => &AES_128_GCM,
                    24 => &AES_192_GCM,
                    _ => &AES_256_GCM,
                };
                Ok(Self::AesGcm(LessSafeKey::new(
                    UnboundKey::new(algorithm, secret).ok().with_context(size)?,
                )))
            }
            Cipher::AesCbc => {
                let algorithm = match secret.len() {
                    16 => &AES_128,
                    24 => &AES_192,
                    _ => &AES_256,
                };
                let key = || UnboundCipherKey::new(algorithm, secret).ok().with_context(size);
                Ok(Self::AesCbc {
                    encrypting: Box::new(
                        PaddedBlockEncryptingKey::cbc_pkcs7(key()?).ok().with_context(size)?,
                    ),
                    decrypting: Box::new(
                        PaddedBlockDecryptingKey::cbc_pkcs7(key()?).ok().with_context(size)?,
                    ),
                })
            }
            Cipher::Secretbox => {
                let key = XSalsa20Poly1305::new_from_slice(secret).ok();
                let expected =
                    || format!("expected key size 32 for secretbox provider, got {}", secret.len());
                Ok(Self::Secretbox(Box::new(key.with_context(expected)?)))
            }
        }
    }

    /// Encrypts. `at` is where the value is stored.
    ///
    /// # Errors
    /// None that a caller could do something about.
    pub(super) fn seal(&self, value: &[u8], at: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::AesGcm(key) => {
                let nonce = random::<NONCE_LEN>()?;
                let mut rest = value.to_vec();
                key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(at), &mut rest)
                    .map_err(|_unspecified| "the value cannot be encrypted".to_owned())?;
                Ok([&nonce[..], &rest].concat())
            }
            Self::AesCbc { encrypting, .. } => {
                let vector = random::<IV_LEN_128_BIT>()?;
                let mut rest = value.to_vec();
                let context = EncryptionContext::Iv128(FixedLength::from(vector));
                encrypting
                    .less_safe_encrypt(&mut rest, context)
                    .map_err(|_unspecified| "the value cannot be encrypted".to_owned())?;
                Ok([&vector[..], &rest].concat())
            }
            Self::Secretbox(key) => {
                let nonce = random::<SECRETBOX_NONCE_BYTES>()?;
                let rest = key
                    .encrypt(&nonce.into(), value)
                    .map_err(|_opaque| "the value cannot be encrypted".to_owned())?;
                Ok([&nonce[..], &rest].concat())
            }
        }
    }

    /// Decrypts.
    ///
    /// # Errors
    /// What is wrong, in upstream's words.
    pub(super) fn open(&self, stored: &[u8], at: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::AesGcm(key) => {
                let (nonce, rest) =
                    stored.split_first_chunk::<NONCE_LEN>().ok_or_else(|| TOO_SHORT.to_owned())?;
                let mut rest = rest.to_vec();
                let length = key
                    .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(at), &mut rest)
                    .map_err(|_unspecified| "cipher: message authentication failed".to_owned())?
                    .len();
                rest.truncate(length);
                Ok(rest)
            }
            Self::AesCbc { decrypting, .. } => {
                let (vector, rest) =
                    stored.split_first_chunk::<IV_LEN_128_BIT>().ok_or_else(|| TOO_SHORT.to_owned())?;
                if rest.len() % 16 != 0 {
                    return Err("the stored data is not a multiple of the block size".to_owned());
                }
                if rest.is_empty() {
                    return Err("invalid PKCS7 data (empty or not padded)".to_owned());
                }
                let mut rest = rest.to_vec();
                let context = DecryptionContext::Iv128(FixedLength::from(*vector));
                let length = decrypting
                    .decrypt(&mut rest, context)
                    .map_err(|_unspecified| "invalid padding on input".to_owned())?
                    .len();
                rest.truncate(length);
                Ok(rest)
            }
            Self::Secretbox(key) => {
                let (nonce, rest) = stored
                    .split_first_chunk::<SECRETBOX_NONCE_BYTES>()
                    .filter(|(_, rest)| rest.len() >= TAG_BYTES)
                    .ok_or_else(|| TOO_SHORT.to_owned())?;
                key.decrypt(&(*nonce).into(), rest)
                    .map_err(|_opaque| "output array was not large enough for encryption".to_owned())
            }
        }
    }
}

// === impl Seed ===

impl Seed {
    /// # Errors
    /// A seed that is too short.
    pub(super) fn new(seed: &[u8]) -> Result<Self, String> {
        if seed.len() < SEED_BYTES {
            return Err(format!("invalid seed length {} used for key generation", seed.len()));
        }
        Ok(Self(Prk::new_less_safe(HKDF_SHA256, seed)))
    }

    fn key(&self, info: &[u8]) -> Result<Key, String> {
        let mut key = [0; SEED_BYTES];
        self.0
            .expand(&[info], Length(SEED_BYTES))
            .and_then(|okm| okm.fill(&mut key))
            .map_err(|_unspecified| "failed to KDF expand seed with info".to_owned())?;
        Key::new(Cipher::AesGcm, &key).map_err(|error| error.to_string())
    }

    /// Encrypts with a new key.
    ///
    /// # Errors
    /// None that a caller could do something about.
    pub(super) fn seal(&self, value: &[u8], at: &[u8]) -> Result<Vec<u8>, String> {
        let info = random::<SEED_BYTES>()?;
        let rest = self.key(&info)?.seal(value, at)?;
        Ok([&info[..], &rest].concat())
    }

    /// Decrypts.
    ///
    /// # Errors
    /// What is wrong, in upstream's words.
    pub(super) fn open(&self, stored: &[u8], at: &[u8]) -> Result<Vec<u8>, String> {
        let (info, rest) = stored.split_first_chunk::<SEED_BYTES>().ok_or_else(|| TOO_SHORT.to_owned())?;
        self.key(info)?.open(rest, at)
    }
}
