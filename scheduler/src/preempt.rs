//! Carrying out what makes room for a Pod: less important ones are told why they go, and go.
//!
//! The Pod they go for is held back meanwhile; it waits for what their going will tell.
//!
//! Invariant: nothing is decided here. Who has gone already needs not go again.

use std::sync::Arc;

use client::{
    Error,
    api::{DeleteOptions, Patch, Preconditions},
    events::{Note, ObjectRef},
    meta::time,
    resource::PODS,
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::{
    plugin::Eviction,
    pod::{PREEMPTED, Pod},
    run::Shared,
};

impl Shared {
    /// Makes room on a node for a Pod.
    pub(crate) async fn preempt(self: Arc<Self>, pod: Arc<Pod>, eviction: Eviction) {
        let begun = self.now();
        let Eviction { node, victims, .. } = eviction;
        // Those that were to have the place, and are less important, had better look elsewhere at once.
        let others = self.state.lock().cluster.less_important_nominated(&node, pod.priority);
        for other in others {
            self.cancel_nomination(&other).await;
        }
        let staying = victims.iter().filter(|victim| !victim.metadata.is_terminating());
        let evictions = staying.map(|victim| self.evict(&pod, victim, &node));
        let failed = futures::future::join_all(evictions).await.into_iter().any(|done| !done);
        let now = self.now();
        self.metrics.told_to_go(!failed, now.saturating_sub(begun));
        // If one could not be told to go, nobody's going may ever help: it has to be tried again.
        let state = &mut *self.state.lock();
        state.queue.let_go(pod.uid(), failed, now, state.cluster.others());
        self.wake();
    }

    async fn cancel_nomination(&self, pod: &Pod) {
        let patch = Patch::strategic(json!({
            "metadata": {"uid": pod.uid()},
            "status": {"nominatedNodeName": Value::Null},
        }));
        let answer: Result<IgnoredAny, Error> = self.api.patch(&PODS, &pod.key(), "status", &patch).await;
        match answer {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                tracing::warn!(pod = %pod.key(), %error, "cannot clear the node kept free for the pod")
            }
        }
    }

    /// Tells a Pod to go for another. Whether it does, or is gone.
    async fn evict(&self, pod: &Pod, victim: &Arc<Pod>, node: &str) -> bool {
        let gone_or_done = |what: &str, answer: Result<(), Error>| match answer {
            Ok(()) => Some(true),
            Err(error) if error.is_not_found() || error.is_conflict() => Some(false),
            Err(error) => {
                tracing::warn!(preemptor = %pod.key(), victim = %victim.key(), %error, "cannot {what} a victim");
                None
            }
        };
        let patch = self.disruption(pod, victim);
        let answer: Result<IgnoredAny, Error> = self.api.patch(&PODS, &victim.key(), "status", &patch).await;
        match gone_or_done("mark", answer.map(drop)) {
            Some(true) => {}
            Some(false) => return true,
            None => return false,
        }
        let preconditions = Preconditions::uid(victim.uid());
        let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
        let answer = self.api.delete(&PODS, &victim.key(), &options).await;
        match gone_or_done("delete", answer.map(drop)) {
            Some(true) => {}
            Some(false) => return true,
            None => return false,
        }
        let message = format!("Preempted by pod {} on node {node}", pod.uid());
        let note = Note::normal("Preempted", message).action("Preempting").related(ObjectRef::to(pod));
        // The Event is the scheduler's of the Pod it goes for, about the one that goes.
        if let Some(recorder) = self.recorder(pod) {
            recorder.record(&ObjectRef::to(&**victim), &note);
        }
        true
    }

    fn disruption(&self, pod: &Pod, victim: &Pod) -> Patch {
        let mut condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": PREEMPTED,
            "message": format!("{}: preempting to accommodate a higher priority pod", pod.scheduler_name),
            "lastProbeTime": Value::Null,
            "lastTransitionTime": time(self.runtime.clock.now()),
        });
        if victim.metadata.generation > 0 {
            condition["observedGeneration"] = json!(victim.metadata.generation);
        }
        Patch::strategic(json!({
            "metadata": {"uid": victim.uid()},
            "status": {"conditions": [condition]},
        }))
    }
}
