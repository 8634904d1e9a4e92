//! What pods and volumes refer to: the few fields of them that tie other objects to nodes.
//!
//! Deserialised straight from the stored bytes; all other fields are skipped.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::graph::Thing;

/// The annotation of pods that only mirror what a kubelet runs from a file. A node must not be able to make a pod that
/// grants it anything, so such a pod ties nothing but itself.
const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// A pod, as far as it refers to others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodReferences {
    #[serde(deserialize_with = "nullable")]
    metadata: Metadata,
    #[serde(deserialize_with = "nullable")]
    spec: PodSpec,
    #[serde(deserialize_with = "nullable")]
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    #[serde(deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: String,
    service_account_name: String,
    #[serde(deserialize_with = "nullable")]
    image_pull_secrets: Vec<Named>,
    #[serde(deserialize_with = "nullable")]
    init_containers: Vec<Container>,
    #[serde(deserialize_with = "nullable")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "nullable")]
    ephemeral_containers: Vec<Container>,
    #[serde(deserialize_with = "nullable")]
    volumes: Vec<Volume>,
    #[serde(deserialize_with = "nullable")]
    resource_claims: Vec<PodResourceClaim>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    #[serde(deserialize_with = "nullable")]
    resource_claim_statuses: Vec<ClaimStatus>,
    extended_resource_claim_status: Option<ClaimStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimStatus {
    name: String,
    #[serde(deserialize_with = "nullable")]
    resource_claim_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodResourceClaim {
    name: String,
    resource_claim_name: Option<String>,
    resource_claim_template_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    #[serde(deserialize_with = "nullable")]
    env: Vec<EnvVar>,
    #[serde(deserialize_with = "nullable")]
    env_from: Vec<EnvFrom>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EnvVar {
    value_from: Option<ValueFrom>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ValueFrom {
    secret_key_ref: Option<Named>,
    config_map_key_ref: Option<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EnvFrom {
    secret_ref: Option<Named>,
    config_map_ref: Option<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    name: String,
    persistent_volume_claim: Option<ClaimSource>,
    ephemeral: Option<serde::de::IgnoredAny>,
    config_map: Option<Named>,
    secret: Option<SecretSource>,
    projected: Option<Projected>,
    #[serde(flatten)]
    drivers: Drivers,
}

/// The volume plugins that may name secrets; the same in pods and in persistent volumes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Drivers {
    azure_file: Option<AzureFile>,
    cephfs: Option<WithSecret>,
    cinder: Option<WithSecret>,
    flex_volume: Option<WithSecret>,
    rbd: Option<WithSecret>,
    #[serde(rename = "scaleIO")]
    scale_io: Option<WithSecret>,
    iscsi: Option<WithSecret>,
    storageos: Option<WithSecret>,
    csi: Option<Csi>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimSource {
    claim_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SecretSource {
    secret_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Projected {
    #[serde(deserialize_with = "nullable")]
    sources: Vec<ProjectedSource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProjectedSource {
    secret: Option<Named>,
    config_map: Option<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AzureFile {
    secret_name: String,
    #[serde(deserialize_with = "nullable")]
    secret_namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WithSecret {
    secret_ref: Option<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Csi {
    node_publish_secret_ref: Option<Named>,
    node_stage_secret_ref: Option<Named>,
    node_expand_secret_ref: Option<Named>,
}

/// A persistent volume, as far as it refers to others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClaimedVolume {
    #[serde(deserialize_with = "nullable")]
    spec: VolumeSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeSpec {
    claim_ref: Option<Named>,
    #[serde(flatten)]
    drivers: Drivers,
}

/// An object that names its node in `spec.nodeName`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OnNode {
    #[serde(deserialize_with = "nullable")]
    spec: OnNodeSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OnNodeSpec {
    #[serde(deserialize_with = "nullable")]
    node_name: String,
}

/// Reads null as the default: Go writes nil lists and maps so.
fn nullable<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Whether a pod refers to secrets, and whether to config maps, be it a mirror pod or not. One that cannot be read does.
pub(crate) fn refers_to(pod: &Value) -> (bool, bool) {
    let Ok(mut pod) = PodReferences::deserialize(pod) else { return (true, true) };
    pod.metadata.annotations.clear();
    let things = pod.things();
    let any = |kind: Thing| things.iter().any(|(thing, _)| *thing == kind);
    (any(Thing::Secret), any(Thing::ConfigMap))
}

// === impl PodReferences ===

impl PodReferences {
    /// The node it is bound to, if it is.
    pub(super) fn node(&self) -> Option<&str> {
        Some(self.spec.node_name.as_str()).filter(|node| !node.is_empty())
    }

    /// All that it refers to in its own namespace.
    pub(super) fn things(&self) -> BTreeSet<(Thing, &str)> {
        let mut things = BTreeSet::new();
        if self.metadata.annotations.contains_key(MIRROR_POD) {
            return things;
        }
        let mut add = |thing, name| {
            things.insert((thing, name));
        };
        let spec = &self.spec;
        add(Thing::ServiceAccount, spec.service_account_name.as_str());
        for secret in &spec.image_pull_secrets {
            add(Thing::Secret, &secret.name);
        }
        for container in spec.init_containers.iter().chain(&spec.containers).chain(&spec.ephemeral_containers)
        {
            for source in &container.env_from {
                source.secret_ref.iter().for_each(|it| add(Thing::Secret, &it.name));
                source.config_map_ref.iter().for_each(|it| add(Thing::ConfigMap, &it.name));
            }
            for source in container.env.iter().filter_map(|it| it.value_from.as_ref()) {
                source.secret_key_ref.iter().for_each(|it| add(Thing::Secret, &it.name));
                source.config_map_key_ref.iter().for_each(|it| add(Thing::ConfigMap, &it.name));
            }
        }
        for volume in &spec.volumes {
            volume.config_map.iter().for_each(|it| add(Thing::ConfigMap, &it.name));
            volume.secret.iter().for_each(|it| add(Thing::Secret, &it.secret_name));
            for source in volume.projected.iter().flat_map(|it| &it.sources) {
                source.secret.iter().for_each(|it| add(Thing::Secret, &it.name));
                source.config_map.iter().for_each(|it| add(Thing::ConfigMap, &it.name));
            }
            for (_, secret) in volume.drivers.secrets(true) {
                add(Thing::Secret, secret);
            }
            volume
                .persistent_volume_claim
                .iter()
                .for_each(|it| add(Thing::PersistentVolumeClaim, &it.claim_name));
        }
        for claim in &spec.resource_claims {
            add(Thing::ResourceClaim, self.resource_claim(claim));
        }
        if let Some(status) = &self.status.extended_resource_claim_status {
            add(Thing::ResourceClaim, &status.resource_claim_name);
        }
        things.retain(|(_, name)| !name.is_empty());
        things
    }

    /// The claims made for the pod's generic ephemeral volumes, which are named after pod and volume.
    pub(super) fn ephemeral_claims(&self) -> impl Iterator<Item = String> {
        let mirror = self.metadata.annotations.contains_key(MIRROR_POD);
        let pod = &self.metadata.name;
        self.spec
            .volumes
            .iter()
            .filter(move |volume| !mirror && volume.ephemeral.is_some())
            .map(move |volume| format!("{pod}-{}", volume.name))
    }

    /// The claim's name: given, or, made from a template, told in the status once it is there. Empty if there is none.
    fn resource_claim<'a>(&'a self, claim: &'a PodResourceClaim) -> &'a str {
        match (&claim.resource_claim_name, &claim.resource_claim_template_name) {
            (Some(name), _) => name,
            (None, Some(_)) => self
                .status
                .resource_claim_statuses
                .iter()
                .find(|status| status.name == claim.name)
                .map_or("", |status| &status.resource_claim_name),
            (None, None) => "",
        }
    }
}

// === impl ClaimedVolume ===

impl ClaimedVolume {
    /// The claim it is bound to: namespace and name.
    pub(super) fn claim(&self) -> Option<(&str, &str)> {
        self.spec.claim_ref.as_ref().map(|claim| (claim.namespace.as_str(), claim.name.as_str()))
    }

    /// The secrets a kubelet needs to mount it: namespace and name.
    pub(super) fn secrets(&self) -> Vec<(&str, &str)> {
        let claim_namespace = self.claim().map_or("", |(namespace, _)| namespace);
        self.spec
            .drivers
            .secrets(false)
            .into_iter()
            .map(|(namespace, name)| (namespace.unwrap_or(claim_namespace), name))
            .filter(|(_, name)| !name.is_empty())
            .collect()
    }
}

// === impl OnNode ===

impl OnNode {
    /// The node, if one is named.
    pub(super) fn node(&self) -> Option<&str> {
        Some(self.spec.node_name.as_str()).filter(|node| !node.is_empty())
    }
}

// === impl Drivers ===

impl Drivers {
    /// The secrets that kubelets see. A missing namespace means the one of the pod or claim; three plugins always say it.
    fn secrets(&self, in_pod: bool) -> Vec<(Option<&str>, &str)> {
        fn said(named: &Named) -> (Option<&str>, &str) {
            (Some(named.namespace.as_str()), &named.name)
        }
        fn inherited(named: &Named) -> (Option<&str>, &str) {
            (Some(named.namespace.as_str()).filter(|it| !it.is_empty()), &named.name)
        }
        fn of(plugin: Option<&WithSecret>) -> Option<&Named> {
            plugin.and_then(|it| it.secret_ref.as_ref())
        }
        let mut secrets: Vec<(Option<&str>, &str)> = Vec::new();
        if let Some(file) = &self.azure_file {
            let namespace = Some(file.secret_namespace.as_str()).filter(|it| !it.is_empty());
            secrets.push((namespace, &file.secret_name));
        }
        for plugin in [&self.cephfs, &self.flex_volume, &self.rbd, &self.scale_io, &self.iscsi] {
            secrets.extend(of(plugin.as_ref()).map(inherited));
        }
        for plugin in [&self.cinder, &self.storageos] {
            secrets.extend(of(plugin.as_ref()).map(said));
        }
        if let Some(csi) = &self.csi {
            secrets.extend(csi.node_publish_secret_ref.as_ref().map(said));
            if !in_pod {
                secrets.extend(csi.node_stage_secret_ref.as_ref().map(said));
                secrets.extend(csi.node_expand_secret_ref.as_ref().map(said));
            }
        }
        secrets
    }
}
