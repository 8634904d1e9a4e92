//! The documents, field by field in the order of the wire.

use std::sync::Arc;

use api_types::kind::GroupVersion;
use bytes::Bytes;
use serde::Serialize;

use super::{Freshness, ServedResource, ServedVersion, storage_version_hash};

#[derive(Serialize)]
struct TypeMeta {
    kind: &'static str,
    #[serde(rename = "apiVersion", skip_serializing_if = "str::is_empty")]
    api_version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiVersions<'a> {
    kind: &'static str,
    versions: &'a [&'a str],
    #[serde(rename = "serverAddressByClientCIDRs")]
    server_addresses: [ServerAddress<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerAddress<'a> {
    #[serde(rename = "clientCIDR")]
    client_cidr: &'static str,
    server_address: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionName<'a> {
    group_version: String,
    version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group<'a> {
    #[serde(flatten)]
    type_meta: Option<TypeMeta>,
    name: &'a str,
    versions: Vec<VersionName<'a>>,
    preferred_version: Option<VersionName<'a>>,
}

#[derive(Serialize)]
struct GroupList<'a> {
    #[serde(flatten)]
    type_meta: TypeMeta,
    groups: Vec<Group<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceList<'a> {
    #[serde(flatten)]
    type_meta: TypeMeta,
    group_version: String,
    resources: Vec<Resource<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource<'a> {
    name: String,
    singular_name: &'a str,
    namespaced: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    kind: &'a str,
    verbs: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    short_names: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    categories: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_version_hash: Option<String>,
}

#[derive(Serialize)]
struct Version<'a> {
    version: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<AggregatedResource<'a>>,
    freshness: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AggregatedResource<'a> {
    resource: &'a str,
    response_kind: Kind<'a>,
    scope: &'static str,
    singular_resource: &'a str,
    verbs: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    short_names: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    categories: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subresources: Vec<AggregatedSubresource<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AggregatedSubresource<'a> {
    subresource: &'a str,
    response_kind: Kind<'a>,
    verbs: &'a [String],
}

#[derive(Serialize)]
struct Kind<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

fn render(document: &impl Serialize) -> String {
    // Structs of strings, booleans and lists of them always have a JSON form.
    serde_json::to_string(document).unwrap_or_default()
}

pub(super) fn api_versions(versions: &[&str], server_address: &str) -> Bytes {
    let server_addresses = [ServerAddress { client_cidr: "0.0.0.0/0", server_address }];
    render(&ApiVersions { kind: "APIVersions", versions, server_addresses }).into()
}

fn version_name(version: &ServedVersion) -> VersionName<'_> {
    VersionName { group_version: version.group_version.to_string(), version: &version.group_version.version }
}

fn group_of<'a>(
    versions: impl Iterator<Item = &'a ServedVersion> + Clone,
    type_meta: Option<TypeMeta>,
) -> Group<'a> {
    let first = versions.clone().next();
    Group {
        type_meta,
        name: first.map(|it| it.group_version.group.as_str()).unwrap_or_default(),
        preferred_version: first.map(version_name),
        versions: versions.map(version_name).collect(),
    }
}

pub(super) fn group(versions: &[&Arc<ServedVersion>]) -> Bytes {
    let type_meta = TypeMeta { kind: "APIGroup", api_version: "v1" };
    render(&group_of(versions.iter().map(|it| it.as_ref()), Some(type_meta))).into()
}

pub(super) fn group_list(groups: &[&[Arc<ServedVersion>]]) -> Bytes {
    render(&GroupList {
        type_meta: TypeMeta { kind: "APIGroupList", api_version: "v1" },
        groups: groups.iter().map(|versions| group_of(versions.iter().map(AsRef::as_ref), None)).collect(),
    })
    .into()
}

pub(super) fn resource_list(group_version: &GroupVersion, served: &[ServedResource]) -> Bytes {
    let mut resources = Vec::new();
    for it in served {
        resources.push(Resource {
            name: it.name.clone(),
            singular_name: &it.singular,
            namespaced: it.namespaced,
            group: "",
            version: "",
            kind: &it.kind,
            verbs: &it.verbs,
            short_names: &it.short,
            categories: &it.categories,
            storage_version_hash: it.stored_as.as_ref().map(storage_version_hash),
        });
        for part in &it.subresources {
            let (group, version) = part
                .group_version
                .as_ref()
                .map(|it| (it.group.as_str(), it.version.as_str()))
                .unwrap_or_default();
            resources.push(Resource {
                name: format!("{}/{}", it.name, part.name),
                singular_name: "",
                namespaced: it.namespaced,
                group,
                version,
                kind: &part.kind,
                verbs: &part.verbs,
                short_names: &[],
                categories: &[],
                storage_version_hash: None,
            });
        }
    }
    // The core group's list never had an apiVersion, and old clients are held to that.
    let api_version = if group_version.group.is_empty() { "" } else { "v1" };
    render(&ResourceList {
        type_meta: TypeMeta { kind: "APIResourceList", api_version },
        group_version: group_version.to_string(),
        resources,
    })
    .into()
}

pub(super) fn version_discovery(
    group_version: &GroupVersion,
    freshness: Freshness,
    served: &[ServedResource],
) -> String {
    let resources = served
        .iter()
        .map(|it| {
            let own = if it.spells_out_kind { Some(group_version) } else { None };
            AggregatedResource {
                resource: &it.name,
                response_kind: Kind::new(own, &it.kind),
                scope: if it.namespaced { "Namespaced" } else { "Cluster" },
                singular_resource: &it.singular,
                verbs: &it.verbs,
                short_names: &it.short,
                categories: &it.categories,
                subresources: it
                    .subresources
                    .iter()
                    .map(|part| AggregatedSubresource {
                        subresource: &part.name,
                        response_kind: Kind::new(part.group_version.as_ref().or(own), &part.kind),
                        verbs: &part.verbs,
                    })
                    .collect(),
            }
        })
        .collect();
    let freshness = match freshness {
        Freshness::Current => "Current",
        Freshness::Stale => "Stale",
    };
    render(&Version { version: &group_version.version, resources, freshness })
}

// === impl Kind ===

impl<'a> Kind<'a> {
    fn new(group_version: Option<&'a GroupVersion>, kind: &'a str) -> Self {
        let (group, version) =
            group_version.map(|it| (it.group.as_str(), it.version.as_str())).unwrap_or_default();
        Self { group, version, kind }
    }
}
