//! One decision: which node, or why none and what would help.
//!
//! ```text
//! prefilter ── which nodes at all ──> the node that is kept free for the Pod, if any
//!           ──> filter, node by node from where the last cycle left off, until enough will do
//!           ──> prescore ──> score, plugin by plugin ──> normalise, weigh, add up ──> the best, or one of the best by lot
//!           ──> postfilter, if none will do
//! ```
//!
//! A node that is kept free for other Pods, no less important than this one, must do with them there and without.
//!
//! Invariant: pure. The same arguments give the same decision; chance comes in as a number.

mod diagnosis;
mod memory;

pub use diagnosis::{Diagnosis, Verdict};
pub use memory::{Found, Memory};

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use crate::{
    plugin::{Eviction, Filter, Filtering, Rejection, Relief, Remedy, SCORE_MAX, Trouble, WhatIf},
    pod::Pod,
    profile::Profile,
    snapshot::{Row, Snapshot},
};

/// However many nodes there are, so many are looked for that will do.
const FEASIBLE_MIN: usize = 100;
/// However many nodes there are, this part of them is looked for that will do.
const FEASIBLE_PERCENT_MIN: usize = 5;

/// What a cycle decides on, beside the Pod.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// The nodes and what is placed there.
    pub snapshot: &'a Snapshot,
    /// Who decides.
    pub profile: &'a Profile,
    /// The node that is kept free for it.
    pub nominated: Option<&'a str>,
    /// How many nodes are looked at, in percent, if the profile does not say; adaptive if 0.
    pub percentage_of_nodes_to_score: u32,
    /// Where the last cycle left off.
    pub start: usize,
    /// Any number: picks one of several best nodes.
    pub lot: u64,
}

/// What was decided.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The node, or why none.
    pub outcome: Result<Chosen, Diagnosis>,
    /// What would make room, if it goes nowhere and somebody was asked.
    pub relief: Option<Relief>,
    /// What may help later.
    pub remedy: Option<Remedy>,
    /// What speaks against each node that was looked at and would not do.
    pub rejected: Vec<Verdict>,
    /// How good each node is that would do; none if there was nothing to compare.
    pub scores: Scores,
    /// How many nodes would do.
    pub feasible: usize,
    /// Where the next cycle starts.
    pub next_start: usize,
}

/// The node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its name.
    pub node: Arc<str>,
    /// Its row in the snapshot of the cycle.
    pub row: Row,
}

/// The scores of the nodes that would do, in columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scores {
    /// The nodes.
    pub nodes: Vec<Arc<str>>,
    /// Each plugin's scores of them, normalised and weighed.
    pub plugins: Vec<(&'static str, Vec<i64>)>,
    /// The sums.
    pub totals: Vec<i64>,
}

/// The nodes that will do, before they are compared.
#[derive(Debug)]
pub struct Filtered {
    /// They.
    pub feasible: Vec<Row>,
    /// What speaks against the others.
    pub rejected: Vec<Verdict>,
    limited_by: Vec<&'static str>,
    next_start: usize,
}

/// Scores from outside the profile, for nodes by name; weighed already.
pub type MoreScores = Vec<(Arc<str>, i64)>;

/// Decides.
pub fn decide(question: &Question<'_>) -> Decision {
    decide_with(question, &mut Memory::default())
}

/// Decides, with what is remembered of the cycles before.
pub fn decide_with(question: &Question<'_>, memory: &mut Memory) -> Decision {
    match filter(question, memory) {
        Ok(filtered) => choose(question, filtered, &MoreScores::new(), memory),
        Err(decision) => *decision,
    }
}

