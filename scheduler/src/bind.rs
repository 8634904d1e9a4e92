//! Carrying decisions out: the binding, and what people are told.
//!
//! ```text
//! permit ──> prepare (volumes, devices) ──> bind ──> tell who wants to know
//!    └──────────┴─────────────────────────────┴────> fails: give everything back
//! ```
//!
//! A binding that fails gives its place back and the Pod another turn. What is said of a Pod in its `PodScheduled` condition
//! is written only to the Pod it was decided on: never over a binding.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use client::{
    Error,
    api::Patch,
    events::{Note, ObjectRef},
    meta::time,
    resource::PODS,
};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::{
    cycle::{Diagnosis, Verdict},
    plugin::{ClusterEvent, Holding, Permission, Preparation, Rejection},
    pod::{POD_SCHEDULED, Pod},
    prepare::Reserved,
    profile::Profile,
    queue::Turn,
    run::{Binding, Shared},
    snapshot::Row,
};

/// An Event's note may have so many bytes.
const NOTE_BYTES_MAX: usize = 1024;
/// When the answer to a binding was lost, it is asked so often, so far apart, whether it was made.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A status is written again so often when the Pod was changed meanwhile.
const STATUS_ATTEMPTS: u32 = 4;

/// Conditions to be written. A Pod has one place, so there are never more than Pods.
#[derive(Debug, Default)]
pub(crate) struct Statuses {
    waiting: Mutex<BTreeMap<Box<str>, Said>>,
    more: Notify,
}

/// What is to be said of a Pod.
#[derive(Clone, Debug)]
struct Said {
    pod: Arc<Pod>,
    reason: &'static str,
    message: String,
    nomination: Nomination,
}

/// What becomes of the node that is kept free for a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nomination {
    /// It is as it is.
    Keep,
    /// This one is.
    Set(Arc<str>),
    /// None is.
    Clear,
}

/// Why a binding failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A plugin does not want it.
    Rejected(&'static str, Rejection),
    /// Something does not work.
    Error(String),
}

// === impl Nomination ===

impl Nomination {
    /// The node, empty for none; nothing if it is as it is.
    fn node(&self) -> Option<&str> {
        match self {
            Self::Keep => None,
            Self::Set(node) => Some(node),
            Self::Clear => Some(""),
        }
    }
}

// === impl Statuses ===

impl Statuses {
    fn say(&self, said: Said) {
        self.waiting.lock().insert(said.pod.uid().into(), said);
        self.more.notify_one();
    }

    /// It is no longer so.
    pub(crate) fn forget(&self, uid: &str) {
        self.waiting.lock().remove(uid);
    }

    async fn next(&self) -> Said {
        loop {
            let first = self.waiting.lock().pop_first();
            match first {
                Some((_, said)) => return said,
                None => self.more.notified().await,
            }
        }
    }
}

// === impl Said ===

impl Said {
    /// Whether the Pod says so already.
    fn is_said_by(&self, pod: &Pod) -> bool {
        pod.condition.as_ref().is_some_and(|condition| {
            &*condition.status == "False"
                && *condition.reason == *self.reason
                && *condition.message == *self.message
                && condition.observed_generation == pod.metadata.generation
        }) && self.nomination.node().is_none_or(|node| *node == *pod.nominated_node_name)
    }

    /// The change, on condition that the Pod is as it was seen.
    fn patch(&self, pod: &Pod, now: jiff::Timestamp) -> Patch {
        let since = pod
            .condition
            .as_ref()
            .filter(|condition| &*condition.status == "False")
            .and_then(|condition| condition.last_transition_time)
            .unwrap_or(now);
        let mut condition = json!({
            "type": POD_SCHEDULED,
            "status": "False",
            "reason": self.reason,
            "message": self.message,
            "lastProbeTime": null,
            "lastTransitionTime": time(since),
        });
        if pod.metadata.generation > 0 {
            condition["observedGeneration"] = json!(pod.metadata.generation);
        }
        let mut status = json!({"conditions": [condition]});
        if let Some(node) = self.nomination.node().filter(|node| **node != *pod.nominated_node_name) {
            status["nominatedNodeName"] = if node.is_empty() { Value::Null } else { json!(node) };
        }
        Patch::strategic(json!({
            "metadata": {"uid": pod.uid(), "resourceVersion": pod.metadata.revision},
            "status": status,
        }))
    }
}

