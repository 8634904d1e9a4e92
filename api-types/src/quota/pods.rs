//! What a Pod uses, in which scopes it is, and what its containers must say where a quota limits it.
//!
//! A Pod uses what its containers ask for together, or its init containers one after the other, if that is more (KEP-753
//! for sidecars, KEP-2837 for amounts of the whole Pod, KEP-688 for overhead, KEP-1287 for Pods that are resized).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Amounts, add, number, or_default, scopes::Requirement};
use crate::quantity::Quantity;

/// What each container must say if a quota limits it. That amounts must be said was a mistake that newer resources do not
/// repeat.
const MUST_BE_SAID: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// What quotas look at in a Pod.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    /// When it was to be gone at the latest when somebody deleted it, and the seconds it had from then on.
    pub deletion: Option<(Timestamp, i64)>,
    /// Where it is in its life.
    pub phase: Box<str>,
    /// How it is treated when resources are short.
    pub qos_class: Box<str>,
    /// It is stopped after so many seconds.
    pub active_deadline_seconds: Option<i64>,
    /// How important it is.
    pub priority_class_name: Box<str>,
    /// Whether its affinity is about Pods of other namespaces.
    pub crosses_namespaces: bool,
    /// The containers.
    pub containers: Vec<Container>,
    /// The init containers.
    pub init_containers: Vec<Container>,
    /// What it asks for as a whole.
    pub resources: Resources,
    /// What it needs besides.
    pub overhead: Amounts,
    /// Its node cannot give it what it now asks for, and never will.
    pub resize_is_infeasible: bool,
}

/// A container.
#[derive(Clone, Debug, Default)]
pub struct Container {
    /// Its name.
    pub name: Box<str>,
    /// What it asks for.
    pub resources: Resources,
    /// It is an init container that keeps running.
    pub is_sidecar: bool,
    /// What it was given, if somebody has said so.
    pub granted: Option<Granted>,
}

/// What a running container was given.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    /// What it has.
    pub resources: Resources,
    /// What its node set aside for it.
    pub allocated: Amounts,
}

/// What a container, or a Pod as a whole, asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// What it needs.
    #[serde(deserialize_with = "or_default")]
    pub requests: Amounts,
    /// What it may not exceed.
    #[serde(deserialize_with = "or_default")]
    pub limits: Amounts,
}

