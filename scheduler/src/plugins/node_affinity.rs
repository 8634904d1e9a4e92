//! `NodeAffinity`: labels and names a node must have, and labels it should have.

use serde::Deserialize;

use crate::{
    node::Node,
    plugin::{ClusterEvent, Filtering, OfNode, Plugin, Point, Rejection, Score, WhatIf, normalise},
    pod::{NodeSelector, Pod, PreferredTerm},
    snapshot::{Row, Snapshot},
};

/// Sends Pods to nodes of their choice.
#[derive(Debug, Default)]
pub struct NodeAffinity {
    settings: Settings,
}

/// What can be set of it (`NodeAffinityArgs`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    added_affinity: Option<Added>,
}

/// What the Pods of a profile must and should have beside what they say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Added {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<NodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    preferred: Vec<PreferredTerm>,
}

struct Preference<'a> {
    pod: &'a Pod,
    added: &'a [PreferredTerm],
    snapshot: &'a Snapshot,
}

/// Whether a node is one the Pod must have.
pub(super) fn matches(pod: &Pod, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    pod.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        && pod.required_nodes.as_ref().is_none_or(|required| required.matches(node))
}

// === impl NodeAffinity ===

impl NodeAffinity {
    /// With settings.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let added = settings.added_affinity.as_ref();
        if added.and_then(|added| added.required.as_ref()).is_some_and(|required| !required.is_valid()) {
            let path = "addedAffinity.requiredDuringSchedulingIgnoredDuringExecution";
            return Err(format!("{path}: Invalid value: a term cannot be read"));
        }
        Ok(Self { settings })
    }

    fn added(&self) -> Option<&NodeSelector> {
        self.settings.added_affinity.as_ref()?.required.as_ref()
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        let added = self.added();
        if pod.node_selector.is_empty() && pod.required_nodes.is_none() && added.is_none() {
            return Ok(Filtering::Skip);
        }
        let filter = Box::new(OfNode(move |row: Row, _: &WhatIf<'_>| {
            if added.is_some_and(|added| !added.matches(snapshot.node(row))) {
                Err(Rejection::for_good("node(s) didn't match scheduler-enforced node affinity"))
            } else if matches(pod, snapshot.node(row)) {
                Ok(())
            } else {
                Err(Rejection::for_good("node(s) didn't match Pod's node affinity/selector"))
            }
        }));
        match pod.required_nodes.as_ref().and_then(|required| required.node_names()) {
            None => Ok(Filtering::All(filter)),
            Some(names) if names.is_empty() => Err(Rejection::for_good("pod affinity terms conflict")),
            Some(names) => Ok(Filtering::Only(names, filter)),
        }
    }

    fn score<'a>(
        &'a self,
        pod: &'a Pod,
        snapshot: &'a Snapshot,
        _feasible: &'a [Row],
    ) -> Option<Box<dyn Score + 'a>> {
        let added = self.settings.added_affinity.as_ref().map_or(&[][..], |added| &added.preferred);
        (!(pod.preferred_nodes.is_empty() && added.is_empty()))
            .then(|| Box::new(Preference { pod, added, snapshot }) as Box<dyn Score + 'a>)
    }

    fn weight(&self) -> i64 {
        2
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        match event {
            // Only a gated Pod can still change its mind.
            ClusterEvent::OwnUpdate { old, new } => {
                old.node_selector != new.node_selector || old.required_nodes != new.required_nodes
            }
            event => event.node_becomes(|node| {
                matches(pod, node) && self.added().is_none_or(|added| added.matches(node))
            }),
        }
    }
}

