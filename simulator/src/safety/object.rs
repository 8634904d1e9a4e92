//! An object, as far as anybody who checks the cluster from outside looks at it.

use std::collections::BTreeMap;

use api_types::quantity::Quantity;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// Fields that several kinds share; those a kind does not have are empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Object {
    /// `Pod`
    pub kind: String,
    /// Who it is.
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(deserialize_with = "lenient")]
    pub spec: Spec,
    /// What is.
    #[serde(deserialize_with = "lenient")]
    pub status: Status,
}

/// Who an object is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the API's own fields")]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub generation: i64,
    pub deletion_timestamp: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub finalizers: Vec<String>,
    pub owner_references: Vec<Owner>,
}

/// An owner reference.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the API's own fields")]
pub struct Owner {
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub controller: bool,
}

/// What is wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the API's own fields")]
pub struct Spec {
    pub node_name: String,
    pub containers: Vec<Container>,
    pub taints: Vec<Value>,
    pub affinity: Value,
    pub replicas: Option<i64>,
    pub selector: Value,
    pub parallelism: Option<i64>,
    pub completions: Option<i64>,
    pub success_policy: Value,
    pub ttl_seconds_after_finished: Option<i64>,
    pub suspend: Option<bool>,
    pub concurrency_policy: String,
    pub pod_management_policy: String,
    pub ordinals: Ordinals,
    pub strategy: Strategy,
    pub update_strategy: Strategy,
}

/// A container, as far as it takes something of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the API's own fields")]
pub struct Container {
    pub resources: Requirements,
    pub ports: Vec<Port>,
}

/// What a container asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the API's own fields")]
pub struct Requirements {
    pub requests: BTreeMap<String, Value>,
}

/// A port of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the API's own fields")]
pub struct Port {
    pub host_port: Option<i64>,
}

/// Where the numbers of a StatefulSet begin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the API's own fields")]
pub struct Ordinals {
    pub start: i64,
}

/// How Pods are updated.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the API's own fields")]
pub struct Strategy {
    pub rolling_update: Option<RollingUpdate>,
}

/// The bounds of a rolling update: numbers or percentages.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the API's own fields")]
pub struct RollingUpdate {
    pub max_surge: Value,
    pub max_unavailable: Value,
}

/// What is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the API's own fields")]
pub struct Status {
    pub phase: String,
    pub allocatable: BTreeMap<String, Value>,
    pub observed_generation: i64,
    pub available_replicas: i64,
    pub updated_replicas: i64,
    pub ready_replicas: i64,
    pub replicas: i64,
    pub current_revision: String,
    pub update_revision: String,
    pub desired_number_scheduled: i64,
    pub current_number_scheduled: i64,
    pub updated_number_scheduled: i64,
    pub number_available: i64,
    pub number_unavailable: i64,
    pub succeeded: i64,
    pub failed: i64,
    pub uncounted_terminated_pods: Uncounted,
    pub completed_indexes: String,
    pub expected_pods: i64,
    pub current_healthy: i64,
    pub desired_healthy: i64,
    pub conditions: Vec<Condition>,
}

/// Pods of a Job that are over and not counted yet, by uid.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the API's own fields")]
pub struct Uncounted {
    pub succeeded: Vec<String>,
    pub failed: Vec<String>,
}

/// A condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the API's own fields")]
pub struct Condition {
    pub r#type: String,
    pub status: String,
}

/// How many Pods a Deployment may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// So many are wanted.
    pub wanted: i64,
    /// No fewer may be available.
    pub least: i64,
    /// No more may be planned.
    pub most: i64,
}

/// What another kind means by the same name is nothing to us.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// Amounts of resources in thousandths.
fn thousandths(amounts: &BTreeMap<String, Value>) -> BTreeMap<String, i128> {
    let read = |value: &Value| value.as_str()?.parse::<Quantity>().ok();
    let of = |(name, value): (&String, &Value)| Some((name.clone(), i128::from(read(value)?.milli_value())));
    amounts.iter().filter_map(of).collect()
}

