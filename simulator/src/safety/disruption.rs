//! Evictions leave as many healthy Pods as the budget wants, as long as nobody else takes any.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    Rule,
    object::Object,
    world::{Step, World},
};

/// Who evicts in a simulated cluster.
pub(crate) const EVICTOR: &str = "evictor";
/// So long a Pod that is evicted may take to be seen on its way out.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

#[derive(Debug, Default)]
pub(super) struct Disruptions {
    /// Budgets that were met, and only evictions have touched their Pods since; by uid.
    met: BTreeSet<String>,
}

impl Rule for Disruptions {
    fn look(&mut self, world: &World, step: &Step<'_>) -> Vec<String> {
        let object = step.object();
        match object.kind.as_str() {
            "PodDisruptionBudget" => {
                self.update(world, object);
                Vec::new()
            }
            "Pod" => {
                let budgets: Vec<_> = world
                    .of_kind("PodDisruptionBudget")
                    .filter(|budget| budget.covers(object))
                    .map(Arc::clone)
                    .collect();
                budgets.iter().filter_map(|budget| self.check(world, budget, step)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Whether an eviction before this one is so long ago, by the clock on the wall, that it may be taken for one that failed.
fn has_waited(world: &World, budget: &Object, pod: &Object) -> bool {
    let left = |pod: &Object| pod.metadata.deletion_timestamp.as_ref()?.parse::<Timestamp>().ok();
    let Some(now) = left(pod) else { return false };
    let mut leaving = world.of_kind("Pod").filter(|it| budget.covers(it)).filter_map(|it| left(it));
    leaving.any(|before| now.duration_since(before) > DELETION_TIMEOUT)
}

fn healthy(world: &World, budget: &Object) -> i64 {
    let pods =
        world.of_kind("Pod").filter(|pod| budget.covers(pod) && pod.is_active() && pod.is_true("Ready"));
    i64::try_from(pods.count()).unwrap_or(i64::MAX)
}

impl Disruptions {
    fn update(&mut self, world: &World, budget: &Object) {
        let status = &budget.status;
        let seen = status.observed_generation == budget.metadata.generation;
        if seen && status.expected_pods > 0 && healthy(world, budget) >= status.expected_pods {
            self.met.insert(budget.metadata.uid.clone());
        }
    }

    fn check(&mut self, world: &World, budget: &Object, step: &Step<'_>) -> Option<String> {
        let uid = &budget.metadata.uid;
        if step.is_farewell() && step.before.is_some() {
            let by = world.wishes.of(step.change);
            // A clock that leaps lets the controller believe that an eviction of just now never came to be.
            if by.len() != 1 || !by.contains(EVICTOR) || has_waited(world, budget, step.object()) {
                self.met.remove(uid);
            }
        } else if step.lost("Ready") && step.object().metadata.deletion_timestamp.is_none() {
            self.met.remove(uid);
        }
        if !self.met.contains(uid) {
            return None;
        }
        let (left, least) = (healthy(world, budget), budget.status.desired_healthy);
        (left < least).then(|| {
            format!("evictions leave {left} healthy pods, and budget {} wants {least}", budget.full_name())
        })
    }
}
