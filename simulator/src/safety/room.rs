//! No node is given more than it has: whenever a Pod is bound, all that are there have room together, and no two have one port.
//!
//! A node may shrink under its Pods, and a Pod may be bound by hand; what counts is the moment of a binding by whoever binds.

use std::collections::BTreeMap;

use super::{
    Rule,
    object::Object,
    world::{Step, World},
};

/// What each Pod takes, by node and uid.
#[derive(Debug, Default)]
pub(super) struct Room {
    nodes: BTreeMap<String, BTreeMap<String, Taken>>,
    allocatable: BTreeMap<String, BTreeMap<String, i128>>,
}

#[derive(Debug, Default)]
struct Taken {
    amounts: BTreeMap<String, i128>,
    ports: Vec<i64>,
}

impl Taken {
    fn of(pod: &Object) -> Self {
        let mut taken = Self::default();
        for container in &pod.spec.containers {
            for (name, amount) in container.requests() {
                *taken.amounts.entry(name).or_default() += amount;
            }
            taken.ports.extend(container.host_ports());
        }
        taken.amounts.insert("pods".to_owned(), 1000);
        taken
    }
}

impl Room {
    fn check(&self, node: &str) -> Option<String> {
        let here = self.nodes.get(node)?;
        let has = self.allocatable.get(node)?;
        for (name, most) in has {
            let taken: i128 = here.values().filter_map(|taken| taken.amounts.get(name)).sum();
            if taken > *most {
                return Some(format!("{node} has {most} thousandths of {name}, and {taken} are taken"));
            }
        }
        let mut ports: Vec<i64> = here.values().flat_map(|taken| taken.ports.iter().copied()).collect();
        ports.sort_unstable();
        let twice = ports.windows(2).find(|pair| matches!(pair, [one, other] if one == other));
        twice.map(|pair| format!("{node} gives port {pair:?} away twice"))
    }
}

impl Rule for Room {
    fn look(&mut self, _world: &World, step: &Step<'_>) -> Vec<String> {
        let object = step.object();
        match object.kind.as_str() {
            "Node" if step.change.deleted => drop(self.allocatable.remove(&object.metadata.name)),
            "Node" => drop(self.allocatable.insert(object.metadata.name.clone(), object.allocatable())),
            "Pod" => {
                let node = &object.spec.node_name;
                let is_over = matches!(object.status.phase.as_str(), "Succeeded" | "Failed");
                if node.is_empty() || step.change.deleted || is_over {
                    if let Some(here) = self.nodes.get_mut(node) {
                        here.remove(&object.metadata.uid);
                    }
                    return Vec::new();
                }
                let here = self.nodes.entry(node.clone()).or_default();
                let is_new = here.insert(object.metadata.uid.clone(), Taken::of(object)).is_none();
                if is_new {
                    return Vec::from_iter(self.check(node));
                }
            }
            _ => {}
        }
        Vec::new()
    }
}
