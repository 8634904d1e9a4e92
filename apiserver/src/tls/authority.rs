//! A certificate authority: makes itself and issues certificates.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Error, files};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an authority is valid, as kubeadm has it.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * DAY.as_secs());
/// How long an issued certificate is valid, as kubeadm has it.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(365 * DAY.as_secs());
/// A certificate that expires sooner than this is replaced at start-up.
pub const RENEWAL_MARGIN: Duration = Duration::from_secs(30 * DAY.as_secs());
/// How far back validity begins, for clients whose clocks are behind.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// A certificate authority with its key.
#[derive(Debug)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be served by a host of these names and addresses.
    Server(BTreeSet<String>),
    /// To tell a server who one is.
    Client,
}

/// Whom a certificate is for, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The user name, or the name of a server.
    pub common_name: String,
    /// The group, if any.
    pub organization: Option<String>,
    /// For what.
    pub purpose: Purpose,
}

/// A certificate and its key in PEM form.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

// === impl Subject ===

impl Subject {
    /// A client: a user in a group, or in none.
    pub fn client(user: &str, group: Option<&str>) -> Self {
        Self {
            common_name: user.to_owned(),
            organization: group.map(str::to_owned),
            purpose: Purpose::Client,
        }
    }

    /// A server of these names and addresses.
    pub fn server(common_name: &str, names: BTreeSet<String>) -> Self {
        Self { common_name: common_name.to_owned(), organization: None, purpose: Purpose::Server(names) }
    }

    fn parameters(&self, now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
        let names: Vec<String> = match &self.purpose {
            Purpose::Server(names) => names.iter().cloned().collect(),
            Purpose::Client => Vec::new(),
        };
        let mut parameters = CertificateParams::new(names)?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(organization) = &self.organization {
            parameters.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        parameters.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        set_validity(&mut parameters, now, CERTIFICATE_LIFETIME);
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        parameters.extended_key_usages = vec![match &self.purpose {
            Purpose::Server(_) => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        parameters.use_authority_key_identifier_extension = true;
        Ok(parameters)
    }

    /// Whether the certificate says the same of its holder; a server may have more names.
    fn is_said_by(&self, certificate: &X509Certificate<'_>) -> bool {
        let subject = certificate.subject();
        let common_names: Vec<&str> = subject.iter_common_name().filter_map(|it| it.as_str().ok()).collect();
        let organizations: Vec<&str> =
            subject.iter_organization().filter_map(|it| it.as_str().ok()).collect();
        if common_names != [self.common_name.as_str()]
            || organizations != self.organization.iter().map(String::as_str).collect::<Vec<_>>()
        {
            return false;
        }
        match &self.purpose {
            Purpose::Client => {
                certificate.extended_key_usage().ok().flatten().is_some_and(|it| it.value.client_auth)
            }
            Purpose::Server(names) => names_in(certificate).is_superset(names),
        }
    }
}

/// The names and addresses that a certificate is valid for.
fn names_in(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let address = |bytes: &[u8]| -> Option<IpAddr> {
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|it| it.to_string()),
            _ => None,
        })
        .collect()
}

// === impl Authority ===

impl Authority {
    /// A new authority with a new key.
    pub fn generate(common_name: &str, now: Timestamp) -> Result<(Self, Issued), Error> {
        let failed = |source| Error::Issue { subject: common_name.to_owned(), source };
        Self::self_signed(common_name, KeyPair::generate().map_err(failed)?, now).map_err(failed)
    }

    /// A new authority with this key, in PEM form.
    pub fn of_key(common_name: &str, key: &str, now: Timestamp) -> Result<(Self, Issued), Error> {
        let failed = |source| Error::Issue { subject: common_name.to_owned(), source };
        Self::self_signed(common_name, KeyPair::from_pem(key).map_err(failed)?, now).map_err(failed)
    }

    fn self_signed(common_name: &str, key: KeyPair, now: Timestamp) -> Result<(Self, Issued), rcgen::Error> {
        let mut parameters = CertificateParams::new(vec![common_name.to_owned()])?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        set_validity(&mut parameters, now, AUTHORITY_LIFETIME);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
        ];
        let certificate = parameters.self_signed(&key)?;
        let issued = Issued { certificate: certificate.pem(), key: key.serialize_pem() };
        let authority = Self {
            certificate: certificate.into(),
            pem: issued.certificate.clone(),
            issuer: Issuer::new(parameters, key),
        };
        Ok((authority, issued))
    }

