//! Carrying out a plan: its writes in order, each with what its failure means.
//!
//! Invariant: no decision is made here. What to do about an outcome stands in the plan.

use std::borrow::Cow;

use api_types::{
    kind::GroupResource,
    object::{ObjectExt, object_of},
    status::Status,
};
use futures::{StreamExt, stream::FuturesOrdered};
use serde::Deserialize;
use serde_json::Value;

use super::{
    plan::{OnConflict, OnFailure, Plan, Report, Request, Verb, Write},
    record::{Outcome, Written},
};
use crate::{
    Api, Error, Key, Meta, Resource, Revision,
    api::{Deleted, List, Page, Patch, Selection},
    events::{Note, Recorder},
    reflector::list_watch::chain,
};

/// So many requests of a batch are under way at once.
pub const BATCH_CONCURRENCY: usize = 16;

/// Carries out plans as one user. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Executor {
    api: Api,
    events: Recorder,
}

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Execution {
    /// Each write, in the order they were finished.
    pub written: Vec<Written>,
    /// What the writes mean for the caches, in the same order.
    pub effects: Vec<Effect>,
    /// The first conflict that matters.
    pub conflict: Option<String>,
    /// The first failure that matters.
    pub failure: Option<Failure>,
    /// A failure has ended the plan.
    ended: bool,
    /// What speaks against the rest of a batch: conflicts, failures, and objects that nobody can make any more.
    troubles: usize,
}

/// A failure that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For people.
    pub message: String,
    /// When the server wants to be asked again.
    pub retry_after: Option<std::time::Duration>,
}

/// What a cache must have seen before it may be believed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The object has this revision.
    Wrote(crate::Resource, Revision),
    /// The object with this uid is gone.
    Deleted(crate::Resource, Key, Box<str>),
    /// Nobody knows whether the write happened. An empty name stands for an object whose name the server chooses.
    Unknown(crate::Resource, Key),
}

/// What one request came to.
struct Done {
    written: Written,
    effect: Option<Effect>,
    error: Option<Error>,
}

// === impl Executor ===

impl Executor {
    /// Writes through `api`, records Events through `events`.
    pub fn new(api: Api, events: Recorder) -> Self {
        Self { api, events }
    }

    /// Carries out a plan's writes.
    pub async fn execute(&self, plan: &Plan) -> Execution {
        let mut execution = Execution::default();
        for write in &plan.writes {
            let stopped = execution.stopped();
            match write {
                // The sentence may still be true, but the story ends where the plan did.
                Write::Event { about, note } => {
                    if !stopped {
                        self.events.record(about, note);
                    }
                }
                Write::Request(request) if stopped => execution.written.push(skipped(request)),
                Write::Request(request) => {
                    let done = self.send(request).await;
                    self.settle(&mut execution, request, done);
                }
                Write::Batch { requests, .. } if stopped => {
                    execution.written.extend(requests.iter().map(skipped));
                }
                Write::Batch { requests, slow_start } => {
                    self.batch(&mut execution, requests, *slow_start).await;
                }
            }
        }
        execution
    }

    async fn batch(&self, execution: &mut Execution, requests: &[Request], slow_start: bool) {
        let mut rest = requests;
        let mut size = if slow_start { 1 } else { requests.len() };
        while !rest.is_empty() {
            let (lot, later) = rest.split_at(size.min(rest.len()));
            let failed_before = execution.troubles;
            let mut unsent = lot.iter();
            let mut answers: FuturesOrdered<_> =
                unsent.by_ref().take(BATCH_CONCURRENCY).map(|request| self.send(request)).collect();
            let mut unanswered = lot.iter();
            while let (Some(done), Some(request)) = (answers.next().await, unanswered.next()) {
                answers.extend(unsent.next().map(|request| self.send(request)));
                self.settle(execution, request, done);
            }
            drop(answers);
            rest = later;
            if slow_start && execution.troubles > failed_before {
                execution.written.extend(rest.iter().map(skipped));
                return;
            }
            size = size.saturating_mul(2);
        }
    }