/// A message that fits an Event.
fn shortened(message: &str) -> String {
    const END: &str = " ...";
    if message.len() <= NOTE_BYTES_MAX {
        return message.to_owned();
    }
    let mut end = NOTE_BYTES_MAX - END.len();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{END}", message.get(..end).unwrap_or_default())
}

// === impl Shared ===

impl Shared {
    /// Binds a Pod to the node it is assumed on.
    pub(crate) async fn bind(self: Arc<Self>, binding: Binding) {
        let Binding { turn, node, holdings, begun, slot } = binding;
        let pod = Arc::clone(&turn.pod);
        let Some(profile) = self.options.profiles.of(&pod) else { return };
        let reserved = Mutex::default();
        match self.permit_prepare_bind(profile, &pod, &node, &holdings, slot, &reserved).await {
            Ok(()) => {
                self.count("scheduled", &pod, begun);
                self.metrics.bound(turn.attempts, self.now().saturating_sub(turn.since));
                self.tell_scheduled(&pod, &node);
                for plugin in &profile.told {
                    plugin.bound(&pod, &node);
                }
                self.state.lock().cluster.others_mut().release(pod.uid());
            }
            Err(failure) => {
                self.give_back_devices(&pod, reserved.into_inner()).await;
                let result = if matches!(failure, Failure::Rejected(..)) { "unschedulable" } else { "error" };
                self.count(result, &pod, begun);
                self.roll_back(turn, &node, failure);
            }
        }
    }

