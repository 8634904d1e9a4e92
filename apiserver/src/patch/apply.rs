//! Server-side apply and field management: who is on record for which field, and what follows from it
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply>, KEP-555).
//!
//! Every write goes through a [`FieldManager`]: [`FieldManager::track`] for creates, updates and patches,
//! [`FieldManager::apply`] for applies. It is called where upstream calls it: on the decoded and defaulted object,
//! before admission.
//!
//! The steps, bottom up: a [`shape`] says what a type looks like; `extract`, `compare`, `merge` and `remove` walk values
//! by it; [`set`] is what they speak of; `owners` settles who has what after a write; [`managed`] is the record in the
//! object.

use std::borrow::Cow;

use api_types::{
    kind::{GroupVersion, GroupVersionKind},
    object::ObjectExt,
    schema::schema,
    status::Status,
};
use jiff::Timestamp;
use serde_json::Value;

pub mod scale;
pub mod set;
pub mod shape;

mod check;
mod compare;
mod element;
mod extract;
mod last_applied;
mod managed;
mod merge;
mod owners;
mod problem;
mod remove;
mod timestamps;

use managed::{Identity, Managed, Operation};
use owners::{Conflict, Owners, Refusal};
use set::Pattern;
use shape::Shape;

pub use managed::validate;
pub use timestamps::restore_times;

/// Who is on record for what existed before the first apply, where nobody was.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The versions of one kind.
pub trait Versions {
    /// What objects look like in a version; `None` if there is no such version (any more): who is on record with it is
    /// forgotten.
    fn shape(&self, api_version: &str) -> Option<Shape<'_>>;

    /// The object in another version; `None` as for [`Versions::shape`].
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value>;

    /// A new object that nobody has written to yet.
    fn unwritten(&self) -> Value;

    /// Whether objects in the store can fail to fit their shape, so that every write must look.
    fn may_misfit(&self) -> bool {
        false
    }
}

/// Converts an object to an `apiVersion`, if there is such a version of it.
pub type Convert<'a> = &'a dyn Fn(&Value, &str) -> Option<Value>;

/// A built-in kind of one version, or of several with a way to convert.
pub struct BuiltIn<'a> {
    /// The kind in the version of the request.
    pub kind: &'a GroupVersionKind,
    /// Converts to another version the schema knows.
    pub convert: Option<Convert<'a>>,
}

/// Which fields a write cannot set, because the server puts them back. Nobody is on record for them.
#[derive(Clone, Copy, Debug)]
pub enum Reset<'a> {
    /// Everything at and below these, such as `status` in writes of the main resource.
    Fields(&'a [&'a Pattern]),
    /// Everything but what is at or below these, such as `spec.containers.*.resources` in a resize.
    AllBut(&'a [&'a Pattern]),
}

/// Keeps the record of who wrote what, for one request.
#[derive(Clone, Copy)]
pub struct FieldManager<'a> {
    /// The kind in the version of the request.
    pub kind: &'a GroupVersionKind,
    /// Its other versions.
    pub versions: &'a dyn Versions,
    /// Empty for the main resource.
    pub subresource: &'a str,
    /// What this write cannot set.
    pub reset: Reset<'a>,
    /// The time of the request.
    pub now: Timestamp,
}

/// Fields of others that an apply would change.
struct Conflicts(Vec<Conflict>);

enum Failure {
    Conflicts(Conflicts),
    Status(Box<Status>),
}

// === impl BuiltIn ===

impl Versions for BuiltIn<'_> {
    fn shape(&self, api_version: &str) -> Option<Shape<'_>> {
        let version = GroupVersion::parse(api_version)?;
        schema().type_of(&version.group, &version.version, &self.kind.kind).map(shape::builtin::shape)
    }

    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        self.convert.and_then(|convert| convert(object, api_version))
    }

    fn unwritten(&self) -> Value {
        let of = schema().type_of(&self.kind.group, &self.kind.version, &self.kind.kind);
        of.map(shape::builtin::unwritten).unwrap_or_default()
    }
}

// === impl Failure ===

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflicts(conflicts) => conflicts.status(),
            Failure::Status(status) => *status,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflicts(conflicts) => Self::Conflicts(Conflicts(conflicts)),
            Refusal::Broken(why) => Self::Status(Box::new(broken(why))),
        }
    }
}

/// What upstream has no kind of failure for: a plain 500.
fn broken(why: impl Into<String>) -> Status {
    Status::failure(500, "", why)
}

