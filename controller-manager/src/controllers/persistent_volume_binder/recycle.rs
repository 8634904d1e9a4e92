//! Recycling: a volume whose claim is gone is emptied by a Pod, and is then there for another claim. Deprecated upstream,
//! and still done there for directories of nodes and of NFS servers.
//!
//! One Pod a volume, found by its name. Its success counts only while it is not on its way out: it is deleted before the
//! volume is given away, so that no later release takes an old success for its own.

use std::sync::Arc;

use client::{
    Caches, Key, Kind, Plan, Write,
    controller::Request,
    events::{Note, ObjectRef},
    resource::{PERSISTENT_VOLUMES, PODS},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    phase,
    volume::{told, unbound},
};
use crate::kinds::{PersistentVolume, PersistentVolumeClaim, Pod, persistent_volume::ClaimRef, pod};

/// The namespace of the Pods.
const NAMESPACE: &str = "default";
/// What they are called, before the name of the volume.
const NAME: &str = "recycler-for-";
/// A Pod that has failed is followed by another one so long after it began.
const PACE: SignedDuration = SignedDuration::from_secs(15);
/// A gibibyte more takes so many seconds more.
const SECONDS_PER_GIB: i64 = 30;
const GIB: i64 = 1 << 30;

/// All that matters to recycling a volume.
#[derive(Debug, Default)]
pub(super) struct Recycling {
    /// The Pod that empties it.
    pod: Option<Arc<Pod>>,
    /// The Pods that still use it by its claim's name, `namespace/name`, if there is no other claim of that name.
    users: Vec<String>,
}

impl Recycling {
    /// Looks for what matters, if the volume is of those that are recycled.
    pub(super) fn observe(volume: &PersistentVolume, caches: &Caches) -> Option<Self> {
        let claim = volume.spec.claim_ref.as_ref().filter(|_| is_recycled(volume))?;
        let pods = caches.read::<Pod>();
        Some(Self {
            pod: pods.get(&Key::new(NAMESPACE, &format!("{NAME}{}", volume.metadata.name))),
            users: users(claim, caches),
        })
    }

    /// Whether a Pod matters to a volume: as the one that empties it.
    pub(super) fn volume_of(pod: &Pod) -> Option<Key> {
        let name = pod.metadata.name.strip_prefix(NAME).filter(|_| &*pod.metadata.namespace == NAMESPACE)?;
        Some(Key::cluster(name))
    }
}

/// Whether a volume is to be recycled when its claim is gone.
pub(super) fn is_recycled(volume: &PersistentVolume) -> bool {
    &*volume.spec.persistent_volume_reclaim_policy == "Recycle"
}

fn users(claim: &ClaimRef, caches: &Caches) -> Vec<String> {
    let key = Key::new(&claim.namespace, &claim.name);
    if caches.read::<PersistentVolumeClaim>().get(&key).is_some() {
        return Vec::new();
    }
    let pods = caches.read::<Pod>().by_index(pod::CLAIM, &key.to_string());
    let mut users: Vec<String> =
        pods.iter().filter(|pod| !pod.needs_no_volumes()).map(|pod| pod.key().to_string()).collect();
    users.sort_unstable();
    users
}

/// Takes the next step.
pub(super) fn recycle(volume: &PersistentVolume, recycling: &Recycling, now: Timestamp) -> Plan {
    let about = ObjectRef::to(volume);
    let has_failed = &*volume.status.phase == "Failed";
    let released = |plan: Plan| if has_failed { plan } else { told(volume, "Released", "", plan) };
    let failed = |plan: Plan, message: String| {
        if has_failed {
            return plan;
        }
        let status = json!({ "message": message });
        plan.then(phase(PERSISTENT_VOLUMES, volume.key(), &volume.metadata.uid, "Failed", status))
            .then(Write::event(about.clone(), Note::warning("VolumeFailedRecycle", message)))
    };
    if !recycling.users.is_empty() {
        let message = format!("Volume is used by pods: {}", recycling.users.join(","));
        let note = Note::normal("VolumeFailedRecycle", message);
        return released(Plan::because("Pods still use the volume").then(Write::event(about, note)));
    }
    let Some((source, least)) = source(volume) else {
        let plan = Plan::because("nobody can empty the volume");
        return failed(plan, "No recycler plugin found for the volume!".to_owned());
    };
    let Some(pod) = &recycling.pod else {
        let plan = released(Plan::because("the claim of the volume is gone: it is to be emptied"));
        return plan.then(Request::create(PODS, NAMESPACE, scrubber(volume, &source, least)));
    };
    if pod.metadata.is_terminating() {
        return released(Plan::because("the Pod that emptied the volume before has to go first"));
    }
    let delete = Request::delete(PODS, &pod.metadata);
    match &*pod.status.phase {
        "Succeeded" => {
            let plan = Plan::because("the volume is empty").then(delete);
            let plan = plan.then(Write::event(about, Note::normal("VolumeRecycled", "Volume recycled")));
            told(volume, "Available", "", plan.then(unbound(volume)))
        }
        "Failed" => {
            let why = if pod.status.message.is_empty() {
                "pod failed, pod.Status.Message unknown"
            } else {
                &pod.status.message
            };
            let plan = Plan::because("the volume could not be emptied");
            let plan = failed(plan, format!("Recycle failed: failed to recycle volume: {why}"));
            let began = pod.metadata.creation_timestamp.unwrap_or(now);
            let again = began.checked_add(PACE).unwrap_or(Timestamp::MAX);
            if now >= again { plan.then(delete) } else { plan.look_again_at(again, now) }
        }
        _ => released(Plan::because("a Pod empties the volume")),
    }
}

