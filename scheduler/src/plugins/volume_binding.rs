//! `VolumeBinding`: a node must reach the volumes of a Pod's claims, and for claims that wait for their first Pod there must be
//! a volume it reaches, or somebody who makes one there.
//!
//! A volume that fits is held for its claim until the Pod is bound; then claims are bound before the Pod is.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use client::Key;
use serde::Deserialize;

use crate::{
    node::Node,
    plugin::{ClusterEvent, Filtering, Holding, Plugin, Point, Preparation, Rejection, StorageEvent, WhatIf},
    pod::{Pod, PodVolume},
    snapshot::{Others, Row, Snapshot},
    storage::{Claim, Volume, VolumeClass},
};

/// Brings Pods and volumes together.
#[derive(Debug)]
pub struct VolumeBinding {
    patience: Duration,
}

/// What can be set of it (`VolumeBindingArgs`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    bind_timeout_seconds: i64,
}

/// The claims of a Pod.
#[derive(Debug, Default)]
struct Claims<'a> {
    bound: Vec<&'a Arc<Claim>>,
    waiting: Vec<&'a Arc<Claim>>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self { bind_timeout_seconds: 600 }
    }
}

// === impl VolumeBinding ===

impl VolumeBinding {
    /// With settings.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let seconds = settings.bind_timeout_seconds;
        match u64::try_from(seconds) {
            Ok(seconds) => Ok(Self { patience: Duration::from_secs(seconds) }),
            Err(_negative) => Err(format!(
                "bindTimeoutSeconds: Invalid value: {seconds}: invalid BindTimeoutSeconds, should not be a negative value"
            )),
        }
    }
}

/// The claim of a volume, if it can be used.
fn usable<'a>(
    pod: &Pod,
    volume: &PodVolume,
    others: &'a Others,
) -> Result<Option<&'a Arc<Claim>>, Rejection> {
    let PodVolume::Claim { name, is_own } = volume else { return Ok(None) };
    let no = |why: String| Err(Rejection::for_good(why));
    let namespace = &pod.metadata.namespace;
    let Some(claim) = others.claims.get(&Key::new(namespace, name)) else {
        return no(if *is_own {
            format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
        } else {
            format!("persistentvolumeclaim {name:?} not found")
        });
    };
    if &*claim.phase == "Lost" {
        let volume = &claim.volume;
        return no(format!(
            "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
        ));
    }
    if claim.metadata.is_terminating() {
        return no(format!("persistentvolumeclaim {name:?} is being deleted"));
    }
    if *is_own && !claim.metadata.is_controlled_by(pod.uid()) {
        let pod = pod.key();
        return no(format!("PVC {namespace}/{name} was not created for pod {pod} (pod is not owner)"));
    }
    Ok(Some(claim))
}

fn class_of<'a>(claim: &Claim, others: &'a Others) -> Option<&'a Arc<VolumeClass>> {
    others.classes.get(&Key::cluster(claim.class.as_deref()?))
}

fn claims<'a>(pod: &Pod, others: &'a Others) -> Result<Claims<'a>, Rejection> {
    let mut claims = Claims::default();
    let mut must_be_bound = false;
    for volume in &pod.volumes {
        let Some(claim) = usable(pod, volume, others)? else { continue };
        if claim.is_bound() {
            claims.bound.push(claim);
        } else if claim.volume.is_empty()
            && class_of(claim, others).is_some_and(|class| class.waits_for_pod())
        {
            claims.waiting.push(claim);
        } else {
            must_be_bound = true;
        }
    }
    if must_be_bound {
        return Err(Rejection::for_good("pod has unbound immediate PersistentVolumeClaims"));
    }
    claims.waiting.sort_by_key(|claim| claim.bytes);
    Ok(claims)
}

