//! Why a Pod can go nowhere, in upstream's words.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{plugin::Rejection, snapshot::Row};

/// Why a Pod can go nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diagnosis {
    /// There are no nodes.
    NoNodes,
    /// It cannot be found out, for this reason.
    Failed(String),
    /// A plugin says that no node will ever do.
    Never {
        /// Which.
        plugin: &'static str,
        /// Why.
        rejection: Rejection,
        /// What was said when a way out was looked for, empty if nothing was.
        relief: String,
    },
    /// Each node has something against it.
    Nowhere {
        /// How often each reason was given.
        reasons: BTreeMap<Cow<'static, str>, usize>,
        /// Who rejected a node.
        plugins: BTreeSet<&'static str>,
        /// The nodes that were judged one by one; the others will not do either.
        judged: usize,
        /// What is said of the nodes that were not judged.
        unjudged: Option<String>,
        /// What was said when a way out was looked for, empty if nothing was.
        relief: String,
    },
}

/// What speaks against a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The node.
    pub node: Arc<str>,
    /// Its row in the snapshot of the cycle.
    pub row: Row,
    /// Who says so; the first that does is the last that is asked.
    pub plugin: &'static str,
    /// Why.
    pub rejection: Arc<Rejection>,
}

impl Diagnosis {
    pub(super) fn nowhere(rejected: &[Verdict], limited_by: Vec<&'static str>, relief: String) -> Self {
        let limits: BTreeSet<&'static str> = limited_by.into_iter().collect();
        let mut all = limits.clone();
        for run in runs(rejected) {
            all.extend(run.first().map(|verdict| verdict.plugin));
        }
        let unjudged = (!limits.is_empty()).then(|| {
            let limits = limits.into_iter().collect::<Vec<_>>().join(" ");
            format!("node(s) didn't satisfy plugin(s) [{limits}]")
        });
        Self::Nowhere { reasons: counted(rejected), plugins: all, judged: rejected.len(), unjudged, relief }
    }

    /// Of some nodes something is said, of all others the same.
    pub fn of(rejected: &[Verdict], others: &str) -> Self {
        Self::Nowhere {
            reasons: counted(rejected),
            plugins: BTreeSet::new(),
            judged: rejected.len(),
            unjudged: Some(others.to_owned()),
            relief: String::new(),
        }
    }

    /// The one node that was chosen will not do after all.
    pub fn of_one(verdict: Verdict) -> Self {
        let plugins = BTreeSet::from([verdict.plugin]);
        Self::Nowhere {
            reasons: counted(&[verdict]),
            plugins,
            judged: 1,
            unjudged: None,
            relief: String::new(),
        }
    }

    /// The plugins that must change their mind; none if it was not for a plugin.
    pub fn plugins(&self) -> BTreeSet<&'static str> {
        match self {
            Self::NoNodes | Self::Failed(_) => BTreeSet::new(),
            Self::Never { plugin, .. } => BTreeSet::from([*plugin]),
            Self::Nowhere { plugins, .. } => plugins.clone(),
        }
    }

    /// What users are told, of this many nodes.
    pub fn message(&self, nodes: usize) -> String {
        match self {
            Self::NoNodes => "no nodes available to schedule pods".to_owned(),
            Self::Failed(why) => why.clone(),
            Self::Never { rejection, relief, .. } => with_relief(
                format!("0/{nodes} nodes are available: {}.", rejection.reasons.join(", ")),
                relief,
            ),
            Self::Nowhere { reasons, judged, unjudged, relief, .. } => {
                let mut reasons: BTreeMap<&str, usize> =
                    reasons.iter().map(|(reason, count)| (&**reason, *count)).collect();
                if let (Some(unjudged), Some(count @ 1..)) = (unjudged, nodes.checked_sub(*judged)) {
                    *reasons.entry(unjudged).or_default() += count;
                }
                let mut counts: Vec<String> =
                    reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
                // As texts: 10 comes before 2.
                counts.sort();
                let end = if counts.is_empty() { String::new() } else { format!(" {}.", counts.join(", ")) };
                with_relief(format!("0/{nodes} nodes are available:{end}"), relief)
            }
        }
    }
}

/// Verdicts of one reason that follow one another: most do, and comparing texts takes time.
fn runs(rejected: &[Verdict]) -> impl Iterator<Item = &[Verdict]> {
    rejected.chunk_by(|one, next| Arc::ptr_eq(&one.rejection, &next.rejection) && one.plugin == next.plugin)
}

fn counted(rejected: &[Verdict]) -> BTreeMap<Cow<'static, str>, usize> {
    let mut reasons: BTreeMap<Cow<'static, str>, usize> = BTreeMap::new();
    for run in runs(rejected) {
        for reason in run.iter().take(1).flat_map(|verdict| &verdict.rejection.reasons) {
            match reasons.get_mut(reason) {
                Some(count) => *count += run.len(),
                None => {
                    reasons.insert(reason.clone(), run.len());
                }
            }
        }
    }
    reasons
}

fn with_relief(message: String, relief: &str) -> String {
    if relief.is_empty() { message } else { format!("{message} {relief}") }
}
