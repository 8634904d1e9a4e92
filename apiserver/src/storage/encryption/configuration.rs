//! `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`, read strictly and judged in upstream's words. Pure.

use std::{collections::BTreeSet, fmt, time::Duration};

use api_types::{
    field::{BadValue, Fault, Path, aggregate, go_quote},
    kind::GroupResource,
    wire,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Configuration {
    api_version: String,
    kind: String,
    pub(super) resources: Vec<Resources>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Resources {
    pub(super) resources: Vec<String>,
    pub(super) providers: Vec<Provider>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Provider {
    pub(super) aesgcm: Option<Keys>,
    pub(super) aescbc: Option<Keys>,
    pub(super) secretbox: Option<Keys>,
    pub(super) identity: Option<Identity>,
    pub(super) kms: Option<Kms>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keys {
    pub(super) keys: Vec<Key>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Key {
    pub(super) name: String,
    secret: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Identity {}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Kms {
    #[serde(rename = "apiVersion")]
    api_version: String,
    pub(super) name: String,
    cachesize: Option<i32>,
    pub(super) endpoint: String,
    timeout: Option<String>,
}

const VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";
const KMS_TIMEOUT: Duration = Duration::from_secs(3);
const AES_KEY_SIZES: &[usize] = &[16, 24, 32];
const SECRETBOX_KEY_SIZES: &[usize] = &[32];
const NO_RESOURCES: &[&str] = &["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"];
const NO_PROVIDER: &str =
    "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";

/// `pods`, `deployments.apps`, `*.apps`, `*.` or `*.*`.
pub(super) fn group_resource(text: &str) -> GroupResource {
    let (resource, group) = text.split_once('.').unwrap_or((text, ""));
    GroupResource::new(group, resource)
}

// === impl Configuration ===

impl Configuration {
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let cannot = |why: String| format!("error decoding encryption provider configuration file: {why}");
        let read = wire::yaml::to_value(text).map_err(|error| cannot(error.to_string()))?;
        if let Some(duplicates) = read.duplicates {
            return Err(cannot(format!("strict decoding error: {duplicates}")));
        }
        let named = |field: &str| read.value.get(field).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (named("apiVersion"), named("kind"));
        if version != VERSION || kind != KIND {
            return Err(cannot(format!(
                "no kind {} is registered for version {}",
                go_quote(kind),
                go_quote(version)
            )));
        }
        let configuration: Self = serde_json::from_value(read.value)
            .map_err(|error| cannot(format!("strict decoding error: {error}")))?;
        let faults = configuration.faults();
        if faults.is_empty() { Ok(configuration) } else { Err(aggregate(&faults)) }
    }

    fn faults(&self) -> Vec<Fault> {
        let root = Path::new("resources");
        if self.resources.is_empty() {
            return vec![Fault::required(&root, "at least one resources is required")];
        }
        let mut faults = Vec::new();
        let mut names = BTreeSet::new();
        for (index, one) in self.resources.iter().enumerate() {
            let (resources, providers) =
                (root.index(index).child("resources"), root.index(index).child("providers"));
            let at_least_one = |path: &Path| format!("at least one {} is required", path.as_str());
            if one.resources.is_empty() {
                faults.push(Fault::required(&resources, at_least_one(&resources)));
            }
            faults.extend(overlaps(&one.resources, &resources));
            for (at, name) in one.resources.iter().enumerate() {
                faults.extend(
                    name_fault(name).map(|why| Fault::invalid(&resources.index(at), name.as_str(), why)),
                );
            }
            if one.providers.is_empty() {
                faults.push(Fault::required(&providers, at_least_one(&providers)));
            }
            for (at, provider) in one.providers.iter().enumerate() {
                faults.extend(provider.faults(&providers.index(at), &mut names));
            }
        }
        faults
    }
}

fn overlaps(names: &[String], path: &Path) -> Vec<Fault> {
    let all: Vec<GroupResource> = names.iter().map(|name| group_resource(name)).collect();
    let (mut is_duplicate, mut is_overlap) = (false, false);
    for (index, one) in all.iter().enumerate() {
        for other in all.iter().skip(index + 1) {
            if one == other {
                is_duplicate = true;
            } else if [one, other].iter().any(|it| it.group == "*" && it.resource == "*")
                || (one.group == other.group && (one.resource == "*" || other.resource == "*"))
            {
                is_overlap = true;
            }
        }
    }
    let fault = |why: &str| Fault::invalid(path, BadValue::json(&names), why);
    let duplicate = is_duplicate.then(|| fault("the same resource cannot be specified multiple times"));
    let overlap = is_overlap.then(|| {
        fault("using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked")
    });
    duplicate.into_iter().chain(overlap).collect()
}

fn name_fault(name: &str) -> Option<&'static str> {
    let resource = group_resource(name);
    if name.contains(char::is_uppercase) {
        Some("resource name should not contain capital letters")
    } else if name == "*" {
        Some("use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources")
    } else if NO_RESOURCES.contains(&name) {
        Some("resources which do not have REST API/s cannot be encrypted")
    } else if resource.group == "events.k8s.io" {
        Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
        )
    } else if resource.group == "extensions" {
        Some("'extensions' group has been removed and cannot be used for encryption")
    } else if resource.group == "*" && resource.resource != "*" {
        Some("encrypting the same resource across groups is not supported")
    } else {
        None
    }
}

// === impl Provider ===

impl Provider {
    fn faults(&self, path: &Path, names: &mut BTreeSet<String>) -> Vec<Fault> {
        let found = [
            self.aesgcm.is_some(),
            self.aescbc.is_some(),
            self.secretbox.is_some(),
            self.identity.is_some(),
            self.kms.is_some(),
        ];
        let mut faults = Vec::new();
        match found.iter().filter(|there| **there).count() {
            0 => faults.push(Fault::invalid(path, "", NO_PROVIDER)),
            1 => {}
            _ => faults.push(Fault::invalid(
                path,
                "",
                "more than one provider specified in a single element, should split into different list elements",
            )),
        }
        for (name, keys, sizes) in [
            ("aesgcm", &self.aesgcm, AES_KEY_SIZES),
            ("aescbc", &self.aescbc, AES_KEY_SIZES),
            ("secretbox", &self.secretbox, SECRETBOX_KEY_SIZES),
        ] {
            let Some(keys) = keys else { continue };
            let path = path.child(name).child("keys");
            if keys.keys.is_empty() {
                faults.push(Fault::required(&path, "at least one keys is required"));
            }
            for (at, key) in keys.keys.iter().enumerate() {
                faults.extend(key.faults(&path.index(at), sizes));
            }
        }
        if let Some(kms) = &self.kms {
            faults.extend(kms.faults(&path.child("kms"), names));
            names.insert(kms.name.clone());
        }
        faults
    }
}

// === impl Key ===

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name: {}, Secret: [REDACTED]", self.name)
    }
}

impl Key {
    /// The key itself.
    pub(super) fn secret(&self) -> Vec<u8> {
        STANDARD.decode(&self.secret).unwrap_or_default()
    }

    fn faults(&self, path: &Path, sizes: &[usize]) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.name.is_empty() {
            faults.push(Fault::required(&path.child("name"), "name is a mandatory field for a key"));
        }
        let secret = path.child("secret");
        if self.secret.is_empty() {
            faults.push(Fault::required(&secret, "secret is a mandatory field for a key"));
            return faults;
        }
        match STANDARD.decode(&self.secret) {
            Err(_) => faults.push(Fault::invalid(&secret, "REDACTED", "secrets must be base64 encoded")),
            Ok(key) if !sizes.contains(&key.len()) => {
                let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
                faults.push(Fault::invalid(
                    &secret,
                    "REDACTED",
                    format!(
                        "secret is not of the expected length, got {}, expected one of [{}]",
                        key.len(),
                        sizes.join(" ")
                    ),
                ));
            }
            Ok(_) => {}
        }
        faults
    }
}

