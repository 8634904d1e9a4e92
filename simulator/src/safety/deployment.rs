//! A rolling update keeps within its bounds: it never plans more Pods than the surge allows, and once it serves it goes on
//! serving with as many as `maxUnavailable` leaves.
//!
//! What others break is not the controller's doing: when somebody else takes a Pod, or a Pod ceases to be ready by itself,
//! the Deployment first has to be whole again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Rule,
    object::Object,
    world::{Step, World},
};

/// Whose deletions of Pods are part of a rollout.
const OWN: [&str; 2] = ["replicaset-controller", "deployment-controller"];

#[derive(Debug, Default)]
pub(super) struct Deployments {
    /// Those that were fully available at their present size, by uid: from then on they must remain so.
    served: BTreeSet<String>,
    /// How many Pods the ReplicaSets were to keep when last looked at, by uid.
    planned: BTreeMap<String, i64>,
}

impl Rule for Deployments {
    fn look(&mut self, world: &World, step: &Step<'_>) -> Vec<String> {
        let object = step.object();
        let deployment = match object.kind.as_str() {
            "Pod" => {
                world.manager_of(object, "ReplicaSet").and_then(|set| world.manager_of(set, "Deployment"))
            }
            "ReplicaSet" => world.manager_of(object, "Deployment"),
            "Deployment" if step.change.deleted => {
                self.served.remove(&object.metadata.uid);
                self.planned.remove(&object.metadata.uid);
                None
            }
            "Deployment" => Some(object),
            _ => None,
        };
        let Some(deployment) = deployment.map(Arc::clone) else { return Vec::new() };
        if is_disturbed(world, step) || is_resized(step) {
            self.served.remove(&deployment.metadata.uid);
        }
        self.check(world, &deployment)
    }
}

/// Whether this change is somebody else's doing.
fn is_disturbed(world: &World, step: &Step<'_>) -> bool {
    if step.object().kind != "Pod" {
        return false;
    }
    let by = world.wishes.of(step.change);
    let taken = step.is_farewell() && by.iter().any(|who| !OWN.contains(&who.as_str()));
    let marked = step.object().metadata.deletion_timestamp.is_some();
    taken || (step.lost("Ready") && !marked)
}

fn is_resized(step: &Step<'_>) -> bool {
    step.object().kind == "Deployment"
        && step.before.as_ref().is_some_and(|before| before.spec.replicas != step.object().spec.replicas)
}

impl Deployments {
    fn check(&mut self, world: &World, deployment: &Object) -> Vec<String> {
        let mut wrong = Vec::new();
        let Some(bounds) = deployment.rolling_bounds() else { return wrong };
        if deployment.metadata.deletion_timestamp.is_some() {
            return wrong;
        }
        let uid = &deployment.metadata.uid;
        let (mut planned, mut available, mut lasting, mut known) = (0, 0, 0, true);
        for set in world.owned_by(uid, "ReplicaSet") {
            let (wants, ready) =
                (set.spec.replicas.unwrap_or_default(), world.tally_of(&set.metadata.uid).ready);
            planned += wants;
            available += ready;
            // Pods that are to go serve for a moment only. Who scales in the middle of a rollout is promised no more: every
            // ReplicaSet shrinks in proportion, whichever of them serves.
            lasting += ready.min(wants);
            // A controller that has not heard yet of a Pod somebody else took may take as many as it was told to.
            known &= set.status.ready_replicas == ready
                && set.status.observed_generation == set.metadata.generation;
        }
        let name = deployment.full_name();
        let planned_before = self.planned.insert(uid.clone(), planned).unwrap_or_default();
        // What the controller has not seen yet it cannot heed; and what was right before may take a while to go.
        let seen = deployment.status.observed_generation == deployment.metadata.generation;
        if seen && planned > bounds.most.max(planned_before) {
            wrong.push(format!("Deployment {name} plans {planned} pods, more than {}", bounds.most));
        }
        if seen && known && lasting >= bounds.wanted {
            self.served.insert(uid.clone());
        } else if available < bounds.least && self.served.contains(uid) {
            let least = bounds.least;
            wrong.push(format!("Deployment {name} serves with {available} pods, fewer than {least}"));
        }
        wrong
    }
}
