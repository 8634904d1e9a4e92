//! Telling people what happens: core/v1 Events, with like ones counted rather than repeated.
//!
//! Best effort by design: a decision never waits for an Event. When the recorder's queue is full the newest Event is
//! dropped, and a component that tells too much of one object is cut short.
//!
//! Invariant: what to send is decided in [`correlator`], without I/O; the loop here only sends it.

pub mod correlator;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, time::Duration};

use runtime::Runtime;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::correlator::{Correlator, Told};
use crate::{Api, Kind, Meta, Resource, api::Patch, reflector::list_watch::chain, resource};

/// When full: the newest Event is dropped.
const QUEUE: usize = 1000;

/// An Event that cannot be delivered is tried so often, so far apart.
const ATTEMPTS: u32 = 12;
const ATTEMPT_DELAY: Duration = Duration::from_secs(10);

/// Records Events of one component. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Telling>,
}

/// The object an Event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// The object's `apiVersion`.
    pub api_version: String,
    /// The object's kind.
    pub kind: String,
    /// The object's namespace, empty for cluster-scoped objects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The object's uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The object's resourceVersion.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// The part of the object that is meant, such as `spec.containers{web}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field_path: String,
}

/// What an Event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it is a warning.
    pub severity: Severity,
    /// For machines, such as `SuccessfulCreate`.
    pub reason: Cow<'static, str>,
    /// For people.
    pub message: Cow<'static, str>,
}

/// Whether an Event is a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// All is well.
    Normal,
    /// Somebody should look.
    Warning,
}

/// An Event on its way.
#[derive(Clone, Debug)]
struct Telling {
    about: ObjectRef,
    note: Note,
}

// === impl ObjectRef ===

impl ObjectRef {
    /// An object of a kind.
    pub fn to<K: Kind>(object: &K) -> Self {
        Self::new(&K::RESOURCE, object.meta())
    }

    /// An object by its metadata.
    pub fn new(resource: &Resource, meta: &Meta) -> Self {
        Self {
            api_version: resource.api_version(),
            kind: resource.kind.clone().into_owned(),
            namespace: meta.namespace.as_ref().to_owned(),
            name: meta.name.as_ref().to_owned(),
            uid: meta.uid.as_ref().to_owned(),
            resource_version: if meta.revision.is_none() { String::new() } else { meta.revision.to_string() },
            field_path: String::new(),
        }
    }
}

// === impl Note ===

impl Note {
    /// All is well.
    pub fn normal(reason: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Normal, reason: reason.into(), message: message.into() }
    }

    /// Somebody should look.
    pub fn warning(reason: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Warning, reason: reason.into(), message: message.into() }
    }
}

// === impl Severity ===

impl Severity {
    /// As the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

// === impl Recorder ===

impl Recorder {
    /// Starts a recorder for a component, such as `replicaset-controller`; it lives in the runtime's tasks.
    pub fn start(runtime: &Runtime, api: Api, component: &str) -> Self {
        let (queue, tellings) = mpsc::channel(QUEUE);
        let teller = Teller { runtime: runtime.clone(), api, correlator: Correlator::new(component) };
        runtime.tasks.spawn("events", teller.run(tellings));
        Self { queue }
    }

    /// Records an Event.
    pub fn record(&self, about: &ObjectRef, note: &Note) {
        let telling = Telling { about: about.clone(), note: note.clone() };
        if self.queue.try_send(telling).is_err() {
            tracing::debug!(reason = %note.reason, "event dropped: too many are under way");
        }
    }
}

/// Sends what was recorded.
struct Teller {
    runtime: Runtime,
    api: Api,
    correlator: Correlator,
}

impl Teller {
    async fn run(mut self, mut tellings: mpsc::Receiver<Telling>) {
        while let Some(Telling { about, note }) = tellings.recv().await {
            let now = self.runtime.clock.now();
            match self.correlator.tell(&about, &note, now) {
                Told::Nothing => {
                    tracing::debug!(reason = %note.reason, "event dropped: too many of one object")
                }
                Told::Create { event } => self.create(event).await,
                Told::Count { key, patch, event } => {
                    let answer: Result<Value, _> =
                        self.api.patch(&resource::EVENTS, &key, "", &Patch::strategic(patch)).await;
                    match answer {
                        Ok(_) => {}
                        // The Event has outlived its time to live: tell it anew.
                        Err(error) if error.is_not_found() => self.create(event).await,
                        Err(error) => tracing::warn!(error = %chain(&error), "cannot count an event"),
                    }
                }
            }
        }
    }

    async fn create(&self, event: Value) {
        use api_types::object::ObjectExt;

        for attempt in 1..=ATTEMPTS {
            let answer: Result<Value, _> =
                self.api.create(&resource::EVENTS, event.namespace(), &event).await;
            match answer {
                Ok(_) => return,
                // The server has said no; it will not say otherwise tomorrow.
                Err(error)
                    if error.status().is_some_and(|status| status.code < 500 && status.code != 429) =>
                {
                    tracing::debug!(error = %chain(&error), "event refused");
                    return;
                }
                Err(error) if attempt == ATTEMPTS => {
                    tracing::warn!(error = %chain(&error), "event lost");
                }
                Err(_) => {
                    let factor = self.runtime.random.fraction();
                    tokio::time::sleep(if attempt == 1 {
                        ATTEMPT_DELAY.mul_f64(factor)
                    } else {
                        ATTEMPT_DELAY
                    })
                    .await;
                }
            }
        }
    }
}

/// The Event object of a note, at its first telling.
pub(crate) fn event_object(about: &ObjectRef, note: &Note, component: &str, name: &str, time: &str) -> Value {
    let namespace = if about.namespace.is_empty() { "default" } else { &about.namespace };
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": about,
        "type": note.severity.name(),
        "reason": note.reason,
        "message": note.message,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    })
}