impl Score for Preference<'_> {
    fn rate(&self, row: Row) -> i64 {
        let node = self.snapshot.node(row);
        let terms = self.pod.preferred_nodes.iter().chain(self.added);
        let terms = terms.filter(|term| term.weight != 0 && term.preference.matches(node));
        terms.map(|term| i64::from(term.weight)).sum()
    }

    fn normalise(&self, scores: &mut [i64]) {
        normalise(scores, false);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::tests::{judged, pod, scored, snapshot};

    const NO: &str = "node(s) didn't match Pod's node affinity/selector!";

    fn nodes() -> Snapshot {
        snapshot(
            [
                json!({"metadata": {"name": "a", "labels": {"disk": "ssd", "cores": "8"}}}),
                json!({"metadata": {"name": "b", "labels": {"disk": "hdd", "cores": "16"}}}),
            ],
            [],
        )
    }

    fn check(spec: Value) -> String {
        judged(&NodeAffinity::default(), &pod(json!({"spec": spec})), &nodes()).replace(NO, "no")
    }

    fn required(terms: Value) -> String {
        check(json!({"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}))
    }

    #[test]
    fn a_node_must_have_the_labels_of_the_selector() {
        assert_eq!(check(json!({})), "skip");
        assert_eq!(check(json!({"nodeSelector": {"disk": "ssd"}})), "yes | no");
        assert_eq!(check(json!({"nodeSelector": {"disk": "ssd", "cores": "16"}})), "no | no");
    }

    #[test]
    fn one_required_term_must_match_in_all_it_says() {
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let name = |operator: &str, name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": operator, "values": [name]}]});
        for (terms, expected) in [
            (json!([expression("disk", "In", &["hdd", "tape"])]), "no | yes"),
            (json!([expression("disk", "NotIn", &["hdd"])]), "yes | no"),
            (json!([expression("cores", "Gt", &["8"])]), "no | yes"),
            (json!([expression("gpu", "DoesNotExist", &[])]), "yes | yes"),
            (json!([expression("disk", "Maybe", &[])]), "no | no"),
            (json!([{}]), "no | no"),
            (json!([]), "no | no"),
            (json!([expression("disk", "In", &["ssd"]), expression("cores", "In", &["16"])]), "yes | yes"),
            (json!([name("In", "b")]), r#"only {"b"}: yes"#),
            (json!([name("In", "b"), expression("disk", "Exists", &[])]), "yes | yes"),
            (json!([name("NotIn", "b")]), "yes | no"),
            (
                json!([{"matchFields": [
                    {"key": "metadata.name", "operator": "In", "values": ["a"]},
                    {"key": "metadata.name", "operator": "In", "values": ["b"]}]}]),
                "never: pod affinity terms conflict",
            ),
        ] {
            assert_eq!(required(terms.clone()), expected, "{terms}");
        }
    }

    #[test]
    fn preferred_terms_add_up() {
        let prefers = |terms: Value| {
            pod(json!({"spec": {"affinity": {"nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": terms}}}}))
        };
        let term = |weight: i32, disk: &str| {
            json!({"weight": weight, "preference": {"matchExpressions": [
                {"key": "disk", "operator": "In", "values": [disk]}]}})
        };
        assert_eq!(scored(&NodeAffinity::default(), &prefers(json!([])), &nodes()), None);
        let both = prefers(json!([term(20, "ssd"), term(80, "hdd"), term(20, "hdd")]));
        assert_eq!(scored(&NodeAffinity::default(), &both, &nodes()).unwrap(), [20, 100]);
    }

    #[test]
    fn a_node_that_comes_to_match_may_help() {
        let wants = pod(json!({"spec": {"nodeSelector": {"disk": "ssd"}}}));
        let node = |disk: &str| {
            std::sync::Arc::new(crate::plugins::tests::node(json!({"metadata": {"labels": {"disk": disk}}})))
        };
        let updated = |old: &str, new: &str| ClusterEvent::NodeUpdated { old: node(old), new: node(new) };
        assert!(NodeAffinity::default().may_help(&wants, &updated("hdd", "ssd")));
        assert!(!NodeAffinity::default().may_help(&wants, &updated("ssd", "ssd")));
        assert!(!NodeAffinity::default().may_help(&wants, &updated("ssd", "hdd")));
        assert!(NodeAffinity::default().may_help(&wants, &ClusterEvent::NodeAdded(node("ssd"))));
        assert!(!NodeAffinity::default().may_help(&wants, &ClusterEvent::NodeAdded(node("hdd"))));
    }

    #[test]
    fn a_profile_may_add_what_nodes_must_have() {
        let settings = json!({"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]}}});
        let plugin = NodeAffinity::new(serde_json::from_value(settings).unwrap()).unwrap();
        assert_eq!(
            judged(&plugin, &pod(json!({})), &nodes()),
            "yes | node(s) didn't match scheduler-enforced node affinity!"
        );
        let wrong = json!({"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Maybe"}]}]}}});
        assert!(NodeAffinity::new(serde_json::from_value(wrong).unwrap()).is_err());
    }
}
