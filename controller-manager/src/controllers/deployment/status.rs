//! What a Deployment tells of itself: counts, and the conditions `kubectl rollout status` waits for.

use std::{borrow::Cow, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Set, Work};
use crate::{
    conditions::{self, Condition, count},
    kinds::{Deployment, deployment::DeploymentStatus},
};

/// How much is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// How many Pods there are: what was done says nothing about progress.
    Counted,
    /// Also whether the rollout makes progress.
    Estimated,
}

/// The condition that tells of progress.
pub(super) fn progressing(status: &DeploymentStatus) -> Option<&Condition> {
    conditions::find(&status.conditions, "Progressing")
}

/// A condition of a Deployment.
pub(super) fn condition(
    which: &'static str,
    status: &'static str,
    reason: &'static str,
    message: impl Into<String>,
    now: Timestamp,
) -> Condition {
    Condition { last_update_time: Some(now), ..Condition::new(which, status, reason, message, now) }
}

/// Whether all Pods are new and available, and no old ones are left.
pub(super) fn is_complete(root: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = root.spec.replicas;
    status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
        && status.observed_generation >= root.metadata.generation
}

/// Whether there are more new, ready or available Pods than before, or fewer old ones.
fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    after.updated_replicas > before.updated_replicas
        || after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        || after.ready_replicas > before.ready_replicas
        || after.available_replicas > before.available_replicas
}

impl Work<'_> {
    /// Tells how the Deployment is; also when to look again whether it has made progress.
    pub(super) fn tell(&mut self, standing: Standing) -> Option<Duration> {
        self.count();
        if standing == Standing::Counted {
            return None;
        }
        self.estimate();
        self.tell_failure();
        self.next_check()
    }

    fn count(&mut self) {
        let root = self.root;
        let sum = |of: fn(&Set) -> i32| self.all().map(of).sum::<i32>();
        let available = sum(|set| set.is.status.available_replicas);
        let wanted: i32 = sum(|set| set.replicas);
        let counted = DeploymentStatus {
            observed_generation: root.metadata.generation,
            replicas: sum(|set| set.is.status.replicas),
            updated_replicas: self.new.as_ref().map_or(0, |new| new.is.status.replicas),
            ready_replicas: sum(|set| set.is.status.ready_replicas),
            available_replicas: available,
            unavailable_replicas: (wanted - available).max(0),
            terminating_replicas: self.terminating(),
            collision_count: self.status.collision_count,
            conditions: std::mem::take(&mut self.status.conditions),
        };
        self.status = counted;
        let told = if available >= root.spec.replicas - root.max_unavailable() {
            condition(
                "Available",
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
                self.now,
            )
        } else {
            let message = "Deployment does not have minimum availability.";
            condition("Available", "False", "MinimumReplicasUnavailable", message, self.now)
        };
        conditions::set(&mut self.status.conditions, told);
    }

    /// How many Pods are on their way out; `None` if a ReplicaSet that was looked at does not tell.
    fn terminating(&self) -> Option<i32> {
        self.all()
            .filter(|set| {
                set.is.status.observed_generation != 0 || set.is.status.terminating_replicas.is_some()
            })
            .map(|set| set.is.status.terminating_replicas)
            .sum()
    }

    fn estimate(&mut self) {
        let root = self.root;
        if !root.has_progress_deadline() {
            conditions::remove(&mut self.status.conditions, "Progressing");
            return;
        }
        let before = progressing(&self.status).cloned();
        let reason = before.as_ref().map_or(Cow::Borrowed(""), |it| it.reason.clone());
        if self.status.replicas == self.status.updated_replicas && reason == "NewReplicaSetAvailable" {
            // The rollout is over; what happens to Pods now is not progress of it.
            return;
        }
        let of = match &self.new {
            Some(new) => format!("ReplicaSet \"{}\"", new.is.metadata.name),
            None => format!("Deployment \"{}\"", root.metadata.name),
        };
        if is_complete(root, &self.status) {
            self.set_progressing(
                "True",
                "NewReplicaSetAvailable",
                format!("{of} has successfully progressed."),
            );
        } else if has_progressed(&root.status, &self.status) {
            // Even for the same reason, to tell when progress was last made.
            let message = format!("{of} is progressing.");
            let mut told = condition("Progressing", "True", "ReplicaSetUpdated", message, self.now);
            if let Some(before) = before.filter(|before| before.status == "True") {
                told.last_transition_time = before.last_transition_time;
            }
            conditions::remove(&mut self.status.conditions, "Progressing");
            conditions::set(&mut self.status.conditions, told);
        } else if before.is_some_and(|before| self.is_overdue(&before)) {
            self.set_progressing(
                "False",
                "ProgressDeadlineExceeded",
                format!("{of} has timed out progressing."),
            );
            self.why = "the rollout has made no progress for too long".to_owned();
        }
    }

    fn is_overdue(&self, told: &Condition) -> bool {
        match &*told.reason {
            "NewReplicaSetAvailable" => false,
            "ProgressDeadlineExceeded" => true,
            _ => self.left(told).is_some_and(|left| left.is_negative()),
        }
    }

    /// How much of the deadline is left.
    fn left(&self, told: &Condition) -> Option<SignedDuration> {
        let deadline = SignedDuration::from_secs(self.root.spec.progress_deadline_seconds?.into());
        Some(deadline - self.now.duration_since(told.last_update_time?))
    }

    /// A ReplicaSet that cannot make its Pods is the Deployment's failure; the new one's counts more.
    fn tell_failure(&mut self) {
        let failure = self
            .new
            .iter()
            .chain(&self.old)
            .find_map(|set| conditions::find(&set.is.status.conditions, "ReplicaFailure"))
            .cloned();
        match failure {
            Some(failure) => {
                let told = Condition { last_update_time: failure.last_transition_time, ..failure };
                conditions::set(&mut self.status.conditions, told);
            }
            None => conditions::remove(&mut self.status.conditions, "ReplicaFailure"),
        }
    }

    /// When to look again whether there was progress: a little after the deadline, since times are told in seconds.
    fn next_check(&self) -> Option<Duration> {
        let told = progressing(&self.status).filter(|_| self.root.has_progress_deadline())?;
        if is_complete(self.root, &self.status)
            || told.reason == "ProgressDeadlineExceeded"
            || told.reason == "NewReplicaSetAvailable"
        {
            return None;
        }
        let left = Duration::try_from(self.left(told)?).unwrap_or_default();
        Some(left + Duration::from_secs(1))
    }
}

/// As a merge patch.
pub(super) fn to_value(status: &DeploymentStatus) -> Value {
    json!({
        "observedGeneration": status.observed_generation,
        "replicas": count(status.replicas),
        "updatedReplicas": count(status.updated_replicas),
        "readyReplicas": count(status.ready_replicas),
        "availableReplicas": count(status.available_replicas),
        "unavailableReplicas": count(status.unavailable_replicas),
        "terminatingReplicas": status.terminating_replicas,
        "collisionCount": status.collision_count,
        "conditions": conditions::to_value(&status.conditions),
    })
}
