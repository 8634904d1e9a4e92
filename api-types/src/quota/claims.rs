//! What a PersistentVolumeClaim uses, in all and of its class, and in which scopes it is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Amounts, number, or_default, scopes::Requirement};
use crate::quantity::Quantity;

/// What stands between the name of a class and what is limited of it.
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
/// The class of a claim, as it was said before there was a field for it.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// What quotas look at in a claim.
#[derive(Clone, Debug, Default)]
pub struct Claim<'a> {
    /// The class of its volume.
    pub class: &'a str,
    /// How large a volume is asked for.
    pub requested: Option<Quantity>,
    /// How large a volume somebody is making it.
    pub allocated: Option<Quantity>,
    /// The classes of attributes it names, has and is on its way to; empty ones are none.
    pub attributes_classes: [&'a str; 3],
}

/// A claim as it is written.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Written<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    metadata: Metadata<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    spec: Spec<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    status: Status<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    annotations: BTreeMap<&'a str, &'a str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec<'a> {
    storage_class_name: Option<&'a str>,
    volume_attributes_class_name: Option<&'a str>,
    #[serde(deserialize_with = "or_default")]
    resources: Resources,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    #[serde(deserialize_with = "or_default")]
    requests: Storage,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Storage {
    storage: Option<Quantity>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status<'a> {
    current_volume_attributes_class_name: Option<&'a str>,
    #[serde(deserialize_with = "or_default")]
    allocated_resources: Storage,
    #[serde(borrow, deserialize_with = "or_default")]
    modify_volume_status: Modify<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Modify<'a> {
    target_volume_attributes_class_name: Option<&'a str>,
}

/// Whether a name is of what claims use.
pub fn measures(name: &str) -> bool {
    let plain = |name: &str| matches!(name, "persistentvolumeclaims" | "requests.storage");
    name == "count/persistentvolumeclaims"
        || plain(name)
        || name.rsplit_once(BY_CLASS).is_some_and(|(_, name)| plain(name))
}

/// The amount as whole bytes, which is what quotas are written in.
fn whole(amount: &Quantity) -> Quantity {
    if amount.as_i64().is_some() { amount.clone() } else { Quantity::new(amount.value(), amount.format()) }
}

// === impl Claim ===

impl<'a> Claim<'a> {
    /// Reads a claim.
    ///
    /// # Errors
    /// What serde says of an object that is no claim.
    pub fn read(claim: &'a Value) -> Result<Self, serde_json::Error> {
        let Written { metadata, spec, status } = Written::deserialize(claim)?;
        let annotated = metadata.annotations.get(CLASS_ANNOTATION).copied();
        Ok(Self {
            class: annotated.or(spec.storage_class_name).unwrap_or_default(),
            requested: spec.resources.requests.storage,
            allocated: status.allocated_resources.storage,
            attributes_classes: [
                spec.volume_attributes_class_name.unwrap_or_default(),
                status.current_volume_attributes_class_name.unwrap_or_default(),
                status.modify_volume_status.target_volume_attributes_class_name.unwrap_or_default(),
            ],
        })
    }

    /// What it uses. While its volume is made larger, the larger size counts (KEP-1790).
    pub fn usage(&self) -> Amounts {
        let mut plain = vec![("persistentvolumeclaims", number(1))];
        if let Some(requested) = &self.requested {
            let larger = self.allocated.as_ref().filter(|allocated| *allocated > requested);
            plain.push(("requests.storage", whole(larger.unwrap_or(requested))));
        }
        let mut all = Amounts::from([("count/persistentvolumeclaims".into(), number(1))]);
        for (name, amount) in plain {
            if !self.class.is_empty() {
                all.insert(format!("{}{BY_CLASS}{name}", self.class).into(), amount.clone());
            }
            all.insert(name.into(), amount);
        }
        all
    }

    /// Whether it is in a scope (KEP-3751); there is only that of the attributes of its volume.
    pub fn is_in(&self, scope: &Requirement) -> bool {
        &*scope.scope_name == "VolumeAttributesClass" && scope.holds(&self.attributes_classes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage(claim: &Value) -> Value {
        let usage = Claim::read(claim).unwrap().usage();
        assert!(usage.keys().all(|name| measures(name)), "{usage:?}");
        json!(usage)
    }

    #[test]
    fn a_claim_counts_in_all_and_of_its_class() {
        let claim = json!({"metadata": {"annotations": null}, "spec": {"storageClassName": "gold",
            "resources": {"requests": {"storage": "5Gi"}}}, "status": {"phase": "Pending"}});
        let expected = json!({"count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1", "requests.storage": "5Gi",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
            "gold.storageclass.storage.k8s.io/requests.storage": "5Gi"});
        assert_eq!(usage(&claim), expected);
        let claim = json!({"metadata": {"annotations": {CLASS_ANNOTATION: ""}}, "spec": {"storageClassName": "gold"}});
        assert_eq!(
            usage(&claim),
            json!({"count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1"})
        );
    }

    #[test]
    fn the_larger_of_what_is_asked_and_what_is_being_made_counts_in_whole_bytes() {
        for (asked, allocated, counted) in
            [("1Gi", "2Gi", "2Gi"), ("3Gi", "2Gi", "3Gi"), ("1500m", "1", "2"), ("1", "2500m", "3")]
        {
            let claim = json!({"spec": {"resources": {"requests": {"storage": asked}}},
                "status": {"allocatedResources": {"storage": allocated}}});
            assert_eq!(usage(&claim)["requests.storage"], counted, "{asked} {allocated}");
        }
    }

    #[test]
    fn a_claim_is_in_the_scope_of_the_attributes_it_has_or_will_have() {
        let claim = json!({"spec": {"volumeAttributesClassName": "a"},
            "status": {"currentVolumeAttributesClassName": "b", "modifyVolumeStatus": {"targetVolumeAttributesClassName": "c"}}});
        let claim = Claim::read(&claim).unwrap();
        let scope = |name: &str, value: &str| Requirement {
            scope_name: name.into(),
            operator: "In".into(),
            values: vec![value.into()],
        };
        for class in ["a", "b", "c"] {
            assert!(claim.is_in(&scope("VolumeAttributesClass", class)));
        }
        assert!(!claim.is_in(&scope("VolumeAttributesClass", "d")));
        assert!(!claim.is_in(&scope("PriorityClass", "a")));
    }

    #[test]
    fn names_of_claims_may_have_the_class_before_them() {
        for (name, of_claims) in [
            ("requests.storage", true),
            ("gold.storageclass.storage.k8s.io/requests.storage", true),
            ("gold.storageclass.storage.k8s.io/storage", false),
            ("storage", false),
        ] {
            assert_eq!(measures(name), of_claims, "{name}");
        }
    }
}