    async fn permit_prepare_bind(
        self: &Arc<Self>,
        profile: &Profile,
        pod: &Arc<Pod>,
        node: &Arc<str>,
        holdings: &[Holding],
        slot: OwnedSemaphorePermit,
        reserved: &Mutex<Vec<Reserved>>,
    ) -> Result<(), Failure> {
        for plugin in &profile.permits {
            match plugin.permit(pod, node) {
                Permission::Granted => {}
                Permission::After(wait) => tokio::time::sleep(wait).await,
                Permission::Denied(rejection) => return Err(Failure::Rejected(plugin.name(), rejection)),
            }
        }
        let preparations: Vec<(&'static str, Preparation)> = profile
            .prepares
            .iter()
            .flat_map(|plugin| {
                plugin.before_binding(pod, node, holdings).into_iter().map(|it| (plugin.name(), it))
            })
            .collect();
        if !preparations.is_empty() {
            // That may take long; others need not wait for it.
            drop(slot);
            self.expect_at(pod, node).await;
            for (plugin, preparation) in preparations {
                let result = match preparation {
                    Preparation::Volumes { patience } => {
                        self.prepare_volumes(pod, node, holdings, patience).await
                    }
                    Preparation::Devices { patience } => {
                        self.prepare_devices(pod, node, holdings, patience, reserved).await
                    }
                };
                result.map_err(|why| Failure::Error(format!("running PreBind plugin {plugin:?}: {why}")))?;
            }
            return self.bind_now(pod, node).await;
        }
        let bound = self.bind_now(pod, node).await;
        drop(slot);
        bound
    }

    /// Says where a Pod is going, for it will take a while.
    async fn expect_at(&self, pod: &Pod, node: &str) {
        if *pod.nominated_node_name == *node {
            return;
        }
        let patch = Patch::strategic(json!({
            "metadata": {"uid": pod.uid()},
            "status": {"nominatedNodeName": node},
        }));
        let answer: Result<IgnoredAny, Error> = self.api.patch(&PODS, &pod.key(), "status", &patch).await;
        if let Err(error) = answer {
            tracing::warn!(pod = %pod.key(), %error, "cannot say which node the pod is going to");
        }
    }

    async fn bind_now(&self, pod: &Arc<Pod>, node: &str) -> Result<(), Failure> {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": &*pod.metadata.namespace, "name": &*pod.metadata.name, "uid": pod.uid()},
            "target": {"kind": "Node", "name": node},
        });
        let answer: Result<IgnoredAny, Error> =
            self.api.create_subresource(&PODS, &pod.key(), "binding", &object).await;
        match answer {
            Ok(_) => Ok(()),
            // To give the place away while the Pod is bound there would put two Pods in it.
            Err(error) if error.may_have_happened() && self.is_bound(pod, node).await => Ok(()),
            Err(error) => Err(Failure::Error(format!("running Bind plugin \"DefaultBinder\": {error}"))),
        }
    }

    /// Asks whether a Pod is bound to a node, until there is an answer or no hope of one.
    async fn is_bound(&self, pod: &Pod, node: &str) -> bool {
        for _ in 0..LOOKS {
            match self.api.get::<Pod>(&PODS, &pod.key()).await {
                Ok(now) => return now.uid() == pod.uid() && *now.node_name == *node,
                Err(error) if error.is_not_found() => return false,
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        false
    }

    /// A binding failed: what it took is free again, and the Pod has another turn if it is still there without a node.
    fn roll_back(&self, mut turn: Turn, node: &Arc<str>, failure: Failure) {
        let key = turn.pod.key();
        let (reason, message, plugins) = match failure {
            Failure::Error(message) => {
                tracing::warn!(pod = %key, message, "binding failed");
                ("SchedulerError", message, BTreeSet::new())
            }
            Failure::Rejected(plugin, rejection) => {
                let verdict = Verdict {
                    node: Arc::clone(node),
                    row: Row::default(),
                    plugin,
                    rejection: Arc::new(rejection),
                };
                ("Unschedulable", Diagnosis::of_one(verdict).message(1), BTreeSet::from([plugin]))
            }
        };
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.cluster.others_mut().release(turn.pod.uid());
        if let Some(pod) = state.cluster.forget(turn.pod.uid()) {
            self.happened(state, &ClusterEvent::PodRemoved(pod));
        }
        let current = self.pods.get_same(&key, turn.pod.uid());
        let Some(pod) = current.filter(|pod| !pod.is_assigned() && !pod.ended) else { return };
        turn.pod = Arc::clone(&pod);
        state.queue.come_back(turn, plugins, self.now(), state.cluster.others());
        drop(guard);
        self.wake();
        self.tell_failure(&pod, reason, &message, Nomination::Clear);
    }

    pub(crate) fn tell(&self, pod: &Pod, note: &Note) {
        if let Some(recorder) = self.recorder(pod) {
            recorder.record(&ObjectRef::to(pod), note);
        }
    }

    fn tell_scheduled(&self, pod: &Pod, node: &str) {
        let message = format!("Successfully assigned {} to {node}", pod.key());
        self.tell(pod, &Note::normal("Scheduled", message).action("Binding"));
    }

    /// Tells people why a Pod found no node: by an Event and by its condition.
    pub(crate) fn tell_failure(
        &self,
        pod: &Arc<Pod>,
        reason: &'static str,
        message: &str,
        nomination: Nomination,
    ) {
        self.tell(pod, &Note::warning("FailedScheduling", shortened(message)).action("Scheduling"));
        let said = Said { pod: Arc::clone(pod), reason, message: message.to_owned(), nomination };
        if !said.is_said_by(pod) {
            self.statuses.say(said);
        }
    }

    /// Tells people that a Pod is not looked at because it is to be deleted.
    pub(crate) fn tell_skipped(&self, pod: &Pod) {
        let message = format!("skip schedule deleting pod: {}", pod.key());
        self.tell(pod, &Note::warning("FailedScheduling", message).action("Scheduling"));
    }

    /// Writes conditions, one after another.
    pub(crate) async fn write_statuses(self: Arc<Self>) {
        loop {
            let said = self.statuses.next().await;
            self.write_status(said).await;
        }
    }

    async fn write_status(&self, said: Said) {
        let mut pod = Arc::clone(&said.pod);
        for _ in 0..STATUS_ATTEMPTS {
            let patch = said.patch(&pod, self.runtime.clock.now());
            let answer: Result<IgnoredAny, Error> = self.api.patch(&PODS, &pod.key(), "status", &patch).await;
            match answer {
                Ok(_) => return,
                Err(error) if error.is_conflict() => {}
                Err(error) if error.is_not_found() => return,
                Err(error) => {
                    tracing::warn!(pod = %pod.key(), %error, "cannot say why the pod was not scheduled");
                    return;
                }
            }
            // It changed meanwhile; what was decided may still be so.
            match self.api.get::<Pod>(&PODS, &pod.key()).await {
                Ok(now) if now.uid() == pod.uid() && !now.is_assigned() && !said.is_said_by(&now) => {
                    pod = Arc::new(now);
                }
                Ok(_) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_letters() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&"é".repeat(600));
        assert!(long.len() <= NOTE_BYTES_MAX && long.ends_with("é ..."), "{long}");
    }
}
