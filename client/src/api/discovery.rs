//! What the server serves, for components that work on kinds they do not know: garbage collection, namespace deletion, quota.
//!
//! Invariant: a plain reading of aggregated discovery (KEP-3352); what to do with a kind is the caller's business.

use std::collections::BTreeSet;

use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{Api, Error, JSON, decode};
use crate::{Resource, meta::null_is_default};

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A resource as the server tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The resource, in one of its versions.
    pub resource: Resource,
    /// What can be done with it.
    pub verbs: BTreeSet<String>,
    /// Whether this is the first of the group's versions to have it: the one to use if any will do.
    pub preferred: bool,
}

/// What discovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Every resource, by group in the server's order.
    pub resources: Vec<Discovered>,
    /// Group versions (`metrics.k8s.io/v1beta1`) whose server did not answer: what they have is not known, which does not
    /// mean that it is not there.
    pub stale: BTreeSet<String>,
}

// === impl Discovered ===

impl Discovered {
    /// Whether all of these can be done with it.
    pub fn can(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.contains(*verb))
    }
}

impl Api {
    /// Asks what the server serves.
    ///
    /// # Errors
    /// Whatever the server says; a server without aggregated discovery answers in a form that cannot be read.
    pub async fn discover(&self) -> Result<Discovery, Error> {
        let mut discovery = Discovery::default();
        for path in ["/api", "/apis"] {
            let answer = self.request(Method::GET, path, ACCEPT, None).await?;
            discovery.add(decode(Method::GET, path, &answer)?);
        }
        Ok(discovery)
    }

    /// Asks for the OpenAPI 3 document of a group and version (KEP-2896).
    ///
    /// # Errors
    /// `NotFound` if there is none; whatever else the server says.
    pub async fn openapi(&self, group: &str, version: &str) -> Result<Value, Error> {
        let path = Resource::discovered(group, version, "", "", false).base_path();
        let path = format!("/openapi/v3{path}");
        decode(Method::GET, &path, &self.request(Method::GET, &path, JSON, None).await?)
    }
}

#[derive(Deserialize)]
struct Groups {
    #[serde(deserialize_with = "null_is_default")]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: Name,
    #[serde(default, deserialize_with = "null_is_default")]
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
struct Name {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default, deserialize_with = "null_is_default")]
    resources: Vec<Served>,
    #[serde(default)]
    freshness: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Served {
    resource: String,
    #[serde(default)]
    response_kind: Kind,
    #[serde(default)]
    scope: String,
    #[serde(default, deserialize_with = "null_is_default")]
    verbs: BTreeSet<String>,
}

#[derive(Default, Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
}

impl Discovery {
    fn add(&mut self, groups: Groups) {
        for Group { metadata: Name { name: group }, versions } in groups.items {
            let mut seen = BTreeSet::new();
            for Version { version, resources, freshness } in versions {
                if freshness == "Stale" {
                    self.stale.insert(format!("{group}/{version}"));
                }
                for served in resources {
                    let preferred = seen.insert(served.resource.clone());
                    let resource = Resource::discovered(
                        &group,
                        &version,
                        &served.resource,
                        &served.response_kind.kind,
                        served.scope == "Namespaced",
                    );
                    self.resources.push(Discovered { resource, verbs: served.verbs, preferred });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_read_with_the_preferred_version_first() {
        let groups = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[
            {"metadata":{"name":"autoscaling"},"versions":[
                {"version":"v2","freshness":"Current","resources":[{"resource":"horizontalpodautoscalers",
                    "responseKind":{"group":"","version":"","kind":"HorizontalPodAutoscaler"},"scope":"Namespaced",
                    "singularResource":"horizontalpodautoscaler","verbs":["delete","list","watch"]}]},
                {"version":"v1","freshness":"Current","resources":[{"resource":"horizontalpodautoscalers",
                    "responseKind":{"group":"","version":"","kind":"HorizontalPodAutoscaler"},"scope":"Namespaced",
                    "singularResource":"horizontalpodautoscaler","verbs":["list"]}]}]},
            {"metadata":{"name":"metrics.k8s.io"},"versions":[{"version":"v1beta1","freshness":"Stale"}]}]}"#;
        let mut discovery = Discovery::default();
        discovery.add(serde_json::from_str(groups).unwrap());
        let told: Vec<_> = discovery
            .resources
            .iter()
            .map(|found| (found.resource.api_version(), found.preferred, found.can(&["list", "watch"])))
            .collect();
        assert_eq!(
            told,
            [("autoscaling/v2".to_owned(), true, true), ("autoscaling/v1".to_owned(), false, false)]
        );
        assert_eq!(discovery.stale, BTreeSet::from(["metrics.k8s.io/v1beta1".to_owned()]));
    }
}