/// Terms of an affinity to Pods, or against them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Terms {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", deserialize_with = "or_default")]
    required: Vec<Term>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "or_default")]
    preferred: Vec<Weighted>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Weighted {
    #[serde(deserialize_with = "or_default")]
    pod_affinity_term: Term,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Term {
    #[serde(deserialize_with = "or_default")]
    namespaces: Vec<serde::de::IgnoredAny>,
    namespace_selector: Option<serde::de::IgnoredAny>,
}

/// A Pod as it is written.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    #[serde(deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
    #[serde(deserialize_with = "or_default")]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    deletion_timestamp: Option<Timestamp>,
    deletion_grace_period_seconds: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    active_deadline_seconds: Option<i64>,
    #[serde(deserialize_with = "or_default")]
    priority_class_name: Box<str>,
    #[serde(deserialize_with = "or_default")]
    affinity: Affinity,
    #[serde(deserialize_with = "or_default")]
    containers: Vec<WrittenContainer>,
    #[serde(deserialize_with = "or_default")]
    init_containers: Vec<WrittenContainer>,
    #[serde(deserialize_with = "or_default")]
    resources: Resources,
    #[serde(deserialize_with = "or_default")]
    overhead: Amounts,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Affinity {
    #[serde(deserialize_with = "or_default")]
    pod_affinity: Terms,
    #[serde(deserialize_with = "or_default")]
    pod_anti_affinity: Terms,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenContainer {
    name: Box<str>,
    #[serde(deserialize_with = "or_default")]
    restart_policy: Box<str>,
    #[serde(deserialize_with = "or_default")]
    resources: Resources,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    phase: Box<str>,
    #[serde(deserialize_with = "or_default")]
    qos_class: Box<str>,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: Box<str>,
    #[serde(deserialize_with = "or_default")]
    reason: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: Box<str>,
    resources: Option<Resources>,
    #[serde(deserialize_with = "or_default")]
    allocated_resources: Amounts,
}

/// Whether a name is of what Pods use.
pub fn measures(name: &str) -> bool {
    matches!(
        name,
        "count/pods"
            | "pods"
            | "cpu"
            | "memory"
            | "ephemeral-storage"
            | "requests.cpu"
            | "requests.memory"
            | "requests.ephemeral-storage"
            | "limits.cpu"
            | "limits.memory"
            | "limits.ephemeral-storage"
    ) || name.starts_with("hugepages-")
        || name
            .strip_prefix("requests.")
            .is_some_and(|name| name.starts_with("hugepages-") || is_extended(name))
}

/// Whether a resource is one that somebody has added to nodes.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
        || name.starts_with("deviceclass.resource.kubernetes.io/")
}

/// Whether a Pod can ask for a resource as a whole.
fn is_of_whole_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// The condition that tells of a resize which is waited for, and the reason it has if that is in vain.
pub fn tells_infeasible(condition: &str, reason: &str) -> bool {
    condition == "PodResizePending" && reason == "Infeasible"
}

/// Raises amounts to others that are more.
fn raise(most: &mut Amounts, to: Amounts) {
    for (name, amount) in to {
        match most.get_mut(&name) {
            Some(there) if amount > *there => *there = amount,
            Some(_) => {}
            None => {
                most.insert(name, amount);
            }
        }
    }
}

/// What asking for these amounts comes to in the names of a quota.
fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut all = Amounts::from([("pods".into(), number(1))]);
    for (name, amount) in requests {
        if matches!(&**name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            all.insert(format!("requests.{name}").into(), amount.clone());
            all.insert(name.clone(), amount.clone());
        } else if is_extended(name) {
            all.insert(format!("requests.{name}").into(), amount.clone());
        }
    }
    for (name, amount) in limits {
        if matches!(&**name, "cpu" | "memory" | "ephemeral-storage") {
            all.insert(format!("limits.{name}").into(), amount.clone());
        }
    }
    all
}

// === impl Terms ===

impl Terms {
    /// Whether any of them is about Pods of other namespaces.
    pub fn cross_namespaces(&self) -> bool {
        let crosses = |term: &Term| !term.namespaces.is_empty() || term.namespace_selector.is_some();
        self.required.iter().any(crosses) || self.preferred.iter().any(|it| crosses(&it.pod_affinity_term))
    }
}

// === impl Pod ===

impl<'de> Deserialize<'de> for Pod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { metadata, spec, status } = Written::deserialize(deserializer)?;
        let mut granted: BTreeMap<Box<str>, Granted> = BTreeMap::new();
        for it in status.container_statuses.into_iter().chain(status.init_container_statuses) {
            if let Some(resources) = it.resources {
                granted.insert(it.name, Granted { resources, allocated: it.allocated_resources });
            }
        }
        let mut containers = |written: Vec<WrittenContainer>| -> Vec<Container> {
            let container = |it: WrittenContainer| Container {
                granted: granted.remove(&it.name),
                is_sidecar: &*it.restart_policy == "Always",
                name: it.name,
                resources: it.resources,
            };
            written.into_iter().map(container).collect()
        };
        Ok(Self {
            deletion: metadata.deletion_timestamp.zip(metadata.deletion_grace_period_seconds),
            phase: status.phase,
            qos_class: status.qos_class,
            active_deadline_seconds: spec.active_deadline_seconds,
            priority_class_name: spec.priority_class_name,
            crosses_namespaces: spec.affinity.pod_affinity.cross_namespaces()
                || spec.affinity.pod_anti_affinity.cross_namespaces(),
            containers: containers(spec.containers),
            init_containers: containers(spec.init_containers),
            resources: spec.resources,
            overhead: spec.overhead,
            resize_is_infeasible: status
                .conditions
                .iter()
                .any(|condition| tells_infeasible(&condition.r#type, &condition.reason)),
        })
    }
}

impl Pod {
    /// Reads a Pod.
    ///
    /// # Errors
    /// What serde says of an object that is no Pod.
    pub fn read(pod: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(pod)
    }

