//! Requests for certificates: what one asks for, whether it is one that a kubelet makes, and the certificate for it.
//!
//! The subject and the key of a request are taken over byte by byte: nothing is lost of a name that we would write in
//! another way. Every other byte of a certificate is written here, as upstream's signer has it.
//!
//! Invariant: no I/O and no clock. The certificate of a request and a time is the same but for the randomness that some
//! signatures need.

mod der;

use std::{collections::BTreeSet, fmt, net::IpAddr, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use sha2::{Digest, Sha256};
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    pem::parse_x509_pem,
    prelude::{FromDer, X509Certificate},
};

/// How far back validity begins, for clients whose clocks are behind.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);
/// A certificate that lasts for less is not shortened by that.
const SHORT: SignedDuration = SignedDuration::from_hours(8);
/// No certificate lasts for less.
const SHORTEST: SignedDuration = SignedDuration::from_mins(10);

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The groups of the subject.
    pub organizations: Vec<String>,
    /// The name of the subject.
    pub common_name: String,
    /// Other names of the subject.
    pub names: Vec<Name>,
    /// The subject as it came.
    subject: Vec<u8>,
    /// The public key as it came.
    key: Vec<u8>,
}

/// Another name of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// Of a host.
    Dns(String),
    /// Of a mailbox.
    Email(String),
    /// Of anything.
    Uri(String),
    /// An address.
    Ip(IpAddr),
}

/// An authority that signs certificates.
pub struct Signer {
    subject: Vec<u8>,
    key_id: Option<Vec<u8>>,
    not_after: Timestamp,
    key: KeyPair,
    /// No certificate lasts for longer.
    longest: SignedDuration,
}

// === impl Asked ===

impl Asked {
    /// Reads a request in PEM form.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(pem: &[u8]) -> Result<Self, String> {
        let (_, block) = parse_x509_pem(pem).map_err(|error| error.to_string())?;
        if block.label != "CERTIFICATE REQUEST" {
            return Err("PEM block type must be CERTIFICATE REQUEST".to_owned());
        }
        let (_, request) =
            X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
        let info = &request.certification_request_info;
        let texts = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let subject = &info.subject;
        let mut names = Vec::new();
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(all) = extension else { continue };
            names.extend(all.general_names.iter().filter_map(name));
        }
        let common_names = texts(subject.iter_common_name().filter_map(|it| it.as_str().ok()).collect());
        Ok(Self {
            organizations: texts(subject.iter_organization().filter_map(|it| it.as_str().ok()).collect()),
            common_name: common_names.into_iter().last().unwrap_or_default(),
            names,
            subject: subject.as_raw().to_vec(),
            key: info.subject_pki.raw.to_vec(),
        })
    }

    fn has(&self, which: impl Fn(&Name) -> bool) -> bool {
        self.names.iter().any(which)
    }

    /// Why it is not what a kubelet asks for to be known to the API server; `None` if it is.
    pub fn kubelet_client_fault(&self, usages: &BTreeSet<&str>) -> Option<String> {
        let fault = if self.organizations != ["system:nodes"] {
            "subject organization is not system:nodes"
        } else if self.has(|it| matches!(it, Name::Dns(_))) {
            "DNS subjectAltNames are not allowed"
        } else if self.has(|it| matches!(it, Name::Email(_))) {
            "Email subjectAltNames are not allowed"
        } else if self.has(|it| matches!(it, Name::Ip(_))) {
            "IP subjectAltNames are not allowed"
        } else if self.has(|it| matches!(it, Name::Uri(_))) {
            "URI subjectAltNames are not allowed"
        } else if !self.common_name.starts_with("system:node:") {
            "subject common name does not begin with system:node:"
        } else {
            return usage_fault(usages, "client auth");
        };
        Some(fault.to_owned())
    }

    /// Why it is not what a kubelet asks for to serve; `None` if it is.
    pub fn kubelet_serving_fault(&self, usages: &BTreeSet<&str>) -> Option<String> {
        let fault = if self.organizations != ["system:nodes"] {
            "subject organization is not system:nodes"
        } else if !self.has(|it| matches!(it, Name::Dns(_) | Name::Ip(_))) {
            "DNS or IP subjectAltName is required"
        } else if self.has(|it| matches!(it, Name::Email(_))) {
            "Email subjectAltNames are not allowed"
        } else if self.has(|it| matches!(it, Name::Uri(_))) {
            "URI subjectAltNames are not allowed"
        } else if let Some(fault) = usage_fault(usages, "server auth") {
            return Some(fault);
        } else if !self.common_name.starts_with("system:node:") {
            "subject common name does not begin with system:node:"
        } else {
            return None;
        };
        Some(fault.to_owned())
    }
}

