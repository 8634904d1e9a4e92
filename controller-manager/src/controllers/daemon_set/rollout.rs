//! A rolling update: on which nodes a new Pod may replace the old one now.
//!
//! Without a surge the old Pod goes first, and so many nodes may be without an available Pod. With one the new Pod comes
//! first, and so many nodes may have two.

use std::sync::Arc;

use super::{Fit, Work};
use crate::kinds::Pod;

/// The Pods of a node that do not go: at most one of each kind.
struct Pair {
    new: Option<Arc<Pod>>,
    old: Option<Arc<Pod>>,
}

// === impl Work ===

impl Work<'_> {
    /// Takes the next step of the update.
    pub(super) fn roll(&mut self) {
        let (surge, unavailable) = self.root.fenceposts(self.wanted());
        let (surplus, missing) =
            if surge == 0 { (self.replace(unavailable), Vec::new()) } else { self.surge(surge) };
        if !surplus.is_empty() || !missing.is_empty() {
            let nodes = surplus.len().max(missing.len());
            self.plan.why = format!("on {nodes} nodes an old Pod is replaced").into();
        }
        self.change(&surplus, &missing);
    }

    /// The Pods of a node; `None` if there are several of a kind, which is put right first.
    fn pair(&self, node: &str) -> Option<Pair> {
        let mut pair = Pair { new: None, old: None };
        for pod in self.pods.get(node).into_iter().flatten().filter(|pod| !pod.metadata.is_terminating()) {
            let place = if self.is_updated(pod) { &mut pair.new } else { &mut pair.old };
            if place.replace(Arc::clone(pod)).is_some() {
                return None;
            }
        }
        Some(pair)
    }

    /// All nodes that shall have a Pod or have one.
    fn places(&self) -> Vec<&str> {
        let wanted = self.nodes.iter().filter(|(_, fit)| fit.runs).map(|(node, _)| *node);
        let mut places: Vec<&str> = wanted.chain(self.pods.keys().copied()).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Old Pods that may go: those that serve nobody, and so many others.
    fn replace(&self, unavailable_max: i32) -> Vec<Arc<Pod>> {
        let mut unavailable = 0;
        let (mut goes, mut might) = (Vec::new(), Vec::new());
        for node in self.places() {
            match self.pair(node) {
                Some(Pair { new: Some(new), old: None }) => {
                    unavailable += i32::from(!self.is_available(&new));
                }
                Some(Pair { new: None, old: Some(old) }) if self.is_available(&old) => might.push(old),
                Some(Pair { new: None, old: Some(old) }) => {
                    unavailable += 1;
                    goes.push(old);
                }
                // Something is to be made or given up there before.
                _ => unavailable += 1,
            }
        }
        let room = usize::try_from(unavailable_max - unavailable).unwrap_or_default();
        goes.extend(might.into_iter().take(room));
        goes
    }

    /// Old Pods that may go, and nodes that get a new one beside the old.
    fn surge(&self, surge_max: i32) -> (Vec<Arc<Pod>>, Vec<String>) {
        let (mut surging, mut available) = (0, 0);
        let (mut goes, mut leaves, mut gets, mut might) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for node in self.places() {
            let Some(Pair { new, old }) = self.pair(node) else {
                surging += 1;
                continue;
            };
            let serves = old.as_ref().or(new.as_ref()).is_some_and(|pod| self.is_available(pod));
            available += i32::from(serves);
            let Some(old) = old else { continue };
            let runs = self.nodes.get(node).is_some_and(|Fit { runs, .. }| *runs);
            match new {
                Some(new) if self.is_available(&new) => goes.push(old),
                Some(_) => surging += 1,
                None if !serves && !runs => goes.push(old),
                None if !serves => gets.push(node.to_owned()),
                // Its node shall have none any more; it serves until one elsewhere does.
                None if !runs => leaves.push(old),
                None => might.push(node.to_owned()),
            }
        }
        let spare = usize::try_from(available - self.wanted()).unwrap_or_default();
        goes.extend(leaves.into_iter().take(spare));
        let room = usize::try_from(surge_max - surging).unwrap_or_default();
        gets.extend(might.into_iter().take(room));
        (goes, gets)
    }
}
