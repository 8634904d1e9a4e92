//! Client certificates: who they say their holder is, and whether we believe it.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    recent::Recent,
    user::{CREDENTIAL_ID, User},
};
use crate::tls;

/// The part of a name that carries a user's uid (Kubernetes' own arc, KEP-5254).
const UID: &str = "1.3.6.1.4.1.57683.2";
/// How many certificates are remembered.
const REMEMBERED: usize = 1024;
/// How long a certificate is believed without looking again, unless it expires before: the chain above it may expire too.
const BELIEVED: Duration = Duration::from_secs(60);

/// The authorities whose client certificates are believed (`--client-ca-file`); they can be replaced at any time.
pub struct ClientAuthorities {
    /// Those that stay, such as the cluster's own.
    own: Vec<CertificateDer<'static>>,
    /// Where the others come from.
    file: Option<PathBuf>,
    current: ArcSwap<Current>,
}

/// The authorities as they are now. What was found out by others is forgotten with them.
struct Current {
    authorities: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// By digest of what was shown: whom it makes its holder, and until when. Connections repeat it in every request.
    remembered: Mutex<Recent<[u8; 32], Remembered>>,
}

#[derive(Clone)]
struct Remembered {
    user: Option<User>,
    until: Timestamp,
}

// === impl ClientAuthorities ===

impl ClientAuthorities {
    /// All certificates of a PEM file, and these.
    pub fn from_file(path: &Path, own: Vec<CertificateDer<'static>>) -> Result<Self, tls::Error> {
        let current = Current::new([own.clone(), tls::files::certificates(path)?].concat())?;
        Ok(Self { own, file: Some(path.to_owned()), current: ArcSwap::from_pointee(current) })
    }

    /// These.
    pub fn new(own: Vec<CertificateDer<'static>>) -> Result<Self, tls::Error> {
        Ok(Self { current: ArcSwap::from_pointee(Current::new(own.clone())?), own, file: None })
    }

    /// Looks at the file again; true if there was something new. On an error everything stays as it was.
    pub fn reload(&self) -> Result<bool, tls::Error> {
        let Some(file) = &self.file else { return Ok(false) };
        let authorities = [self.own.clone(), tls::files::certificates(file)?].concat();
        let is_new = authorities != self.current.load().authorities;
        if is_new {
            self.current.store(Arc::new(Current::new(authorities)?));
        }
        Ok(is_new)
    }

    /// Whether they come from a file, which may change.
    pub fn may_change(&self) -> bool {
        self.file.is_some()
    }

    /// Their certificates, which a server names when it asks for one.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        self.current.load().authorities.clone()
    }

    /// Whom the shown certificates (the client's own first) make their holder; `None` if they name nobody.
    ///
    /// # Errors
    /// The certificate is not to be believed, and why.
    pub fn identify(&self, shown: &[CertificateDer<'_>], now: Timestamp) -> Result<Option<User>, String> {
        self.current.load().identify(shown, now)
    }
}

// === impl Current ===

impl Current {
    fn new(authorities: Vec<CertificateDer<'static>>) -> Result<Self, tls::Error> {
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone())?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), tls::serving::provider())
            .build()
            .map_err(|error| tls::Error::Unusable {
                what: "the client authorities".to_owned(),
                why: error.to_string(),
            })?;
        Ok(Self { authorities, verifier, remembered: Mutex::new(Recent::new(REMEMBERED)) })
    }

    fn identify(&self, shown: &[CertificateDer<'_>], now: Timestamp) -> Result<Option<User>, String> {
        let Some((own, intermediates)) = shown.split_first() else { return Ok(None) };
        let mut digest = Sha256::new();
        for certificate in shown {
            digest.update(certificate.len().to_be_bytes());
            digest.update(certificate);
        }
        let key: [u8; 32] = digest.finalize().into();
        if let Some(Remembered { user, until }) = self.remembered.lock().get(&key)
            && now < until
        {
            return Ok(user);
        }
        let Ok((_, certificate)) = X509Certificate::from_der(own) else {
            return Err("the certificate cannot be read".to_owned());
        };
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        self.verifier
            .verify_client_cert(own, intermediates, UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
            .map_err(|error| format!("verifying certificate {} failed: {error}", identifier(&certificate)))?;
        let user = user(own, &certificate)?;
        let expires = Timestamp::from_second(certificate.validity().not_after.timestamp());
        let until = (now + BELIEVED).min(expires.unwrap_or(Timestamp::MAX));
        self.remembered.lock().insert(key, Remembered { user: user.clone(), until });
        Ok(user)
    }
}

impl fmt::Debug for ClientAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuthorities").field("count", &self.current.load().authorities.len()).finish()
    }
}

