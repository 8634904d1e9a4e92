//! What a reconcile decided: a value that can be compared, printed and carried out.
//!
//! Invariant: no I/O. A plan holds everything its execution needs: no choice is left.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

pub use crate::api::{DeleteOptions, Patch, Preconditions, Propagation};
use crate::{
    Key, Meta, Resource,
    events::{Note, ObjectRef},
};

/// What to do, when to look again, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In order. A write that fails ends the plan, unless it says otherwise.
    pub writes: Vec<Write>,
    /// Look again after so long even if nothing changes.
    pub look_again: Option<Duration>,
    /// One sentence for people.
    pub why: Reason,
}

/// One sentence that says why.
#[derive(Clone, PartialEq, Eq)]
pub struct Reason(Cow<'static, str>);

/// A step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// One request.
    Request(Box<Request>),
    /// Several requests whose order does not matter.
    Batch {
        /// The requests.
        requests: Vec<Request>,
        /// Send 1, then 2, 4, 8 and so on, each lot only after the one before has succeeded: so that a thousand requests
        /// that would all fail for one reason, such as a quota, are not sent.
        slow_start: bool,
    },
    /// An Event for people. Best effort: it is not waited for.
    Event {
        /// The object it is about.
        about: Box<ObjectRef>,
        /// What it says.
        note: Note,
    },
}

/// A write of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What to do.
    pub verb: Verb,
    /// The resource.
    pub resource: Resource,
    /// The object. For a create with `generateName` the name is empty.
    pub key: Key,
    /// The subresource, such as `status`; the object itself if empty.
    pub subresource: Cow<'static, str>,
    /// What a conflict means.
    pub on_conflict: OnConflict,
    /// What any other failure means.
    pub on_failure: OnFailure,
    /// Events to record about the outcome.
    pub report: Option<Box<Report>>,
}

/// What to do with an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// Make it.
    Create(Arc<Value>),
    /// Replace it. Its resourceVersion, if it has one, is the precondition.
    Update(Arc<Value>),
    /// Change it. A uid or resourceVersion in the patch is a precondition.
    Patch(Patch),
    /// Read it as it is now, merge this into it (RFC 7396) and replace it, unless it is so already. A uid or resourceVersion in
    /// the document is a precondition.
    ///
    /// What a merge patch does, for those who may replace an object but not patch it: upstream's roles say so of most statuses.
    Merge(Arc<Value>),
    /// Delete it. That it is gone already is fine.
    Delete(DeleteOptions),
}

/// What a conflict means: `Conflict` for any write, `AlreadyExists` for a create, `NotFound` for an update or patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Somebody was faster: end the plan and look again at once.
    #[default]
    LookAgain,
    /// What was wanted is there, or no longer wanted: go on.
    GoOn,
}

/// What a failure means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// End the plan, look again with a growing delay.
    #[default]
    Stop,
    /// Do the rest of the plan, then look again with a growing delay.
    GoOn,
    /// The write is of no consequence: do the rest, and count the plan as done.
    Ignore,
}

/// Events about a write's outcome. In their messages `{name}` stands for the name of the object written and `{error}` for
/// the failure.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The object the Events are about.
    pub about: ObjectRef,
    /// When the write succeeded.
    pub done: Option<Note>,
    /// When the write failed.
    pub failed: Option<Note>,
}

// === impl Reason ===

impl From<&'static str> for Reason {
    fn from(why: &'static str) -> Self {
        Self(Cow::Borrowed(why))
    }
}