/// The smallest volume on a node that fits a claim, or the one that is meant for it.
fn matching<'a>(
    claim: &Claim,
    node: &Node,
    others: &'a Others,
    chosen: &BTreeSet<&str>,
) -> Option<&'a Arc<Volume>> {
    let class = claim.class.as_deref().unwrap_or_default();
    let key = claim.key();
    let mut best: Option<&Arc<Volume>> = None;
    for volume in others.volumes.iter().filter(|volume| *volume.class == *class) {
        if chosen.contains(volume.name()) {
            continue;
        }
        let held_for = others.claim_on_its_way(volume.name());
        let is_for_it = match (held_for, &volume.claim) {
            (Some(held_for), _) => *held_for == key,
            (None, Some(said)) => said.means(claim),
            (None, None) => false,
        };
        let is_for_another = !is_for_it && (held_for.is_some() || volume.claim.is_some());
        let unfit = is_for_another
            || volume.bytes < claim.bytes
            || volume.attributes_class != claim.attributes_class
            || volume.mode != claim.mode
            || volume.metadata.is_terminating();
        if unfit {
            continue;
        }
        if is_for_it {
            // No other will do.
            return volume.reaches(node).then_some(volume);
        }
        let fits = &*volume.phase == "Available"
            && claim.selector.as_ref().is_none_or(|selector| selector.matches(&volume.metadata.labels))
            && volume.reaches(node)
            && claim.access_modes.is_subset(&volume.access_modes);
        if fits && best.is_none_or(|best| volume.bytes < best.bytes) {
            best = Some(volume);
        }
    }
    best
}

/// Why no volume can be made for a claim on a node, if so.
fn cannot_be_made(claim: &Claim, node: &Node, others: &Others) -> Option<&'static str> {
    const NO_VOLUME: &str = "node(s) didn't find available persistent volumes to bind";
    let Some(class) = class_of(claim, others) else { return Some(NO_VOLUME) };
    let labels = &node.metadata.labels;
    if !class.provisions() || !class.reaches(labels) {
        return Some(NO_VOLUME);
    }
    let driver = others.drivers.get(&Key::cluster(&class.provisioner));
    let tells = claim.bytes > 0 && driver.is_some_and(|driver| driver.tells_capacity());
    let suffices = || {
        others.capacities.iter().any(|capacity| {
            *capacity.storage_class_name == *class.metadata.name && capacity.suffices(claim.bytes, labels)
        })
    };
    (tells && !suffices()).then_some("node(s) did not have enough free storage")
}

