//! The garbage collector takes nothing that has an owner, unless the owner is going and waits for it.

use super::{
    Rule,
    world::{Step, World},
};

const COLLECTOR: &str = "generic-garbage-collector";
/// An owner that waits for what it owns to go.
const FOREGROUND: &str = "foregroundDeletion";

#[derive(Debug)]
pub(super) struct Collection;

impl Rule for Collection {
    fn look(&mut self, world: &World, step: &Step<'_>) -> Vec<String> {
        let object = step.object();
        if !step.is_farewell() || object.metadata.owner_references.is_empty() {
            return Vec::new();
        }
        let by = world.wishes.of(step.change);
        if by.len() != 1 || !by.contains(COLLECTOR) {
            return Vec::new();
        }
        let alive = object.metadata.owner_references.iter().filter_map(|owner| world.by_uid(&owner.uid));
        let staying = alive
            .filter(|owner| owner.metadata.deletion_timestamp.is_none() || !owner.has_finalizer(FOREGROUND));
        staying
            .map(|owner| format!("is collected although {} {} is there", owner.kind, owner.full_name()))
            .collect()
    }
}
