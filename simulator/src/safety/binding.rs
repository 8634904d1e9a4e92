//! A Pod is bound once, to a node that exists or did a moment ago: the scheduler may learn late that one is gone.

use super::{
    Rule,
    world::{Step, World},
};

#[derive(Debug)]
pub(super) struct Bindings;

impl Rule for Bindings {
    fn look(&mut self, world: &World, step: &Step<'_>) -> Vec<String> {
        let object = step.object();
        if object.kind != "Pod" || step.change.deleted {
            return Vec::new();
        }
        let node = object.spec.node_name.as_str();
        let before = step.before.as_ref().map(|it| it.spec.node_name.as_str()).unwrap_or_default();
        let mut wrong = Vec::new();
        if node != before && !before.is_empty() {
            wrong.push(format!("was bound to {before} and is bound again"));
        }
        if node != before && !world.knows_node(node) {
            wrong.push(format!("bound to {node}, which never existed"));
        }
        wrong
    }
}
