//! What a cluster that is left alone has still to do, in words. Nothing, once it is at rest.

use super::{job::TRACKING, object::Object, world::World};

/// Everything that is not yet as it is wanted.
pub fn unrest(world: &World) -> Vec<String> {
    let mut all = Vec::new();
    for object in world.all() {
        let mut say = |what: &str| all.push(format!("{} {} {what}", object.kind, object.full_name()));
        let gone = |uid: &str| world.by_uid(uid).is_none();
        let owners = &object.metadata.owner_references;
        if !owners.is_empty() && owners.iter().all(|owner| gone(&owner.uid)) {
            say("is an orphan");
        }
        if object.metadata.deletion_timestamp.is_some() {
            say("is going");
            continue;
        }
        if let Some(what) = waits_for(world, object) {
            say(what);
        }
    }
    all
}

/// What one object waits for.
fn waits_for(world: &World, object: &Object) -> Option<&'static str> {
    let (wanted, status) = (object.spec.replicas.unwrap_or(1), &object.status);
    let seen = status.observed_generation == object.metadata.generation;
    let ok = match object.kind.as_str() {
        "Deployment" => object.is_rolled_out(),
        "StatefulSet" => {
            seen && [status.replicas, status.ready_replicas, status.updated_replicas] == [wanted; 3]
                && status.current_revision == status.update_revision
        }
        "DaemonSet" => {
            let nodes = i64::try_from(world.of_kind("Node").count()).unwrap_or(i64::MAX);
            seen && [
                status.desired_number_scheduled,
                status.current_number_scheduled,
                status.updated_number_scheduled,
                status.number_available,
            ] == [nodes; 4]
        }
        "ReplicaSet" => seen && [status.replicas, status.ready_replicas] == [wanted; 2],
        "Job" if object.is_over() => {
            let held = world.owned_by(&object.metadata.uid, "Pod").any(|pod| pod.has_finalizer(TRACKING));
            if held {
                return Some("is over and holds pods");
            }
            if object.spec.ttl_seconds_after_finished.is_some() {
                return Some("is over and is to go");
            }
            true
        }
        "Job" => return Some("is not over"),
        "CronJob" => return (object.spec.suspend != Some(true)).then_some("runs"),
        "PodDisruptionBudget" => seen && status.current_healthy == status.expected_pods,
        "Node" => object.is_true("Ready") && object.spec.taints.is_empty(),
        "PersistentVolumeClaim" => status.phase == "Bound",
        "Pod" => {
            let done = matches!(status.phase.as_str(), "Succeeded" | "Failed");
            let waits = object.controller().is_some_and(|owner| owner.kind == "Job");
            done || (object.is_serving() && !waits)
        }
        _ => true,
    };
    (!ok).then_some("is not as wanted")
}
