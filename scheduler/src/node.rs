//! A Node, as far as scheduling looks at it; and so a Namespace.

use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;

use crate::{
    pod::Taint,
    resources::{ResourceList, Resources},
};

/// A Node.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Raw")]
pub struct Node {
    /// The metadata.
    pub metadata: Meta,
    /// It is cordoned.
    pub unschedulable: bool,
    /// Its taints.
    pub taints: Box<[Taint]>,
    /// What Pods can have of it.
    pub allocatable: Resources,
    /// How many Pods it takes.
    pub pods_max: i64,
    /// The features it says it knows.
    pub declared_features: Box<[Box<str>]>,
    /// The images it has, by name, and their sizes in bytes.
    pub images: Box<[(Box<str>, i64)]>,
}

/// A Namespace: Pods may choose others by its labels.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// The metadata.
    pub metadata: Meta,
}

impl Kind for Namespace {
    const RESOURCE: Resource = resource::NAMESPACES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "null_is_default")]
    unschedulable: bool,
    #[serde(deserialize_with = "null_is_default")]
    taints: Vec<Taint>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    allocatable: ResourceList,
    #[serde(deserialize_with = "null_is_default")]
    declared_features: Vec<Box<str>>,
    #[serde(deserialize_with = "null_is_default")]
    images: Vec<Image>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Image {
    #[serde(deserialize_with = "null_is_default")]
    names: Vec<Box<str>>,
    #[serde(deserialize_with = "null_is_default")]
    size_bytes: i64,
}

/// An image's name with the tag it has if none is said.
pub(crate) fn with_tag(image: &str) -> Box<str> {
    if image.rfind(':') <= image.rfind('/') { format!("{image}:latest").into() } else { image.into() }
}

// === impl Node ===

impl From<Raw> for Node {
    fn from(raw: Raw) -> Self {
        let Raw { metadata, spec, status } = raw;
        let mut images: Vec<(Box<str>, i64)> = status
            .images
            .into_iter()
            .flat_map(|image| image.names.into_iter().map(move |name| (name, image.size_bytes)))
            .collect();
        images.sort();
        images.dedup_by(|later, earlier| later.0 == earlier.0);
        Self {
            metadata,
            unschedulable: spec.unschedulable,
            taints: spec.taints.into(),
            pods_max: status.allocatable.get("pods").map_or(0, api_types::quantity::Quantity::value),
            allocatable: status.allocatable.resources(),
            declared_features: status.declared_features.into(),
            images: images.into(),
        }
    }
}

impl Kind for Node {
    const RESOURCE: Resource = resource::NODES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Node {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The zone it is in, empty if it says none. Nodes are visited zone by zone in turns.
    pub fn zone(&self) -> String {
        let label = |stable: &str, old: &str| {
            let labels = &self.metadata.labels;
            labels.get(stable).or_else(|| labels.get(old)).unwrap_or_default().to_owned()
        };
        let region = label("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region");
        let zone = label("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
        if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
    }

    /// The size of an image it has, in bytes.
    pub fn image_bytes(&self, name: &str) -> Option<i64> {
        let at = self.images.binary_search_by(|(candidate, _)| (**candidate).cmp(name)).ok()?;
        self.images.get(at).map(|(_, bytes)| *bytes)
    }

    /// Whether a change is of no interest to Pods that could not be scheduled, such as a heartbeat.
    pub fn schedules_like(&self, other: &Self) -> bool {
        self.unschedulable == other.unschedulable
            && self.taints == other.taints
            && self.allocatable == other.allocatable
            && self.pods_max == other.pods_max
            && self.declared_features == other.declared_features
            && self.metadata.labels == other.metadata.labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_tag_is_the_latest() {
        for (image, expected) in [
            ("nginx", "nginx:latest"),
            ("nginx:1", "nginx:1"),
            ("host:5000/nginx", "host:5000/nginx:latest"),
            ("host:5000/nginx:1", "host:5000/nginx:1"),
            ("host/nginx@sha256:ab", "host/nginx@sha256:ab"),
        ] {
            assert_eq!(&*with_tag(image), expected);
        }
    }
}
