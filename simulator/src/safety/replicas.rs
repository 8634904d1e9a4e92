//! ReplicaSets, ReplicationControllers and Jobs never have more Pods at work than they were told to keep.
//!
//! What a controller has not seen yet it cannot heed: so the most it was ever told counts, until its status says that it
//! has seen a smaller number. From then on the bound follows what there is, down to what is wanted.

use std::collections::BTreeMap;

use super::{
    Rule,
    object::Object,
    world::{Step, World},
};

#[derive(Debug, Default)]
pub(super) struct Replicas {
    /// The most Pods that each was told to keep, by uid.
    allowed: BTreeMap<String, i64>,
}

impl Rule for Replicas {
    fn look(&mut self, world: &World, step: &Step<'_>) -> Vec<String> {
        let object = step.object();
        match object.kind.as_str() {
            "ReplicaSet" | "ReplicationController" | "Job" if step.change.deleted => {
                self.allowed.remove(&object.metadata.uid);
                Vec::new()
            }
            "ReplicaSet" | "ReplicationController" | "Job" => {
                self.told(world, object);
                Vec::new()
            }
            "Pod" => self.check(world, object).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

impl Replicas {
    /// The owner itself has changed.
    fn told(&mut self, world: &World, owner: &Object) {
        let wanted = owner.wanted_pods();
        let allowed = self.allowed.entry(owner.metadata.uid.clone()).or_insert(wanted);
        *allowed = wanted.max(*allowed);
        if owner.kind != "Job" && owner.status.observed_generation == owner.metadata.generation {
            *allowed = wanted.max(world.tally_of(&owner.metadata.uid).active.min(*allowed));
        }
    }

    fn check(&mut self, world: &World, pod: &Object) -> Option<String> {
        let reference = pod.controller()?;
        let allowed = self.allowed.get_mut(&reference.uid)?;
        let owner = world.by_uid(&reference.uid)?;
        let there = world.tally_of(&reference.uid).active;
        if there > *allowed {
            let name = &reference.name;
            return Some(format!("{name} has {there} pods, and was not told to keep more than {allowed}"));
        }
        if owner.kind != "Job" && owner.status.observed_generation == owner.metadata.generation {
            *allowed = owner.wanted_pods().max(there);
        }
        None
    }
}
