//! What is served, as aggregated discovery tells it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Resource, resource};

/// The built-in resources and those defined: of the core group, or of all others.
pub(super) fn groups(defined: &[Resource], core: bool) -> Value {
    let mut groups: BTreeMap<String, BTreeMap<String, Vec<Value>>> = BTreeMap::new();
    let all = resource::all().into_iter().chain(defined.iter().cloned());
    for resource in all.filter(|resource| resource.group.is_empty() == core) {
        let verbs = if resource.plural.ends_with("reviews") {
            vec!["create"]
        } else {
            vec!["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
        };
        let versions = groups.entry(resource.group.into_owned()).or_default();
        versions.entry(resource.version.into_owned()).or_default().push(json!({
            "resource": resource.plural,
            "responseKind": {"group": "", "version": "", "kind": resource.kind},
            "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
            "verbs": verbs,
        }));
    }
    let items = groups.into_iter().map(|(group, versions)| {
        let versions = versions.into_iter().map(|(version, resources)| {
            json!({"version": version, "resources": resources, "freshness": "Current"})
        });
        json!({"metadata": {"name": group}, "versions": versions.collect::<Vec<_>>()})
    });
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })
}
