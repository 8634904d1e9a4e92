//! Pods that several budgets select: people are told, since nobody evicts such a Pod. The API server refuses.

use std::sync::Arc;

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers, Write,
    events::{Note, ObjectRef},
};
use jiff::Timestamp;

use crate::kinds::{Pod, PodDisruptionBudget};

/// Tells people.
#[derive(Debug)]
pub struct Overlaps;

/// A Pod and the budgets that select it, by name.
#[derive(Debug)]
pub struct Observed {
    pod: Arc<Pod>,
    budgets: Vec<Arc<str>>,
}

impl Controller for Overlaps {
    type Root = Pod;
    type Observed = Observed;
    const NAME: &'static str = "controllermanager";

    fn triggers(&self, on: &mut Triggers<Pod>) {
        on.changes::<Pod>(|change, caches| {
            let concerned = match change {
                Change::Added(pod) => Some(pod),
                Change::Modified { old, new } if old.metadata.labels != new.metadata.labels => Some(new),
                Change::Modified { .. } | Change::Deleted { .. } => None,
            };
            let overlaps = concerned.filter(|pod| budgets_of(pod, caches).len() > 1);
            overlaps.map(|pod| pod.key()).into_iter().collect()
        });
        on.reads::<PodDisruptionBudget>();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let pod = caches.read::<Pod>().get(root)?;
        Some(Observed { budgets: budgets_of(&pod, caches), pod })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { pod, budgets } = observed;
        let [first, _, ..] = &budgets[..] else {
            return Plan::because("one budget at most selects the Pod");
        };
        let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
        let message = format!(
            "Pod \"{namespace}\"/\"{name}\" matches multiple PodDisruptionBudgets.  Chose \"{first}\" arbitrarily."
        );
        Plan::because("several budgets select the Pod")
            .then(Write::event(ObjectRef::to(&**pod), Note::warning("MultiplePodDisruptionBudgets", message)))
    }
}

fn budgets_of(pod: &Pod, caches: &Caches) -> Vec<Arc<str>> {
    let budgets = caches.read::<PodDisruptionBudget>().in_namespace(&pod.metadata.namespace);
    let selects = |it: &&Arc<PodDisruptionBudget>| it.spec.selector.selector.matches(&pod.metadata.labels);
    let mut names: Vec<_> = budgets.iter().filter(selects).map(|it| Arc::clone(&it.metadata.name)).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use client::testing::Filled;
    use serde_json::json;

    use super::*;

    #[test]
    fn people_are_told_of_a_pod_that_several_budgets_select() {
        let pod = json!({"metadata": {"namespace": "ns", "name": "p", "labels": {"a": "b", "c": "d"}}});
        let budget = |name: &str, labels: serde_json::Value| json!({"metadata": {"namespace": "ns", "name": name}, "spec": {"selector": {"matchLabels": labels}}});
        let all =
            [budget("z", json!({"a": "b"})), budget("y", json!({"c": "d"})), budget("x", json!({"c": "x"}))];
        for (count, told) in [
            (1, None),
            (2, Some("Pod \"ns\"/\"p\" matches multiple PodDisruptionBudgets.  Chose \"y\" arbitrarily.")),
            (3, Some("Pod \"ns\"/\"p\" matches multiple PodDisruptionBudgets.  Chose \"y\" arbitrarily.")),
        ] {
            let budgets = all.iter().take(count).cloned();
            let caches =
                Filled::new().with::<Pod>([pod.clone()]).with::<PodDisruptionBudget>(budgets).caches();
            let observed = Overlaps.observe(&Key::new("ns", "p"), &caches).unwrap();
            let plan = Overlaps.reconcile(&observed, Timestamp::UNIX_EPOCH);
            let message = plan.writes.first().map(|write| match write {
                Write::Event { note, .. } => note.message.to_string(),
                other => panic!("{other:?}"),
            });
            assert_eq!(message.as_deref(), told, "{count} budgets");
        }
    }
}
