//! Device taint eviction: deletes Pods whose devices do not want them any longer (KEP-5055), once they have put up with it
//! for as long as their claims say.
//!
//! Drivers taint devices in their ResourceSlices. Time counts from when the taint was added, which is written there, so
//! nothing has to be remembered but whom it was told that he has to go.

use std::{collections::BTreeSet, sync::Arc};

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers, Write,
    controller::{Patch, Request},
    events::{Note, ObjectRef},
    meta::time,
    resource::PODS,
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::json;

use crate::kinds::{
    Pod, ResourceClaim, ResourceSlice,
    node::Taint,
    resource_claim::{AllocatedDevice, DeviceToleration},
    resource_slice::{self, Device},
};

const NO_EXECUTE: &str = "NoExecute";

/// Evicts Pods.
#[derive(Debug, Default)]
pub struct DeviceTaintEviction {
    /// Those that have to go.
    leaving: Mutex<BTreeSet<Key>>,
}

/// All that matters to a Pod's staying.
#[derive(Debug)]
pub struct Observed {
    pod: Arc<Pod>,
    /// When it has to go.
    due: Option<Timestamp>,
    /// It had to go when it was looked at last.
    had_to_go: bool,
}

// === impl DeviceTaintEviction ===

impl Controller for DeviceTaintEviction {
    type Root = Pod;
    type Observed = Observed;
    const NAME: &'static str = "device-taint-eviction-controller";

