//! What is served, told to clients: `/api`, `/apis` and everything beneath them that is not an object.
//!
//! [`Discovery`] is a snapshot, made of one [`ServedVersion`] for each group and version. The built-in ones come from
//! the catalogue ([`builtin`]). [`Discovery::exchange`] makes another snapshot that shares everything that did not change, for
//! versions that join and leave at run time: those of custom resources.
//! Documents are rendered when first asked for and kept with the part of the snapshot they depend on.
//!
//! Invariant: no I/O, no routing, no negotiation. All documents are compact JSON without a newline at the end.
//! See "Kubernetes API: Discovery" and KEP-3352 (aggregated discovery).

pub mod builtin;
mod documents;
pub mod foreign;
pub mod version;
mod version_order;

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use api_types::kind::{GroupVersion, GroupVersionKind};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256, Sha512};

pub use self::version_order::compare_versions;

/// The `Content-Type` of aggregated discovery; also what an `Accept` clause must name to get it.
pub const AGGREGATED_CONTENT_TYPE: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The priorities of groups and versions of custom resources.
pub const CUSTOM_PRIORITY: Priority = Priority { group: 1000, version: 100 };

/// Where a group and a version stand among others; higher is first. The same numbers as in `spec` of APIServices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority {
    /// `groupPriorityMinimum`
    pub group: i32,
    /// `versionPriority`
    pub version: i32,
}

/// A part of a served resource, such as `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedSubresource {
    /// The name after the slash.
    pub name: String,
    /// What it reads and writes.
    pub kind: String,
    /// The kind's group and version, if they are not the resource's.
    pub group_version: Option<GroupVersion>,
    /// The verbs it has.
    pub verbs: Vec<String>,
}

/// A served resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServedResource {
    /// The plural name.
    pub name: String,
    /// The singular name.
    pub singular: String,
    /// The kind.
    pub kind: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// The verbs it has.
    pub verbs: Vec<String>,
    /// Short names.
    pub short: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// What objects are stored as; `None` if they are not stored.
    pub stored_as: Option<GroupVersionKind>,
    /// In the order they shall be listed.
    pub subresources: Vec<ServedSubresource>,
    /// Aggregated discovery names the kind's group and version, as it does for custom resources; for built-in ones
    /// both are empty.
    pub spells_out_kind: bool,
}

/// Whether what is known of a group and version is what its server says now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// It is.
    #[default]
    Current,
    /// Its server does not answer.
    Stale,
}

/// The resources of one group and version.
#[derive(Debug)]
pub struct ServedVersion {
    group_version: GroupVersion,
    priority: Priority,
    freshness: Freshness,
    resources: Vec<ServedResource>,
    /// Of another server.
    foreign: Option<Vec<foreign::Resource>>,
    list: OnceLock<Bytes>,
    aggregated: OnceLock<String>,
}

/// All that is served, at one moment.
#[derive(Debug, Default)]
pub struct Discovery {
    /// By group and, within one, by preference; see [`Discovery::groups`] for the order among groups.
    versions: Vec<Arc<ServedVersion>>,
    group_list: OnceLock<Bytes>,
    aggregated_core: OnceLock<Document>,
    aggregated_groups: OnceLock<Document>,
}

/// A document that clients revalidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The body.
    pub body: Bytes,
    /// The `ETag` header, in its quotes.
    pub etag: String,
}

/// Whether `as=KIND;g=GROUP;v=VERSION` asks for aggregated discovery; no other version is served.
pub fn is_aggregated(group: &str, version: &str, kind: &str) -> bool {
    group == "apidiscovery.k8s.io" && version == "v2" && kind == "APIGroupDiscoveryList"
}

/// A short name of how objects are stored; a change tells storage migrators to rewrite them.
pub fn storage_version_hash(kind: &GroupVersionKind) -> String {
    let digest = Sha256::digest(format!("{}/{}/{}", kind.group, kind.version, kind.kind));
    BASE64_STANDARD.encode(digest.iter().take(8).copied().collect::<Vec<u8>>())
}

// === impl ServedVersion ===

impl ServedVersion {
    /// The resources are listed in the order of their names.
    pub fn new(
        group_version: GroupVersion,
        priority: Priority,
        freshness: Freshness,
        mut resources: Vec<ServedResource>,
    ) -> Self {
        resources.sort_by(|one, other| one.name.cmp(&other.name));
        Self {
            group_version,
            priority,
            freshness,
            resources,
            foreign: None,
            list: OnceLock::new(),
            aggregated: OnceLock::new(),
        }
    }

