//! What must hold after every single change, whatever fails meanwhile.
//!
//! Convergence alone hides a controller that overshoots and takes it back; here no change goes unseen. [`world`] keeps what
//! there is; each of the [`RULES`] looks at a change and at the world, and says what it finds wrong; [`rest`] says what a
//! cluster that is left alone has still to do.
//!
//! Invariant: this sees the store's history only, and who asked for what to be deleted. It knows nothing of controllers and
//! cannot be in their favour.

pub mod object;
pub mod rest;
pub mod world;

mod binding;
mod collection;
mod cron_job;
mod daemon_set;
mod deployment;
mod disruption;
mod job;
mod replicas;
mod room;
mod stateful_set;

use std::sync::Arc;

use self::{
    object::Object,
    world::{Step, Wishes, World},
};
use crate::log::Change;

pub(crate) use disruption::EVICTOR;

/// A promise, and what must be remembered to hold somebody to it.
trait Rule: std::fmt::Debug + Send {
    /// What is wrong since this change.
    fn look(&mut self, world: &World, step: &Step<'_>) -> Vec<String>;
}

/// One line a rule.
const RULES: &[fn() -> Box<dyn Rule>] = &[
    || Box::new(binding::Bindings),
    || Box::<room::Room>::default(),
    || Box::<replicas::Replicas>::default(),
    || Box::<deployment::Deployments>::default(),
    || Box::<stateful_set::StatefulSets>::default(),
    || Box::<daemon_set::DaemonSets>::default(),
    || Box::<job::Jobs>::default(),
    || Box::new(cron_job::CronJobs),
    || Box::<disruption::Disruptions>::default(),
    || Box::new(collection::Collection),
];

/// The cluster as its history tells it, and what was wrong in it.
#[derive(Debug)]
pub struct Safety {
    revision: u64,
    /// What there is.
    pub world: World,
    rules: Vec<Box<dyn Rule>>,
    violations: Vec<String>,
}

// === impl Safety ===

impl Default for Safety {
    fn default() -> Self {
        Self::with(Wishes::default())
    }
}

impl Safety {
    /// Of an empty cluster, told of wishes by others.
    pub fn with(wishes: Wishes) -> Self {
        Self {
            revision: 0,
            world: World::with(wishes),
            rules: RULES.iter().map(|make| make()).collect(),
            violations: Vec::new(),
        }
    }

    /// What was wrong so far, in order.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// The objects of a kind, as they are now.
    pub fn of_kind<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        self.world.of_kind(kind)
    }

    /// Takes the next change in.
    pub fn observe(&mut self, change: &Change) {
        let mut wrong = Vec::new();
        if change.revision <= self.revision {
            wrong.push(format!("the revision does not grow beyond {}", self.revision));
        }
        self.revision = change.revision;
        let step = self.world.take(change);
        if let Some(before) = &step.before
            && !change.deleted
        {
            if before.metadata.uid != change.object.metadata.uid {
                wrong.push("an object became another one without being deleted".to_owned());
            } else if before.metadata.generation > change.object.metadata.generation {
                wrong.push("the generation goes back".to_owned());
            }
        }
        for rule in &mut self.rules {
            wrong.extend(rule.look(&self.world, &step));
        }
        self.world.settle(change);
        self.violations.extend(wrong.into_iter().map(|what| format!("{}: {what}", change.line())));
    }
}

#[cfg(test)]
mod tests;
