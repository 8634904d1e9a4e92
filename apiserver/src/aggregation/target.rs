//! Where an APIService leads to, read from the object. Pure.

use std::sync::Arc;

use api_types::{kind::GroupVersion, object::ObjectExt};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::{
    discovery::Priority, proxy::transport::Transport, resources::shared::webhook_client::PORT_DEFAULT,
};

/// What an APIService says of a group and version that another server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// The name of the APIService.
    pub name: String,
    /// Its uid: another one of the same name is looked at anew.
    pub uid: String,
    pub group: String,
    pub version: String,
    /// The Service's.
    pub namespace: String,
    pub service: String,
    pub port: u16,
    /// Authorities in PEM.
    pub ca_bundle: Vec<u8>,
    pub insecure: bool,
    pub priority: Priority,
}

/// A group and version of another server.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub spec: Spec,
    /// Whether its APIService says that it is available.
    pub available: bool,
    /// Connections to it, or why there cannot be any.
    pub transport: Result<Arc<Transport>, String>,
    /// Connections that believe any certificate, to see whether somebody is there.
    pub unverified: Result<Arc<Transport>, String>,
}

// === impl Spec ===

impl Spec {
    /// `None` if this server serves the group and version.
    pub(crate) fn read(object: &Value) -> Option<Self> {
        let spec = object.get("spec")?;
        let service = spec.get("service").filter(|it| !it.is_null())?;
        let text =
            |of: &Value, field: &str| of.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |field: &str| {
            spec.get(field).and_then(Value::as_i64).and_then(|it| i32::try_from(it).ok()).unwrap_or_default()
        };
        let port = service.get("port").and_then(Value::as_i64).unwrap_or_else(|| PORT_DEFAULT.into());
        Some(Self {
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            group: text(spec, "group"),
            version: text(spec, "version"),
            namespace: text(service, "namespace"),
            service: text(service, "name"),
            port: u16::try_from(port).unwrap_or_default(),
            ca_bundle: BASE64_STANDARD.decode(text(spec, "caBundle")).unwrap_or_default(),
            insecure: spec.get("insecureSkipTLSVerify").and_then(Value::as_bool).unwrap_or_default(),
            priority: Priority { group: number("groupPriorityMinimum"), version: number("versionPriority") },
        })
    }

    pub(super) fn key(&self) -> (String, String) {
        (self.group.clone(), self.version.clone())
    }

    pub(super) fn group_version(&self) -> GroupVersion {
        GroupVersion::new(&self.group, &self.version)
    }

    /// The path that every server of the group and version must answer.
    pub(super) fn root(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    /// The host that its certificate must be for.
    pub(super) fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
}

/// The condition `Available`.
pub(super) fn condition(object: &Value) -> Option<&Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|it| it.get("type").and_then(Value::as_str) == Some("Available"))
}

/// Whether it is said to be available.
pub(super) fn is_available(object: &Value) -> bool {
    condition(object).and_then(|it| it.get("status")).and_then(Value::as_str) == Some("True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_no_service_is_served_here() {
        let mut object = json!({"metadata": {"name": "v1.g"}, "spec": {"group": "g", "version": "v1",
            "groupPriorityMinimum": 100, "versionPriority": 10, "caBundle": "eA=="}});
        assert_eq!(Spec::read(&object), None);
        object["spec"]["service"] = json!({"namespace": "n", "name": "s"});
        let spec = Spec::read(&object).unwrap();
        assert_eq!((spec.root().as_str(), spec.host().as_str()), ("/apis/g/v1", "s.n.svc"));
        assert_eq!((spec.port, spec.ca_bundle.as_slice()), (443, b"x".as_slice()));
        assert_eq!(spec.priority, Priority { group: 100, version: 10 });
    }

    #[test]
    fn only_a_true_condition_makes_it_available() {
        let with =
            |status: &str| json!({"status": {"conditions": [{"type": "Available", "status": status}]}});
        assert!(is_available(&with("True")));
        assert!(!is_available(&with("Unknown")));
        assert!(!is_available(&json!({})));
    }
}
