//! How large somebody is who manages Pods and whose kind is not known here: the server is asked for its scale.
//!
//! An answer serves one look and is forgotten, so that the next one is told anew: nobody says when a scale changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, OnceLock},
};

use client::{
    Api, Key, Owner, Resource,
    controller::{Cause, Manager, triggers::Inbox},
    queue::Queue,
};
use futures::FutureExt;
use http::Method;
use parking_lot::Mutex;
use serde_json::Value;

use crate::{
    inventory::Inventory,
    shell::{self, Look, Looks},
};

/// Somebody in a namespace who manages Pods.
pub(super) type Question = (Arc<str>, Owner);
/// Its uid and how many Pods it shall have; `None` if it is gone, an error if that cannot be told.
pub(super) type Answer = Result<Option<(Box<str>, i32)>, String>;

/// Asks for scales. Cheap to clone.
#[derive(Clone)]
pub(super) struct Scales(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    questions: Queue<Question>,
    /// The keys that look again when an answer is there.
    inbox: OnceLock<Inbox>,
}

#[derive(Default)]
struct State {
    /// Who waits for an answer.
    waiting: BTreeMap<Question, BTreeSet<Key>>,
    /// The answers that were not taken yet, by who asked.
    answers: BTreeMap<Key, BTreeMap<Question, Answer>>,
}

/// Who asks the server.
struct Asks {
    api: Api,
    inventory: Inventory,
    scales: Scales,
}

// === impl Scales ===

impl fmt::Debug for Scales {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scales").finish_non_exhaustive()
    }
}

impl Default for Scales {
    fn default() -> Self {
        let questions = Queue::with_backoff(
            Arc::default(),
            std::time::Duration::from_millis(5),
            std::time::Duration::from_mins(1),
        );
        Self(Arc::new(Shared { state: Mutex::default(), questions, inbox: OnceLock::new() }))
    }
}

impl Scales {
    /// Begins to ask; who asked is looked at again through `inbox`.
    pub(super) fn start(&self, manager: &Manager, api: Api, inventory: &Inventory, inbox: Inbox) {
        inventory.start(manager);
        if self.0.inbox.set(inbox).is_err() {
            return;
        }
        let asks = Asks { api, inventory: inventory.clone(), scales: self.clone() };
        let complete = inventory.clone();
        let ready = async move { complete.complete().await }.boxed().shared();
        shell::start(manager, 1, &self.0.questions, &Arc::new(asks), ready);
    }

    /// The answer for `root`, if it is there; else it is asked for.
    pub(super) fn take(&self, root: &Key, question: Question) -> Option<Answer> {
        let mut state = self.0.state.lock();
        if let Some(answer) = state.answers.get_mut(root).and_then(|answers| answers.remove(&question)) {
            return Some(answer);
        }
        state.waiting.entry(question.clone()).or_default().insert(root.clone());
        drop(state);
        self.0.questions.add(question);
        None
    }

    /// `root` is gone, and its answers with it.
    pub(super) fn forget(&self, root: &Key) {
        self.0.state.lock().answers.remove(root);
    }

    fn tell(&self, question: &Question, answer: &Answer) {
        let mut state = self.0.state.lock();
        let waiting = state.waiting.remove(question).unwrap_or_default();
        for root in &waiting {
            let answers = state.answers.entry(root.clone()).or_default();
            answers.insert(question.clone(), answer.clone());
        }
        drop(state);
        for root in waiting {
            if let Some(inbox) = self.0.inbox.get() {
                inbox.add(root, Cause::LookAgain);
            }
        }
    }

    /// Puts an answer in place, for tests.
    #[cfg(test)]
    pub(super) fn answered(&self, root: &Key, question: Question, answer: Answer) {
        self.0.state.lock().answers.entry(root.clone()).or_default().insert(question, answer);
    }
}

// === impl Asks ===

impl Looks for Asks {
    type Key = Question;
    const NAME: &'static str = "disruption-scales";

    async fn look(&self, question: &Question) -> Look {
        let (namespace, owner) = question;
        let answer = self.ask(namespace, owner).await;
        self.scales.tell(question, &answer);
        Look::because(Key::new(namespace, &owner.name), "the scale was asked for")
    }
}

impl Asks {
    async fn ask(&self, namespace: &str, owner: &Owner) -> Answer {
        let Some(resource) = self.inventory.resource_of(&owner.api_version, &owner.kind) else {
            return Err(format!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version));
        };
        let key = Key::new(namespace, &owner.name);
        match self.api.get_subresource::<Value>(&resource, &key, "scale").await {
            Ok(scale) => Ok(read(&scale, owner)),
            Err(error) if error.is_not_found() => match self.has_scale(&resource).await {
                Ok(true) => Ok(None),
                Ok(false) => Err(format!("{resource} does not implement the scale subresource")),
                Err(error) => Err(error),
            },
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether objects of a resource have a scale at all.
    async fn has_scale(&self, resource: &Resource) -> Result<bool, String> {
        let path = resource.base_path();
        let answer = self.api.request(Method::GET, &path, "application/json", None).await;
        let list: Value = serde_json::from_slice(&answer.map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
        let resources = list.get("resources").and_then(Value::as_array).into_iter().flatten();
        let name = format!("{}/scale", resource.plural);
        Ok(resources.into_iter().any(|it| it.get("name").and_then(Value::as_str) == Some(&name)))
    }
}

/// What a scale says of an owner; `None` if it is somebody else's.
fn read(scale: &Value, owner: &Owner) -> Option<(Box<str>, i32)> {
    let uid = scale.pointer("/metadata/uid").and_then(Value::as_str).filter(|uid| **uid == *owner.uid)?;
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or_default();
    Some((uid.into(), i32::try_from(replicas).unwrap_or(i32::MAX)))
}
