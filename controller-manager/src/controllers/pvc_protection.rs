//! PersistentVolumeClaim protection: a claim that is to go stays until no Pod uses it.

use std::sync::Arc;

use client::{Caches, Controller, Key, Kind, Plan, Triggers};
use jiff::Timestamp;

use crate::{
    kinds::{PersistentVolumeClaim, Pod, pod::Source},
    protection,
};

const FINALIZER: &str = "kubernetes.io/pvc-protection";

/// Protects claims.
#[derive(Debug)]
pub struct PvcProtection;

/// All that matters to the protection of a claim.
#[derive(Debug)]
pub struct Observed {
    claim: Arc<PersistentVolumeClaim>,
    /// The Pods that name it.
    pods: Vec<Arc<Pod>>,
}

// === impl PvcProtection ===

impl Controller for PvcProtection {
    type Root = PersistentVolumeClaim;
    type Observed = Observed;
    const NAME: &'static str = "pvc-protection-controller";

    fn triggers(&self, on: &mut Triggers<PersistentVolumeClaim>) {
        on.changes::<PersistentVolumeClaim>(|change, _| {
            let concerned = change.after().filter(|claim| protection::concerns(&claim.metadata, FINALIZER));
            concerned.map(|claim| claim.key()).into_iter().collect()
        });
        on.mapped::<Pod>(|pod, caches| {
            let claims = caches.read::<PersistentVolumeClaim>();
            let keys = pod.claims().map(|name| Key::new(&pod.metadata.namespace, &name));
            // What uses a claim matters only once it is to go.
            keys.filter(|key| claims.get(key).is_some_and(|it| it.metadata.is_terminating())).collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let claim = caches.read::<PersistentVolumeClaim>().get(root)?;
        let pods = if claim.metadata.is_terminating() {
            caches.read::<Pod>().by_index(crate::kinds::pod::CLAIM, &root.to_string())
        } else {
            Vec::new()
        };
        Some(Observed { claim, pods })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { claim, pods } = observed;
        let user = pods.iter().find(|pod| uses(pod, claim));
        protection::protect(&**claim, FINALIZER, user.map(|pod| format!("Pod {}", pod.metadata.name)))
    }
}

/// Whether a kubelet may have mounted a claim for a Pod. One that is not on a node does not: with a claim that is to go it
/// will never be started.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let shut_down = pod.metadata.is_terminating() && pod.metadata.deletion_grace_period_seconds == Some(0);
    let uses = |volume: &crate::kinds::pod::PodVolume| match &volume.source {
        Source::Claim(name) => **name == *claim.metadata.name,
        Source::Ephemeral(_) => {
            !shut_down
                && *claim.metadata.name == *format!("{}-{}", pod.metadata.name, volume.name)
                && claim.metadata.is_controlled_by(&pod.metadata.uid)
        }
        Source::Disk(_) => false,
    };
    !pod.spec.node_name.is_empty() && pod.spec.volumes.iter().any(uses)
}

#[cfg(test)]
mod tests {
    use client::testing::Filled;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_claim_stays_while_a_pod_on_a_node_uses_it() {
        let going = || json!("2026-01-01T00:00:00Z");
        let pod = |node: &str, volume: Value| {
            vec![json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p"},
                "spec": {"nodeName": node, "volumes": [volume]}, "status": {"phase": "Succeeded"}})]
        };
        let named = || json!({"name": "v", "persistentVolumeClaim": {"claimName": "p-v"}});
        let ephemeral = || json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}});
        for (name, deleted, finalizers, pods, why, writes) in [
            ("new", Value::Null, json!([]), vec![], "it is not protected yet", 1),
            ("fine", Value::Null, json!([FINALIZER]), vec![], "it is protected", 0),
            ("unused", going(), json!([FINALIZER, "x"]), vec![], "it is to go, and nothing uses it", 1),
            (
                "used",
                going(),
                json!([FINALIZER]),
                pod("n", named()),
                "it is to go, and stays because Pod p uses it",
                0,
            ),
            (
                "not on a node",
                going(),
                json!([FINALIZER]),
                pod("", named()),
                "it is to go, and nothing uses it",
                1,
            ),
            (
                "ephemeral",
                going(),
                json!([FINALIZER]),
                pod("n", ephemeral()),
                "it is to go, and stays because Pod p uses it",
                0,
            ),
            ("others hold it", going(), json!(["x"]), vec![], "it is on its way out", 0),
        ] {
            let owners =
                json!([{"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "p", "controller": true}]);
            let claim = json!({"metadata": {"namespace": "ns", "name": "p-v", "uid": "c", "deletionTimestamp": deleted,
                "finalizers": finalizers, "ownerReferences": owners}});
            let caches = Filled::new().with::<PersistentVolumeClaim>([claim]).with::<Pod>(pods).caches();
            let observed = PvcProtection.observe(&Key::new("ns", "p-v"), &caches).unwrap();
            let plan = PvcProtection.reconcile(&observed, Timestamp::UNIX_EPOCH);
            assert_eq!((plan.why.to_string().as_str(), plan.writes.len()), (why, writes), "{name}");
        }
    }
}
