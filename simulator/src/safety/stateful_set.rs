//! A StatefulSet in order: a Pod is made only after all before it were ready, and taken only after all behind it are gone;
//! an update takes as few as it may. A number has one Pod, and only numbers that are wanted have one.
//!
//! A controller may learn a little late that a Pod has ceased to be ready, so what was true a moment ago is good enough.
//! What others break is not its doing: an update is only held to its bounds while nobody else takes Pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Rule,
    object::Object,
    world::{Step, World},
};

/// So late a controller may learn of something.
const LATE_MAX: Duration = Duration::from_secs(30);
const OWN: &str = "statefulset-controller";

#[derive(Debug, Default)]
pub(super) struct StatefulSets {
    sets: BTreeMap<String, Seen>,
}

/// What was seen of one set.
#[derive(Debug, Default)]
struct Seen {
    /// When all Pods with smaller numbers were last seen ready, by number.
    ready_before: BTreeMap<i64, Duration>,
    /// Up to this number all before were ready at the last change.
    ready_to: Option<i64>,
    /// The numbers that were ever wanted.
    wanted: BTreeSet<i64>,
    /// It was whole at its present size, and nobody else has taken a Pod since.
    whole: bool,
}

impl Rule for StatefulSets {
    fn look(&mut self, world: &World, step: &Step<'_>) -> Vec<String> {
        let object = step.object();
        match object.kind.as_str() {
            "StatefulSet" if step.change.deleted => {
                self.sets.remove(&object.metadata.uid);
                Vec::new()
            }
            "StatefulSet" => {
                let seen = self.sets.entry(object.metadata.uid.clone()).or_default();
                if step.before.as_ref().is_some_and(|before| before.ordinals() != object.ordinals()) {
                    seen.whole = false;
                }
                seen.wanted.extend(object.ordinals());
                seen.lasted(step.change.at);
                seen.update(world, object, step.change.at);
                Vec::new()
            }
            "Pod" => {
                let Some(set) = world.manager_of(object, "StatefulSet").map(Arc::clone) else {
                    return Vec::new();
                };
                let seen = self.sets.entry(set.metadata.uid.clone()).or_default();
                seen.lasted(step.change.at);
                let wrong = seen.check(world, &set, step);
                seen.update(world, &set, step.change.at);
                wrong
            }
            _ => Vec::new(),
        }
    }
}

/// The Pods of a set by number.
fn members<'a>(world: &'a World, set: &Object) -> BTreeMap<i64, &'a Arc<Object>> {
    let pods = world.owned_by(&set.metadata.uid, "Pod");
    pods.filter_map(|pod| Some((pod.ordinal()?, pod))).collect()
}

impl Seen {
    /// What the last change left is so until this one.
    fn lasted(&mut self, now: Duration) {
        for (_, at) in self.ready_before.iter_mut().filter(|(number, _)| Some(**number) <= self.ready_to) {
            *at = now;
        }
    }

    /// Notes which numbers may be made now, and whether the set is whole.
    fn update(&mut self, world: &World, set: &Object, now: Duration) {
        let members = members(world, set);
        let serves = |number: i64| members.get(&number).is_some_and(|pod| pod.is_serving());
        let ordinals = set.ordinals();
        // Of those that were wanted before too: who changes the size now may find that a Pod has gone in the meantime, and the
        // controller may have heard of neither.
        let ready_to = (ordinals.start..).find(|it| !serves(*it)).unwrap_or(ordinals.end);
        let whole = ready_to >= ordinals.end;
        self.ready_before.extend((ordinals.start..=ready_to).map(|number| (number, now)));
        self.ready_to = Some(ready_to);
        if whole && i64::try_from(members.len()).is_ok_and(|there| there == set.spec.replicas.unwrap_or(1)) {
            self.whole = true;
        }
    }

    fn check(&mut self, world: &World, set: &Object, step: &Step<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        let pod = step.object();
        let Some(number) = pod.ordinal() else { return vec!["has no number".to_owned()] };
        let name = set.full_name();
        let ordered = set.spec.pod_management_policy != "Parallel";
        if step.is_new() {
            if !self.wanted.contains(&number) {
                wrong.push(format!("StatefulSet {name} never wanted a number {number}"));
            }
            let last = self.ready_before.get(&number);
            if ordered && last.is_none_or(|last| step.change.at.saturating_sub(*last) > LATE_MAX) {
                wrong.push(format!("StatefulSet {name} makes {number} before all before it are ready"));
            }
        }
        if step.is_farewell() && step.before.is_some() {
            let by = world.wishes.of(step.change);
            if by.len() == 1 && by.contains(OWN) {
                wrong.extend(self.check_taken(world, set, step, number));
            } else {
                self.whole = false;
            }
        } else if step.lost("Ready") && pod.metadata.deletion_timestamp.is_none() {
            self.whole = false;
        }
        wrong
    }

    /// The controller takes a Pod: because there are too many, or to update it.
    fn check_taken(&self, world: &World, set: &Object, step: &Step<'_>, number: i64) -> Option<String> {
        let name = set.full_name();
        let members = members(world, set);
        if !set.ordinals().contains(&number) {
            let behind = members.keys().find(|it| **it > number)?;
            let ordered = set.spec.pod_management_policy != "Parallel";
            return ordered.then(|| format!("StatefulSet {name} takes {number} while {behind} is there"));
        }
        let served = step.before.as_ref().is_some_and(|before| before.is_serving());
        if !self.whole || !served {
            return None;
        }
        let serving = |it: &i64| members.get(it).is_some_and(|pod| pod.is_serving());
        let missing = i64::try_from(set.ordinals().filter(|it| !serving(it)).count()).unwrap_or(i64::MAX);
        let most = set.unavailable_max();
        (missing > most)
            .then(|| format!("StatefulSet {name} updates {missing} pods at once, more than {most}"))
    }
}