    /// What another server serves. The old form of it is that server's to tell.
    pub fn foreign(
        group_version: GroupVersion,
        priority: Priority,
        freshness: Freshness,
        resources: Vec<foreign::Resource>,
    ) -> Self {
        let own = Self::new(group_version, priority, freshness, Vec::new());
        Self { foreign: Some(resources), ..own }
    }

    /// Whether another server serves it.
    pub fn is_foreign(&self) -> bool {
        self.foreign.is_some()
    }

    /// What another server was said to serve.
    pub fn foreign_resources(&self) -> Vec<foreign::Resource> {
        self.foreign.clone().unwrap_or_default()
    }

    /// Whether it is what its server says now.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Its group and version.
    pub fn group_version(&self) -> &GroupVersion {
        &self.group_version
    }

    /// Its resources, by name.
    pub fn resources(&self) -> &[ServedResource] {
        &self.resources
    }

    /// The `APIResourceList`.
    fn list(&self) -> Bytes {
        self.list.get_or_init(|| documents::resource_list(&self.group_version, &self.resources)).clone()
    }

    /// The `APIVersionDiscovery`.
    fn aggregated(&self) -> &str {
        self.aggregated.get_or_init(|| match &self.foreign {
            Some(resources) => foreign::written(&self.group_version.version, self.freshness, resources),
            None => documents::version_discovery(&self.group_version, self.freshness, &self.resources),
        })
    }

    /// The name of the APIService that stands for it, which breaks ties between groups of the same priority.
    fn service_name(&self) -> String {
        format!("{}.{}", self.group_version.version, self.group_version.group)
    }
}

// === impl Discovery ===

impl Discovery {
    /// A snapshot of these groups and versions.
    pub fn new(versions: impl IntoIterator<Item = Arc<ServedVersion>>) -> Self {
        let mut versions: Vec<_> = versions.into_iter().collect();
        versions.sort_by(|one, other| order(one, other));
        Self { versions, ..Self::default() }
    }

    /// The next snapshot, in which some groups and versions are not served, and others are served so.
    #[must_use]
    pub fn exchange(&self, absent: &[GroupVersion], mut present: Vec<Arc<ServedVersion>>) -> Self {
        let changed: BTreeSet<&GroupVersion> =
            absent.iter().chain(present.iter().map(|it| &it.group_version)).collect();
        let kept = self.versions.iter().filter(|it| !changed.contains(&it.group_version)).cloned();
        let mut kept = kept.collect::<Vec<_>>().into_iter().peekable();
        drop(changed);
        present.sort_by(|one, other| order(one, other));
        // Both are in order already.
        let mut versions = Vec::with_capacity(self.versions.len() + present.len());
        for version in present {
            while let Some(before) = kept.next_if(|it| order(it, &version).is_lt()) {
                versions.push(before);
            }
            versions.push(version);
        }
        versions.extend(kept);
        Self { versions, ..Self::default() }
    }

    /// The resources of a group and version, if it is served.
    pub fn version(&self, group: &str, version: &str) -> Option<&Arc<ServedVersion>> {
        let start = self.versions.partition_point(|it| it.group_version.group.as_str() < group);
        self.versions
            .get(start..)?
            .iter()
            .take_while(|it| it.group_version.group == group)
            .find(|it| it.group_version.version == version)
    }

