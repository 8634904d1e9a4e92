//! The cluster's own keys: made at the first start, kept in one folder, renewed when they wear out.
//!
//! The files have kubeadm's names, so that people and tools know them. Two authorities of one name never replace each
//! other: an authority that is there is used, or the start fails.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;

use super::{
    Error,
    authority::{Authority, Issued, Subject},
    files::{self, Access, Pair},
    kubeconfig::Kubeconfig,
};
use crate::authn::user::{MASTERS, node};

/// The subject of the cluster's authority.
const AUTHORITY_NAME: &str = "kubernetes";

const FRONT_PROXY_AUTHORITY: &str = "front-proxy-ca";
/// Who the server is to servers of other groups.
pub const FRONT_PROXY: &str = "front-proxy-client";

/// What the server shows to servers of other groups.
#[derive(Clone, Debug)]
pub struct FrontProxy {
    /// The authority that those should believe.
    pub authority: CertificateDer<'static>,
    /// The file of the certificate.
    pub certificate: PathBuf,
    /// The file of its key.
    pub key: PathBuf,
}

/// The folder and the authority in it.
#[derive(Debug)]
pub struct Pki {
    folder: PathBuf,
    authority: Authority,
}

/// What a serving certificate must be valid for.
#[derive(Clone, Debug, Default)]
pub struct Hosts<'a> {
    /// The machine's name, empty if unknown.
    pub hostname: &'a str,
    /// Addresses the server listens on or is announced under; unspecified ones are left out.
    pub addresses: &'a [IpAddr],
    /// Further names, as operators wish.
    pub names: &'a [String],
    /// The first address of the service range: the service `kubernetes` has it.
    pub service_ip: Option<IpAddr>,
    /// The cluster's DNS domain, such as `cluster.local`.
    pub dns_domain: &'a str,
}

// === impl Hosts ===

impl Hosts<'_> {
    /// All names and addresses that clients may use.
    pub fn all(&self) -> BTreeSet<String> {
        let mut all: BTreeSet<String> =
            ["localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
                .map(str::to_owned)
                .into();
        if !self.dns_domain.is_empty() {
            all.insert(format!("kubernetes.default.svc.{}", self.dns_domain));
        }
        all.extend(self.names.iter().cloned());
        all.insert(self.hostname.to_lowercase());
        all.extend(
            self.addresses
                .iter()
                .chain(&self.service_ip)
                .filter(|address| !address.is_unspecified())
                .map(ToString::to_string),
        );
        all.remove("");
        all
    }
}

/// The machine's name as the kernel has it, empty if it has none.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

// === impl Pki ===

impl Pki {
    /// The keys in this folder; makes the folder and the authority at the first start.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, Error> {
        files::make_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), authority: authority(folder, "ca", AUTHORITY_NAME, now)? })
    }

    /// The cluster's authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A file of the folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// The serving certificate, in `apiserver.crt` and `apiserver.key`.
    pub fn serving(&self, hosts: &Hosts<'_>, now: Timestamp) -> Result<Pair, Error> {
        self.pair("apiserver", &Subject::server("kube-apiserver", hosts.all()), now)
    }

    /// A certificate and its key in `<name>.crt` and `<name>.key`: those that are there if they do, or new ones.
    pub fn pair(&self, name: &str, subject: &Subject, now: Timestamp) -> Result<Pair, Error> {
        self.pair_of(&self.authority, name, subject, now)
    }

    /// What the server shows to servers of other groups: `front-proxy-client`, of an authority that is good for nothing else.
    pub fn front_proxy(&self, now: Timestamp) -> Result<FrontProxy, Error> {
        let authority = authority(&self.folder, FRONT_PROXY_AUTHORITY, FRONT_PROXY_AUTHORITY, now)?;
        self.pair_of(&authority, FRONT_PROXY, &Subject::client(FRONT_PROXY, None), now)?;
        Ok(FrontProxy {
            authority: authority.certificate().clone(),
            certificate: self.path(&format!("{FRONT_PROXY}.crt")),
            key: self.path(&format!("{FRONT_PROXY}.key")),
        })
    }

    fn pair_of(
        &self,
        authority: &Authority,
        name: &str,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<Pair, Error> {
        let certificate_file = self.path(&format!("{name}.crt"));
        let key_file = self.path(&format!("{name}.key"));
        let kept = match (text(&certificate_file)?, text(&key_file)?) {
            (Some(certificate), Some(key)) => {
                Some(Issued { certificate, key }).filter(|issued| authority.still_good(issued, subject, now))
            }
            _ => None,
        };
        if kept.is_none() {
            let issued = authority.issue(subject, now)?;
            files::write(&key_file, &issued.key, Access::Owner)?;
            files::write(&certificate_file, &issued.certificate, Access::Everybody)?;
        }
        files::pair(&certificate_file, &key_file)
    }

    /// The key that signs service account tokens, in `sa.key` (PEM, PKCS #8), its public half in `sa.pub`.
    ///
    /// ECDSA on P-256 when we make it: an RSA key would take longer than all the rest of a start.
    pub fn service_account_key(&self) -> Result<String, Error> {
        let key_file = self.path("sa.key");
        let (pem, key) = match text(&key_file)? {
            Some(pem) => {
                let key = KeyPair::from_pem(&pem)
                    .map_err(|error| Error::unusable(key_file.display().to_string(), error))?;
                (pem, key)
            }
            None => {
                let failed = |source| Error::Issue { subject: "service accounts".to_owned(), source };
                let key = KeyPair::generate().map_err(failed)?;
                let pem = key.serialize_pem();
                files::write(&key_file, &pem, Access::Owner)?;
                (pem, key)
            }
        };
        let public_file = self.path("sa.pub");
        let public = key.public_key_pem();
        if text(&public_file)?.as_deref() != Some(&public) {
            files::write(&public_file, &public, Access::Everybody)?;
        }
        Ok(pem)
    }

    /// Writes the administrator's kubeconfig.
    pub fn admin(&self, path: &Path, server: &str, now: Timestamp) -> Result<(), Error> {
        self.kubeconfig(path, server, Subject::client("kubernetes-admin", Some(MASTERS)), now)
    }

    /// Writes the kubeconfig of a component, such as `system:kube-scheduler`.
    pub fn component(&self, path: &Path, server: &str, user: &str, now: Timestamp) -> Result<(), Error> {
        self.kubeconfig(path, server, Subject::client(user, None), now)
    }

    /// Writes the kubeconfig of a kubelet.
    pub fn node(&self, path: &Path, server: &str, name: &str, now: Timestamp) -> Result<(), Error> {
        let subject = Subject::client(&node::user_name(name), Some(node::NODES));
        self.kubeconfig(path, server, subject, now)
    }

    fn kubeconfig(&self, path: &Path, server: &str, subject: Subject, now: Timestamp) -> Result<(), Error> {
        Kubeconfig { cluster: "binnacle", server, subject }.ensure(path, &self.authority, now)
    }
}