/// Looks for nodes that will do.
///
/// # Errors
/// The decision, if there are no nodes, or none will ever do.
pub fn filter(question: &Question<'_>, memory: &mut Memory) -> Result<Filtered, Box<Decision>> {
    let Question { pod, snapshot, profile, .. } = *question;
    let nowhere = |diagnosis: Diagnosis| {
        Box::new(Decision {
            outcome: Err(diagnosis),
            relief: None,
            remedy: None,
            rejected: Vec::new(),
            scores: Scores::default(),
            feasible: 0,
            next_start: question.start,
        })
    };
    memory.skip();
    if snapshot.is_empty() {
        return Err(nowhere(Diagnosis::NoNodes));
    }
    let prepared = match prepare(profile, pod, snapshot) {
        Ok(prepared) => prepared,
        Err((plugin, rejection)) if rejection.is_error => {
            let message = format!("running PreFilter plugin {plugin:?}: {}", rejection.reasons.join(", "));
            return Err(nowhere(Diagnosis::Failed(message)));
        }
        Err((plugin, rejection)) => {
            let hopeful = if rejection.preemption_may_help { snapshot.rows() } else { &[] };
            let against = Against { rejected: &[], ruled_out_by: Some(plugin), hopeful };
            let (relief, remedy) = relieve(question, &against, &|_, _| Err(rejection.clone()), memory);
            let mut decision = nowhere(Diagnosis::Never { plugin, rejection, relief: told(relief.as_ref()) });
            decision.relief = relief;
            decision.remedy = remedy;
            return Err(decision);
        }
    };
    let kept_free = question.nominated.and_then(|name| snapshot.row(name));
    if let Some(row) = kept_free
        && prepared.is_open(row, snapshot)
        && prepared.judge(pod, snapshot, row, &WhatIf::default()).is_ok()
    {
        let next_start = question.start;
        return Ok(Filtered {
            feasible: vec![row],
            rejected: Vec::new(),
            limited_by: Vec::new(),
            next_start,
        });
    }
    memory.begin(question, &prepared);
    look(question, prepared, memory).map_err(nowhere)
}

/// Chooses among nodes that will do, or finds out what would help.
pub fn choose(
    question: &Question<'_>,
    filtered: Filtered,
    more: &MoreScores,
    memory: &mut Memory,
) -> Decision {
    let Question { pod, snapshot, profile, .. } = *question;
    let Filtered { feasible, rejected, limited_by, next_start } = filtered;
    let mut scores = Scores::default();
    let (mut relief, mut remedy) = (None, None);
    let outcome = match feasible.as_slice() {
        [] => {
            let hopeful: Vec<Row> = rejected
                .iter()
                .filter(|verdict| verdict.rejection.preemption_may_help)
                .map(|verdict| verdict.row)
                .collect();
            let against = Against { rejected: &rejected, ruled_out_by: None, hopeful: &hopeful };
            (relief, remedy) = if hopeful.is_empty() {
                let judge = |_: Row, _: &WhatIf<'_>| unreachable!("nothing is tried where nothing helps");
                relieve(question, &against, &judge, memory)
            } else {
                // What filters are made of has not changed, so they say what they said.
                prepare(profile, pod, snapshot).ok().map_or((None, None), |prepared| {
                    let judge = |row: Row, what_if: &WhatIf<'_>| {
                        prepared.judge(pod, snapshot, row, what_if).map_err(|(_, rejection)| rejection)
                    };
                    relieve(question, &against, &judge, memory)
                })
            };
            Err(Diagnosis::nowhere(&rejected, limited_by, told(relief.as_ref())))
        }
        [only] => Ok(Chosen { node: snapshot.name(*only), row: *only }),
        several => Ok(best(question, several, more, &mut scores)),
    };
    Decision { outcome, relief, remedy, feasible: feasible.len(), rejected, scores, next_start }
}

/// What speaks against nodes.
struct Against<'a> {
    rejected: &'a [Verdict],
    ruled_out_by: Option<&'static str>,
    hopeful: &'a [Row],
}

