//! `--tls-sni-cert-key`: other certificates for clients that ask for other names.
//!
//! A name that is given with the flag goes before one that stands in a certificate, and a whole name before a pattern;
//! of equals the flag that was given first. Whoever asks for none of them, or for no name, gets the serving certificate.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

use super::{Error, serving::ServingCertificate};

/// One flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// For whom; the names in the certificate if there are none.
    pub names: Vec<String>,
}

/// A certificate for some names.
#[derive(Debug)]
pub struct NamedPair {
    certificate: Arc<ServingCertificate>,
    /// In lower case.
    names: Vec<String>,
    /// Whether they were given, rather than found in it.
    given: bool,
}

/// The serving certificate and those for other names.
#[derive(Debug)]
pub struct Certificates {
    main: Arc<ServingCertificate>,
    named: Vec<NamedPair>,
}

/// Reads the flag: `CERTIFICATE,KEY` or `CERTIFICATE,KEY:NAME,...`.
///
/// # Errors
/// A sentence for what is neither.
pub fn parse(text: &str) -> Result<NamedFiles, String> {
    let wrong = || "expected comma separated certificate and key file paths".to_owned();
    let (files, names) = text.split_once(':').unwrap_or((text, ""));
    let (certificate, key) = files.split_once(',').ok_or_else(wrong)?;
    let (certificate, key) = (certificate.trim(), key.trim());
    if certificate.is_empty() || key.is_empty() || key.contains(',') {
        return Err(wrong());
    }
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    Ok(NamedFiles {
        certificate: certificate.into(),
        key: key.into(),
        names: names.map(str::to_owned).collect(),
    })
}

/// Whether a pattern stands for a name: each `*` for one part.
fn covers(pattern: &str, name: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('.'), name.split('.'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some("*"), Some(part)) if !part.is_empty() => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

// === impl NamedPair ===

impl NamedPair {
    /// Reads the files.
    ///
    /// # Errors
    /// Files that cannot be read or do not belong together.
    pub fn open(files: &NamedFiles) -> Result<Self, Error> {
        let certificate = ServingCertificate::from_files(&files.certificate, &files.key)?;
        let given = !files.names.is_empty();
        let names = if given { files.names.clone() } else { names_in(&certificate.current()) };
        let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Self { certificate: Arc::new(certificate), names, given })
    }

    /// How well it fits: the lower, the better.
    fn rank(&self, name: &str) -> Option<(bool, bool)> {
        let fitting = self.names.iter().filter(|pattern| covers(pattern, name));
        fitting.map(|pattern| (pattern.contains('*'), !self.given)).min()
    }
}

/// The names of the first certificate: those it is for, or else whom it is of.
fn names_in(certified: &CertifiedKey) -> Vec<String> {
    let Some(first) = certified.cert.first() else { return Vec::new() };
    let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(first) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push((*name).to_owned());
            }
        }
    }
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let common = common.filter(|name| !name.is_empty() && !name.contains([':', '/', ' ']));
    names.extend(common.map(str::to_owned));
    names
}

// === impl Certificates ===

impl Certificates {
    /// These.
    pub fn new(main: Arc<ServingCertificate>, named: Vec<NamedPair>) -> Self {
        Self { main, named }
    }

    /// Those for other names, to be kept up with their files.
    pub fn named(&self) -> impl Iterator<Item = Arc<ServingCertificate>> {
        self.named.iter().map(|named| Arc::clone(&named.certificate))
    }

    /// The one for a client that asks for this name.
    fn find(&self, name: Option<&str>) -> &ServingCertificate {
        let Some(name) = name.map(str::to_ascii_lowercase) else { return &self.main };
        let ranked = self.named.iter().filter_map(|pair| Some((pair.rank(&name)?, pair)));
        ranked.min_by_key(|(rank, _)| *rank).map_or(&self.main, |(_, pair)| &pair.certificate)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.find(hello.server_name()).current())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::tls::authority::{Authority, Subject};

    #[test]
    fn the_flag_is_two_files_and_names() {
        let files = |names: &[&str]| NamedFiles {
            certificate: "a.crt".into(),
            key: "a.key".into(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        };
        for (text, expected) in [
            ("a.crt,a.key", Some(files(&[]))),
            ("a.crt,a.key:*.x.com,x.com", Some(files(&["*.x.com", "x.com"]))),
            ("a.crt", None),
            ("a.crt,", None),
            ("a.crt,a.key,b.key", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_star_stands_for_one_part_of_a_name() {
        for (pattern, name, expected) in [
            ("x.com", "x.com", true),
            ("*.x.com", "a.x.com", true),
            ("*.x.com", "x.com", false),
            ("*.x.com", "a.b.x.com", false),
            ("*.*.x.com", "a.b.x.com", true),
            ("a.x.com", "b.x.com", false),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
        let folder = tempfile::tempdir().unwrap();
        use runtime::Clock as _;
        let now = runtime::SystemClock.now();
        let (authority, _) = Authority::generate("test", now).unwrap();
        let write = |file: &str, name: &str| {
            let issued =
                authority.issue(&Subject::server("server", BTreeSet::from([name.to_owned()])), now).unwrap();
            let paths =
                (folder.path().join(format!("{file}.crt")), folder.path().join(format!("{file}.key")));
            std::fs::write(&paths.0, issued.certificate).unwrap();
            std::fs::write(&paths.1, issued.key).unwrap();
            paths
        };
        let open = |file: &str, name: &str, names: &[&str]| {
            let (certificate, key) = write(file, name);
            let names = names.iter().map(|&name| name.to_owned()).collect();
            NamedPair::open(&NamedFiles { certificate, key, names }).unwrap()
        };
        let (certificate, key) = write("main", "main.test");
        let main = Arc::new(ServingCertificate::from_files(&certificate, &key).unwrap());
        let named = vec![
            open("found", "a.test", &[]),
            open("star", "other.test", &["*.test"]),
            open("given", "another.test", &["A.test", "b.test"]),
        ];
        let all = Certificates::new(main, named);
        for (asked, expected) in [
            (None, "main.test"),
            (Some("elsewhere"), "main.test"),
            (Some("c.test"), "other.test"),
            (Some("b.test"), "another.test"),
            // What was given goes before what was found, a whole name before a pattern.
            (Some("a.TEST"), "another.test"),
        ] {
            let names = names_in(&all.find(asked).current());
            assert_eq!(names.first().map(String::as_str), Some(expected), "{asked:?}");
        }
    }
}
