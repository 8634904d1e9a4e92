//! What field management must know of a custom resource: the shapes of its versions, and how objects get from one to another.
//!
//! Field management is a function of values and cannot wait for a webhook. So it asks here, is told that there is no answer
//! yet, and what it made of that is thrown away: the answer is fetched, and it is asked again.

use std::sync::Arc;

use api_types::status::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::kind::Kind;
use crate::patch::apply::{Versions, shape::Shape};

/// What webhooks answered in the course of one write, and what they have yet to be asked.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    known: Vec<(Question, Value)>,
    open: Vec<Question>,
}

/// An object, and the `apiVersion` it is wanted in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    object: Value,
    api_version: String,
}

/// The versions of a custom resource, for one write.
pub struct CustomVersions<'a> {
    /// The version of the request.
    pub kind: &'a Kind,
    /// What is known already.
    pub answers: &'a Answers,
}

// === impl Answers ===

impl Answers {
    /// Fetches what was asked for and not known. True if there was anything: then what came of it is worth nothing, and
    /// must be made again.
    ///
    /// # Errors
    /// Of the webhook.
    pub async fn fetch(&self, kind: &Kind) -> Result<bool, Status> {
        let open = std::mem::take(&mut self.0.lock().open);
        for question in &open {
            let Some(to) = kind.versions.find(&question.api_version) else { continue };
            let answer = kind.versions.convert_one(question.object.clone(), to).await?;
            self.0.lock().known.push((question.clone(), answer));
        }
        Ok(!open.is_empty())
    }

    fn ask(&self, object: &Value, api_version: &str) -> Option<Value> {
        let mut state = self.0.lock();
        let asked = |it: &Question| it.api_version == api_version && it.object == *object;
        if let Some((_, answer)) = state.known.iter().find(|(question, _)| asked(question)) {
            return Some(answer.clone());
        }
        if !state.open.iter().any(asked) {
            state.open.push(Question { object: object.clone(), api_version: api_version.to_owned() });
        }
        None
    }
}

// === impl CustomVersions ===

impl Versions for CustomVersions<'_> {
    fn shape(&self, api_version: &str) -> Option<Shape<'_>> {
        let at = self.kind.versions.find(api_version)?;
        Some(self.kind.versions.shape(at).shape())
    }

    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        let to = self.kind.versions.find(api_version)?;
        if object.get("apiVersion").and_then(Value::as_str) == Some(api_version) {
            return Some(object.clone());
        }
        if self.kind.versions.by_webhook() {
            return self.answers.ask(object, api_version);
        }
        self.kind.versions.rename(object.clone(), to).ok()
    }

    fn unwritten(&self) -> Value {
        use crate::registry::strategy::Resource as _;

        json!({"apiVersion": self.kind.api_version(), "kind": self.kind.names().kind})
    }

    fn may_misfit(&self) -> bool {
        true
    }
}