/// Asks plugins, until one knows a way out. There may also be something that helps later.
fn relieve(
    question: &Question<'_>,
    against: &Against<'_>,
    judge: &dyn Fn(Row, &WhatIf<'_>) -> Result<(), Rejection>,
    memory: &mut Memory,
) -> (Option<Relief>, Option<Remedy>) {
    let Question { pod, snapshot, profile, nominated, lot, .. } = *question;
    let Against { rejected, ruled_out_by, hopeful } = *against;
    let memory = RefCell::new(memory);
    let recall = |row: Row, find: &dyn Fn() -> Result<Eviction, Rejection>| {
        memory.borrow_mut().eviction(question, row, find)
    };
    let recall = &recall;
    let trouble = Trouble { pod, snapshot, nominated, hopeful, rejected, ruled_out_by, judge, recall, lot };
    let (mut gives_up, mut messages, mut first_remedy) = (false, Vec::new(), None);
    for plugin in &profile.relief {
        match plugin.relieve(&trouble) {
            Relief::None { gives_up: this, message } => {
                gives_up |= this;
                messages.push(message);
            }
            Relief::Later { remedy, message } => {
                messages.push(message);
                first_remedy.get_or_insert(remedy);
            }
            room @ Relief::Room(_) => return (Some(room), first_remedy),
            // What others said is not told then.
            Relief::Failed { message } => return (Some(Relief::none(false, message)), first_remedy),
        }
    }
    let relief = (!messages.is_empty()).then(|| Relief::none(gives_up, messages.join(", ")));
    (relief, first_remedy)
}

/// What people are told of it.
fn told(relief: Option<&Relief>) -> String {
    match relief {
        Some(Relief::None { message, .. } | Relief::Later { message, .. } | Relief::Failed { message }) => {
            message.clone()
        }
        Some(Relief::Room(_)) | None => String::new(),
    }
}

/// The filters of a Pod, and which nodes it is limited to.
struct Prepared<'a> {
    filters: Vec<(&'static str, Box<dyn Filter + 'a>)>,
    only: Option<BTreeSet<&'a str>>,
    limited_by: Vec<&'static str>,
}

fn prepare<'a>(
    profile: &'a Profile,
    pod: &'a Pod,
    snapshot: &'a Snapshot,
) -> Result<Prepared<'a>, (&'static str, Rejection)> {
    let mut prepared = Prepared { filters: Vec::new(), only: None, limited_by: Vec::new() };
    for plugin in &profile.filters {
        let name = plugin.name();
        match plugin.filter(pod, snapshot).map_err(|rejection| (name, rejection))? {
            Filtering::Skip => {}
            Filtering::All(filter) => prepared.filters.push((name, filter)),
            Filtering::Only(names, filter) => {
                prepared.filters.push((name, filter));
                prepared.limited_by.push(name);
                prepared.only = Some(match prepared.only {
                    None => names,
                    Some(others) => others.intersection(&names).copied().collect(),
                });
            }
        }
    }
    Ok(prepared)
}

impl Prepared<'_> {
    fn rows<'s>(&self, snapshot: &'s Snapshot) -> std::borrow::Cow<'s, [Row]> {
        match &self.only {
            None => snapshot.rows().into(),
            Some(names) => snapshot.rows_of(names).into(),
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.filters.iter().map(|(name, _)| *name)
    }

    /// Whether nothing but the Pod and a node decides on that node.
    fn is_of_nodes(&self) -> bool {
        self.only.is_none() && self.filters.iter().all(|(_, filter)| filter.is_of_node())
    }

    /// Whether no plugin has ruled a node out beforehand.
    fn is_open(&self, row: Row, snapshot: &Snapshot) -> bool {
        self.only.as_ref().is_none_or(|names| names.contains(snapshot.node(row).name()))
    }

    fn judge(
        &self,
        pod: &Pod,
        snapshot: &Snapshot,
        row: Row,
        what_if: &WhatIf<'_>,
    ) -> Result<(), (&'static str, Rejection)> {
        let is_first = |other: &&Arc<Pod>| other.priority >= pod.priority && other.uid() != pod.uid();
        let mut expected = snapshot.nominated(row).iter().filter(is_first).peekable();
        if expected.peek().is_some() {
            let mut with = what_if.clone();
            with.come.extend(expected);
            self.judge_once(row, &with)?;
        }
        // They may also not come.
        self.judge_once(row, what_if)
    }

    fn judge_once(&self, row: Row, what_if: &WhatIf<'_>) -> Result<(), (&'static str, Rejection)> {
        for (plugin, filter) in &self.filters {
            filter.judge(row, what_if).map_err(|rejection| (*plugin, rejection))?;
        }
        Ok(())
    }
}