// === impl Container ===

impl Container {
    /// What it asks for, in thousandths.
    pub fn requests(&self) -> BTreeMap<String, i128> {
        thousandths(&self.resources.requests)
    }

    /// The ports it takes on its node.
    pub fn host_ports(&self) -> impl Iterator<Item = i64> {
        self.ports.iter().filter_map(|port| port.host_port).filter(|port| *port > 0)
    }
}

// === impl Object ===

impl Object {
    /// Reads a stored object; what is no object reads as an empty one.
    pub fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// `namespace/name`, or the name alone.
    pub fn full_name(&self) -> String {
        let Metadata { name, namespace, .. } = &self.metadata;
        if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") }
    }

    /// What a node has for Pods, in thousandths.
    pub fn allocatable(&self) -> BTreeMap<String, i128> {
        thousandths(&self.status.allocatable)
    }

    /// The owner that manages it.
    pub fn controller(&self) -> Option<&Owner> {
        self.metadata.owner_references.iter().find(|owner| owner.controller)
    }

    /// Whether a condition holds.
    pub fn is_true(&self, condition: &str) -> bool {
        self.status.conditions.iter().any(|it| it.r#type == condition && it.status == "True")
    }

    /// Whether a Pod is at work: neither at its end nor on its way out.
    pub fn is_active(&self) -> bool {
        self.metadata.deletion_timestamp.is_none()
            && !matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Whether a Pod is at work and ready to serve.
    pub fn is_serving(&self) -> bool {
        self.is_active() && self.status.phase == "Running" && self.is_true("Ready")
    }

    /// Whether a Job has come to its end.
    pub fn is_over(&self) -> bool {
        self.is_true("Complete") || self.is_true("Failed")
    }

    /// Whether something waits before it goes.
    pub fn has_finalizer(&self, name: &str) -> bool {
        self.metadata.finalizers.iter().any(|it| it == name)
    }

    /// Whether a Job may be complete before all its Pods have succeeded.
    pub fn has_success_policy(&self) -> bool {
        !self.spec.success_policy.is_null()
    }

    /// The number at the end of the name of a StatefulSet's Pod.
    pub fn ordinal(&self) -> Option<i64> {
        self.metadata.name.rsplit_once('-')?.1.parse().ok()
    }

    /// The numbers a StatefulSet wants.
    pub fn ordinals(&self) -> std::ops::Range<i64> {
        let start = self.spec.ordinals.start;
        start..start + self.spec.replicas.unwrap_or(1)
    }

    /// The index of an Indexed Job's Pod.
    pub fn completion_index(&self) -> Option<&str> {
        self.metadata.annotations.get("batch.kubernetes.io/job-completion-index").map(String::as_str)
    }

    /// Whether an Indexed Job says that an index is done: its indexes are written as `0-2,5`.
    pub fn has_completed(&self, index: &str) -> bool {
        let Ok(index) = index.parse::<i64>() else { return false };
        self.status.completed_indexes.split(',').any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let bounds = (first.parse::<i64>(), last.parse::<i64>());
            matches!(bounds, (Ok(first), Ok(last)) if (first..=last).contains(&index))
        })
    }

    /// The hash of the revision a Pod was made of.
    pub fn revision(&self) -> Option<&str> {
        self.metadata.labels.get("controller-revision-hash").map(String::as_str)
    }

    /// The node that a DaemonSet's Pod is for, whether or not it is there yet.
    pub fn daemon_node(&self) -> Option<&str> {
        if !self.spec.node_name.is_empty() {
            return Some(&self.spec.node_name);
        }
        let path = "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0";
        self.spec.affinity.pointer(path)?.as_str()
    }