    /// Whether it is over: ended, or deleted and out of time, as on a node that is lost.
    pub fn is_over(&self, now: Timestamp) -> bool {
        matches!(&*self.phase, "Succeeded" | "Failed") || self.ends().is_some_and(|end| now > end)
    }

    /// When a Pod that was deleted is out of time.
    pub fn ends(&self) -> Option<Timestamp> {
        let (at, grace) = self.deletion?;
        Some(at.checked_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX))
    }

    /// Whether it is stopped after a time.
    pub fn is_limited_in_time(&self) -> bool {
        self.active_deadline_seconds.is_some_and(|seconds| seconds >= 0)
    }

    /// What it uses now.
    pub fn usage(&self, now: Timestamp) -> Amounts {
        let mut all = Amounts::from([("count/pods".into(), number(1))]);
        if !self.is_over(now) {
            let Resources { requests, limits } = self.together();
            all.extend(named(&requests, &limits));
        }
        all
    }

    /// Whether it is in a scope.
    pub fn is_in(&self, scope: &Requirement) -> bool {
        match &*scope.scope_name {
            "Terminating" => self.is_limited_in_time(),
            "NotTerminating" => !self.is_limited_in_time(),
            "BestEffort" => &*self.qos_class == "BestEffort",
            "NotBestEffort" => &*self.qos_class != "BestEffort",
            "PriorityClass" => scope.holds(&[&self.priority_class_name]),
            "CrossNamespacePodAffinity" => self.crosses_namespaces,
            _ => false,
        }
    }

    /// What containers do not say and must, where these names are limited; upstream's sentence. A Pod that asks for
    /// something as a whole has said enough.
    pub fn unsaid<'a>(&self, limited: impl IntoIterator<Item = &'a str>) -> Option<String> {
        let whole = &self.resources;
        if whole.requests.keys().chain(whole.limits.keys()).any(|name| is_of_whole_pods(name)) {
            return None;
        }
        let required: BTreeSet<&str> =
            limited.into_iter().filter(|name| MUST_BE_SAID.contains(name)).collect();
        let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for container in self.containers.iter().chain(&self.init_containers) {
            let said = named(&container.resources.requests, &container.resources.limits);
            for name in required.iter().filter(|name| !said.contains_key(**name)) {
                missing.entry(name).or_default().insert(&container.name);
            }
        }
        let lines: Vec<String> = missing
            .iter()
            .map(|(name, containers)| {
                let containers: Vec<&str> = containers.iter().copied().collect();
                format!("{name} for: {}", containers.join(","))
            })
            .collect();
        if lines.is_empty() { None } else { Some(format!("must specify {}", lines.join("; "))) }
    }

    /// What it asks for in all.
    pub fn together(&self) -> Resources {
        let mut requests = self.of_containers(|it| it.requests(self.resize_is_infeasible));
        let mut limits = self.of_containers(|it| it.limits(self.resize_is_infeasible));
        let of_whole = |amounts: &Amounts| -> Vec<(Box<str>, Quantity)> {
            let of_whole = amounts.iter().filter(|(name, _)| is_of_whole_pods(name));
            of_whole.map(|(name, amount)| (name.clone(), amount.clone())).collect()
        };
        requests.extend(of_whole(&self.resources.requests));
        limits.extend(of_whole(&self.resources.limits));
        add(&mut requests, &self.overhead);
        for (name, amount) in &self.overhead {
            if let Some(limit) = limits.get_mut(name).filter(|limit| !limit.is_zero()) {
                *limit += amount;
            }
        }
        Resources { requests, limits }
    }

    /// What the containers need at the moment they need most.
    fn of_containers(&self, of: impl Fn(&Container) -> Amounts) -> Amounts {
        let mut sum = Amounts::new();
        for container in &self.containers {
            add(&mut sum, &of(container));
        }
        let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
        for container in &self.init_containers {
            let own = of(container);
            if container.is_sidecar {
                add(&mut sum, &own);
                add(&mut sidecars, &own);
                raise(&mut most, sidecars.clone());
            } else {
                let mut now = own;
                add(&mut now, &sidecars);
                raise(&mut most, now);
            }
        }
        raise(&mut sum, most);
        sum
    }
}