// === impl Kms ===

impl Kms {
    /// How long the plugin may take.
    pub(super) fn timeout(&self) -> Duration {
        self.parsed_timeout().unwrap_or(KMS_TIMEOUT)
    }

    fn parsed_timeout(&self) -> Option<Duration> {
        match self.timeout.as_deref() {
            None => Some(KMS_TIMEOUT),
            Some(text) => {
                let timeout = text.parse::<jiff::SignedDuration>().ok()?;
                Duration::try_from(timeout).ok().filter(|it| !it.is_zero())
            }
        }
    }

    fn faults(&self, path: &Path, names: &BTreeSet<String>) -> Vec<Fault> {
        let mut faults = Vec::new();
        let name = path.child("name");
        if self.name.is_empty() {
            faults.push(Fault::required(&name, "name is a mandatory field for a provider"));
        } else if self.name.contains(':') {
            let why = format!("invalid KMS provider name {}, must not contain ':'", self.name);
            faults.push(Fault::invalid(&name, self.name.as_str(), why));
        } else if names.contains(&self.name) {
            let why = format!("duplicate KMS provider name {}, names must be unique", self.name);
            faults.push(Fault::invalid(&name, self.name.as_str(), why));
        }
        if self.parsed_timeout().is_none() {
            let timeout = self.timeout.as_deref().unwrap_or_default();
            faults.push(Fault::invalid(
                &path.child("timeout"),
                timeout,
                "timeout should be a positive value",
            ));
        }
        let endpoint = path.child("endpoint");
        if self.endpoint.is_empty() {
            faults.push(Fault::invalid(&endpoint, "", "endpoint is a mandatory field for a kms"));
        } else if !self.endpoint.starts_with("unix:") {
            let scheme = self.endpoint.split_once(':').map_or("", |(scheme, _)| scheme);
            let why =
                format!("unsupported scheme {} for KMS provider, only unix is supported", go_quote(scheme));
            faults.push(Fault::invalid(&endpoint, self.endpoint.as_str(), why));
        }
        if let Some(size) = self.cachesize.filter(|_| self.api_version != "v1") {
            faults.push(Fault::invalid(
                &path.child("cachesize"),
                BadValue::json(&size),
                "cachesize is not supported in v2",
            ));
        }
        match self.api_version.as_str() {
            "v2" => {}
            "" | "v1" => faults.push(Fault::invalid(
                &path.child("apiVersion"),
                self.api_version.as_str(),
                "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.",
            )),
            other => faults.push(Fault::invalid(
                &path.child("apiVersion"),
                other,
                format!("unsupported apiVersion {other} for KMS provider, only v1 and v2 are supported"),
            )),
        }
        faults
    }
}
