//! Why a Pod can go nowhere, in upstream's words.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::plugin::Rejection;

/// Why a Pod can go nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diagnosis {
    /// There are no nodes.
    NoNodes,
    /// A plugin says that no node will ever do.
    Never {
        /// Which.
        plugin: &'static str,
        /// Why.
        rejection: Rejection,
    },
    /// Each node has something against it.
    Nowhere {
        /// How often each reason was given.
        reasons: BTreeMap<Cow<'static, str>, usize>,
        /// Who rejected a node.
        plugins: BTreeSet<&'static str>,
        /// The nodes that were judged one by one; of the others `limited_by` says that they will not do.
        judged: usize,
        /// Who limited the Pod to some nodes.
        limited_by: Vec<&'static str>,
    },
}

/// What speaks against a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The node.
    pub node: Arc<str>,
    /// Who says so; the first that does is the last that is asked.
    pub plugin: &'static str,
    /// Why.
    pub rejection: Rejection,
}

impl Diagnosis {
    pub(super) fn nowhere(rejected: &[Verdict], limited_by: Vec<&'static str>) -> Self {
        let mut reasons = BTreeMap::new();
        let mut plugins: BTreeSet<&'static str> = limited_by.iter().copied().collect();
        for verdict in rejected {
            plugins.insert(verdict.plugin);
            for reason in &verdict.rejection.reasons {
                *reasons.entry(reason.clone()).or_default() += 1;
            }
        }
        Self::Nowhere { reasons, plugins, judged: rejected.len(), limited_by }
    }

    /// The plugins that must change their mind; none if it was not for a plugin.
    pub fn plugins(&self) -> BTreeSet<&'static str> {
        match self {
            Self::NoNodes => BTreeSet::new(),
            Self::Never { plugin, .. } => BTreeSet::from([*plugin]),
            Self::Nowhere { plugins, .. } => plugins.clone(),
        }
    }

    /// What users are told, of this many nodes.
    pub fn message(&self, nodes: usize) -> String {
        match self {
            Self::NoNodes => "no nodes available to schedule pods".to_owned(),
            Self::Never { rejection, .. } => {
                format!("0/{nodes} nodes are available: {}.", rejection.reasons.join(", "))
            }
            Self::Nowhere { reasons, judged, limited_by, .. } => {
                let mut counts: Vec<String> =
                    reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
                if !limited_by.is_empty() && *judged < nodes {
                    let plugins: BTreeSet<&str> = limited_by.iter().copied().collect();
                    let plugins = plugins.into_iter().collect::<Vec<_>>().join(" ");
                    counts.push(format!("{} node(s) didn't satisfy plugin(s) [{plugins}]", nodes - judged));
                }
                // As texts: 10 comes before 2.
                counts.sort();
                let end = if counts.is_empty() { String::new() } else { format!(" {}.", counts.join(", ")) };
                format!("0/{nodes} nodes are available:{end}")
            }
        }
    }
}
