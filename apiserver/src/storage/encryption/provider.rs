//! The providers of a resource, tried in order: each knows its own by what the bytes begin with.

use std::sync::Arc;

use bytes::Bytes;
use runtime::Runtime;

use super::{
    configuration,
    kms::Kms,
    local::{Cipher, Key},
};

/// What encrypted values begin with, whoever encrypted them.
const SEALED: &[u8] = b"k8s:enc:";
/// What is said of an encrypted value that nobody is there to read.
pub(super) const NOT_FOR_IDENTITY: &str = "identity transformer tried to read encrypted data";

/// Whether a value is encrypted.
pub(super) fn is_sealed(value: &[u8]) -> bool {
    value.starts_with(SEALED)
}

/// The providers of one resource; the first one writes.
#[derive(Debug)]
pub(super) struct Providers(pub(super) Vec<Provider>);

/// Who encrypts.
#[derive(Clone, Debug)]
pub(super) enum Provider {
    /// Nobody.
    Identity,
    /// Keys that stand in the configuration; the first one writes.
    Local(Arc<Local>),
    /// A plugin that keeps the key to the keys.
    Kms(Arc<Kms>),
}

/// Keys of one cipher.
#[derive(Debug)]
pub(super) struct Local {
    prefix: &'static str,
    no_key: &'static str,
    keys: Vec<(String, Key)>,
}

/// The providers of a configuration. Plugins are noted in `plugins`; they are not asked yet.
///
/// # Errors
/// A key that cannot be one.
pub(super) fn all(
    configured: &[configuration::Provider],
    runtime: &Runtime,
    plugins: &mut Vec<Arc<Kms>>,
) -> anyhow::Result<Vec<Provider>> {
    let mut providers = Vec::new();
    for one in configured {
        let local = |keys: &configuration::Keys, cipher: Cipher| -> anyhow::Result<Provider> {
            let keys: anyhow::Result<Vec<_>> = keys
                .keys
                .iter()
                .map(|key| Ok((format!("{}:", key.name), Key::new(cipher, &key.secret())?)))
                .collect();
            let (prefix, no_key) = match cipher {
                Cipher::AesGcm => ("k8s:enc:aesgcm:v1:", "AES"),
                Cipher::AesCbc => ("k8s:enc:aescbc:v1:", "AES"),
                Cipher::Secretbox => ("k8s:enc:secretbox:v1:", "Secretbox"),
            };
            Ok(Provider::Local(Arc::new(Local { prefix, no_key, keys: keys? })))
        };
        let kms = one.kms.as_ref();
        providers.push(match (&one.aesgcm, &one.aescbc, &one.secretbox, kms) {
            (Some(keys), _, _, _) => local(keys, Cipher::AesGcm)?,
            (_, Some(keys), _, _) => local(keys, Cipher::AesCbc)?,
            (_, _, Some(keys), _) => local(keys, Cipher::Secretbox)?,
            (_, _, _, Some(kms)) => {
                let kms = Arc::new(Kms::new(&kms.name, &kms.endpoint, kms.timeout(), runtime));
                plugins.push(Arc::clone(&kms));
                Provider::Kms(kms)
            }
            _ => Provider::Identity,
        });
    }
    Ok(providers)
}

// === impl Providers ===

impl Providers {
    /// The value as it is stored.
    ///
    /// # Errors
    /// That it cannot be encrypted.
    pub(super) async fn seal(&self, value: &[u8], key: &[u8]) -> Result<Vec<u8>, String> {
        match self.0.first() {
            None | Some(Provider::Identity) => Ok(value.to_vec()),
            Some(Provider::Local(local)) => local.seal(value, key),
            Some(Provider::Kms(kms)) => {
                let sealed = kms.seal(value, key)?;
                Ok([kms.prefix().as_bytes(), &sealed].concat())
            }
        }
    }

    /// The value that was stored, and whether the first provider would store it in another way.
    ///
    /// # Errors
    /// Why nobody can read it, in upstream's words.
    pub(super) async fn open(&self, stored: &Bytes, key: &[u8]) -> Result<(Bytes, bool), String> {
        let mut faults = Vec::new();
        for (index, provider) in self.0.iter().enumerate() {
            let opened = match provider {
                Provider::Identity if is_sealed(stored) => continue,
                Provider::Identity => return Ok((stored.clone(), index != 0)),
                Provider::Local(local) => match stored.strip_prefix(local.prefix.as_bytes()) {
                    Some(rest) => local.open(rest, key),
                    None => continue,
                },
                Provider::Kms(kms) => match stored.strip_prefix(kms.prefix().as_bytes()) {
                    Some(rest) => kms.open(rest, key).await,
                    None => continue,
                },
            };
            // Two providers may begin alike, so that the next one may know what this one does not.
            match opened {
                Ok((value, stale)) => return Ok((value.into(), stale || index != 0)),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            return Err("no matching prefix found".to_owned());
        }
        Err(api_types::field::aggregate(&faults))
    }
}

// === impl Local ===

impl Local {
    fn seal(&self, value: &[u8], at: &[u8]) -> Result<Vec<u8>, String> {
        let Some((name, key)) = self.keys.first() else { return Err("there is no key".to_owned()) };
        let sealed = key.seal(value, at)?;
        Ok([self.prefix.as_bytes(), name.as_bytes(), &sealed].concat())
    }

    fn open(&self, stored: &[u8], at: &[u8]) -> Result<(Vec<u8>, bool), String> {
        let mut faults = Vec::new();
        for (index, (name, key)) in self.keys.iter().enumerate() {
            let Some(rest) = stored.strip_prefix(name.as_bytes()) else { continue };
            match key.open(rest, at) {
                Ok(value) => return Ok((value, index != 0)),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            return Err(format!("no matching key was found for the provided {} transformer", self.no_key));
        }
        Err(api_types::field::aggregate(&faults))
    }
}