    /// All groups and versions.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<ServedVersion>> {
        self.versions.iter()
    }

    /// The groups, the most important first, each with its versions, the preferred one first. `tie` orders groups of
    /// the same priority.
    fn groups<K: Ord>(&self, tie: impl Fn(&[Arc<ServedVersion>]) -> K) -> Vec<&[Arc<ServedVersion>]> {
        let mut groups: Vec<_> = self
            .versions
            .chunk_by(|one, other| one.group_version.group == other.group_version.group)
            .collect();
        groups.sort_by_cached_key(|group| {
            let priority = group.iter().map(|version| version.priority.group).max();
            (Reverse(priority), tie(group))
        });
        groups
    }

    /// `/api`: the versions of the core group. The server's address is host and port.
    pub fn api_versions(&self, server_address: &str) -> Bytes {
        let versions: Vec<&str> = self
            .versions
            .iter()
            .filter(|it| it.group_version.group.is_empty())
            .map(|it| it.group_version.version.as_str())
            .collect();
        documents::api_versions(&versions, server_address)
    }

    /// `/apis`: the other groups and their versions, an `APIGroupList`.
    pub fn group_list(&self) -> Bytes {
        self.group_list
            .get_or_init(|| {
                let groups = self.groups(|group| group.iter().map(|version| version.service_name()).min());
                documents::group_list(&named(&groups))
            })
            .clone()
    }

    /// `/apis/GROUP`: its versions, an `APIGroup`.
    pub fn group(&self, name: &str) -> Option<Bytes> {
        let versions: Vec<_> =
            self.versions.iter().filter(|it| it.group_version.group == name && !name.is_empty()).collect();
        (!versions.is_empty()).then(|| documents::group(&versions))
    }

    /// `/api/v1` and `/apis/GROUP/VERSION`: its resources, an `APIResourceList`.
    pub fn resource_list(&self, group: &str, version: &str) -> Option<Bytes> {
        self.version(group, version).map(|version| version.list())
    }

    /// `/api` in aggregated form: the resources of the core group.
    pub fn aggregated_core(&self) -> Document {
        self.aggregated_core.get_or_init(|| self.aggregated(|group| group.is_empty())).clone()
    }

    /// `/apis` in aggregated form: the resources of all other groups.
    pub fn aggregated_groups(&self) -> Document {
        self.aggregated_groups.get_or_init(|| self.aggregated(|group| !group.is_empty())).clone()
    }

    fn aggregated(&self, wanted: impl Fn(&str) -> bool) -> Document {
        let groups = self.groups(|group| group_name(group).to_owned());
        let items: Vec<String> = groups
            .iter()
            .filter(|group| wanted(group_name(group)))
            .map(|group| {
                let versions: Vec<&str> = group.iter().map(|version| version.aggregated()).collect();
                let metadata = match group_name(group) {
                    "" => json!({}),
                    name => json!({"name": name}),
                };
                format!("{{\"metadata\":{metadata},\"versions\":[{}]}}", versions.join(","))
            })
            .collect();
        Document::new(format!(
            "{{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":\"apidiscovery.k8s.io/v2\",\"metadata\":{{}},\
             \"items\":[{}]}}",
            items.join(",")
        ))
    }

    /// The paths of all documents of this module, for `/`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = vec!["/api".to_owned(), "/apis".to_owned(), "/apis/".to_owned()];
        for GroupVersion { group, version } in self.versions.iter().map(|it| &it.group_version) {
            if group.is_empty() {
                paths.push(format!("/api/{version}"));
            } else {
                paths.push(format!("/apis/{group}"));
                paths.push(format!("/apis/{group}/{version}"));
            }
        }
        paths
    }
}

/// By group and, within one, by preference.
fn order(one: &ServedVersion, other: &ServedVersion) -> Ordering {
    let (one_name, other_name) = (&one.group_version, &other.group_version);
    one_name
        .group
        .cmp(&other_name.group)
        .then(other.priority.version.cmp(&one.priority.version))
        .then_with(|| compare_versions(&other_name.version, &one_name.version))
}

fn group_name(versions: &[Arc<ServedVersion>]) -> &str {
    versions.first().map(|version| version.group_version.group.as_str()).unwrap_or_default()
}

fn named<'a>(groups: &[&'a [Arc<ServedVersion>]]) -> Vec<&'a [Arc<ServedVersion>]> {
    groups.iter().copied().filter(|group| !group_name(group).is_empty()).collect()
}

/// `/`: the paths there are, sorted, each once. Indented, since people read it.
pub fn root_paths(paths: impl IntoIterator<Item = String>) -> Bytes {
    let paths: std::collections::BTreeSet<String> = paths.into_iter().collect();
    // Strings always have a JSON form.
    Bytes::from(serde_json::to_vec_pretty(&json!({"paths": paths})).unwrap_or_default())
}

// === impl Document ===

impl Document {
    fn new(body: String) -> Self {
        let digest = Sha512::digest(&body);
        let etag = format!("\"{digest:X}\"");
        Self { body: Bytes::from(body), etag }
    }
}

#[cfg(test)]
mod tests;
