//! A ReplicationController, as far as controllers look at it: a ReplicaSet whose selector is a plain map of labels.

use std::collections::BTreeMap;

use api_types::selectors::labels::Selector;
use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;

use super::replica_set::{ReplicaSetSpec, ReplicaSetStatus, replicas};
use crate::{claim::Selects, template::Template};

/// A ReplicationController.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicationController {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    #[serde(deserialize_with = "spec")]
    pub spec: ReplicaSetSpec,
    /// What is.
    pub status: ReplicaSetStatus,
}

fn spec<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ReplicaSetSpec, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        #[serde(deserialize_with = "replicas")]
        replicas: i32,
        min_ready_seconds: i32,
        #[serde(deserialize_with = "null_is_default")]
        selector: BTreeMap<String, String>,
        template: Template,
    }

    impl Default for Spec {
        fn default() -> Self {
            Self {
                replicas: 1,
                min_ready_seconds: 0,
                selector: BTreeMap::new(),
                template: Template::default(),
            }
        }
    }

    let Spec { replicas, min_ready_seconds, selector, template } = Spec::deserialize(deserializer)?;
    // No label at all would mean every Pod: an object like that selects nothing.
    let selector = if selector.is_empty() { Selector::nothing() } else { Selector::of_labels(&selector) };
    Ok(ReplicaSetSpec { replicas, min_ready_seconds, selector, template })
}

impl Kind for ReplicationController {
    const RESOURCE: Resource = resource::REPLICATION_CONTROLLERS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Selects for ReplicationController {
    fn selector(&self) -> &Selector {
        &self.spec.selector
    }
}

#[cfg(test)]
mod tests {
    use client::Labels;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_map_of_labels_selects_what_has_them_all() {
        let spec = json!({"selector": {"a": "b"}, "template": {"metadata": {"labels": {"a": "b"}}}});
        let controller: ReplicationController = serde_json::from_value(json!({ "spec": spec })).unwrap();
        let labels = |key: &str| [(key, "b")].into_iter().collect::<Labels>();
        assert!(controller.selector().matches(&labels("a")) && !controller.selector().matches(&labels("c")));
        assert_eq!(controller.spec.replicas, 1);
    }
}
