//! What other servers say they serve, read leniently and written in the order of the wire.

use serde::{Deserialize, Deserializer, Serialize};

/// `APIGroupDiscoveryList`, in any of its versions.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct GroupDiscoveryList {
    #[serde(deserialize_with = "absent_or")]
    items: Vec<GroupDiscovery>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroupDiscovery {
    metadata: Metadata,
    #[serde(deserialize_with = "absent_or")]
    versions: Vec<VersionDiscovery>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
}

/// `APIVersionDiscovery`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VersionDiscovery {
    /// The version.
    pub version: String,
    /// Its resources.
    #[serde(deserialize_with = "absent_or")]
    pub resources: Vec<Resource>,
}

/// `APIResourceDiscovery`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Resource {
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_kind: Option<Kind>,
    scope: String,
    singular_resource: String,
    #[serde(deserialize_with = "absent_or")]
    verbs: Vec<String>,
    #[serde(deserialize_with = "absent_or", skip_serializing_if = "Vec::is_empty")]
    short_names: Vec<String>,
    #[serde(deserialize_with = "absent_or", skip_serializing_if = "Vec::is_empty")]
    categories: Vec<String>,
    #[serde(deserialize_with = "absent_or", skip_serializing_if = "Vec::is_empty")]
    subresources: Vec<Subresource>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Subresource {
    subresource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_kind: Option<Kind>,
    #[serde(deserialize_with = "absent_or")]
    verbs: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
struct Kind {
    group: String,
    version: String,
    kind: String,
}

/// `APIResourceList`, as servers had it before.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResourceList {
    #[serde(deserialize_with = "absent_or")]
    resources: Vec<OldResource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OldResource {
    name: String,
    singular_name: String,
    namespaced: bool,
    group: String,
    version: String,
    kind: String,
    #[serde(deserialize_with = "absent_or")]
    verbs: Vec<String>,
    #[serde(deserialize_with = "absent_or")]
    short_names: Vec<String>,
    #[serde(deserialize_with = "absent_or")]
    categories: Vec<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: &'a str,
    #[serde(skip_serializing_if = "<[Resource]>::is_empty")]
    resources: &'a [Resource],
    freshness: &'static str,
}

/// Go writes `null` for a list that was never made.
fn absent_or<'de, D: Deserializer<'de>, T: Deserialize<'de>>(source: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

/// The `APIVersionDiscovery` of these resources.
pub(super) fn written(version: &str, freshness: super::Freshness, resources: &[Resource]) -> String {
    let freshness = match freshness {
        super::Freshness::Current => "Current",
        super::Freshness::Stale => "Stale",
    };
    // Structs of strings and lists of them always have a JSON form.
    serde_json::to_string(&Written { version, resources, freshness }).unwrap_or_default()
}

// === impl GroupDiscoveryList ===

impl GroupDiscoveryList {
    /// What it says of a group and version.
    pub fn version(self, group: &str, version: &str) -> Option<VersionDiscovery> {
        let of_group = self.items.into_iter().filter(|it| it.metadata.name == group);
        of_group.flat_map(|it| it.versions).find(|it| it.version == version)
    }
}

// === impl ResourceList ===

impl ResourceList {
    /// In the form that is served now.
    pub fn aggregated(self) -> Vec<Resource> {
        let mut all: Vec<Resource> = Vec::new();
        for old in self.resources {
            let kind = Kind { group: old.group, version: old.version, kind: old.kind };
            let kind = (!kind.kind.is_empty()).then_some(kind);
            let scope = if old.namespaced { "Namespaced" } else { "Cluster" };
            match old.name.split_once('/') {
                None => all.push(Resource {
                    resource: old.name,
                    response_kind: kind,
                    scope: scope.to_owned(),
                    singular_resource: old.singular_name,
                    verbs: old.verbs,
                    short_names: old.short_names,
                    categories: old.categories,
                    subresources: Vec::new(),
                }),
                Some((parent, part)) => {
                    let part =
                        Subresource { subresource: part.to_owned(), response_kind: kind, verbs: old.verbs };
                    match all.iter_mut().find(|it| it.resource == parent) {
                        Some(parent) => parent.subresources.push(part),
                        // Some resources have parts and are none themselves.
                        None => all.push(Resource {
                            resource: parent.to_owned(),
                            response_kind: Some(Kind::default()),
                            scope: scope.to_owned(),
                            subresources: vec![part],
                            ..Resource::default()
                        }),
                    }
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Freshness;

    #[test]
    fn old_lists_become_trees_of_resources_and_their_parts() {
        let list: ResourceList = serde_json::from_str(
            r#"{"resources": [
                {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"], "shortNames": null},
                {"name": "pods/status", "namespaced": true, "kind": "PodMetrics", "verbs": null},
                {"name": "*/scale", "namespaced": true, "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]}]}"#,
        )
        .unwrap();
        assert_eq!(
            written("v1", Freshness::Stale, &list.aggregated()),
            concat!(
                r#"{"version":"v1","resources":[{"resource":"pods","responseKind":{"group":"","version":"","kind":"PodMetrics"},"#,
                r#""scope":"Namespaced","singularResource":"pod","verbs":["get","list"],"subresources":[{"subresource":"status","#,
                r#""responseKind":{"group":"","version":"","kind":"PodMetrics"},"verbs":[]}]},{"resource":"*","#,
                r#""responseKind":{"group":"","version":"","kind":""},"scope":"Namespaced","singularResource":"","verbs":[],"#,
                r#""subresources":[{"subresource":"scale","responseKind":{"group":"autoscaling","version":"v1","kind":"Scale"},"#,
                r#""verbs":["get"]}]}],"freshness":"Stale"}"#
            )
        );
    }

    #[test]
    fn what_a_server_says_in_the_new_form_is_passed_on() {
        let text = r#"{"items":[{"metadata":{"name":"g"},"versions":[{"version":"v1","resources":[{"resource":"things",
            "responseKind":{"group":"g","version":"v1","kind":"Thing"},"scope":"Cluster","singularResource":"thing","verbs":["get"],
            "unknown":1}],"freshness":"Current"}]}]}"#;
        let list: GroupDiscoveryList = serde_json::from_str(text).unwrap();
        let version = list.version("g", "v1").unwrap();
        assert_eq!(
            written("v1", Freshness::Current, &version.resources),
            r#"{"version":"v1","resources":[{"resource":"things","responseKind":{"group":"g","version":"v1","kind":"Thing"},"scope":"Cluster","singularResource":"thing","verbs":["get"]}],"freshness":"Current"}"#
        );
    }
}