/// The authority in `<name>.crt` and `<name>.key`; made, if it is not there.
fn authority(folder: &Path, name: &str, common_name: &str, now: Timestamp) -> Result<Authority, Error> {
    let (certificate_file, key_file) =
        (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    match (text(&certificate_file)?, text(&key_file)?) {
        (Some(certificate), Some(key)) => {
            Authority::from_pem(&certificate_file.display().to_string(), &certificate, &key)
        }
        (None, key) => {
            // A key alone is left by a crash between the two writes below, or was put there: it is kept.
            let (authority, issued) = match key {
                None => Authority::generate(common_name, now)?,
                Some(key) => Authority::of_key(common_name, &key, now)?,
            };
            files::write(&key_file, &issued.key, Access::Owner)?;
            files::write(&certificate_file, &issued.certificate, Access::Everybody)?;
            Ok(authority)
        }
        (Some(_), None) => {
            let what = certificate_file.display().to_string();
            Err(Error::unusable(what, format!("its key, {name}.key, is missing")))
        }
    }
}

fn text(path: &Path) -> Result<Option<String>, Error> {
    files::read_if_there(path)?
        .map(|bytes| {
            String::from_utf8(bytes).map_err(|error| Error::unusable(path.display().to_string(), error))
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-07-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_serving_certificate_covers_all_ways_to_reach_the_server() {
        let hosts = Hosts {
            hostname: "Box",
            addresses: &["0.0.0.0".parse().unwrap(), "192.0.2.7".parse().unwrap()],
            names: &["api.example.com".to_owned()],
            service_ip: Some("10.0.0.1".parse().unwrap()),
            dns_domain: "cluster.local",
        };
        let all: Vec<String> = hosts.all().into_iter().collect();
        assert_eq!(
            all,
            [
                "10.0.0.1",
                "127.0.0.1",
                "192.0.2.7",
                "::1",
                "api.example.com",
                "box",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
                "localhost",
            ]
        );
    }

    #[test]
    fn a_second_start_finds_what_the_first_one_made() {
        let folder = tempfile::tempdir().unwrap();
        let start = |hosts: &Hosts<'_>| {
            let pki = Pki::open(&folder.path().join("pki"), now()).unwrap();
            let serving = pki.serving(hosts, now()).unwrap();
            let key = pki.service_account_key().unwrap();
            pki.admin(&folder.path().join("admin.conf"), "https://127.0.0.1:6443", now()).unwrap();
            let scheduler = folder.path().join("s.conf");
            pki.component(&scheduler, "https://127.0.0.1:6443", "system:kube-scheduler", now()).unwrap();
            pki.node(&folder.path().join("n.conf"), "https://127.0.0.1:6443", "n1", now()).unwrap();
            (pki.authority().pem().to_owned(), serving.certificates, key)
        };
        let hosts = Hosts::default();
        let first = start(&hosts);
        assert_eq!(start(&hosts), first);
        let more = Hosts { hostname: "box", ..hosts };
        let moved = start(&more);
        assert_ne!(moved.1, first.1, "a new name takes a new certificate");
        assert_eq!((moved.0, moved.2), (first.0, first.2));
    }

    #[test]
    fn a_key_without_a_certificate_is_a_crash_and_a_certificate_without_a_key_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        Pki::open(folder.path(), now()).unwrap();
        let key = || std::fs::read_to_string(folder.path().join("ca.key")).unwrap();
        let first = key();
        std::fs::remove_file(folder.path().join("ca.crt")).unwrap();
        Pki::open(folder.path(), now()).unwrap();
        assert_eq!(key(), first, "no key is ever replaced");
        std::fs::remove_file(folder.path().join("ca.key")).unwrap();
        let error = Pki::open(folder.path(), now()).unwrap_err().to_string();
        assert!(error.ends_with("ca.crt: its key, ca.key, is missing"), "{error}");
    }
}
