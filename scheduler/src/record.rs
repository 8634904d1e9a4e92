//! A record of every decision: which nodes there were, what spoke against each, how good the others were, what came of it.
//!
//! Invariant: bounded. When full: the oldest records go.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use client::Key;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

use crate::{
    cycle::{Decision, Scores, Verdict},
    profile::Profile,
    queue::Turn,
    snapshot::Snapshot,
};

/// So many records are kept.
const RECORDS_MAX: usize = 1000;
/// So many nodes are kept in all records together.
const NODES_MAX: usize = 200_000;

/// The latest decisions. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Records(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    records: VecDeque<Arc<Record>>,
    nodes: usize,
}

/// One decision.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When.
    pub at: Timestamp,
    /// Which Pod.
    pub pod: Key,
    /// Which one of that name.
    pub uid: Box<str>,
    /// By which profile.
    pub profile: String,
    /// The how manieth time.
    pub attempt: u32,
    /// How long it took, in microseconds.
    #[serde(rename = "tookMicroseconds", serialize_with = "microseconds")]
    pub took: Duration,
    /// How many nodes there were.
    pub nodes: usize,
    /// How many would do.
    pub feasible: usize,
    /// The node it goes to; none if it goes nowhere.
    pub node: Option<Arc<str>>,
    /// Why it goes nowhere, empty if it goes somewhere.
    pub message: String,
    /// What speaks against the nodes that were looked at and would not do.
    #[serde(serialize_with = "verdicts")]
    pub rejected: Vec<Verdict>,
    /// How good the others are.
    #[serde(serialize_with = "scores")]
    pub scores: Scores,
}

/// A decision in few words, as it is told to whoever asks why; the nodes are named for one Pod only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Brief {
    /// When.
    pub at: Timestamp,
    /// Which Pod.
    pub pod: Key,
    /// Which one of that name.
    pub uid: String,
    /// By which profile.
    pub profile: String,
    /// How many nodes there were.
    pub nodes: usize,
    /// How many would do.
    pub feasible: usize,
    /// The node it goes to; none if it goes nowhere.
    pub node: Option<String>,
    /// How good that node is, if nodes were compared.
    pub score: Option<i64>,
    /// Why it goes nowhere.
    pub message: String,
    /// All there is to say, if it is the Pod that is asked about.
    pub whole: Option<serde_json::Value>,
}

fn microseconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(took.as_micros())
}

fn verdicts<S: Serializer>(verdicts: &[Verdict], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(verdicts.len()))?;
    for verdict in verdicts {
        let said = serde_json::json!({
            "plugin": verdict.plugin,
            "reasons": verdict.rejection.reasons,
            "preemptionMayHelp": verdict.rejection.preemption_may_help,
        });
        map.serialize_entry(&*verdict.node, &said)?;
    }
    map.end()
}

fn scores<S: Serializer>(scores: &Scores, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(scores.nodes.len()))?;
    for (at, (node, total)) in scores.nodes.iter().zip(&scores.totals).enumerate() {
        let mut of_node = serde_json::Map::from_iter([("total".to_owned(), (*total).into())]);
        for (plugin, column) in &scores.plugins {
            of_node.insert((*plugin).to_owned(), column.get(at).copied().into());
        }
        map.serialize_entry(&**node, &of_node)?;
    }
    map.end()
}

// === impl Record ===

impl Record {
    /// What a cycle decided on a Pod, whose turn it was.
    pub(crate) fn new(
        turn: &Turn,
        profile: &Profile,
        snapshot: &Snapshot,
        at: Timestamp,
        took: Duration,
        decision: Decision,
    ) -> Self {
        let (node, message) = match decision.outcome {
            Ok(chosen) => (Some(chosen.node), String::new()),
            // One that had been chosen stands for itself.
            Err(diagnosis) if decision.feasible > 0 => (None, diagnosis.message(1)),
            Err(diagnosis) => (None, diagnosis.message(snapshot.len())),
        };
        Self {
            at,
            pod: turn.pod.key(),
            uid: turn.pod.uid().into(),
            profile: profile.scheduler_name.clone(),
            attempt: turn.attempts,
            took,
            nodes: snapshot.len(),
            feasible: decision.feasible,
            node,
            message,
            rejected: decision.rejected,
            scores: decision.scores,
        }
    }

    /// In few words; all of them if it is about this Pod.
    pub fn brief(&self, asked: &Key) -> Brief {
        let best = self.node.as_ref().and_then(|node| self.scores.nodes.iter().position(|it| it == node));
        Brief {
            at: self.at,
            pod: self.pod.clone(),
            uid: (*self.uid).to_owned(),
            profile: self.profile.clone(),
            nodes: self.nodes,
            feasible: self.feasible,
            node: self.node.as_deref().map(str::to_owned),
            score: best.and_then(|at| self.scores.totals.get(at)).copied(),
            message: self.message.clone(),
            whole: (self.pod == *asked).then(|| serde_json::to_value(self).ok()).flatten(),
        }
    }

    fn size(&self) -> usize {
        self.rejected.len() + self.scores.nodes.len()
    }
}

// === impl Records ===

impl Records {
    pub(crate) fn push(&self, record: Record) -> Arc<Record> {
        let record = Arc::new(record);
        let mut ring = self.0.lock();
        ring.nodes += record.size();
        ring.records.push_back(Arc::clone(&record));
        while ring.records.len() > 1 && (ring.records.len() > RECORDS_MAX || ring.nodes > NODES_MAX) {
            if let Some(oldest) = ring.records.pop_front() {
                ring.nodes -= oldest.size();
            }
        }
        record
    }

    /// The latest decisions, the latest last.
    pub fn list(&self) -> Vec<Arc<Record>> {
        self.0.lock().records.iter().cloned().collect()
    }

    /// The latest decisions on a Pod, the latest last.
    pub fn of(&self, pod: &Key) -> Vec<Arc<Record>> {
        self.0.lock().records.iter().filter(|record| record.pod == *pod).cloned().collect()
    }
}
