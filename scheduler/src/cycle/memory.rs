//! What was found out about nodes for Pods like the next one: identical Pods come in crowds, and most nodes have not changed
//! since.
//!
//! Only what was said by plugins that look at nothing but the Pod, the node and the Pods placed there is remembered
//! ([`crate::plugin::OfNode`]), and only until one of these changes, which the node's version tells.
//!
//! Invariant: a cycle with a memory decides as one without.

use std::sync::Arc;

use client::Labels;

use super::{Prepared, Question, Verdict};
use crate::{
    plugin::{Eviction, Rejection},
    pod::{HostPort, NodeSelector, Pod, Toleration},
    resources::Resources,
    snapshot::Row,
};

/// So many different reasons are shared.
const REASONS_MAX: usize = 64;

/// What was found out for Pods of one sort; of a single cluster.
#[derive(Debug, Default)]
pub struct Memory {
    sort: Option<Sort>,
    rows: Vec<Remembered>,
    reasons: Vec<(&'static str, Arc<Rejection>)>,
    /// Whether it is about the Pod of this cycle.
    is_of_use: bool,
}

/// All of a Pod that those plugins look at, and who they are.
#[derive(Debug, PartialEq)]
struct Sort {
    scheduler_name: Box<str>,
    filters: Vec<&'static str>,
    priority: i32,
    requests: Resources,
    node_selector: Labels,
    required_nodes: Option<NodeSelector>,
    tolerations: Box<[Toleration]>,
    host_ports: Box<[HostPort]>,
}

#[derive(Clone, Debug, Default)]
struct Remembered {
    /// The node's version, 0 if nothing is remembered.
    version: u64,
    /// What speaks against it, if something does.
    verdict: Option<Verdict>,
    eviction: Option<RememberedEviction>,
}

#[derive(Clone, Debug)]
struct RememberedEviction {
    /// The version of all budgets.
    budgets: u64,
    found: Found,
}

/// Who must go from a node, or why that does not help.
pub type Found = Result<Arc<Eviction>, Arc<Rejection>>;

impl Sort {
    fn of(pod: &Pod, filters: Vec<&'static str>) -> Self {
        Self {
            scheduler_name: pod.scheduler_name.clone(),
            filters,
            priority: pod.priority,
            requests: pod.requests.clone(),
            node_selector: pod.node_selector.clone(),
            required_nodes: pod.required_nodes.clone(),
            tolerations: pod.tolerations.clone(),
            host_ports: pod.host_ports.clone(),
        }
    }

    fn is_of(&self, pod: &Pod, filters: &Prepared<'_>) -> bool {
        self.scheduler_name == pod.scheduler_name
            && self.priority == pod.priority
            && self.requests == pod.requests
            && self.node_selector == pod.node_selector
            && self.required_nodes == pod.required_nodes
            && self.tolerations == pod.tolerations
            && self.host_ports == pod.host_ports
            && filters.names().eq(self.filters.iter().copied())
    }
}

impl Memory {
    /// A cycle begins.
    pub(super) fn begin(&mut self, question: &Question<'_>, prepared: &Prepared<'_>) {
        let pod = question.pod;
        // A Pod does not count at the node that is kept free for it: there it is like no other.
        self.is_of_use = question.nominated.is_none() && !pod.is_assigned() && prepared.is_of_nodes();
        if !self.is_of_use {
            return;
        }
        if !self.sort.as_ref().is_some_and(|sort| sort.is_of(pod, prepared)) {
            self.sort = Some(Sort::of(pod, prepared.names().collect()));
            self.rows.clear();
            self.reasons.clear();
        }
        self.rows.resize_with(question.snapshot.height(), Remembered::default);
    }

    /// There is nothing to be remembered in this cycle.
    pub(super) fn skip(&mut self) {
        self.is_of_use = false;
    }

    /// What speaks against a node, if anything: as it was found before, or is found now.
    pub(super) fn verdict(
        &mut self,
        question: &Question<'_>,
        row: Row,
        judge: impl FnOnce() -> Option<Verdict>,
    ) -> Option<Verdict> {
        if !self.is_of_use {
            return judge();
        }
        let version = question.snapshot.version(row);
        if let Some(known) = self.rows.get(row.index()).filter(|known| known.version == version) {
            return known.verdict.clone();
        }
        let mut verdict = judge();
        if let Some(verdict) = &mut verdict {
            // What cannot be found out may be found out another time.
            if verdict.rejection.is_error {
                return Some(verdict.clone());
            }
            self.share(verdict);
        }
        if let Some(slot) = self.rows.get_mut(row.index()) {
            *slot = Remembered { version, verdict: verdict.clone(), eviction: None };
        }
        verdict
    }

    /// Lets verdicts of one reason have one.
    fn share(&mut self, verdict: &mut Verdict) {
        let is_it = |(plugin, known): &&(&'static str, Arc<Rejection>)| {
            *plugin == verdict.plugin && **known == *verdict.rejection
        };
        match self.reasons.iter().find(is_it) {
            Some((_, known)) => verdict.rejection = Arc::clone(known),
            None if self.reasons.len() < REASONS_MAX => {
                self.reasons.push((verdict.plugin, Arc::clone(&verdict.rejection)));
            }
            None => {}
        }
    }

    /// Who must go from a node: as it was found before, or is found now.
    pub(super) fn eviction(
        &mut self,
        question: &Question<'_>,
        row: Row,
        find: &dyn Fn() -> Result<Eviction, Rejection>,
    ) -> Found {
        let version = question.snapshot.version(row);
        let budgets = question.snapshot.others.budgets.version();
        let slot = self.rows.get_mut(row.index()).filter(|slot| self.is_of_use && slot.version == version);
        let Some(slot) = slot else { return find().map(Arc::new).map_err(Arc::new) };
        if let Some(known) = slot.eviction.as_ref().filter(|known| known.budgets == budgets) {
            return known.found.clone();
        }
        let found = find().map(Arc::new).map_err(Arc::new);
        slot.eviction = Some(RememberedEviction { budgets, found: found.clone() });
        found
    }
}
