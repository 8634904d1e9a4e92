//! How long a failed Pod stays before another one is tried on its node: a second at first, twice as long after each further
//! failure, a quarter of an hour at most. Half an hour without a failure forgets them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use client::{Key, Kind};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::kinds::{DaemonSet, Pod};

const INITIAL: SignedDuration = SignedDuration::from_secs(1);
const MAX: SignedDuration = SignedDuration::from_mins(15);
/// After so long without a failure the next one counts as the first.
const MEMORY: SignedDuration = SignedDuration::from_mins(30);

/// What nodes have done to Pods.
#[derive(Debug, Default)]
pub(super) struct Backoff(Mutex<BTreeMap<Key, BTreeMap<Place, Failure>>>);

/// A generation of a DaemonSet on a node: a new template gets a new chance.
type Place = (Box<str>, i64, Box<str>);

#[derive(Debug)]
struct Failure {
    /// When a Pod was last let go.
    at: Timestamp,
    /// How long the next one stays from then on.
    delay: SignedDuration,
    /// The Pod that was let go: it stays let go until it is gone.
    pod: Box<str>,
}

// === impl Backoff ===

impl Backoff {
    /// Those of the Pods that have failed and must stay for a while, by uid. Lets all others go, and remembers that.
    pub(super) fn held(
        &self,
        root: &DaemonSet,
        pods: &[Arc<Pod>],
        now: Timestamp,
    ) -> BTreeMap<Box<str>, Duration> {
        let mut held = BTreeMap::new();
        let mut all = self.0.lock();
        let failed = pods.iter().filter(|pod| {
            &*pod.status.phase == "Failed"
                && !pod.metadata.is_terminating()
                && pod.metadata.is_controlled_by(&root.metadata.uid)
        });
        let mut failed = failed.filter_map(|pod| Some((pod, pod.target_node()?))).peekable();
        if failed.peek().is_none() && !all.contains_key(&root.key()) {
            return held;
        }
        let failures = all.entry(root.key()).or_default();
        failures.retain(|_, failure| now.duration_since(failure.at) <= MEMORY);
        for (pod, node) in failed {
            let place = (root.metadata.uid.clone(), root.status.observed_generation, node.into());
            let uid = &pod.metadata.uid;
            let delay = match failures.get(&place) {
                Some(failure) if failure.pod == *uid => continue,
                Some(failure) => {
                    let left = failure.delay - now.duration_since(failure.at);
                    if left.is_positive() {
                        held.insert(uid.clone(), Duration::try_from(left).unwrap_or_default());
                        continue;
                    }
                    (failure.delay * 2).min(MAX)
                }
                None => INITIAL,
            };
            failures.insert(place, Failure { at: now, delay, pod: uid.clone() });
        }
        if failures.is_empty() {
            all.remove(&root.key());
        }
        held
    }

    /// A DaemonSet is gone.
    pub(super) fn forget(&self, root: &Key) {
        self.0.lock().remove(root);
    }
}