/// A configuration laid over an object without a record of it, as policies do. What only goes as one piece must not be
/// in it, since the rest of it would be lost unawares.
///
/// # Errors
/// Why it cannot be.
pub fn lay_over(live: &Value, applied: &Value, kind: &GroupVersionKind) -> Result<Value, String> {
    let versions = BuiltIn { kind, convert: None };
    let known: Option<Shape<'_>> = versions.shape(&kind.api_version());
    // Of custom kinds nobody declared, values tell what they are.
    let shape = match known {
        Some(shape) => shape,
        None => shape::Types::deduced(),
    };
    check::check(applied, shape, false)
        .map_err(|why| format!("failed to convert patch object to typed object: {why}"))?;
    let mut pieces = Vec::new();
    find_pieces(applied, shape, String::new(), &mut pieces);
    if !pieces.is_empty() {
        let pieces = pieces.join(", ");
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {pieces}"
        ));
    }
    merge::merge(live, applied, shape).map_err(|why| format!("failed to merge patch: {why}"))
}

/// The places where a value has something that only goes as one piece.
fn find_pieces(value: &Value, shape: Shape<'_>, path: String, pieces: &mut Vec<String>) {
    match (shape.of(Some(value)), value) {
        (shape::Form::Map(map), Value::Object(fields)) => {
            if map.atomic {
                pieces.push(path.clone());
            }
            for (name, value) in fields {
                if let Some(shape) = shape.field(map, name).filter(|_| map.declares(name)) {
                    find_pieces(value, shape, format!("{path}.{name}"), pieces);
                }
            }
        }
        (shape::Form::List(list), Value::Array(items)) => {
            if matches!(list.items, shape::Items::Atomic) {
                pieces.push(path.clone());
            }
            for (index, item) in items.iter().enumerate() {
                find_pieces(item, shape.item(list), format!("{path}[{index}]"), pieces);
            }
        }
        _ => {}
    }
}

// === impl FieldManager ===

impl FieldManager<'_> {
    /// Puts on record what `manager` changes with a create, update or patch: `new` is the object as it is to be, `old`
    /// what is there.
    ///
    /// `new.metadata.managedFields` is what the client sent, and is replaced. Never fails: where the record cannot be
    /// kept the object goes without one, as upstream's does.
    pub fn track(&self, old: Option<&Value>, new: &mut Value, manager: &str) {
        let sent = new.meta_mut().remove("managedFields");
        let stored = old.and_then(|old| old.meta()).and_then(|meta| meta.get("managedFields"));
        let managed = self.record_to_go_by(sent, stored);
        // An object without a record gets one by an apply only.
        if managed.is_empty() && old.is_some_and(|old| !old.uid().is_empty()) {
            return;
        }
        let old = old.map_or_else(|| Cow::Owned(self.versions.unwritten()), Cow::Borrowed);
        if let Some(list) = self.update(&old, new, managed, manager).ok().and_then(Managed::encode) {
            new.set_meta("managedFields", list);
        }
    }

    /// Lays an applied configuration over the object that is there (`None`: there is none), and puts `manager` on record
    /// for it. Fields it applied before and does not now go, unless others have them too.
    ///
    /// # Errors
    /// 400 for another kind of object or one with `managedFields`, 409 for fields of others unless `force` is set, 500
    /// for a configuration that does not fit the type.
    pub fn apply(
        &self,
        live: Option<&Value>,
        applied: &Value,
        manager: &str,
        force: bool,
    ) -> Result<Value, Status> {
        let kind = kind_of(applied);
        if kind != *self.kind {
            let shown = print_kind(&kind);
            return Err(Status::bad_request(format!("invalid object type: {shown}")));
        }
        let mut bare = live.cloned();
        let stored = bare.as_mut().and_then(|live| live.meta_mut().remove("managedFields"));
        let managed =
            Managed::sent(stored).map_err(|why| broken(format!("failed to decode managed fields: {why}")))?;

        let mut outcome = self.apply_over(bare.as_ref(), applied, managed.clone(), manager, force);
        // What kubectl applied from the client's side it may take over from itself.
        if let (Err(Failure::Conflicts(Conflicts(conflicts))), Some(live)) = (&mut outcome, &bare)
            && manager == last_applied::MANAGER
            && let Some(own) = last_applied::own_fields(live, self.kind, self.versions)
        {
            conflicts.retain(|conflict| !own.has(&conflict.path));
            if conflicts.is_empty() {
                outcome = self.apply_over(Some(live), applied, managed, manager, true);
            }
        }
        let (mut object, managed) = outcome?;
        if manager == last_applied::MANAGER {
            last_applied::bring_up_to_date(&mut object, applied);
        }
        object.set_meta("managedFields", managed.encode().unwrap_or_default());
        Ok(object)
    }

    fn owners(&self) -> Owners<'_> {
        Owners { versions: self.versions, api_version: self.kind.api_version(), reset: self.reset }
    }

    /// The client's record if it sent one that can be read, else the stored one. Through subresources it cannot be set.
    fn record_to_go_by(&self, sent: Option<Value>, stored: Option<&Value>) -> Managed {
        let by_store = || Managed::stored(stored.cloned()).unwrap_or_default();
        match sent {
            Some(list) if self.subresource.is_empty() => {
                if managed::is_reset(&list) {
                    Managed::default()
                } else if Some(&list) == stored {
                    Managed::stored(Some(list)).unwrap_or_default()
                } else {
                    match Managed::sent(Some(list)) {
                        Ok(managed) if !managed.is_empty() => managed,
                        _ => by_store(),
                    }
                }
            }
            _ => by_store(),
        }
    }

    fn update(
        &self,
        old: &Value,
        new: &Value,
        mut managed: Managed,
        manager: &str,
    ) -> Result<Managed, String> {
        let owners = self.owners();
        let identity = Identity::of_writer(manager, Operation::Update, self.subresource, &owners.api_version);
        owners.update(old, new, &mut managed, identity, self.now)?;
        managed.cap();
        Ok(managed)
    }

    /// The object without its record, and the record.
    fn apply_over(
        &self,
        live: Option<&Value>,
        applied: &Value,
        mut managed: Managed,
        manager: &str,
        force: bool,
    ) -> Result<(Value, Managed), Failure> {
        if let (Some(live), true) = (live, managed.is_empty()) {
            let nothing = self.versions.unwritten();
            managed = self
                .update(&nothing, live, managed, BEFORE_FIRST_APPLY)
                .map_err(|why| broken(format!("failed to create manager for existing fields: {why}")))?;
        }
        let owners = self.owners();
        if applied.meta().and_then(|meta| meta.get("managedFields")).is_some_and(Value::is_array) {
            return Err(Status::bad_request("metadata.managedFields must be nil").into());
        }
        let shape = self.versions.shape(&owners.api_version).ok_or_else(|| {
            let kind = print_kind(self.kind);
            let object = describe(applied);
            broken(format!(
                "failed to create typed patch object ({object}): no corresponding type for {kind}"
            ))
        })?;
        check::check(applied, shape, false).map_err(|problems| {
            broken(format!("failed to create typed patch object ({}): {problems}", describe(applied)))
        })?;
        if let (Some(live), true) = (live, self.versions.may_misfit()) {
            check::check(live, shape, true).map_err(|problems| {
                broken(format!("failed to create typed live object ({}): {problems}", describe(live)))
            })?;
        }
        let identity = Identity::of_writer(manager, Operation::Apply, self.subresource, &owners.api_version);
        let object = owners.apply(live, applied, shape, &mut managed, identity, force, self.now)?;
        Ok((object, managed))
    }
}