impl From<String> for Reason {
    fn from(why: String) -> Self {
        Self(Cow::Owned(why))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

// === impl Plan ===

impl Plan {
    /// To do nothing, and why; with [`Plan::then`] something.
    pub fn because(why: impl Into<Reason>) -> Self {
        Self { writes: Vec::new(), look_again: None, why: why.into() }
    }

    /// And then this.
    #[must_use]
    pub fn then(mut self, write: impl Into<Write>) -> Self {
        self.writes.push(write.into());
        self
    }

    /// And look again after `delay`, or sooner if that is planned already.
    #[must_use]
    pub fn look_again(mut self, delay: Duration) -> Self {
        self.look_again = Some(self.look_again.map_or(delay, |planned| planned.min(delay)));
        self
    }

    /// And look again at a time, at once if it is past.
    #[must_use]
    pub fn look_again_at(self, at: Timestamp, now: Timestamp) -> Self {
        self.look_again(Duration::try_from(at.duration_since(now)).unwrap_or_default())
    }
}

// === impl Write ===

impl From<Request> for Write {
    fn from(request: Request) -> Self {
        Self::Request(Box::new(request))
    }
}

impl Write {
    /// An Event.
    pub fn event(about: ObjectRef, note: Note) -> Self {
        Self::Event { about: Box::new(about), note }
    }

    /// Requests in any order, in slow start.
    pub fn slow_start(requests: Vec<Request>) -> Self {
        Self::Batch { requests, slow_start: true }
    }

    /// Requests in any order, all at once (within the harness' bound).
    pub fn all(requests: Vec<Request>) -> Self {
        Self::Batch { requests, slow_start: false }
    }
}

// === impl Request ===

impl Request {
    fn new(verb: Verb, resource: Resource, key: Key) -> Self {
        Self {
            verb,
            resource,
            key,
            subresource: Cow::Borrowed(""),
            on_conflict: OnConflict::default(),
            on_failure: OnFailure::default(),
            report: None,
        }
    }

    /// Make an object in a namespace (empty for cluster-scoped kinds). `apiVersion` and `kind` are filled in if absent.
    pub fn create(resource: Resource, namespace: &str, object: impl Into<Arc<Value>>) -> Self {
        use api_types::object::ObjectExt;

        let mut object = object.into();
        if object.get("kind").is_none() || object.get("apiVersion").is_none() {
            let fields = api_types::object::object_of(Arc::make_mut(&mut object));
            fields.entry("apiVersion").or_insert_with(|| resource.api_version().into());
            fields.entry("kind").or_insert_with(|| resource.kind.as_ref().into());
        }
        let key = Key::new(namespace, object.name());
        Self::new(Verb::Create(object), resource, key)
    }

    /// Replace an object; its resourceVersion, if it has one, is the precondition.
    pub fn update(resource: Resource, object: impl Into<Arc<Value>>) -> Self {
        use api_types::object::ObjectExt;

        let object = object.into();
        let key = Key::new(object.namespace(), object.name());
        Self::new(Verb::Update(object), resource, key)
    }

    /// Change an object.
    pub fn patch(resource: Resource, key: Key, patch: Patch) -> Self {
        Self::new(Verb::Patch(patch), resource, key)
    }

    /// Read an object, merge a document into it, and replace it.
    pub fn merge(resource: Resource, key: Key, document: Value) -> Self {
        Self::new(Verb::Merge(Arc::new(document)), resource, key)
    }

    /// Merge `{"status": status}` into an object and replace its status.
    pub fn status(resource: Resource, key: Key, status: Value) -> Self {
        Self::merge(resource, key, serde_json::json!({ "status": status })).on("status")
    }

    /// Delete the object that has this metadata, and no other of its name.
    pub fn delete(resource: Resource, meta: &Meta) -> Self {
        let options =
            DeleteOptions { preconditions: Preconditions::uid(&meta.uid), ..DeleteOptions::default() };
        Self::delete_with(resource, meta.key(), options)
    }

    /// Delete an object with options.
    pub fn delete_with(resource: Resource, key: Key, options: DeleteOptions) -> Self {
        Self::new(Verb::Delete(options), resource, key)
    }

    /// On a subresource.
    #[must_use]
    pub fn on(mut self, subresource: impl Into<Cow<'static, str>>) -> Self {
        self.subresource = subresource.into();
        self
    }

    /// Only if the object still has the uid and revision of this metadata: adds them to a patch, a merge or a delete.
    ///
    /// An update says so itself, by its resourceVersion; a create has nothing to compare with.
    #[must_use]
    pub fn if_unchanged(self, meta: &Meta) -> Self {
        self.precondition(&meta.uid, Some(meta.revision.to_string()))
    }

    /// Only if the object still is the one with this uid: adds it to a patch, a merge or a delete.
    #[must_use]
    pub fn if_same(self, uid: &str) -> Self {
        self.precondition(uid, None)
    }

    fn precondition(mut self, uid: &str, resource_version: Option<String>) -> Self {
        use api_types::object::ObjectExt;

        match &mut self.verb {
            Verb::Patch(Patch::Merge(object) | Patch::Strategic(object) | Patch::Apply { object, .. })
            | Verb::Merge(object) => {
                let object = Arc::make_mut(object);
                object.set_meta("uid", uid);
                if let Some(resource_version) = resource_version {
                    object.set_meta("resourceVersion", resource_version);
                }
            }
            Verb::Patch(Patch::Json(operations)) => {
                let test =
                    |path: &str, value: &str| serde_json::json!({"op": "test", "path": path, "value": value});
                if let Value::Array(operations) = Arc::make_mut(operations) {
                    if let Some(resource_version) = &resource_version {
                        operations.insert(0, test("/metadata/resourceVersion", resource_version));
                    }
                    operations.insert(0, test("/metadata/uid", uid));
                }
            }
            Verb::Delete(options) => {
                options.preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version };
            }
            Verb::Create(_) | Verb::Update(_) => {}
        }
        self
    }

    /// A conflict is fine: go on.
    #[must_use]
    pub fn conflict_is_fine(mut self) -> Self {
        self.on_conflict = OnConflict::GoOn;
        self
    }

    /// What a failure means.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// With Events about the outcome.
    #[must_use]
    pub fn reporting(mut self, report: Report) -> Self {
        self.report = Some(Box::new(report));
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource;

    #[test]
    fn a_create_says_its_kind() {
        let request = Request::create(resource::REPLICA_SETS, "ns", json!({"metadata": {"name": "a"}}));
        assert_eq!(request.key, Key::new("ns", "a"));
        assert_eq!(
            request.verb,
            Verb::Create(Arc::new(
                json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "a"}})
            ))
        );
    }

    #[test]
    fn preconditions_go_where_the_verb_wants_them() {
        let meta = Meta { uid: "u".into(), revision: crate::Revision(7), ..Meta::default() };
        let key = Key::new("ns", "a");
        let patch =
            Request::patch(resource::PODS, key.clone(), Patch::merge(json!({"spec": 1}))).if_unchanged(&meta);
        assert_eq!(
            patch.verb,
            Verb::Patch(Patch::merge(json!({"spec": 1, "metadata": {"uid": "u", "resourceVersion": "7"}})))
        );
        let json_patch = Request::patch(resource::PODS, key, Patch::Json(Arc::new(json!([])))).if_same("u");
        assert_eq!(
            json_patch.verb,
            Verb::Patch(Patch::Json(Arc::new(
                json!([{"op": "test", "path": "/metadata/uid", "value": "u"}])
            )))
        );
        let delete = Request::delete(resource::PODS, &meta).if_unchanged(&meta);
        assert!(matches!(delete.verb, Verb::Delete(options)
            if options.preconditions.resource_version.as_deref() == Some("7")));
    }

    #[test]
    fn the_sooner_look_counts() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let plan = Plan::because("waiting")
            .look_again(Duration::from_secs(60))
            .look_again_at("2026-01-01T00:00:10Z".parse().unwrap(), now);
        assert_eq!(plan.look_again, Some(Duration::from_secs(10)));
        let late = Plan::because("late").look_again_at("2025-01-01T00:00:00Z".parse().unwrap(), now);
        assert_eq!(late.look_again, Some(Duration::ZERO));
    }
}
