//! One decision: which node, or why none.
//!
//! ```text
//! prefilter ── which nodes at all ──> filter, node by node from where the last cycle left off, until enough will do
//!           ──> prescore ──> score, plugin by plugin ──> normalise, weigh, add up ──> the best, or one of the best by lot
//! ```
//!
//! Invariant: pure. The same arguments give the same decision; chance comes in as a number.

mod diagnosis;

pub use diagnosis::{Diagnosis, Verdict};

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    plugin::{Filter, Filtering, Rejection, SCORE_MAX},
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

/// Decides.
pub fn decide(question: &Question<'_>) -> Decision {
    let Question { pod, snapshot, profile, .. } = *question;
    let mut decision = Decision {
        outcome: Err(Diagnosis::NoNodes),
        rejected: Vec::new(),
        scores: Scores::default(),
        feasible: 0,
        next_start: question.start,
    };
    if snapshot.is_empty() {
        return decision;
    }
    let prepared = match prepare(profile, pod, snapshot) {
        Ok(prepared) => prepared,
        Err((plugin, rejection)) => {
            decision.outcome = Err(Diagnosis::Never { plugin, rejection });
            return decision;
        }
    };
    let rows = prepared.rows(snapshot);
    let feasible = look(question, &prepared, &rows, &mut decision);
    decision.feasible = feasible.len();
    decision.outcome = match feasible.as_slice() {
        [] => Err(Diagnosis::nowhere(&decision.rejected, prepared.limited_by)),
        [only] => Ok(Chosen { node: snapshot.name(*only) }),
        several => Ok(best(question, several, &mut decision.scores)),
    };
    decision
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

    fn judge(&self, row: Row) -> Result<(), (&'static str, Rejection)> {
        for (plugin, filter) in &self.filters {
            filter.judge(row).map_err(|rejection| (*plugin, rejection))?;
        }
        Ok(())
    }
}

/// Looks at nodes from where the last cycle left off, until enough will do.
fn look(question: &Question<'_>, prepared: &Prepared<'_>, rows: &[Row], decision: &mut Decision) -> Vec<Row> {
    let Question { snapshot, profile, .. } = *question;
    let percentage = profile.percentage_of_nodes_to_score.unwrap_or(question.percentage_of_nodes_to_score);
    let enough = enough(percentage, rows.len());
    let mut feasible = Vec::new();
    let start = if rows.is_empty() { 0 } else { question.start % rows.len() };
    let (before, after) = rows.split_at(start);
    for row in after.iter().chain(before) {
        match prepared.judge(*row) {
            Ok(()) => feasible.push(*row),
            Err((plugin, rejection)) => {
                decision.rejected.push(Verdict { node: snapshot.name(*row), plugin, rejection });
            }
        }
        if feasible.len() >= enough {
            break;
        }
    }
    // Nodes a plugin has ruled out beforehand count as looked at.
    let looked_at = if prepared.only.is_some() { snapshot.len() - rows.len() } else { 0 };
    let looked_at = looked_at + feasible.len() + decision.rejected.len();
    decision.next_start = (question.start + looked_at) % snapshot.len().max(1);
    feasible
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
fn best(question: &Question<'_>, feasible: &[Row], scores: &mut Scores) -> Chosen {
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
    let most = scores.totals.iter().copied().max().unwrap_or_default();
    let mut best = scores.nodes.iter().zip(&scores.totals).filter(|(_, total)| **total == most);
    let ties = u64::try_from(best.clone().count()).unwrap_or(1).max(1);
    let drawn = usize::try_from(question.lot % ties).unwrap_or_default();
    match best.nth(drawn) {
        Some((node, _)) => Chosen { node: Arc::clone(node) },
        None => unreachable!("one of several nodes is the best"),
    }
}

#[cfg(test)]
mod tests;
