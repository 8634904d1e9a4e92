//! What must hold after every single change, whatever fails meanwhile.
//!
//! Convergence alone hides a controller that overshoots and takes it back; here no change goes unseen.
//!
//! Invariant: this sees the store's history only. It knows nothing of controllers and cannot be in their favour.

pub mod object;

use std::collections::{BTreeMap, BTreeSet};

use self::object::Object;
use crate::log::Change;

/// The cluster as its history tells it, and what was wrong in it.
#[derive(Debug, Default)]
pub struct Safety {
    revision: u64,
    objects: BTreeMap<String, Object>,
    /// The most Pods each ReplicaSet or Job was ever told to keep, by uid.
    allowed: BTreeMap<String, i64>,
    /// Deployments that were fully available at their present size, by name: from then on they must remain so.
    served: BTreeSet<String>,
    /// How many Pods the ReplicaSets of a Deployment were to keep when last looked at.
    planned: BTreeMap<String, i64>,
    /// Writes whose fate their writer does not know: each may be made twice.
    pub unknown_writes: i64,
    violations: Vec<String>,
}

// === impl Safety ===

impl Safety {
    /// What was wrong so far, in order.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// The objects of a kind, as they are now.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.objects.values().filter(move |object| object.kind == kind)
    }

    /// Takes the next change in.
    pub fn observe(&mut self, change: &Change) {
        if change.revision <= self.revision {
            let revision = self.revision;
            self.violate(change, format!("the revision does not grow beyond {revision}"));
        }
        self.revision = change.revision;
        if change.deleted {
            self.objects.remove(&change.key);
        } else {
            if let Some(before) = self.objects.get(&change.key).cloned() {
                if before.kind == "Deployment" && before.spec.replicas != change.object.spec.replicas {
                    self.served.remove(&before.full_name());
                }
                if before.metadata.uid != change.object.metadata.uid {
                    self.violate(change, "an object became another one without being deleted".to_owned());
                } else if before.metadata.generation > change.object.metadata.generation {
                    self.violate(change, "the generation goes back".to_owned());
                }
            }
            self.objects.insert(change.key.clone(), change.object.clone());
        }
        match change.object.kind.as_str() {
            "Pod" => {
                self.check_node(change);
                self.check_owner(change);
                self.check_deployments(change);
            }
            "ReplicaSet" | "Job" => {
                let told = change.object.wanted_pods();
                let allowed = self.allowed.entry(change.object.metadata.uid.clone()).or_default();
                *allowed = told.max(*allowed);
                self.check_deployments(change);
            }
            "Deployment" => self.check_deployments(change),
            _ => {}
        }
    }

    fn violate(&mut self, change: &Change, what: String) {
        self.violations.push(format!("{}: {what}", change.line()));
    }

    /// A Pod is bound once, to a node that exists.
    fn check_node(&mut self, change: &Change) {
        let node = &change.object.spec.node_name;
        if change.deleted || node.is_empty() {
            return;
        }
        if !self.of_kind("Node").any(|it| it.metadata.name == *node) {
            self.violate(change, format!("bound to {node}, which does not exist"));
        }
    }

    /// No owner ever has more Pods at work than it was ever told to keep.
    fn check_owner(&mut self, change: &Change) {
        let Some(owner) = change.object.controller() else { return };
        let Some(allowed) = self.allowed.get(&owner.uid).copied() else { return };
        let there = count(
            self.of_kind("Pod")
                .filter(|pod| pod.is_active() && pod.controller().is_some_and(|it| it.uid == owner.uid)),
        );
        if there > allowed + self.unknown_writes {
            let name = &owner.name;
            self.violate(
                change,
                format!("{name} has {there} pods, and was never told to keep more than {allowed}"),
            );
        }
    }

    /// A rolling update keeps within its bounds.
    fn check_deployments(&mut self, change: &Change) {
        let deployments: Vec<Object> = self
            .of_kind("Deployment")
            .filter(|it| it.metadata.namespace == change.object.metadata.namespace)
            .cloned()
            .collect();
        for deployment in deployments {
            self.check_deployment(change, &deployment);
        }
    }

    fn check_deployment(&mut self, change: &Change, deployment: &Object) {
        let Some(bounds) = deployment.rolling_bounds() else { return };
        let sets: BTreeMap<&str, i64> = self
            .of_kind("ReplicaSet")
            .filter(|set| set.controller().is_some_and(|owner| owner.uid == deployment.metadata.uid))
            .map(|set| (set.metadata.uid.as_str(), set.spec.replicas.unwrap_or_default()))
            .collect();
        let planned: i64 = sets.values().sum();
        let mut available_of: BTreeMap<&str, i64> = BTreeMap::new();
        for pod in self.of_kind("Pod").filter(|pod| pod.is_active() && pod.is_true("Ready")) {
            let owner = pod.controller().map_or("", |owner| owner.uid.as_str());
            if sets.contains_key(owner) {
                *available_of.entry(owner).or_default() += 1;
            }
        }
        let available: i64 = available_of.values().sum();
        // Pods that are to go serve for a moment only. Who scales in the middle of a rollout is promised no more: every
        // ReplicaSet shrinks in proportion, whichever of them serves.
        let lasting: i64 =
            sets.iter().map(|(uid, planned)| available_of.get(uid).map_or(0, |it| *it.min(planned))).sum();
        let name = deployment.full_name();
        let planned_before = self.planned.insert(name.clone(), planned).unwrap_or_default();
        // What the controller has not seen yet it cannot heed; and what was right before may take a while to go.
        let seen = deployment.status.observed_generation == deployment.metadata.generation;
        if seen && planned > bounds.most.max(planned_before) {
            self.violate(
                change,
                format!("Deployment {name} plans {planned} pods, more than {}", bounds.most),
            );
        }
        if seen && lasting >= bounds.wanted {
            self.served.insert(name);
        } else if available < bounds.least && self.served.contains(&name) {
            let least = bounds.least;
            self.violate(
                change,
                format!("Deployment {name} serves with {available} pods, fewer than {least}"),
            );
        }
    }
}