/// The common name is the user, the organizations are the groups.
fn user(der: &CertificateDer<'_>, certificate: &X509Certificate<'_>) -> Result<Option<User>, String> {
    let subject = certificate.subject();
    let Some(name) = subject.iter_common_name().filter_map(|it| it.as_str().ok()).last() else {
        return Ok(None);
    };
    if name.is_empty() {
        return Ok(None);
    }
    let uids: Vec<&str> = subject
        .iter_attributes()
        .filter(|it| it.attr_type().to_id_string() == UID)
        .map(|it| it.as_str().map_err(|error| format!("unable to parse UID into a string: {error}")))
        .collect::<Result<_, _>>()?;
    let uid = match uids.as_slice() {
        [] => "",
        [""] => return Err("UID cannot be an empty string".to_owned()),
        [uid] => uid,
        many => return Err(format!("expected 1 UID, but found multiple: [{}]", many.join(" "))),
    };
    let fingerprint: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(User {
        name: name.to_owned(),
        uid: uid.to_owned(),
        groups: subject.iter_organization().filter_map(|it| it.as_str().ok()).map(str::to_owned).collect(),
        extra: BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={fingerprint}")])]),
    }))
}

/// Which certificate it is, for people who have to find it.
fn identifier(certificate: &X509Certificate<'_>) -> String {
    format!("SN={}, issuer {:?}", certificate.tbs_certificate.serial, certificate.issuer().to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, Issuer, KeyPair};

    use super::*;
    use crate::tls::{
        authority::{Authority, Issued, Subject},
        files,
    };

    fn now() -> Timestamp {
        "2026-07-01T00:00:00Z".parse().unwrap()
    }

    fn shown(issued: &Issued) -> Vec<CertificateDer<'static>> {
        files::certificates_in(issued.certificate.as_bytes()).unwrap()
    }

    #[test]
    fn the_common_name_is_the_user_and_the_organization_the_group() {
        let (authority, _) = Authority::generate("ca", now()).unwrap();
        let authorities = ClientAuthorities::new(vec![authority.certificate().clone()]).unwrap();
        let issued = authority.issue(&Subject::client("alice", Some("dev")), now()).unwrap();
        let user = authorities.identify(&shown(&issued), now()).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.groups.as_slice()), ("alice", ["dev".to_owned()].as_slice()));
        let credential = user.extra_value(CREDENTIAL_ID).unwrap();
        assert_eq!(credential.strip_prefix("X509SHA256=").unwrap().len(), 64);
        assert_eq!(authorities.identify(&[], now()), Ok(None));
    }

    #[test]
    fn a_certificate_is_believed_only_for_its_use_from_our_authority_and_in_its_time() {
        let (ours, _) = Authority::generate("ca", now()).unwrap();
        let (theirs, _) = Authority::generate("ca", now()).unwrap();
        let authorities = ClientAuthorities::new(vec![ours.certificate().clone()]).unwrap();
        let client = Subject::client("alice", None);
        let day = Duration::from_secs(24 * 60 * 60);
        for (what, authority, subject, when, believed) in [
            ("good", &ours, client.clone(), now(), true),
            ("of another authority", &theirs, client.clone(), now(), false),
            ("for serving", &ours, Subject::server("alice", ["a".to_owned()].into()), now(), false),
            ("not yet", &ours, client.clone(), now() - day, false),
            ("no more", &ours, client, now() + day * 366, false),
        ] {
            let issued = authority.issue(&subject, now()).unwrap();
            assert_eq!(authorities.identify(&shown(&issued), when).is_ok(), believed, "{what}");
        }
    }

    #[test]
    fn a_file_that_changes_is_believed_as_it_is_now() {
        let (old, issued_old) = Authority::generate("ca", now()).unwrap();
        let (new, issued_new) = Authority::generate("ca", now()).unwrap();
        let (own, _) = Authority::generate("own", now()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        std::fs::write(&path, &issued_old.certificate).unwrap();
        let authorities = ClientAuthorities::from_file(&path, vec![own.certificate().clone()]).unwrap();
        let client = Subject::client("alice", None);
        let [by_old, by_new, by_own] =
            [&old, &new, &own].map(|authority| shown(&authority.issue(&client, now()).unwrap()));
        let believed = || [&by_old, &by_new, &by_own].map(|it| authorities.identify(it, now()).is_ok());
        assert_eq!(believed(), [true, false, true]);
        assert!(!authorities.reload().unwrap());
        std::fs::write(&path, "nothing").unwrap();
        assert!(authorities.reload().is_err());
        assert_eq!(believed(), [true, false, true]);
        std::fs::write(&path, &issued_new.certificate).unwrap();
        assert!(authorities.reload().unwrap());
        assert_eq!(believed(), [false, true, true]);
    }

    #[test]
    fn what_is_remembered_still_expires() {
        let (authority, _) = Authority::generate("ca", now()).unwrap();
        let authorities = ClientAuthorities::new(vec![authority.certificate().clone()]).unwrap();
        let issued = authority.issue(&Subject::client("alice", None), now()).unwrap();
        let last = now() + tls::authority::CERTIFICATE_LIFETIME;
        for (when, believed) in [
            (last - Duration::from_secs(10), true),
            (last - Duration::from_secs(9), true),
            (last + Duration::from_secs(1), false),
        ] {
            assert_eq!(authorities.identify(&shown(&issued), when).is_ok(), believed, "{when}");
        }
    }

    #[test]
    fn a_name_may_carry_a_uid_once_and_intermediates_may_be_shown() {
        let (root, issued) = Authority::generate("root", now()).unwrap();
        let root_key = KeyPair::from_pem(&issued.key).unwrap();
        let root_issuer = Issuer::from_ca_cert_der(root.certificate(), root_key).unwrap();
        let authorities = ClientAuthorities::new(vec![root.certificate().clone()]).unwrap();
        let middle_key = KeyPair::generate().unwrap();
        let mut middle = CertificateParams::new(vec!["middle".to_owned()]).unwrap();
        middle.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let middle_certificate = middle.signed_by(&middle_key, &root_issuer).unwrap();
        let middle_issuer = Issuer::new(middle, middle_key);
        for (uid, wanted) in [("u-1", Ok("u-1")), ("", Err("UID cannot be an empty string"))] {
            let mut leaf = CertificateParams::new(Vec::<String>::new()).unwrap();
            leaf.distinguished_name.push(DnType::CommonName, "alice");
            let oid = [1, 3, 6, 1, 4, 1, 57683, 2];
            leaf.distinguished_name.push(DnType::from_oid(&oid), DnValue::Utf8String(uid.to_owned()));
            let key = KeyPair::generate().unwrap();
            let leaf = leaf.signed_by(&key, &middle_issuer).unwrap();
            let chain = [leaf.der().clone(), middle_certificate.der().clone()];
            let user = authorities.identify(&chain, now()).map(|user| user.unwrap().uid);
            assert_eq!(user.as_deref().map_err(String::as_str), wanted);
            assert!(authorities.identify(&chain[..1], now()).is_err(), "without the intermediate");
        }
    }
}