/// Looks at nodes from where the last cycle left off, until enough will do.
fn look(question: &Question<'_>, prepared: Prepared<'_>, memory: &mut Memory) -> Result<Filtered, Diagnosis> {
    let Question { pod, snapshot, profile, .. } = *question;
    let rows = prepared.rows(snapshot);
    let percentage = profile.percentage_of_nodes_to_score.unwrap_or(question.percentage_of_nodes_to_score);
    let enough = enough(percentage, rows.len());
    let (mut feasible, mut rejected) = (Vec::new(), Vec::new());
    let start = if rows.is_empty() { 0 } else { question.start % rows.len() };
    let (before, after) = rows.split_at(start);
    let nothing = WhatIf::default();
    for row in after.iter().chain(before) {
        let judge = || {
            let (plugin, rejection) = prepared.judge(pod, snapshot, *row, &nothing).err()?;
            Some(Verdict { node: snapshot.name(*row), row: *row, plugin, rejection: Arc::new(rejection) })
        };
        match memory.verdict(question, *row, judge) {
            None => feasible.push(*row),
            Some(Verdict { plugin, rejection, .. }) if rejection.is_error => {
                let why = rejection.reasons.join(", ");
                return Err(Diagnosis::Failed(format!("running {plugin:?} filter plugin: {why}")));
            }
            Some(verdict) => rejected.push(verdict),
        }
        if feasible.len() >= enough {
            break;
        }
    }
    // Nodes a plugin has ruled out beforehand count as looked at.
    let looked_at = if prepared.only.is_some() { snapshot.len() - rows.len() } else { 0 };
    let looked_at = looked_at + feasible.len() + rejected.len();
    let next_start = (question.start + looked_at) % snapshot.len().max(1);
    Ok(Filtered { feasible, rejected, limited_by: prepared.limited_by, next_start })
}

/// How many nodes that will do are enough. Looking at all of a large cluster costs more than the best node is worth.
fn enough(percentage: u32, nodes: usize) -> usize {
    if nodes < FEASIBLE_MIN {
        return nodes;
    }
    let percentage = match usize::try_from(percentage).unwrap_or(100) {
        0 => 50usize.saturating_sub(nodes / 125).max(FEASIBLE_PERCENT_MIN),
        said => said,
    };
    (nodes * percentage / 100).max(FEASIBLE_MIN)
}

/// The best of several nodes.
fn best(question: &Question<'_>, feasible: &[Row], more: &MoreScores, scores: &mut Scores) -> Chosen {
    let Question { pod, snapshot, profile, .. } = *question;
    scores.nodes = feasible.iter().map(|row| snapshot.name(*row)).collect();
    scores.totals = vec![0; feasible.len()];
    for (plugin, weight) in &profile.scores {
        let Some(score) = plugin.score(pod, snapshot, feasible) else { continue };
        let mut column: Vec<i64> = feasible.iter().map(|row| score.rate(*row)).collect();
        score.normalise(&mut column);
        for (score, total) in column.iter_mut().zip(&mut scores.totals) {
            assert!((0..=SCORE_MAX).contains(score), "{} scored {score}", plugin.name());
            *score *= weight;
            *total += *score;
        }
        scores.plugins.push((plugin.name(), column));
    }
    if !more.is_empty() {
        let column: Vec<i64> = scores
            .nodes
            .iter()
            .map(|node| more.iter().filter(|(name, _)| name == node).map(|(_, score)| score).sum())
            .collect();
        scores.totals.iter_mut().zip(&column).for_each(|(total, score)| *total += score);
        scores.plugins.push(("Extenders", column));
    }
    let most = scores.totals.iter().copied().max().unwrap_or_default();
    let mut best = feasible.iter().zip(&scores.totals).filter(|(_, total)| **total == most);
    let ties = u64::try_from(best.clone().count()).unwrap_or(1).max(1);
    let drawn = usize::try_from(question.lot % ties).unwrap_or_default();
    match best.nth(drawn) {
        Some((row, _)) => Chosen { node: snapshot.name(*row), row: *row },
        None => unreachable!("one of several nodes is the best"),
    }
}

#[cfg(test)]
mod tests;
