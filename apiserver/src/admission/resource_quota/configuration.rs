//! What may only be used under a quota, as the configuration of `ResourceQuota` says it.

use api_types::{
    field::{Fault, Path},
    kind::GroupResource,
    quota::scopes::Requirement,
};
use serde::Deserialize;
use serde_json::Value;

/// The configuration of the plugin: `apiserver.config.k8s.io/v1`, `ResourceQuotaConfiguration`, and its older spellings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in crate::admission) struct Configuration {
    kind: String,
    api_version: String,
    /// What may only be used under a quota.
    pub(super) limited_resources: Vec<LimitedResource>,
}

/// Something that may only be used under a quota.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in crate::admission) struct LimitedResource {
    api_group: String,
    resource: String,
    /// Parts of the names of what objects of the resource use.
    pub(super) match_contains: Vec<String>,
    /// Scopes that objects are in.
    pub(super) match_scopes: Vec<Requirement>,
}

/// The groups and versions the configuration is known in, each with its kind there.
const KINDS: &[(&str, &str)] = &[
    ("apiserver.config.k8s.io/v1", "ResourceQuotaConfiguration"),
    ("resourcequota.admission.k8s.io/v1", "Configuration"),
    ("resourcequota.admission.k8s.io/v1beta1", "Configuration"),
    ("resourcequota.admission.k8s.io/v1alpha1", "Configuration"),
];

// === impl Configuration ===

impl Configuration {
    /// Reads a configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::admission) fn read(value: Value) -> Result<Self, String> {
        let read: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if !KINDS.contains(&(read.api_version.as_str(), read.kind.as_str())) {
            return Err(format!("no kind {:?} is registered for version {:?}", read.kind, read.api_version));
        }
        for (index, limited) in read.limited_resources.iter().enumerate() {
            if limited.resource.is_empty() {
                let path = Path::new("limitedResources").index(index).child("resource");
                return Err(Fault::required(&path, "").to_string());
            }
        }
        Ok(read)
    }
}

// === impl LimitedResource ===

impl LimitedResource {
    /// Of what it speaks.
    pub(super) fn resource(&self) -> GroupResource {
        GroupResource::new(&self.api_group, &self.resource)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_is_read_strictly() {
        let with = |version: &str, kind: &str, limited: Value| {
            Configuration::read(json!({"apiVersion": version, "kind": kind, "limitedResources": limited}))
                .map(|it| it.limited_resources.len())
        };
        let limited = json!([{"resource": "pods", "matchContains": ["cpu"]}]);
        for (version, kind) in KINDS {
            assert_eq!(with(version, kind, limited.clone()), Ok(1), "{version}");
        }
        assert!(with("v1", "Configuration", limited).is_err());
        assert_eq!(
            with(KINDS[0].0, KINDS[0].1, json!([{}])),
            Err("limitedResources[0].resource: Required value".to_owned())
        );
        assert!(with(KINDS[0].0, KINDS[0].1, json!([{"resource": "pods", "x": 1}])).is_err());
    }
}