    /// Notes what one request came to, and what that means for the plan.
    fn settle(&self, execution: &mut Execution, request: &Request, done: Done) {
        if let Some(report) = &request.report {
            self.report(report, &done);
        }
        let moot = matches!((&request.verb, &done.written.outcome), (Verb::Create(_), Outcome::Moot));
        execution.troubles += usize::from(moot || done.error.is_some());
        if let Some(error) = done.error {
            if matches!(done.written.outcome, Outcome::Conflict) {
                execution.conflict.get_or_insert_with(|| chain(&error));
            } else if request.on_failure != OnFailure::Ignore {
                execution.ended |= request.on_failure == OnFailure::Stop;
                execution.failure.get_or_insert_with(|| Failure {
                    message: chain(&error),
                    retry_after: error.retry_after(),
                });
            }
        }
        execution.effects.extend(done.effect);
        execution.written.push(done.written);
    }

    fn report(&self, report: &Report, done: &Done) {
        let note = match (&done.written.outcome, &done.error) {
            (Outcome::Done, _) => &report.done,
            (Outcome::Failed(_), Some(_)) => &report.failed,
            _ => return,
        };
        let Some(note) = note else { return };
        let error = done.error.as_ref().map(ToString::to_string).unwrap_or_default();
        let message = note.message.replace("{name}", &done.written.key.name).replace("{error}", &error);
        self.events.record(&report.about, &Note { message: Cow::Owned(message), ..note.clone() });
    }

    /// Sends one request.
    async fn send(&self, request: &Request) -> Done {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            metadata: Meta,
        }

        let Request { verb, resource, key, subresource, .. } = request;
        let answer = match verb {
            Verb::Create(object) if subresource.is_empty() => {
                self.api.create::<Answer>(resource, &key.namespace, &**object).await
            }
            Verb::Create(object) => {
                self.api.create_subresource::<Answer>(resource, key, subresource, &**object).await
            }
            Verb::Update(object) => self.api.update::<Answer>(resource, key, subresource, &**object).await,
            Verb::Patch(patch) => self.api.patch::<Answer>(resource, key, subresource, patch).await,
            Verb::Merge(document) => match self.merged(resource, key, document).await {
                Ok(Merged::Changed(object)) => {
                    self.api.update::<Answer>(resource, key, subresource, &object).await
                }
                Ok(Merged::SoAlready(metadata)) => Ok(Answer { metadata: *metadata }),
                Err(error) => return unsent(request, error),
            },
            Verb::Delete(options) => match self.api.delete(resource, key, options).await {
                Ok(Deleted::Marked(revision)) => {
                    Ok(Answer { metadata: Meta { revision, ..Meta::default() } })
                }
                Ok(Deleted::Gone { uid }) => Ok(Answer { metadata: Meta { uid, ..Meta::default() } }),
                Err(error) => Err(error),
            },
        };
        let mut written = written(request, Outcome::Done);
        match answer {
            Ok(Answer { metadata }) => {
                written.revision = metadata.revision;
                if written.key.name.is_empty() {
                    written.key.name = std::sync::Arc::clone(&metadata.name);
                }
                let deleted = match verb {
                    Verb::Delete(_) => metadata.revision.is_none(),
                    // Taking away the last thing that holds an object deletes it; the answer shows its old revision.
                    Verb::Create(_) | Verb::Update(_) | Verb::Patch(_) | Verb::Merge(_) => {
                        metadata.is_ending()
                    }
                };
                let effect = if deleted {
                    Some(Effect::Deleted(resource.clone(), key.clone(), metadata.uid))
                } else {
                    let known = !metadata.revision.is_none();
                    known.then(|| Effect::Wrote(resource.clone(), metadata.revision))
                };
                Done { written, effect, error: None }
            }
            Err(error) => {
                let effect =
                    error.may_have_happened().then(|| Effect::Unknown(resource.clone(), key.clone()));
                Done { effect, ..unsent(request, error) }
            }
        }
    }

    /// An object as it is now. Who may only list finds it so: upstream's role of the quota controller says no more.
    async fn read(&self, resource: &Resource, key: &Key) -> Result<Value, Error> {
        let refused = match self.api.get(resource, key).await {
            Err(error) if error.is_forbidden() => error,
            answer => return answer,
        };
        let fields = format!("metadata.name={}", key.name);
        let selection = Selection { fields, ..Selection::of_namespace(&key.namespace) };
        match self.api.list(resource, &selection, &Page::default()).await {
            Ok(List { items, .. }) => {
                let mut object = items.into_iter().next().ok_or_else(|| not_found(resource, key))?;
                // What stands in a list does not say what it is.
                let fields = object_of(&mut object);
                fields.insert("apiVersion".to_owned(), resource.api_version().into());
                fields.insert("kind".to_owned(), resource.kind.as_ref().into());
                Ok(object)
            }
            Err(_) => Err(refused),
        }
    }

    /// An object as it is now, with a document merged into it.
    async fn merged(&self, resource: &Resource, key: &Key, document: &Value) -> Result<Merged, Error> {
        let mut object = self.read(resource, key).await?;
        for (wanted, is) in [
            (document.uid(), object.uid()),
            (document.meta_str("resourceVersion"), object.meta_str("resourceVersion")),
        ] {
            if !wanted.is_empty() && wanted != is {
                let why = "the object is not the one that was seen";
                let of = GroupResource {
                    group: resource.group.to_string(),
                    resource: resource.plural.to_string(),
                };
                return Err(Status::conflict(&of, &key.name, why).into());
            }
        }
        let before = object.clone();
        json_patch::merge(&mut object, document);
        if object != before {
            return Ok(Merged::Changed(object));
        }
        let metadata = object.get_mut("metadata").map(Value::take).unwrap_or_default();
        let metadata = Meta::deserialize(metadata).unwrap_or_default();
        Ok(Merged::SoAlready(Box::new(metadata)))
    }
}

