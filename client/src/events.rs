//! Telling people what happens: core/v1 Events, with like ones counted rather than repeated.
//!
//! Best effort by design: a decision never waits for an Event. When the recorder's queue is full the newest Event is
//! dropped, and a component that tells too much of one object is cut short.
//!
//! Invariant: what to send is decided in [`correlator`] and [`series`], without I/O; the loop here only sends it.

pub mod correlator;

pub mod series;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, time::Duration};

use runtime::Runtime;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use self::{correlator::Correlator, series::Series};
use crate::{Api, Key, Kind, Meta, Resource, api::Patch, reflector::list_watch::chain, resource};

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
    /// What was done, such as `Binding`; only Events in series tell it.
    pub action: &'static str,
    /// Another object that has to do with it; only Events in series tell it.
    pub related: Option<Box<ObjectRef>>,
}

/// Whether an Event is a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// All is well.
    Normal,
    /// Somebody should look.
    Warning,
}

/// What to do about something told.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// Drop it.
    Nothing,
    /// Make an Event.
    Create {
        /// The object.
        event: Value,
    },
    /// Count on an Event.
    Count {
        /// Which one.
        key: Key,
        /// The change, for a strategic merge.
        patch: Value,
        /// The object to make if the Event is gone.
        event: Value,
    },
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
        Self {
            severity: Severity::Normal,
            reason: reason.into(),
            message: message.into(),
            action: "",
            related: None,
        }
    }

    /// Somebody should look.
    pub fn warning(reason: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            severity: Severity::Warning,
            reason: reason.into(),
            message: message.into(),
            action: "",
            related: None,
        }
    }

    /// Saying which other object has to do with it.
    #[must_use]
    pub fn related(mut self, to: ObjectRef) -> Self {
        self.related = Some(Box::new(to));
        self
    }

    /// Saying what was done, such as `Binding`.
    #[must_use]
    pub fn action(mut self, action: &'static str) -> Self {
        self.action = action;
        self
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
    /// Starts a recorder of core/v1 Events, which count repetitions, for a component such as `replicaset-controller`; it lives
    /// in the runtime's tasks.
    pub fn start(runtime: &Runtime, api: Api, component: &str) -> Self {
        Self::start_in(runtime, api, Style::Counted(Correlator::new(component)))
    }

    /// Starts a recorder of events.k8s.io/v1 Events, which collect repetitions in a series, as the scheduler's are: for a
    /// controller such as `default-scheduler` and the instance of it that this process is.
    pub fn start_series(runtime: &Runtime, api: Api, controller: &str, instance: &str) -> Self {
        Self::start_in(runtime, api, Style::Series(Series::new(controller, instance)))
    }

    fn start_in(runtime: &Runtime, api: Api, style: Style) -> Self {
        let (queue, tellings) = mpsc::channel(QUEUE);
        let teller = Teller { runtime: runtime.clone(), api, style };
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
    style: Style,
}

enum Style {
    Counted(Correlator),
    Series(Series),
}

impl Teller {
    async fn run(mut self, mut tellings: mpsc::Receiver<Telling>) {
        let mut tick = tokio::time::interval_at(Instant::now() + series::FINISH, series::FINISH);
        loop {
            let told = tokio::select! {
                biased;
                telling = tellings.recv() => match telling {
                    Some(Telling { about, note }) => vec![self.decide(&about, &note)],
                    None => return,
                },
                _ = tick.tick() => match &mut self.style {
                    Style::Counted(_) => Vec::new(),
                    Style::Series(series) => series.sweep(self.runtime.clock.now()),
                },
            };
            for told in told {
                self.send(told).await;
            }
        }
    }

    fn decide(&mut self, about: &ObjectRef, note: &Note) -> Told {
        let now = self.runtime.clock.now();
        match &mut self.style {
            Style::Counted(correlator) => correlator.tell(about, note, now),
            Style::Series(series) => series.tell(about, note, now),
        }
    }

    fn resource(&self) -> &'static Resource {
        static CORE: Resource = resource::EVENTS;
        static NEW: Resource = resource::NEW_EVENTS;
        match self.style {
            Style::Counted(_) => &CORE,
            Style::Series(_) => &NEW,
        }
    }

    async fn send(&self, told: Told) {
        match told {
            Told::Nothing => {}
            Told::Create { event } => self.create(event).await,
            Told::Count { key, patch, event } => {
                let answer: Result<Value, _> =
                    self.api.patch(self.resource(), &key, "", &Patch::strategic(patch)).await;
                match answer {
                    Ok(_) => {}
                    // The Event has outlived its time to live: tell it anew.
                    Err(error) if error.is_not_found() => self.create(event).await,
                    Err(error) => tracing::warn!(error = %chain(&error), "cannot count an event"),
                }
            }
        }
    }

    async fn create(&self, event: Value) {
        use api_types::object::ObjectExt;

        for attempt in 1..=ATTEMPTS {
            let answer: Result<Value, _> = self.api.create(self.resource(), event.namespace(), &event).await;
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
                    let factor = if attempt == 1 { self.runtime.random.fraction() } else { 1.0 };
                    tokio::time::sleep(ATTEMPT_DELAY.mul_f64(factor)).await;
                }
            }
        }
    }
}

/// Events of cluster-scoped objects live in the default namespace.
fn namespace_of(about: &ObjectRef) -> &str {
    if about.namespace.is_empty() { "default" } else { &about.namespace }
}

/// Names carry the time in nanoseconds; no two may be equal, even while time stands still.
#[derive(Debug, Default)]
struct Names {
    last_nanosecond: i128,
}

impl Names {
    fn next(&mut self, about: &ObjectRef, now: jiff::Timestamp) -> String {
        self.last_nanosecond = now.as_nanosecond().max(self.last_nanosecond + 1);
        format!("{}.{:x}", about.name, self.last_nanosecond)
    }
}