/// The volume as Pods name it, and how many seconds it takes at least to empty it; `None` if nobody can.
fn source(volume: &PersistentVolume) -> Option<(Value, i64)> {
    let spec = &volume.spec;
    let host_path = spec.host_path.as_ref().map(|it| (json!({"hostPath": {"path": it.path}}), 60));
    host_path.or_else(|| {
        let it = spec.nfs.as_ref()?;
        Some((json!({"nfs": {"server": it.server, "path": it.path}}), 300))
    })
}

/// The Pod that empties a volume.
fn scrubber(volume: &PersistentVolume, source: &Value, least: i64) -> Value {
    let bytes = volume.size().map(api_types::quantity::Quantity::value).unwrap_or_default();
    let mut mounted = source.clone();
    mounted["name"] = "vol".into();
    json!({
        "metadata": {"name": format!("{NAME}{}", volume.metadata.name), "namespace": NAMESPACE},
        "spec": {
            "activeDeadlineSeconds": (bytes / GIB).saturating_mul(SECONDS_PER_GIB).max(least),
            "restartPolicy": "Never",
            "volumes": [mounted],
            "containers": [{
                "name": "pv-recycler",
                "image": "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6",
                "command": ["/bin/sh"],
                "args": ["-c", "test -e /scrub && find /scrub -mindepth 1 -delete && test -z \"$(ls -A /scrub)\" || exit 1"],
                "volumeMounts": [{"name": "vol", "mountPath": "/scrub"}],
            }],
        },
    })
}

#[cfg(test)]
mod recycle_tests {
    use client::controller::Verb;

    use super::*;

    fn look(phase: &str, source: &Value, pod: Option<Value>, users: &[&str]) -> Vec<String> {
        let mut spec = source.clone();
        spec["persistentVolumeReclaimPolicy"] = "Recycle".into();
        spec["capacity"] = json!({"storage": "5Gi"});
        spec["claimRef"] = json!({"namespace": "ns", "name": "c", "uid": "c"});
        let volume = json!({"metadata": {"name": "v", "uid": "v", "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
            "spec": spec, "status": {"phase": phase}});
        let volume: PersistentVolume = serde_json::from_value(volume).unwrap();
        let recycling = Recycling {
            pod: pod.map(|pod| Arc::new(serde_json::from_value(pod).unwrap())),
            users: users.iter().map(|&user| user.to_owned()).collect(),
        };
        let plan = recycle(&volume, &recycling, "2026-01-01T00:00:14Z".parse().unwrap());
        let line = |write: &Write| match write {
            Write::Event { note, .. } => format!("tell {}", note.message),
            Write::Request(request) => match &request.verb {
                Verb::Create(pod) => {
                    format!("make {} for {}", request.key.name, pod["spec"]["activeDeadlineSeconds"])
                }
                Verb::Delete(_) => format!("delete {}", request.key.name),
                Verb::Merge(document) if request.subresource == "status" => {
                    format!("is {}", document["status"]["phase"].as_str().unwrap())
                }
                Verb::Merge(document) => format!("claim {}", document["spec"]["claimRef"]),
                other => panic!("{other:?}"),
            },
            Write::Batch { .. } => panic!("{write:?}"),
        };
        plan.writes.iter().map(line).collect()
    }

    #[test]
    fn a_volume_is_emptied_by_a_pod_and_then_free() {
        let directory = || json!({"hostPath": {"path": "/tmp/x"}});
        let pod = |phase: &str, more: Value| {
            let mut pod = json!({"metadata": {"namespace": NAMESPACE, "name": "recycler-for-v", "uid": "p",
                "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": phase}});
            for (part, fields) in more.as_object().unwrap() {
                for (name, value) in fields.as_object().unwrap() {
                    pod[part][name] = value.clone();
                }
            }
            Some(pod)
        };
        let none = json!({});
        assert_eq!(look("Bound", &directory(), None, &[]), ["is Released", "make recycler-for-v for 150"]);
        let nfs = json!({"nfs": {"server": "s", "path": "/"}});
        assert_eq!(look("Released", &nfs, None, &[]), ["make recycler-for-v for 300"]);
        assert_eq!(
            look("Released", &json!({"csi": {}}), None, &[]),
            ["is Failed", "tell No recycler plugin found for the volume!"]
        );
        assert_eq!(
            look("Released", &directory(), None, &["ns/a", "ns/b"]),
            ["tell Volume is used by pods: ns/a,ns/b"]
        );
        assert!(look("Released", &directory(), pod("Running", none.clone()), &[]).is_empty());
        assert_eq!(
            look("Released", &directory(), pod("Succeeded", none.clone()), &[]),
            ["delete recycler-for-v", "tell Volume recycled", "claim null", "is Available"]
        );
        let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert!(look("Released", &directory(), pod("Succeeded", going), &[]).is_empty(), "of before");
        let why = json!({"status": {"message": "too slow"}});
        assert_eq!(
            look("Released", &directory(), pod("Failed", why), &[]),
            ["is Failed", "tell Recycle failed: failed to recycle volume: too slow"]
        );
        assert!(look("Failed", &directory(), pod("Failed", none), &[]).is_empty(), "not yet again");
        let old = json!({"metadata": {"creationTimestamp": "2025-12-31T00:00:00Z"}});
        assert_eq!(look("Failed", &directory(), pod("Failed", old), &[]), ["delete recycler-for-v"]);
    }
}