fn count(objects: impl Iterator) -> i64 {
    i64::try_from(objects.count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;

    /// Puts objects one after the other, and says what was wrong.
    fn history(objects: &[Value]) -> Vec<String> {
        let mut safety = Safety::default();
        for (revision, object) in (2..).zip(objects) {
            let object = Object::read(object.to_string().as_bytes());
            safety.observe(&Change {
                key: format!("/registry/{}/{}", object.kind, object.full_name()),
                revision,
                at: Duration::ZERO,
                created: false,
                deleted: false,
                object,
                bytes: Bytes::new(),
            });
        }
        safety.violations().to_vec()
    }

    fn owned(kind: &str, name: &str, owner: &str, rest: &Value) -> Value {
        let mut object = json!({
            "kind": kind,
            "metadata": {"name": name, "uid": name, "ownerReferences": [{"name": owner, "uid": owner, "controller": true}]},
        });
        for (field, value) in rest.as_object().unwrap() {
            object[field] = value.clone();
        }
        object
    }

    fn pod(name: &str, ready: &str) -> Value {
        owned("Pod", name, "set", &json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}}))
    }

    fn set(replicas: i64) -> Value {
        owned("ReplicaSet", "set", "web", &json!({"spec": {"replicas": replicas}}))
    }

    fn deployment(replicas: i64) -> Value {
        json!({
            "kind": "Deployment", "metadata": {"name": "web", "uid": "web"},
            "spec": {"replicas": replicas, "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}},
        })
    }

    #[test]
    fn what_breaks_a_promise_is_told() {
        for (name, objects, wrong) in [
            (
                "all is well",
                vec![deployment(2), set(2), pod("a", "True"), pod("b", "True"), pod("a", "False")],
                None,
            ),
            (
                "one too many",
                vec![set(1), pod("a", "True"), pod("b", "True")],
                Some("never told to keep more than 1"),
            ),
            ("too many planned", vec![deployment(2), set(4)], Some("plans 4 pods, more than 3")),
            (
                "too few available",
                vec![
                    deployment(2),
                    set(2),
                    pod("a", "True"),
                    pod("b", "True"),
                    pod("a", "False"),
                    pod("b", "False"),
                ],
                Some("serves with 0 pods, fewer than 1"),
            ),
            ("no such node", vec![json!({"kind": "Pod", "spec": {"nodeName": "n"}})], Some("does not exist")),
        ] {
            let violations = history(&objects);
            match wrong {
                None => assert!(violations.is_empty(), "{name}: {violations:?}"),
                Some(wrong) => {
                    assert!(violations.iter().any(|it| it.contains(wrong)), "{name}: {violations:?}")
                }
            }
        }
    }
}