// === impl Container ===

impl Container {
    fn requests(&self, infeasible: bool) -> Amounts {
        let granted = self.granted.as_ref();
        self.most(
            infeasible,
            &self.resources.requests,
            granted.map(|it| (&it.resources.requests, Some(&it.allocated))),
        )
    }

    fn limits(&self, infeasible: bool) -> Amounts {
        let granted = self.granted.as_ref();
        self.most(infeasible, &self.resources.limits, granted.map(|it| (&it.resources.limits, None)))
    }

    /// The most of what is asked and what is granted; what cannot be granted does not count.
    fn most(
        &self,
        infeasible: bool,
        asked: &Amounts,
        granted: Option<(&Amounts, Option<&Amounts>)>,
    ) -> Amounts {
        let Some((has, allocated)) = granted else { return asked.clone() };
        let mut most = if infeasible { Amounts::new() } else { asked.clone() };
        raise(&mut most, has.clone());
        raise(&mut most, allocated.cloned().unwrap_or_default());
        most
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn pod(spec: Value) -> Pod {
        Pod::read(&json!({"metadata": {"name": "p"}, "spec": spec, "status": {"phase": "Pending"}})).unwrap()
    }

    fn asks(requests: Value, limits: Value) -> Value {
        json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
    }

    fn amounts(amounts: &Amounts) -> Value {
        let text = |amount: &Quantity| amount.to_string();
        amounts.iter().map(|(name, amount)| (name.to_string(), json!(text(amount)))).collect()
    }

    #[test]
    fn a_pod_asks_for_its_containers_or_for_its_greediest_init_container() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}, "limits": {"cpu": amount}});
        for (spec, requests, limits) in [
            (json!({"containers": [{"resources": cpu("100m")}, {"resources": cpu("200m")}]}), "300m", "300m"),
            (
                json!({"containers": [{"resources": cpu("100m")}], "initContainers": [{"resources": cpu("1")}, {"resources": cpu("2")}]}),
                "2",
                "2",
            ),
            (
                json!({"containers": [{"resources": cpu("1")}],
                    "initContainers": [{"restartPolicy": "Always", "resources": cpu("500m")}, {"resources": cpu("700m")}]}),
                "1500m",
                "1500m",
            ),
            (json!({"containers": [{"resources": cpu("1")}], "overhead": {"cpu": "250m"}}), "1250m", "1250m"),
            (
                json!({"containers": [{"resources": {"requests": {"cpu": "1"}}}], "overhead": {"cpu": "250m"}}),
                "1250m",
                "0",
            ),
            (
                json!({"containers": [{"resources": cpu("1")}], "resources": {"requests": {"cpu": "3"}}}),
                "3",
                "1",
            ),
        ] {
            let all = pod(spec.clone()).together();
            let of = |amounts: &Amounts| amounts.get("cpu").cloned().unwrap_or_default();
            let parse = |text: &str| text.parse::<Quantity>().unwrap();
            assert_eq!((of(&all.requests), of(&all.limits)), (parse(requests), parse(limits)), "{spec}");
        }
    }

    #[test]
    fn a_pod_is_counted_by_what_it_asks_for_under_the_names_of_quotas() {
        let pod = pod(json!({"containers": [asks(
            json!({"cpu": "100m", "memory": "1Gi", "hugepages-2Mi": "4Mi", "example.com/gpu": "2", "kubernetes.io/odd": "1"}),
            json!({"cpu": "1", "ephemeral-storage": "1Gi", "example.com/gpu": "2"}))]}));
        let usage = pod.usage(now());
        assert!(usage.keys().all(|name| measures(name)), "{usage:?}");
        assert_eq!(
            amounts(&usage),
            json!({"count/pods": "1", "pods": "1", "cpu": "100m", "requests.cpu": "100m", "memory": "1Gi", "requests.memory": "1Gi",
                "hugepages-2Mi": "4Mi", "requests.hugepages-2Mi": "4Mi", "requests.example.com/gpu": "2", "limits.cpu": "1",
                "limits.ephemeral-storage": "1Gi"})
        );
    }

    #[test]
    fn what_is_over_counts_as_an_object_only() {
        let of = |phase: &str, deleted: Value, grace: Value| {
            let pod = json!({"metadata": {"deletionTimestamp": deleted, "deletionGracePeriodSeconds": grace},
                "spec": {"containers": []}, "status": {"phase": phase}});
            Pod::read(&pod).unwrap().usage(now()).contains_key("pods")
        };
        assert!(of("Running", json!(null), json!(null)));
        assert!(!of("Succeeded", json!(null), json!(null)));
        assert!(!of("Failed", json!(null), json!(null)));
        assert!(of("Running", json!("2026-01-01T00:59:30Z"), json!(30)));
        assert!(!of("Running", json!("2026-01-01T00:59:29Z"), json!(30)));
    }

    #[test]
    fn while_a_pod_is_resized_the_most_of_wish_and_grant_counts() {
        let with = |conditions: Value| {
            let pod = json!({"spec": {"containers": [asks(json!({"cpu": "1"}), json!({"cpu": "9"}))]}, "status": {
                "conditions": conditions, "containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "2"},
                    "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "3"}}}]}});
            let all = Pod::read(&pod).unwrap().together();
            (all.requests["cpu"].to_string(), all.limits["cpu"].to_string())
        };
        assert_eq!(with(json!([])), ("2".to_owned(), "9".to_owned()));
        let infeasible = json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]);
        assert_eq!(with(infeasible), ("2".to_owned(), "3".to_owned()));
    }

    #[test]
    fn scopes_are_of_time_quality_importance_and_neighbours() {
        let scope = |name: &str| Requirement {
            scope_name: name.into(),
            operator: "Exists".into(),
            values: Vec::new(),
        };
        let selecting = json!([{"topologyKey": "k", "namespaceSelector": {}}]);
        let near = json!([{"topologyKey": "k"}]);
        for (spec, qos, scopes) in [
            (json!({}), "BestEffort", vec!["NotTerminating", "BestEffort"]),
            (json!({"activeDeadlineSeconds": 0}), "Burstable", vec!["Terminating", "NotBestEffort"]),
            (
                json!({"priorityClassName": "high"}),
                "Guaranteed",
                vec!["NotTerminating", "NotBestEffort", "PriorityClass"],
            ),
            (
                json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": selecting}}}),
                "BestEffort",
                vec!["NotTerminating", "BestEffort", "CrossNamespacePodAffinity"],
            ),
            (
                json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
                    [{"weight": 1, "podAffinityTerm": {"topologyKey": "k", "namespaces": ["a"]}}]}}}),
                "BestEffort",
                vec!["NotTerminating", "BestEffort", "CrossNamespacePodAffinity"],
            ),
            (
                json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": near}}}),
                "BestEffort",
                vec!["NotTerminating", "BestEffort"],
            ),
        ] {
            let pod = Pod { qos_class: qos.into(), ..pod(spec.clone()) };
            let all = [
                "Terminating",
                "NotTerminating",
                "BestEffort",
                "NotBestEffort",
                "PriorityClass",
                "CrossNamespacePodAffinity",
                "VolumeAttributesClass",
            ];
            let of: Vec<&str> = all.into_iter().filter(|name| pod.is_in(&scope(name))).collect();
            assert_eq!(of, scopes, "{spec}");
        }
    }

    #[test]
    fn containers_must_say_what_is_limited_unless_the_pod_does() {
        let limited = ["requests.cpu", "limits.memory", "pods", "requests.ephemeral-storage"];
        let spec = json!({"containers": [asks(json!({}), json!({})), {"name": "d", "resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [{"name": "a"}]});
        assert_eq!(
            pod(spec.clone()).unsaid(limited).as_deref(),
            Some("must specify limits.memory for: a,c,d; requests.cpu for: a,c")
        );
        let mut whole = spec;
        whole["resources"] = json!({"limits": {"memory": "1Gi"}});
        assert_eq!(pod(whole).unsaid(limited), None);
        let said = json!({"containers": [asks(json!({"cpu": "0"}), json!({"memory": "1"}))]});
        assert_eq!(pod(said).unsaid(limited), None);
    }
}
