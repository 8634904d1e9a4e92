//! A DaemonSet has one Pod on a node, two of different revisions while it surges; and an update takes no more Pods that
//! serve than it may.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Rule,
    object::Object,
    world::{Step, World},
};

const OWN: &str = "daemon-set-controller";

#[derive(Debug, Default)]
pub(super) struct DaemonSets {
    /// Whether it was whole, and nobody else has taken a Pod or a node since; by uid.
    whole: BTreeMap<String, bool>,
    /// Whether it ever surged: a Pod of before may remain for a while. By uid.
    surged: BTreeMap<String, bool>,
}

impl Rule for DaemonSets {
    fn look(&mut self, world: &World, step: &Step<'_>) -> Vec<String> {
        let object = step.object();
        match object.kind.as_str() {
            "DaemonSet" => {
                // What the controller has not seen yet it cannot heed; and a node that is new to it has no Pod yet.
                let told = |it: &Object| (it.metadata.generation, it.status.desired_number_scheduled);
                if step.before.as_ref().is_some_and(|before| told(before) != told(object)) {
                    self.whole.remove(&object.metadata.uid);
                }
                self.update(world, object);
                Vec::new()
            }
            "Node" => {
                if step.lost("Ready") || step.is_new() || step.change.deleted {
                    self.whole.clear();
                }
                Vec::new()
            }
            "Pod" => {
                let Some(set) = world.manager_of(object, "DaemonSet").map(Arc::clone) else {
                    return Vec::new();
                };
                self.check(world, &set, step)
            }
            _ => Vec::new(),
        }
    }
}

impl DaemonSets {
    fn update(&mut self, world: &World, set: &Object) {
        let uid = &set.metadata.uid;
        let (surge, _) = set.daemon_bounds();
        *self.surged.entry(uid.clone()).or_default() |= surge > 0;
        let status = &set.status;
        let seen = status.observed_generation == set.metadata.generation;
        let told = status.desired_number_scheduled > 0 && status.number_unavailable == 0;
        // The status counts Pods that are on their way out for as long as they are ready.
        if seen && told && missing(world, set) <= 0 {
            self.whole.insert(uid.clone(), true);
        }
    }

    fn check(&mut self, world: &World, set: &Object, step: &Step<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        let (uid, name, pod) = (&set.metadata.uid, set.full_name(), step.object());
        if step.is_new()
            && let Some(node) = pod.daemon_node()
        {
            let there = world
                .owned_by(uid, "Pod")
                .filter(|it| it.is_active() && it.daemon_node() == Some(node))
                .collect::<Vec<_>>();
            let most = if self.surged.get(uid).copied().unwrap_or_default() { 2 } else { 1 };
            if there.len() > most {
                wrong.push(format!("DaemonSet {name} has {} pods for {node}", there.len()));
            }
            if most == 2
                && there.len() == 2
                && there.windows(2).any(|two| two[0].revision() == two[1].revision())
            {
                wrong.push(format!("DaemonSet {name} has two pods of one revision for {node}"));
            }
        }
        if step.is_farewell() && step.before.is_some() {
            let by = world.wishes.of(step.change);
            if by.len() == 1 && by.contains(OWN) {
                wrong.extend(self.check_taken(world, set, step));
            } else {
                self.whole.remove(uid);
            }
        } else if step.lost("Ready") && pod.metadata.deletion_timestamp.is_none() {
            self.whole.remove(uid);
        }
        wrong
    }

    fn check_taken(&self, world: &World, set: &Object, step: &Step<'_>) -> Option<String> {
        let uid = &set.metadata.uid;
        let served = step.before.as_ref().is_some_and(|before| before.is_serving());
        if !self.whole.get(uid).copied().unwrap_or_default() || !served {
            return None;
        }
        let missing = missing(world, set);
        let (surge, unavailable) = set.daemon_bounds();
        let most = if surge > 0 { 0 } else { unavailable.max(1) };
        (missing > most).then(|| {
            format!("DaemonSet {} updates {missing} pods at once, more than {most}", set.full_name())
        })
    }
}

/// On how many nodes that shall have a Pod none serves that stays.
fn missing(world: &World, set: &Object) -> i64 {
    let pods = world.owned_by(&set.metadata.uid, "Pod");
    let serving: BTreeSet<&str> =
        pods.filter(|pod| pod.is_serving()).filter_map(|pod| pod.daemon_node()).collect();
    set.status.desired_number_scheduled - i64::try_from(serving.len()).unwrap_or_default()
}
