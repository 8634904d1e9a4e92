//! Which nodes are missing a Pod, and which Pods are too many.

use std::sync::Arc;

use client::{
    Write,
    controller::Request,
    events::Note,
    resource::{DAEMON_SETS, PODS},
};
use serde_json::{Value, json};

use super::{BURST, GENERATION, HASH, Work};
use crate::{
    kinds::{Pod, pod::Toleration},
    pods,
};

// === impl Work ===

impl Work<'_> {
    /// Makes what is missing, gives up what is too much.
    pub(super) fn manage(&mut self) {
        let (mut missing, mut surplus) = (Vec::new(), Vec::new());
        let nodes = std::mem::take(&mut self.nodes);
        for (node, fit) in &nodes {
            let pods = self.pods.get(node).cloned();
            match pods {
                None if fit.runs => missing.push((*node).to_owned()),
                None => {}
                Some(pods) if fit.keeps => {
                    let running = self.running(&pods, node, &mut surplus);
                    if self.root.surges() {
                        if running.is_empty() && fit.runs {
                            missing.push((*node).to_owned());
                        }
                        self.prune(&running, &mut surplus);
                    } else {
                        surplus.extend(running.into_iter().skip(1));
                    }
                }
                Some(pods) => surplus.extend(pods.into_iter().filter(|pod| !pod.metadata.is_terminating())),
            }
        }
        // Nobody ever binds a Pod to a node that is gone.
        let stray = self.pods.iter().filter(|(node, _)| !nodes.contains_key(*node));
        surplus.extend(stray.flat_map(|(_, pods)| pods).filter(|pod| pod.spec.node_name.is_empty()).cloned());
        self.nodes = nodes;
        if !missing.is_empty() || !surplus.is_empty() {
            let (missing, surplus) = (missing.len(), surplus.len());
            self.plan.why = format!("{missing} nodes are missing a Pod, {surplus} Pods are too many").into();
        }
        self.change(&surplus, &missing);
    }

    /// The Pods of a node that are at work. Those that have ended go, unless they failed too often.
    fn running(&mut self, pods: &[Arc<Pod>], node: &str, surplus: &mut Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
        let mut running = Vec::new();
        for pod in pods.iter().filter(|pod| !pod.metadata.is_terminating()) {
            let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
            let note = match &*pod.status.phase {
                "Failed" => {
                    if let Some(after) = self.held.get(&pod.metadata.uid) {
                        self.look_again(*after);
                        continue;
                    }
                    let message = format!(
                        "Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it"
                    );
                    Note::warning("FailedDaemonPod", message)
                }
                "Succeeded" => {
                    let message = format!(
                        "Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it"
                    );
                    Note::normal("SucceededDaemonPod", message)
                }
                _ => {
                    running.push(Arc::clone(pod));
                    continue;
                }
            };
            self.then(Write::event(self.about.clone(), note));
            surplus.push(Arc::clone(pod));
        }
        running
    }

    /// Of several Pods on a node that surges, an old and a new one stay: the old one as long as it is ready and the new
    /// one not yet available.
    fn prune(&self, running: &[Arc<Pod>], surplus: &mut Vec<Arc<Pod>>) {
        if running.len() <= 1 {
            return;
        }
        let is_new = |pod: &&Arc<Pod>| pod.metadata.labels.get(HASH) == Some(self.hash.as_str());
        let new = running.iter().find(is_new);
        let old = running.iter().find(|pod| !is_new(pod));
        let stays = |pod: &Arc<Pod>, it: Option<&Arc<Pod>>| it.is_some_and(|it| Arc::ptr_eq(it, pod));
        surplus.extend(running.iter().filter(|pod| !stays(pod, new) && !stays(pod, old)).cloned());
        if let (Some(new), Some(old)) = (new, old)
            && (!old.is_ready() || self.is_available(new))
        {
            surplus.push(Arc::clone(old));
        }
    }

    /// Gives up these Pods and makes one for each of these nodes.
    pub(super) fn change(&mut self, surplus: &[Arc<Pod>], missing: &[String]) {
        if !missing.is_empty() {
            let template = self.pod();
            let requests = missing.iter().take(BURST).map(|node| {
                let mut pod = template.clone();
                pin(&mut pod, node);
                pods::create(Arc::new(pod), &self.root.metadata.namespace, &self.about)
            });
            self.then(Write::slow_start(requests.collect()));
        }
        if !surplus.is_empty() {
            let deletes: Vec<Request> =
                surplus.iter().take(BURST).map(|pod| pods::delete(pod, &self.about)).collect();
            debug_assert!(deletes.iter().all(|it| it.resource == PODS), "Pods are deleted");
            self.then(Write::all(deletes));
        }
    }

    /// A Pod for whatever node.
    fn pod(&self) -> Value {
        let mut pod = self.root.spec.template.pod(&DAEMON_SETS, &self.root.metadata);
        if let Some(generation) = self.root.template_generation() {
            pod["metadata"]["labels"][GENERATION] = generation.to_string().into();
        }
        pod["metadata"]["labels"][HASH] = self.hash.as_str().into();
        let host_network = pod["spec"]["hostNetwork"] == json!(true);
        for toleration in tolerations(host_network) {
            tolerate(&mut pod["spec"]["tolerations"], &toleration);
        }
        pod
    }
}

/// What the Pods of every DaemonSet put up with for ever: trouble of their node is no reason to leave it.
pub(super) fn tolerations(host_network: bool) -> Vec<Toleration> {
    let network = host_network.then_some(("network-unavailable", "NoSchedule"));
    [
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ]
    .into_iter()
    .chain(network)
    .map(|(key, effect)| Toleration {
        key: format!("node.kubernetes.io/{key}").into(),
        operator: "Exists".into(),
        effect: effect.into(),
        ..Toleration::default()
    })
    .collect()
}

/// Adds a toleration, in the place of one that is alike but for its time.
fn tolerate(all: &mut Value, toleration: &Toleration) {
    let new = json!({"key": toleration.key, "operator": toleration.operator, "effect": toleration.effect});
    if !all.is_array() {
        *all = json!([]);
    }
    let Value::Array(all) = all else { return };
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let alike = |it: &&mut Value| {
        ["key", "operator", "effect", "value"].iter().all(|field| text(it, field) == text(&new, field))
    };
    match all.iter_mut().find(alike) {
        Some(there) => *there = new,
        None => all.push(new),
    }
}

/// Says that a Pod is for one node, in the place of whatever nodes its template insists on: this is one of them.
fn pin(pod: &mut Value, node: &str) {
    let affinity =
        &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    *affinity = json!({"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]},
    ]});
}