    /// The authority of these PEM texts. `what` names it in errors.
    pub fn from_pem(what: &str, certificate: &str, key: &str) -> Result<Self, Error> {
        let der = files::certificates_in(certificate.as_bytes())
            .and_then(|mut certificates| (!certificates.is_empty()).then(|| certificates.swap_remove(0)))
            .ok_or_else(|| Error::unusable(what, "there is no certificate in it"))?;
        let key = KeyPair::from_pem(key).map_err(|error| Error::unusable(what, error))?;
        let parsed = parse(&der).ok_or_else(|| Error::unusable(what, "the certificate cannot be read"))?;
        if !parsed.is_ca() {
            return Err(Error::unusable(what, "the certificate is not one of an authority"));
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(Error::unusable(what, "the key does not belong to the certificate"));
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| Error::unusable(what, error))?;
        Ok(Self { certificate: der, pem: certificate.to_owned(), issuer })
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate in PEM form.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate with a new key.
    pub fn issue(&self, subject: &Subject, now: Timestamp) -> Result<Issued, Error> {
        let failed = |source| Error::Issue { subject: subject.common_name.clone(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = subject
            .parameters(now)
            .and_then(|parameters| parameters.signed_by(&key, &self.issuer))
            .map_err(failed)?;
        // An authority whose name we cannot write exactly would issue certificates that nobody can trace to it.
        let traceable = parse(certificate.der())
            .zip(parse(&self.certificate))
            .is_some_and(|(issued, own)| issued.issuer().as_raw() == own.subject().as_raw());
        if !traceable {
            return Err(Error::unusable("the authority", "its name has more parts than we can write"));
        }
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Whether an issued certificate, with this key, still does for the subject: signed by us, of the same name, and not
    /// about to expire.
    pub fn still_good(&self, issued: &Issued, subject: &Subject, now: Timestamp) -> bool {
        let Some(certificates) = files::certificates_in(issued.certificate.as_bytes()) else { return false };
        let Some(certificate) = certificates.first().and_then(|der| parse(der)) else { return false };
        let Some(own) = parse(&self.certificate) else { return false };
        let Ok(key) = KeyPair::from_pem(&issued.key) else { return false };
        let last_day = (now.as_second()).saturating_add(signed(RENEWAL_MARGIN));
        certificate.public_key().raw == key.subject_public_key_info()
            && certificate.verify_signature(Some(own.public_key())).is_ok()
            && certificate.validity().not_before.timestamp() <= now.as_second()
            && certificate.validity().not_after.timestamp() > last_day
            && subject.is_said_by(&certificate)
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

fn signed(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Sets when a certificate is valid. rcgen's type for times has no name here, so it is counted up from one it gives us.
fn set_validity(parameters: &mut CertificateParams, now: Timestamp, lifetime: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
    parameters.not_before = epoch + now.saturating_sub(BACKDATED);
    parameters.not_after = epoch + now.saturating_add(lifetime);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-07-01T00:00:00Z".parse().unwrap()
    }

    fn later(days: u64) -> Timestamp {
        now() + DAY * u32::try_from(days).unwrap()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&it| it.to_owned()).collect()
    }

    #[test]
    fn an_issued_certificate_says_whom_it_is_for_and_who_issued_it() {
        let (authority, issued) = Authority::generate("test-ca", now()).unwrap();
        let again = Authority::from_pem("ca", &issued.certificate, &issued.key).unwrap();
        let subject = Subject::client("system:node:n1", Some("system:nodes"));
        let client = again.issue(&subject, now()).unwrap();
        let der = files::certificates_in(client.certificate.as_bytes()).unwrap();
        let parsed = parse(&der[0]).unwrap();
        assert_eq!(parsed.subject().to_string(), "O=system:nodes, CN=system:node:n1");
        assert_eq!(parsed.issuer().to_string(), "CN=test-ca");
        assert!(parsed.extended_key_usage().unwrap().unwrap().value.client_auth);
        assert!(authority.still_good(&client, &subject, now()));
        let server = Subject::server("kube-apiserver", names(&["localhost", "127.0.0.1", "::1", "a.b.c"]));
        let served = authority.issue(&server, now()).unwrap();
        let der = files::certificates_in(served.certificate.as_bytes()).unwrap();
        assert_eq!(names_in(&parse(&der[0]).unwrap()), names(&["localhost", "127.0.0.1", "::1", "a.b.c"]));
    }

    #[test]
    fn a_certificate_is_replaced_when_it_no_longer_does() {
        let (authority, _) = Authority::generate("test-ca", now()).unwrap();
        let (other, _) = Authority::generate("test-ca", now()).unwrap();
        let admin = Subject::client("admin", Some("system:masters"));
        let server = |it: &[&str]| Subject::server("kube-apiserver", names(it));
        let client = authority.issue(&admin, now()).unwrap();
        let served = authority.issue(&server(&["a", "10.0.0.1"]), now()).unwrap();
        let stolen = Issued { certificate: client.certificate.clone(), key: served.key.clone() };
        let broken = Issued { certificate: "x".to_owned(), key: "y".to_owned() };
        for (what, authority, issued, subject, when, good) in [
            ("fresh", &authority, &client, &admin, now(), true),
            ("in use", &authority, &client, &admin, later(300), true),
            ("about to expire", &authority, &client, &admin, later(340), false),
            ("of the future", &authority, &client, &admin, now() - DAY, false),
            ("another authority's", &other, &client, &admin, now(), false),
            ("somebody else's", &authority, &client, &Subject::client("bob", None), now(), false),
            ("of another group", &authority, &client, &Subject::client("admin", None), now(), false),
            ("with fewer names", &authority, &served, &server(&["a"]), now(), true),
            ("with more names", &authority, &served, &server(&["a", "b"]), now(), false),
            ("for another use", &authority, &client, &server(&[]), now(), false),
            ("with another key", &authority, &stolen, &admin, now(), false),
            ("broken", &authority, &broken, &admin, now(), false),
        ] {
            assert_eq!(authority.still_good(issued, subject, when), good, "{what}");
        }
    }

    #[test]
    fn an_authority_needs_its_own_key_and_the_right_to_issue() {
        let (authority, one) = Authority::generate("one", now()).unwrap();
        let (_, two) = Authority::generate("two", now()).unwrap();
        let leaf = authority.issue(&Subject::client("c", None), now()).unwrap();
        for (certificate, key, wanted) in [
            (&one.certificate, &two.key, "cannot use ca: the key does not belong to the certificate"),
            (&leaf.certificate, &leaf.key, "cannot use ca: the certificate is not one of an authority"),
            (&one.key, &one.key, "cannot use ca: there is no certificate in it"),
        ] {
            assert_eq!(Authority::from_pem("ca", certificate, key).unwrap_err().to_string(), wanted);
        }
    }
}