/// What is to be written for a merge.
enum Merged {
    /// This object.
    Changed(Value),
    /// Nothing: the object that has this metadata is as wanted.
    SoAlready(Box<Meta>),
}

fn not_found(resource: &Resource, key: &Key) -> Error {
    let of = GroupResource { group: resource.group.to_string(), resource: resource.plural.to_string() };
    Status::not_found(&of, &key.name).into()
}

/// A request that failed without having changed anything.
fn unsent(request: &Request, error: Error) -> Done {
    let outcome = judge(request, &error);
    let matters = matches!(outcome, Outcome::Conflict | Outcome::Failed(_));
    Done { written: written(request, outcome), effect: None, error: matters.then_some(error) }
}

/// What an error means for the request that met it.
fn judge(request: &Request, error: &Error) -> Outcome {
    let conflict = match request.verb {
        Verb::Create(_) if request.subresource.is_empty() => error.is_already_exists() || error.is_conflict(),
        // That the object is gone is the strongest form of its not being what the plan thought.
        Verb::Create(_) | Verb::Update(_) | Verb::Patch(_) | Verb::Merge(_) => {
            error.is_conflict() || error.is_not_found()
        }
        Verb::Delete(_) => error.is_conflict(),
    };
    match request.verb {
        Verb::Delete(_) if error.is_not_found() => Outcome::Moot,
        Verb::Create(_) if error.is_namespace_terminating() => Outcome::Moot,
        _ if conflict && request.on_conflict == OnConflict::GoOn => Outcome::ConflictIsFine,
        _ if conflict => Outcome::Conflict,
        _ => Outcome::Failed(chain(error)),
    }
}

fn written(request: &Request, outcome: Outcome) -> Written {
    let mut resource = request.resource.to_string();
    if !request.subresource.is_empty() {
        resource.push('/');
        resource.push_str(&request.subresource);
    }
    let verb = match &request.verb {
        Verb::Create(_) => "create",
        Verb::Update(_) | Verb::Merge(_) => "update",
        Verb::Patch(Patch::Apply { .. }) => "apply",
        Verb::Patch(_) => "patch",
        Verb::Delete(_) => "delete",
    };
    Written { verb: verb.into(), resource, key: request.key.clone(), revision: Revision::default(), outcome }
}

fn skipped(request: &Request) -> Written {
    written(request, Outcome::Skipped)
}

// === impl Execution ===

impl Execution {
    /// Whether the rest of the plan is off.
    fn stopped(&self) -> bool {
        self.conflict.is_some() || self.ended
    }
}