/// What a Pod would hold on a node.
fn find(claims: &Claims<'_>, node: &Node, others: &Others) -> Result<Vec<Holding>, Rejection> {
    let mut reasons = Vec::new();
    for claim in &claims.bound {
        match others.volumes.get(&Key::cluster(&claim.volume)) {
            None => {
                reasons.push("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
                break;
            }
            Some(volume) if !volume.reaches(node) => {
                reasons.push("node(s) didn't match PersistentVolume's node affinity");
                break;
            }
            Some(_) => {}
        }
    }
    let mut holdings = Vec::new();
    let mut chosen = BTreeSet::new();
    for claim in &claims.waiting {
        let key = claim.key();
        // What was asked for before is still being made.
        let selected = claim.selected_node().or_else(|| others.node_on_its_way(&key));
        let volume = match selected {
            Some(selected) if *selected != *node.metadata.name => {
                let no_volume = "node(s) didn't find available persistent volumes to bind";
                if !reasons.contains(&no_volume) {
                    reasons.push(no_volume);
                }
                break;
            }
            Some(_) => None,
            None => matching(claim, node, others, &chosen),
        };
        if let Some(volume) = volume {
            chosen.insert(volume.name());
            holdings.push(Holding::Volume { volume: Arc::clone(&volume.metadata.name), claim: key });
        } else if let Some(why) = cannot_be_made(claim, node, others) {
            reasons.push(why);
            break;
        } else {
            holdings.push(Holding::Provision { claim: key, node: Arc::clone(&node.metadata.name) });
        }
    }
    if reasons.is_empty() {
        return Ok(holdings);
    }
    Err(Rejection {
        reasons: reasons.into_iter().map(Into::into).collect(),
        preemption_may_help: false,
        is_error: false,
    })
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::Reserve, Point::PreBind]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        if !pod.volumes.iter().any(|volume| matches!(volume, PodVolume::Claim { .. })) {
            return Ok(Filtering::Skip);
        }
        let claims = claims(pod, &snapshot.others)?;
        Ok(Filtering::All(Box::new(move |row: Row, _: &WhatIf<'_>| {
            find(&claims, snapshot.node(row), &snapshot.others).map(drop)
        })))
    }

    fn reserve(&self, pod: &Pod, row: Row, snapshot: &Snapshot) -> Result<Vec<Holding>, Rejection> {
        find(&claims(pod, &snapshot.others)?, snapshot.node(row), &snapshot.others)
    }

    fn before_binding(&self, _pod: &Pod, _node: &str, held: &[Holding]) -> Vec<Preparation> {
        if held.is_empty() { Vec::new() } else { vec![Preparation::Volumes { patience: self.patience }] }
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated { old, new } => old.metadata.labels != new.metadata.labels,
            ClusterEvent::Storage(StorageEvent::Claim(key)) => {
                let mut mine = pod.volumes.iter().filter_map(|volume| volume.claim(&pod.metadata.namespace));
                mine.any(|claim| claim == *key)
            }
            ClusterEvent::Storage(StorageEvent::Detached) => false,
            ClusterEvent::Storage(_) => true,
            // What a Pod held that did not get there is free again.
            ClusterEvent::PodRemoved(gone) => !gone.is_assigned() && !gone.volumes.is_empty(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{judged, pod, with_objects};

    const NO_VOLUME: &str = "node(s) didn't find available persistent volumes to bind!";

    fn volume(name: &str, size: &str, node: &str, more: Value) -> Value {
        let mut volume = json!({
            "metadata": {"name": name},
            "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "host", "operator": "In", "values": [node]}]}]}}},
            "status": {"phase": "Available"},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            volume["spec"][key] = value.clone();
        }
        volume
    }

    fn claim(name: &str, class: &str, size: &str, more: Value) -> Value {
        let mut claim = json!({
            "metadata": {"namespace": "ns", "name": name, "uid": name},
            "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": size}}},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            claim[key] = value.clone();
        }
        claim
    }

    fn nodes(claims: Vec<Value>) -> Snapshot {
        let node = |name: &str, zone: &str| json!({"metadata": {"name": name, "labels": {"host": name, "zone": zone}}});
        with_objects([node("a", "1"), node("b", "2")], [], |others| {
            for (name, mode, provisioner) in [
                ("local", "WaitForFirstConsumer", "kubernetes.io/no-provisioner"),
                ("made", "WaitForFirstConsumer", "example.com/disk"),
                ("now", "Immediate", "example.com/disk"),
                ("tells", "WaitForFirstConsumer", "example.com/tells"),
            ] {
                let class = json!({"metadata": {"name": name}, "volumeBindingMode": mode, "provisioner": provisioner});
                others.classes.set(Arc::new(serde_json::from_value(class).unwrap()));
            }
            let zoned = json!({"metadata": {"name": "zoned"}, "volumeBindingMode": "WaitForFirstConsumer",
                "provisioner": "example.com/disk",
                "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": ["2"]}]}]});
            others.classes.set(Arc::new(serde_json::from_value(zoned).unwrap()));
            let driver =
                json!({"metadata": {"name": "example.com/tells"}, "spec": {"storageCapacity": true}});
            others.drivers.set(Arc::new(serde_json::from_value(driver).unwrap()));
            let capacity = json!({"metadata": {"namespace": "x", "name": "c"}, "storageClassName": "tells",
                "capacity": "10Gi", "nodeTopology": {"matchLabels": {"zone": "1"}}});
            others.capacities.set(Arc::new(serde_json::from_value(capacity).unwrap()));
            for value in [
                volume("small-a", "1Gi", "a", json!({})),
                volume("large-a", "5Gi", "a", json!({})),
                volume("large-b", "5Gi", "b", json!({})),
                volume("other-b", "1Gi", "b", json!({"claimRef": {"namespace": "ns", "name": "somebody"}})),
            ] {
                others.volumes.set(Arc::new(serde_json::from_value(value).unwrap()));
            }
            for value in claims {
                others.claims.set(Arc::new(serde_json::from_value(value).unwrap()));
            }
        })
    }

    fn user(claims: &[&str]) -> Pod {
        let volumes: Vec<Value> =
            claims.iter().map(|name| json!({"persistentVolumeClaim": {"claimName": name}})).collect();
        pod(json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p"}, "spec": {"volumes": volumes}}))
    }

    fn plugin() -> VolumeBinding {
        VolumeBinding::new(Settings::default()).unwrap()
    }

    fn check(claims: Vec<Value>) -> String {
        let names: Vec<String> =
            claims.iter().map(|claim| claim["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        judged(&plugin(), &user(&names), &nodes(claims)).replace(NO_VOLUME, "no volume")
    }

    #[test]
    fn a_node_must_reach_bound_volumes_and_have_some_for_claims_that_wait() {
        let bound = |volume: &str| {
            let mut claim = claim(
                "c",
                "local",
                "1Gi",
                json!({"metadata": {"namespace": "ns", "name": "c", "uid": "c",
                "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}}),
            );
            claim["spec"]["volumeName"] = json!(volume);
            claim
        };
        let selected = |class: &str, node: &str| {
            claim(
                "c",
                class,
                "1Gi",
                json!({"metadata": {"namespace": "ns", "name": "c", "uid": "c",
                "annotations": {"volume.kubernetes.io/selected-node": node}}}),
            )
        };
        let gone = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)!";
        for (claims, expected) in [
            (
                vec![bound("large-a")],
                "yes | node(s) didn't match PersistentVolume's node affinity!".to_owned(),
            ),
            (vec![bound("gone")], format!("{gone} | {gone}")),
            (vec![claim("c", "local", "2Gi", json!({}))], "yes | yes".to_owned()),
            (
                vec![claim("c", "local", "1Gi", json!({})), claim("d", "local", "1Gi", json!({}))],
                "yes | no volume".to_owned(),
            ),
            (vec![claim("c", "local", "6Gi", json!({}))], "no volume | no volume".to_owned()),
            (vec![claim("somebody", "local", "1Gi", json!({}))], "no volume | yes".to_owned()),
            (vec![claim("c", "made", "6Gi", json!({}))], "yes | yes".to_owned()),
            (vec![claim("c", "zoned", "6Gi", json!({}))], "no volume | yes".to_owned()),
            (
                vec![claim("c", "tells", "6Gi", json!({}))],
                "yes | node(s) did not have enough free storage!".to_owned(),
            ),
            (vec![selected("made", "b")], "no volume | yes".to_owned()),
            (
                vec![claim("c", "now", "1Gi", json!({}))],
                "never: pod has unbound immediate PersistentVolumeClaims".to_owned(),
            ),
            (
                vec![claim("c", "unknown", "1Gi", json!({}))],
                "never: pod has unbound immediate PersistentVolumeClaims".to_owned(),
            ),
            (
                vec![claim("c", "local", "1Gi", json!({"status": {"phase": "Lost"}}))],
                "never: persistentvolumeclaim \"c\" bound to non-existent persistentvolume \"\"".to_owned(),
            ),
        ] {
            let shown = format!("{claims:?}");
            assert_eq!(check(claims), expected, "{shown}");
        }
        assert_eq!(
            judged(&plugin(), &user(&["none"]), &nodes(vec![])),
            "never: persistentvolumeclaim \"none\" not found"
        );
        assert_eq!(judged(&plugin(), &user(&[]), &nodes(vec![])), "skip");
    }

    #[test]
    fn a_volume_that_is_held_for_one_claim_is_not_there_for_another() {
        let mut nodes =
            nodes(vec![claim("c", "local", "2Gi", json!({})), claim("d", "local", "2Gi", json!({}))]);
        let row = |nodes: &Snapshot| nodes.row("a").unwrap();
        let held = plugin().reserve(&user(&["c"]), row(&nodes), &nodes).unwrap();
        assert_eq!(held, [Holding::Volume { volume: "large-a".into(), claim: Key::new("ns", "c") }]);
        nodes.others.hold("p", held);
        assert!(plugin().reserve(&user(&["d"]), row(&nodes), &nodes).is_err());
        assert!(
            plugin().reserve(&user(&["c"]), row(&nodes), &nodes).is_ok(),
            "another Pod of the same claim"
        );
        nodes.others.release("p");
        assert!(plugin().reserve(&user(&["d"]), row(&nodes), &nodes).is_ok());
    }

    #[test]
    fn what_is_made_for_one_node_is_waited_for_there() {
        let mut nodes = nodes(vec![claim("c", "made", "2Gi", json!({}))]);
        let row = |nodes: &Snapshot, name: &str| nodes.row(name).unwrap();
        let held = plugin().reserve(&user(&["c"]), row(&nodes, "a"), &nodes).unwrap();
        assert_eq!(held, [Holding::Provision { claim: Key::new("ns", "c"), node: "a".into() }]);
        let preparations = plugin().before_binding(&user(&["c"]), "a", &held);
        assert_eq!(preparations, [Preparation::Volumes { patience: Duration::from_secs(600) }]);
        nodes.others.hold("p", held);
        assert!(plugin().reserve(&user(&["c"]), row(&nodes, "b"), &nodes).is_err());
    }
}
