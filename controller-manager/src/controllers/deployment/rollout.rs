//! The next step of a rollout: which ReplicaSet grows or shrinks, and by how much.
//!
//! Invariant: there are never more Pods than wanted and the surge, nor fewer available ones than wanted without those that
//! may be missing, as far as these steps decide it.

use super::{Observed, Set, Work, history, status::Standing};
use crate::kinds::Deployment;

/// How many Pods the new ReplicaSet shall have, of `present` that there are and `new` that it shall have already.
pub(super) fn wanted_of_new(root: &Deployment, present: Option<i32>, new: i32) -> i32 {
    if !root.is_rolling() {
        return root.spec.replicas;
    }
    let Some(present) = present else { return new };
    // Not `fenceposts`: they only matter when nothing may surge, and then nothing is added either.
    let room = root.spec.replicas + root.max_surge() - present;
    if room <= 0 { new } else { new + room.min(root.spec.replicas - new) }
}

impl Work<'_> {
    /// Takes one step.
    pub(super) fn step(&mut self, observed: &Observed) -> Standing {
        self.note_pause();
        if self.root.spec.paused {
            self.meet_new();
            self.scale();
            self.clean_up();
            self.because("the Deployment is paused: it is only scaled");
            return Standing::Counted;
        }
        self.meet_new();
        if self.was_scaled() {
            self.scale();
            self.because(&format!("the Deployment was scaled to {}", self.root.spec.replicas));
            return Standing::Counted;
        }
        if self.root.is_rolling() {
            self.roll(observed);
        } else {
            self.recreate(observed);
        }
        Standing::Estimated
    }

    fn because(&mut self, why: &str) {
        if self.why.is_empty() {
            why.clone_into(&mut self.why);
        }
    }

    /// Someone has paused or resumed it: the time it stands still does not count towards the deadline.
    fn note_pause(&mut self) {
        let reason = super::status::progressing(&self.status).map(|it| it.reason.clone()).unwrap_or_default();
        if !self.root.has_progress_deadline() || reason == "ProgressDeadlineExceeded" {
            return;
        }
        match (self.root.spec.paused, reason == "DeploymentPaused") {
            (true, false) => {
                self.set_progressing("Unknown", "DeploymentPaused", "Deployment is paused".to_owned())
            }
            (false, true) => {
                self.set_progressing("Unknown", "DeploymentResumed", "Deployment is resumed".to_owned())
            }
            _ => {}
        }
    }

    /// Whether a ReplicaSet is sized for another size of the Deployment.
    fn was_scaled(&self) -> bool {
        let other = |set: &Set| {
            history::size(set, history::DESIRED).is_some_and(|size| size != self.root.spec.replicas)
        };
        self.all().filter(|set| set.is_active()).any(other)
    }

    /// New Pods come as far as the surge allows, then old ones go as far as availability allows.
    fn roll(&mut self, observed: &Observed) {
        if self.new.is_none() {
            self.make_new(observed);
            self.because("the template is new: it gets a ReplicaSet");
        }
        if self.grow_new() || self.shrink_old() {
            return;
        }
        self.finish();
    }

    /// True if the new ReplicaSet changes its size.
    fn grow_new(&mut self) -> bool {
        let (root, present) = (self.root, self.present());
        let Some(new) = &mut self.new else { return false };
        let wanted = if new.replicas > root.spec.replicas {
            root.spec.replicas
        } else {
            wanted_of_new(root, present, new.replicas)
        };
        if !resize(root, new, wanted) {
            return false;
        }
        self.because(&format!("the new ReplicaSet shall have {wanted} Pods"));
        true
    }

    /// True if an old ReplicaSet changes its size: Pods that are not available go first, whatever their ReplicaSet, for
    /// they would hold up the rollout.
    fn shrink_old(&mut self) -> bool {
        let root = self.root;
        if self.old.iter().map(|set| set.replicas).sum::<i32>() == 0 {
            return false;
        }
        let min_available = root.spec.replicas - root.max_unavailable();
        let new_unavailable =
            self.new.as_ref().map_or(0, |new| new.replicas - new.is.status.available_replicas);
        let at_most = self.total() - min_available - new_unavailable;
        if at_most <= 0 {
            self.because("as many Pods are unavailable as may be: old ones stay");
            return false;
        }
        self.old.sort_by_cached_key(Set::age);
        let mut gone = 0;
        for set in self.old.iter_mut().filter(|set| set.replicas > 0) {
            let unavailable = set.replicas - set.is.status.available_replicas;
            let step = unavailable.min(at_most - gone);
            if step > 0 && resize(root, set, set.replicas - step) {
                gone += step;
            }
        }
        // What a ReplicaSet has beyond its size is on its way out, even if its status still counts it.
        let available: i32 = self.all().map(|set| set.is.status.available_replicas.min(set.replicas)).sum();
        let mut spare = available - min_available;
        for set in self.old.iter_mut().filter(|set| set.replicas > 0) {
            let step = set.replicas.min(spare);
            if step > 0 && resize(root, set, set.replicas - step) {
                spare -= step;
                gone += step;
            }
        }
        if gone > 0 {
            self.because(&format!("{gone} old Pods can be spared"));
        }
        gone > 0
    }

    /// Old Pods go, all of them; then the new ones come.
    fn recreate(&mut self, observed: &Observed) {
        let root = self.root;
        let mut scaled = false;
        for set in &mut self.old {
            scaled |= resize(root, set, 0);
        }
        if scaled {
            return self.because("old Pods go before new ones come");
        }
        let lingers =
            |set: &Set| set.is.status.replicas > 0 || observed.with_pods.contains(&set.is.metadata.uid);
        if self.old.iter().any(lingers) {
            return self.because("old Pods are still there");
        }
        match &mut self.new {
            None => {
                self.make_new(observed);
                self.because("the template is new: it gets a ReplicaSet");
            }
            Some(new) => {
                if resize(root, new, root.spec.replicas) {
                    self.because("old Pods are gone: new ones come");
                }
            }
        }
        self.finish();
    }

    /// Once all is as wanted, revisions beyond the limit may go.
    fn finish(&mut self) {
        if super::status::is_complete(self.root, &self.root.status) {
            self.clean_up();
            self.because("the Deployment is as wanted");
        }
        self.because("Pods are on their way");
    }

    fn clean_up(&mut self) {
        let Some(limit) = self.root.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else {
            return;
        };
        let mut kept: Vec<&Set> = self.old.iter().filter(|set| !set.is.metadata.is_terminating()).collect();
        kept.sort_by_cached_key(|set| (history::revision(set).unwrap_or_default(), set.age()));
        let surplus = kept.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        let idle = |set: &&&Set| {
            set.is.status.replicas == 0
                && set.replicas == 0
                && set.is.metadata.generation <= set.is.status.observed_generation
        };
        let deletes: Vec<_> = kept
            .iter()
            .take(surplus)
            .filter(idle)
            .map(|set| client::controller::Request::delete(client::resource::REPLICA_SETS, &set.is.metadata))
            .collect();
        if !deletes.is_empty() {
            self.why = format!("{} old revisions are more than {limit}", deletes.len());
            self.deletes = deletes;
        }
    }

    /// Spreads a change of the Deployment's size over its ReplicaSets in proportion, so that it does not hasten a rollout.
    fn scale(&mut self) {
        let root = self.root;
        let wanted = root.spec.replicas;
        match self.all().filter(|set| set.is_active()).count() {
            0 => {
                // The newest stands for all.
                let newest = self.old.iter_mut().max_by_key(|set| set.age());
                if let Some(set) = self.new.as_mut().or(newest) {
                    resize(root, set, wanted);
                }
            }
            1 => {
                if let Some(set) = self.old.iter_mut().chain(&mut self.new).find(|set| set.is_active()) {
                    resize(root, set, wanted);
                }
            }
            _ if self.new.as_ref().is_some_and(|new| is_saturated(root, new)) => {
                for set in &mut self.old {
                    resize(root, set, 0);
                }
            }
            _ if root.is_rolling() => self.scale_in_proportion(),
            _ => {}
        }
    }

    fn scale_in_proportion(&mut self) {
        let root = self.root;
        let allowed = if root.spec.replicas > 0 { root.spec.replicas + root.max_surge() } else { 0 };
        let to_add = allowed - self.total();
        let status_replicas = root.status.replicas;
        let mut sets: Vec<&mut Set> =
            self.old.iter_mut().chain(&mut self.new).filter(|set| set.is_active()).collect();
        // Larger ones first; of one size newer ones grow first and older ones shrink first.
        sets.sort_by_cached_key(|set| set.age());
        if to_add > 0 {
            sets.reverse();
        }
        sets.sort_by_key(|set| std::cmp::Reverse(set.replicas));
        let mut added = 0;
        let mut sizes = Vec::new();
        for set in &sets {
            let share = if to_add == 0 { 0 } else { proportion(root, set, to_add - added, status_replicas) };
            added += share;
            sizes.push(set.replicas + share);
        }
        // What rounding has left over is the largest one's.
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (set, size) in sets.into_iter().zip(sizes) {
            set.replicas = size;
            history::annotate_size(root, set);
        }
    }
}