    fn triggers(&self, on: &mut Triggers<Pod>) {
        on.changes::<Pod>(|change, _| {
            let pod = change.object();
            if pod.spec.resource_claims.is_empty() {
                return Vec::new();
            }
            if let Change::Modified { old, new } = change
                && old.spec.node_name == new.spec.node_name
                && old.status.resource_claim_statuses == new.status.resource_claim_statuses
            {
                return Vec::new();
            }
            vec![pod.key()]
        });
        on.mapped::<ResourceClaim>(|claim, _| users(claim));
        on.changes::<ResourceSlice>(|change, caches| {
            let tainted =
                |slice: Option<&Arc<ResourceSlice>>| slice.is_some_and(|it| !it.spec.devices.is_empty());
            if !tainted(change.before()) && !tainted(change.after()) {
                return Vec::new();
            }
            let spec = &change.object().spec;
            let in_pool = |it: &AllocatedDevice| it.driver == spec.driver && it.pool == spec.pool.name;
            let claims = caches.read::<ResourceClaim>().list();
            claims.iter().filter(|claim| devices(claim).any(in_pool)).flat_map(|claim| users(claim)).collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let Some(pod) = caches.read::<Pod>().get(root) else {
            self.leaving.lock().remove(root);
            return None;
        };
        let due = if pod.spec.node_name.is_empty() { None } else { due(&pod, caches) };
        let mut leaving = self.leaving.lock();
        let had_to_go = if due.is_some() { !leaving.insert(root.clone()) } else { leaving.remove(root) };
        Some(Observed { pod, due, had_to_go })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let Observed { pod, due, had_to_go } = observed;
        if pod.metadata.is_terminating() {
            return Plan::because("the Pod is on its way out");
        }
        match *due {
            None if *had_to_go => {
                Plan::because("its devices want the Pod after all").then(tell(pod, "Cancelling deletion"))
            }
            None => Plan::because("no device drives the Pod away"),
            Some(due) if now < due => {
                Plan::because("the Pod puts up with the taints of its devices for a while")
                    .look_again_at(due, now)
            }
            Some(_) => evict(pod, now),
        }
    }
}

/// The devices of a claim.
fn devices(claim: &ResourceClaim) -> impl Iterator<Item = &AllocatedDevice> {
    claim.status.allocation.iter().flat_map(|it| &it.devices.results)
}

/// The Pods that a claim is for now.
fn users(claim: &ResourceClaim) -> Vec<Key> {
    let users = claim.status.reserved_for.iter();
    let pods = users.filter(|it| it.api_group.is_empty() && &*it.resource == "pods");
    pods.map(|it| Key::new(&claim.metadata.namespace, &it.name)).collect()
}

/// When a Pod has to go for its devices.
fn due(pod: &Pod, caches: &Caches) -> Option<Timestamp> {
    let meta = &pod.metadata;
    let claims = caches.read::<ResourceClaim>();
    let mine = |name: &str, made_for_it: bool| {
        let claim = claims.get(&Key::new(&meta.namespace, name))?;
        let is_owner = || claim.metadata.controller().is_some_and(|owner| owner.uid == meta.uid);
        let is_user = claim.status.reserved_for.iter().any(|it| it.uid == meta.uid);
        (is_user && (!made_for_it || is_owner())).then_some(claim)
    };
    let wanted = pod.spec.resource_claims.iter().filter_map(|wanted| {
        if !wanted.resource_claim_name.is_empty() {
            return mine(&wanted.resource_claim_name, false);
        }
        let made = pod.status.resource_claim_statuses.iter().find(|it| it.name == wanted.name)?;
        mine(&made.resource_claim_name, true)
    });
    wanted.filter_map(|claim| devices(&claim).filter_map(|device| due_of(device, caches)).min()).min()
}

/// When the user of a device has to go.
fn due_of(device: &AllocatedDevice, caches: &Caches) -> Option<Timestamp> {
    let pool = resource_slice::pool(&device.driver, &device.pool);
    let slices = caches.read::<ResourceSlice>().by_index(resource_slice::POOL, &pool);
    // Only the newest word on a pool counts.
    let generation = slices.iter().map(|slice| slice.spec.pool.generation).max()?;
    let newest = slices.iter().filter(|slice| slice.spec.pool.generation == generation);
    let tainted: Option<&Device> =
        newest.flat_map(|slice| &slice.spec.devices).find(|tainted| tainted.name == device.device);
    tainted?.taints.iter().filter_map(|taint| due_by(taint, &device.tolerations)).min()
}

/// When a taint drives away those who tolerate this.
fn due_by(taint: &Taint, tolerations: &[DeviceToleration]) -> Option<Timestamp> {
    let mut patience: Option<i64> = None;
    for toleration in tolerations.iter().filter(|it| &*it.effect == NO_EXECUTE && tolerates(it, taint)) {
        let seconds = toleration.toleration_seconds?.max(0);
        patience = Some(patience.map_or(seconds, |shortest| shortest.min(seconds)));
    }
    let patience = SignedDuration::from_secs(patience.unwrap_or_default());
    Some(taint.time_added?.checked_add(patience).unwrap_or(Timestamp::MAX))
}

fn tolerates(toleration: &DeviceToleration, taint: &Taint) -> bool {
    (toleration.key.is_empty() || toleration.key == taint.key)
        && match &*toleration.operator {
            "" | "Equal" => toleration.value == taint.value,
            "Exists" => true,
            _ => false,
        }
}

fn tell(pod: &Pod, message: &'static str) -> Write {
    let about = ObjectRef { resource_version: String::new(), ..ObjectRef::to(pod) };
    Write::event(about, Note::normal("DeviceTaintManagerEviction", message))
}

fn evict(pod: &Pod, now: Timestamp) -> Plan {
    let condition = json!({"status": {"conditions": [{
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByDeviceTaintManager",
        "message": "Device Taint manager: deleting due to NoExecute taint", "lastTransitionTime": time(now),
    }]}});
    let status = Request::patch(PODS, pod.key(), Patch::strategic(condition)).on("status");
    Plan::because("a device does not want the Pod any longer")
        .then(tell(pod, "Marking for deletion"))
        .then(status.if_same(&pod.metadata.uid))
        .then(Request::delete(PODS, &pod.metadata))
}

#[cfg(test)]
mod tests {
    use client::testing::Filled;
    use serde_json::Value;

    use super::*;

    /// A Pod with a claim on device `gpu-0`.
    fn look(
        controller: &DeviceTaintEviction,
        slices: Vec<Value>,
        tolerations: &Value,
        reserved: bool,
    ) -> Plan {
        let users = if reserved { json!([{"resource": "pods", "name": "p", "uid": "p"}]) } else { json!([]) };
        let claim = json!({"metadata": {"namespace": "ns", "name": "c", "uid": "c"}, "status": {"reservedFor": users,
            "allocation": {"devices": {"results": [{"driver": "d", "pool": "n", "device": "gpu-0", "tolerations": tolerations}]}}}});
        let pod = json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p"},
            "spec": {"nodeName": "n", "resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}]}});
        let caches = Filled::new()
            .with::<Pod>([pod])
            .with::<ResourceClaim>([claim])
            .with::<ResourceSlice>(slices)
            .caches();
        let observed = controller.observe(&Key::new("ns", "p"), &caches).unwrap();
        controller.reconcile(&observed, "2026-01-01T00:01:00Z".parse().unwrap())
    }

    fn slice(generation: i64, taints: Value) -> Value {
        json!({"metadata": {"name": format!("s{generation}")}, "spec": {"driver": "d", "pool": {"name": "n", "generation": generation},
            "devices": [{"name": "gpu-0", "taints": taints}, {"name": "gpu-1", "taints": []}]}})
    }

    fn taint(effect: &str) -> Value {
        json!([{"key": "sick", "value": "very", "effect": effect, "timeAdded": "2026-01-01T00:00:00Z"}])
    }

    #[test]
    fn a_pod_goes_when_its_claim_has_put_up_with_a_taint_for_long_enough() {
        let tolerate = |seconds: Value| json!([{"key": "sick", "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds}]);
        for (name, slices, tolerations, reserved, writes, again) in [
            ("healthy", vec![slice(1, json!([]))], json!([]), true, 0, None),
            ("tainted", vec![slice(1, taint(NO_EXECUTE))], json!([]), true, 3, None),
            ("not for others", vec![slice(1, taint("NoSchedule"))], json!([]), true, 0, None),
            ("tolerated", vec![slice(1, taint(NO_EXECUTE))], tolerate(Value::Null), true, 0, None),
            ("for a while", vec![slice(1, taint(NO_EXECUTE))], tolerate(json!(90)), true, 0, Some(30)),
            ("no longer", vec![slice(1, taint(NO_EXECUTE))], tolerate(json!(30)), true, 3, None),
            (
                "another value",
                vec![slice(1, taint(NO_EXECUTE))],
                json!([{"key": "sick", "value": "a bit", "effect": NO_EXECUTE}]),
                true,
                3,
                None,
            ),
            ("of before", vec![slice(1, taint(NO_EXECUTE)), slice(2, json!([]))], json!([]), true, 0, None),
            ("not its own", vec![slice(1, taint(NO_EXECUTE))], json!([]), false, 0, None),
        ] {
            let plan = look(&DeviceTaintEviction::default(), slices, &tolerations, reserved);
            let seconds = plan.look_again.map(|delay| delay.as_secs());
            assert_eq!((plan.writes.len(), seconds), (writes, again), "{name}");
        }
    }

    #[test]
    fn a_pod_that_may_stay_after_all_is_told_so_once() {
        let controller = DeviceTaintEviction::default();
        let patient = json!([{"operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": 600}]);
        let told = |taints: Value| {
            let plan = look(&controller, vec![slice(1, taints)], &patient, true);
            plan.writes.first().map(|write| match write {
                Write::Event { note, .. } => note.message.to_string(),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(told(taint(NO_EXECUTE)), None);
        assert_eq!(told(json!([])).as_deref(), Some("Cancelling deletion"));
        assert_eq!(told(json!([])), None);
    }
}
