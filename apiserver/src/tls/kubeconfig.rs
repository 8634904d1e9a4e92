//! The file that tells a client where the server is, whom to trust and who it is.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Error,
    authority::{Authority, Issued, Subject},
    files::{self, Access},
};

/// What a kubeconfig is for.
#[derive(Clone, Debug)]
pub struct Kubeconfig<'a> {
    /// What people call the cluster.
    pub cluster: &'a str,
    /// `https://host:port`
    pub server: &'a str,
    /// The client.
    pub subject: Subject,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    clusters: Vec<WrittenCluster>,
    users: Vec<WrittenUser>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WrittenCluster {
    cluster: Cluster,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    certificate_authority_data: String,
    server: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WrittenUser {
    user: UserKeys,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct UserKeys {
    client_certificate_data: String,
    client_key_data: String,
}

// === impl Kubeconfig ===

impl Kubeconfig<'_> {
    /// Makes the file say this, keeping it as it is if it does already. It contains a key, so only its owner may read it.
    pub fn ensure(&self, path: &Path, authority: &Authority, now: Timestamp) -> Result<(), Error> {
        if let Some(text) = files::read_if_there(path)?
            && self.is_said_by(&text, authority, now)
        {
            return Ok(());
        }
        let issued = authority.issue(&self.subject, now)?;
        files::write(path, &self.text(authority, &issued), Access::Owner)
    }

    fn text(&self, authority: &Authority, issued: &Issued) -> String {
        let Self { cluster, server, subject } = self;
        let user = &subject.common_name;
        let [ca, certificate, key] =
            [authority.pem(), &issued.certificate, &issued.key].map(|it| BASE64.encode(it));
        format!(
            "apiVersion: v1
kind: Config
clusters:
- name: {cluster}
  cluster:
    certificate-authority-data: {ca}
    server: {server}
contexts:
- name: {user}@{cluster}
  context:
    cluster: {cluster}
    user: {user}
current-context: {user}@{cluster}
preferences: {{}}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"
        )
    }

    fn is_said_by(&self, text: &[u8], authority: &Authority, now: Timestamp) -> bool {
        let Some(Written { clusters, users }) =
            std::str::from_utf8(text).ok().and_then(|text| serde_yaml::from_str(text).ok())
        else {
            return false;
        };
        let ([WrittenCluster { cluster }], [WrittenUser { user }]) = (clusters.as_slice(), users.as_slice())
        else {
            return false;
        };
        let (Some(ca), Some(certificate), Some(key)) = (
            decoded(&cluster.certificate_authority_data),
            decoded(&user.client_certificate_data),
            decoded(&user.client_key_data),
        ) else {
            return false;
        };
        cluster.server == self.server
            && ca == authority.pem()
            && authority.still_good(&Issued { certificate, key }, &self.subject, now)
    }
}

fn decoded(data: &str) -> Option<String> {
    String::from_utf8(BASE64.decode(data).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_is_kept_while_it_does_and_replaced_when_it_does_not() {
        let now: Timestamp = "2026-07-01T00:00:00Z".parse().unwrap();
        let (authority, _) = Authority::generate("ca", now).unwrap();
        let (other, _) = Authority::generate("ca", now).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.conf");
        let config = |server| Kubeconfig {
            cluster: "binnacle",
            server,
            subject: Subject::client("kubernetes-admin", Some("system:masters")),
        };
        let read = || std::fs::read_to_string(&path).unwrap();
        config("https://a:1").ensure(&path, &authority, now).unwrap();
        let first = read();
        assert!(first.contains("    server: https://a:1\n"));
        config("https://a:1").ensure(&path, &authority, now).unwrap();
        assert_eq!(read(), first);
        config("https://a:2").ensure(&path, &authority, now).unwrap();
        let second = read();
        assert_ne!(second, first);
        config("https://a:2").ensure(&path, &other, now).unwrap();
        assert_ne!(read(), second);
        std::fs::write(&path, "users: [").unwrap();
        config("https://a:2").ensure(&path, &other, now).unwrap();
        assert!(read().starts_with("apiVersion: v1\n"));
    }
}