    /// The surge and the unavailable Pods that a DaemonSet's update may have.
    pub fn daemon_bounds(&self) -> (i64, i64) {
        let wanted = self.status.desired_number_scheduled;
        let bounds = self.spec.update_strategy.rolling_update.as_ref();
        let of = |value: Option<&Value>| value.and_then(|it| share(it, wanted, true)).unwrap_or_default();
        (of(bounds.map(|it| &it.max_surge)), of(bounds.map(|it| &it.max_unavailable)))
    }

    /// How many Pods of a StatefulSet may be missing while it is updated.
    pub fn unavailable_max(&self) -> i64 {
        let bounds = self.spec.update_strategy.rolling_update.as_ref();
        let wanted = self.spec.replicas.unwrap_or(1);
        bounds.and_then(|it| share(&it.max_unavailable, wanted, true)).unwrap_or(1).max(1)
    }

    /// Whether a Pod is covered by this PodDisruptionBudget, which selects by labels alone.
    pub fn covers(&self, pod: &Self) -> bool {
        let wanted = self.spec.selector.pointer("/matchLabels").and_then(Value::as_object);
        self.metadata.namespace == pod.metadata.namespace
            && wanted.is_some_and(|wanted| {
                wanted.iter().all(|(label, value)| {
                    pod.metadata.labels.get(label).map(String::as_str) == value.as_str()
                })
            })
    }

    /// How many Pods a ReplicaSet or a Job is told to keep at work.
    pub fn wanted_pods(&self) -> i64 {
        match self.kind.as_str() {
            "Job" => self.spec.parallelism.unwrap_or(1),
            _ => self.spec.replicas.unwrap_or(1),
        }
    }

    /// The bounds of a Deployment that is updated by rolling.
    pub fn rolling_bounds(&self) -> Option<Bounds> {
        let wanted = self.spec.replicas?;
        let RollingUpdate { max_surge, max_unavailable } = self.spec.strategy.rolling_update.as_ref()?;
        let surge = share(max_surge, wanted, true)?;
        let unavailable = match (surge, share(max_unavailable, wanted, false)?) {
            (0, 0) => 1,
            (_, unavailable) => unavailable,
        };
        Some(Bounds { wanted, least: wanted - unavailable, most: wanted + surge })
    }

    /// Whether a Deployment has come to rest: the controller has seen all of it, and all its Pods are new and available.
    pub fn is_rolled_out(&self) -> bool {
        let wanted = self.spec.replicas.unwrap_or(1);
        let Status { observed_generation, updated_replicas, available_replicas, replicas, .. } = self.status;
        observed_generation == self.metadata.generation
            && [updated_replicas, available_replicas, replicas] == [wanted; 3]
    }
}

/// A number, or that percentage of the whole.
fn share(value: &Value, whole: i64, round_up: bool) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let percent: i64 = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    let hundredths = whole * percent;
    Some(if round_up { (hundredths + 99) / 100 } else { hundredths / 100 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surge_rounds_up_unavailable_rounds_down_and_they_are_not_both_nothing() {
        for (replicas, surge, unavailable, least, most) in [
            (5, "\"25%\"", "\"25%\"", 4, 7),
            (4, "\"25%\"", "\"25%\"", 3, 5),
            (5, "2", "0", 5, 7),
            (1, "0", "\"25%\"", 0, 1),
        ] {
            let object = format!(
                r#"{{"kind":"Deployment","spec":{{"replicas":{replicas},"strategy":{{"rollingUpdate":{{"maxSurge":{surge},"maxUnavailable":{unavailable}}}}}}}}}"#
            );
            let bounds = Object::read(object.as_bytes()).rolling_bounds();
            assert_eq!(bounds, Some(Bounds { wanted: replicas, least, most }), "{object}");
        }
    }

    #[test]
    fn a_kind_that_means_something_else_by_a_name_is_read_all_the_same() {
        let object = Object::read(
            br#"{"kind":"Odd","metadata":{"name":"o"},"spec":{"replicas":"many"},"status":"fine"}"#,
        );
        assert_eq!(object.full_name(), "o");
        assert_eq!(object.spec.replicas, None);
    }
}