// === impl Conflicts ===

impl Conflicts {
    fn status(&self) -> Status {
        let causes = self.0.iter().map(Conflict::cause).collect();
        let message = match self.0.as_slice() {
            [only] => {
                format!("Apply failed with 1 conflict: conflict with {}: {}", only.with, only.path_text())
            }
            many => {
                let mut text = format!("Apply failed with {} conflicts: ", many.len());
                let mut with = None;
                for (index, conflict) in many.iter().enumerate() {
                    if with != Some(&conflict.with) {
                        with = Some(&conflict.with);
                        let line = if index == 0 { "" } else { "\n" };
                        text.push_str(&format!("{line}conflicts with {}:", conflict.with));
                    }
                    text.push_str(&format!("\n- {}", conflict.path_text()));
                }
                text
            }
        };
        Status::apply_conflict(message, causes)
    }
}

/// 500 for a merged object that its type cannot hold after all, such as a number out of range.
pub fn misfit(applied: &Value, why: &str) -> Status {
    let kind = kind_of(applied);
    let (object, version) = (describe(applied), kind.api_version());
    broken(format!(
        "failed to convert new object ({object}) to proper version: unable to convert unstructured object to {version}, Kind={}: {why}",
        kind.kind
    ))
}

fn kind_of(object: &Value) -> GroupVersionKind {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    GroupVersion::parse(text("apiVersion")).map_or_else(GroupVersionKind::default, |version| {
        GroupVersionKind { group: version.group, version: version.version, kind: text("kind").to_owned() }
    })
}

/// As these messages print a kind, slash and all.
fn print_kind(kind: &GroupVersionKind) -> String {
    format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind)
}

fn describe(object: &Value) -> String {
    format!("{}/{}; {}", object.namespace(), object.name(), print_kind(&kind_of(object)))
}

#[cfg(test)]
mod tests;