/// Keys of some kinds cannot encipher; so that usage may be missing.
fn usage_fault(usages: &BTreeSet<&str>, auth: &'static str) -> Option<String> {
    let whole = BTreeSet::from([auth, "digital signature", "key encipherment"]);
    let less = BTreeSet::from([auth, "digital signature"]);
    let fits = *usages == whole || *usages == less;
    let mut listed: Vec<_> = whole.into_iter().collect();
    listed.sort_unstable();
    (!fits).then(|| format!("usages did not match [{}]", listed.join(" ")))
}

fn name(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(name) => Some(Name::Dns((*name).to_owned())),
        GeneralName::RFC822Name(name) => Some(Name::Email((*name).to_owned())),
        GeneralName::URI(name) => Some(Name::Uri((*name).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(Name::Ip)
        }
        _ => None,
    }
}

// === impl Signer ===

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Signer {
    /// An authority by its certificate and key in PEM form; its certificates last for `longest` at most.
    ///
    /// # Errors
    /// What of it is of no use.
    pub fn from_pem(certificate: &str, key: &str, longest: Duration) -> Result<Self, String> {
        let longest = SignedDuration::try_from(longest).map_err(|error| error.to_string())?;
        let (_, block) = parse_x509_pem(certificate.as_bytes())
            .map_err(|error| format!("the authority's certificate cannot be read: {error}"))?;
        let (_, certificate) = X509Certificate::from_der(&block.contents)
            .map_err(|error| format!("the authority's certificate cannot be read: {error}"))?;
        let key =
            KeyPair::from_pem(key).map_err(|error| format!("the authority's key cannot be read: {error}"))?;
        if der::algorithm(key.algorithm()).is_none() {
            return Err("the authority's key is of a kind that is not supported".to_owned());
        }
        if key.subject_public_key_info() != certificate.public_key().raw {
            return Err("the authority's certificate and key do not belong together".to_owned());
        }
        let key_id =
            certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            });
        let not_after = Timestamp::from_second(certificate.validity().not_after.timestamp())
            .map_err(|error| error.to_string())?;
        Ok(Self { subject: certificate.subject().as_raw().to_vec(), key_id, not_after, key, longest })
    }

    /// Signs a certificate, in PEM form. `identity` tells this request from others: the serial number comes of it.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn sign(
        &self,
        asked: &Asked,
        usages: &[Box<str>],
        seconds: Option<i32>,
        identity: &str,
        now: Timestamp,
    ) -> Result<String, String> {
        let lasts = match seconds {
            Some(seconds) => {
                SignedDuration::from_secs(seconds.into()).clamp(SHORTEST.min(self.longest), self.longest)
            }
            None => self.longest,
        };
        let lasts = if lasts < SHORT { lasts } else { lasts - BACKDATED };
        let (from, until) = (now - BACKDATED, (now + lasts).min(self.not_after));
        if now >= self.not_after {
            let not_after = self.not_after;
            return Err(format!(
                "refusing to sign a certificate that expired in the past: NotAfter={not_after}"
            ));
        }
        let extensions = der::extensions(asked, usages, self.key_id.as_deref())?;
        let algorithm = der::algorithm(self.key.algorithm()).unwrap_or_default();
        let digest = Sha256::digest(format!("{identity} {now}").as_bytes());
        let tbs = der::sequence(&[
            der::tlv(0xa0, &der::tlv(0x02, &[2])),
            der::serial(digest.as_slice()),
            algorithm.to_vec(),
            self.subject.clone(),
            der::sequence(&[der::time(from), der::time(until)]),
            asked.subject.clone(),
            asked.key.clone(),
            der::tlv(0xa3, &extensions),
        ]);
        let signature = self.key.sign(&tbs).map_err(|error| error.to_string())?;
        let mut bits = vec![0];
        bits.extend(signature);
        let certificate = der::sequence(&[tbs, algorithm.to_vec(), der::tlv(0x03, &bits)]);
        Ok(der::pem("CERTIFICATE", &certificate))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa};

    use super::*;

    /// An authority, and its certificate.
    pub(crate) fn authority() -> (Signer, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        let certificate = params.self_signed(&key).unwrap().pem();
        let longest = Duration::from_secs(24 * 3600);
        (Signer::from_pem(&certificate, &key.serialize_pem(), longest).unwrap(), certificate)
    }

    /// A request of a node.
    pub(crate) fn request(organization: &str, common_name: &str, names: &[&str]) -> String {
        let mut params =
            CertificateParams::new(names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
    }

    #[test]
    fn a_certificate_says_what_was_asked_for_and_by_whom_it_is_signed() {
        let (signer, authority) = authority();
        let pem = request("system:nodes", "system:node:a", &["a.example", "10.0.0.1"]);
        let asked = Asked::read(pem.as_bytes()).unwrap();
        assert_eq!(
            (asked.organizations.as_slice(), asked.common_name.as_str()),
            (["system:nodes".to_owned()].as_slice(), "system:node:a")
        );
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let usages = ["digital signature".into(), "key encipherment".into(), "server auth".into()];
        let signed = signer.sign(&asked, &usages, Some(3600), "u", now).unwrap();

        let (_, block) = parse_x509_pem(signed.as_bytes()).unwrap();
        let (rest, certificate) = X509Certificate::from_der(&block.contents).unwrap();
        assert!(rest.is_empty());
        let (_, block) = parse_x509_pem(authority.as_bytes()).unwrap();
        let (_, authority) = X509Certificate::from_der(&block.contents).unwrap();
        certificate.verify_signature(Some(authority.public_key())).unwrap();
        assert_eq!(certificate.issuer().as_raw(), authority.subject().as_raw());
        assert_eq!(certificate.subject().to_string(), "O=system:nodes, CN=system:node:a");
        assert_eq!(certificate.validity().not_before.timestamp(), now.as_second() - 300);
        assert_eq!(certificate.validity().not_after.timestamp(), now.as_second() + 3600);
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(
            usage.critical
                && usage.value.digital_signature()
                && usage.value.key_encipherment()
                && !usage.value.key_cert_sign()
        );
        let extended = certificate.extended_key_usage().unwrap().unwrap();
        assert!(extended.value.server_auth && !extended.value.client_auth);
        assert!(!certificate.is_ca() && certificate.basic_constraints().unwrap().unwrap().critical);
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.iter().filter_map(name).collect::<Vec<_>>(), asked.names);
        assert!(certificate.raw_serial()[0] < 0x80, "a serial number is positive");
    }

    #[test]
    fn what_a_kubelet_asks_for_is_recognised() {
        let read = |organization: &str, name: &str, names: &[&str]| {
            Asked::read(request(organization, name, names).as_bytes()).unwrap()
        };
        let client = BTreeSet::from(["client auth", "digital signature"]);
        let server = BTreeSet::from(["digital signature", "key encipherment", "server auth"]);
        assert_eq!(read("system:nodes", "system:node:a", &[]).kubelet_client_fault(&client), None);
        assert_eq!(read("system:nodes", "system:node:a", &["a"]).kubelet_serving_fault(&server), None);
        for (asked, usages, fault) in [
            (read("other", "system:node:a", &[]), &client, "subject organization is not system:nodes"),
            (read("system:nodes", "a", &[]), &client, "subject common name does not begin with system:node:"),
            (read("system:nodes", "system:node:a", &["a"]), &client, "DNS subjectAltNames are not allowed"),
            (
                read("system:nodes", "system:node:a", &["10.0.0.1"]),
                &client,
                "IP subjectAltNames are not allowed",
            ),
            (
                read("system:nodes", "system:node:a", &[]),
                &server,
                "usages did not match [client auth digital signature key encipherment]",
            ),
        ] {
            assert_eq!(asked.kubelet_client_fault(usages).as_deref(), Some(fault));
        }
        assert!(Asked::read(b"nonsense").is_err());
    }
}