/// A ReplicaSet's part of `left` Pods to add, or to take away if negative.
fn proportion(root: &Deployment, set: &Set, left: i32, status_replicas: i32) -> i32 {
    let share = if root.spec.replicas == 0 {
        -set.replicas
    } else {
        let before = history::size(set, history::MAX).filter(|max| *max != 0).unwrap_or(status_replicas);
        if before == 0 {
            return 0;
        }
        let (size, max, before) =
            (i64::from(set.replicas), i64::from(root.spec.replicas + root.max_surge()), i64::from(before));
        // Rounded to the nearest, half up.
        let size_now = (2 * size * max + before) / (2 * before);
        i32::try_from(size_now - size).unwrap_or_default()
    };
    if left > 0 { share.min(left) } else { share.max(left) }
}

/// Whether a ReplicaSet has all the Pods its Deployment wants, and they are available.
fn is_saturated(root: &Deployment, new: &Set) -> bool {
    let wanted = root.spec.replicas;
    new.replicas == wanted
        && history::size(new, history::DESIRED) == Some(wanted)
        && new.is.status.available_replicas == wanted
}

/// True if that changes its size.
fn resize(root: &Deployment, set: &mut Set, replicas: i32) -> bool {
    if set.replicas == replicas {
        return false;
    }
    set.replicas = replicas;
    history::annotate_size(root, set);
    true
}
