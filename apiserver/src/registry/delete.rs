//! An object that goes: at once, gracefully, or when its finalizers and dependents allow.

use api_types::{
    field::{Fault, Path},
    kind::GroupVersionKind,
    object::ObjectExt,
    status::{Details, Status},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{ATTEMPTS, Call, Current, Registry, store_failure, strategy::Dependents, time};
use crate::{
    admission::{Attributes, Operation},
    custom::{
        condition::{Change, condition},
        controller,
        definition::CLEANUP,
    },
};

/// The finalizer that keeps dependents when their owner goes.
pub const ORPHAN: &str = "orphan";
/// The finalizer that keeps an owner until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";

/// How an object shall go: upstream's `DeleteOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Seconds the object has; `None` leaves it to the kind.
    pub grace_period: Option<i64>,
    /// What becomes of dependents.
    pub propagation: Option<Propagation>,
    /// The old spelling of that.
    pub orphan_dependents: Option<bool>,
    /// Only the object with this uid.
    pub uid: Option<String>,
    /// Only the object at this resource version.
    pub resource_version: Option<String>,
    /// Whether the server itself cleans up: nobody is asked.
    pub unasked: bool,
}

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They stay.
    Orphan,
    /// The garbage collector deletes them afterwards.
    Background,
    /// The garbage collector deletes them first.
    Foreground,
}

/// What a delete led to.
#[derive(Debug)]
pub struct Deleted {
    /// The object, or a Status that names it.
    pub answer: Value,
    /// Whether the answer is a Status.
    pub is_status: bool,
    /// Whether it is gone already.
    pub gone: bool,
}

/// What a look at the object says is to do.
enum Step {
    /// Nothing: it is on its way and the caller asked for nothing sooner.
    Pending,
    /// Mark it and wait; when `then_remove`, nothing is left to wait for.
    Mark { object: Value, then_remove: bool },
    /// Remove it.
    Remove,
}

impl Registry {
    /// Deletes an object.
    ///
    /// # Errors
    /// 404, 409 for preconditions that do not hold, whatever admission has against it.
    pub async fn delete(&self, call: &Call, options: &Options) -> Result<Deleted, Status> {
        self.warn_of_delete(call, options);
        let mut attributes = None;
        for _ in 0..ATTEMPTS {
            let current = self.current(call).await?;
            check(call, options, &current)?;
            let step = self.step(call, options, &current.object);
            if attributes.is_none() && !options.unasked && !matches!(step, Step::Pending) {
                let mut asked =
                    Attributes::of(call, Operation::Delete, Value::Null, current.object.clone().into());
                let admitted = self.admission.admit(&mut asked).await;
                admitted?;
                self.admission.validate(&asked).await?;
                attributes = Some(asked);
            }
            let done = match step {
                Step::Pending => Some(self.answer(call, &current.object, false)),
                Step::Mark { object, then_remove } => self.mark(call, current, object, then_remove).await?,
                Step::Remove => self.remove(call, current).await?,
            };
            if let Some(deleted) = done {
                if let Some(attributes) = attributes {
                    self.admission.settle(&attributes, true).await;
                }
                return Ok(deleted);
            }
        }
        Err(Status::modified(&call.served.resource.resource(), &call.name))
    }

    fn step(&self, call: &Call, options: &Options, object: &Value) -> Step {
        let kind = call.served.rules().as_ref();
        if call.is_namespace() {
            return namespace_step(call, options, object);
        }
        if call.is_definition() && !object.is_terminating() {
            return definition_step(call, object);
        }
        let mut marked = object.clone();
        let asked = options.grace_period.map(|seconds| if seconds < 0 { 1 } else { seconds });
        let mut graceful = None;
        if let Some(granted) = kind.grace_period(object, asked) {
            if object.is_terminating() {
                let left =
                    meta_number(object, "deletionGracePeriodSeconds").map(|it| if it < 0 { 1 } else { it });
                match (left, asked) {
                    (None | Some(0), _) => {}
                    (Some(_), None) => return Step::Pending,
                    (Some(left), Some(asked)) if asked >= left => return Step::Pending,
                    (Some(left), Some(asked)) => {
                        let (when, seconds) = shorten(object, left, asked, call.now);
                        marked.set_meta("deletionTimestamp", time(when));
                        marked.set_meta("deletionGracePeriodSeconds", seconds);
                        graceful = Some(seconds);
                    }
                }
            } else {
                mark(&mut marked, later(call.now, granted), granted);
                graceful = Some(granted);
            }
        }
        let finalizers = finalizers(kind.dependents(), options, object);
        let changed = finalizers != object.finalizers();
        let waits = !finalizers.is_empty();
        if changed {
            let finalizers = if waits { json!(finalizers) } else { Value::Null };
            marked.set_meta("finalizers", finalizers);
        }
        match graceful {
            Some(seconds) => Step::Mark { object: marked, then_remove: !waits && seconds == 0 },
            None if waits => {
                if !marked.is_terminating() {
                    mark(&mut marked, call.now, 0);
                } else if meta_number(&marked, "deletionGracePeriodSeconds") != Some(0) {
                    marked.set_meta("deletionGracePeriodSeconds", 0);
                }
                Step::Mark { object: marked, then_remove: false }
            }
            None => Step::Remove,
        }
    }

    async fn mark(
        &self,
        call: &Call,
        current: Current,
        mut object: Value,
        then_remove: bool,
    ) -> Result<Option<Deleted>, Status> {
        if call.dry_run || object == current.object {
            return if then_remove && !call.dry_run {
                self.remove(call, current).await
            } else {
                Ok(Some(self.answer(call, &object, then_remove)))
            };
        }
        match self.put(call, &mut object, current.revision).await? {
            None => Ok(None),
            Some(revision) if then_remove => self.remove(call, Current { object, revision }).await,
            Some(_) => Ok(Some(self.answer(call, &object, false))),
        }
    }

    async fn remove(&self, call: &Call, current: Current) -> Result<Option<Deleted>, Status> {
        let mut object = current.object;
        if !call.dry_run {
            match self.backend.delete(&call.key(&call.name), current.revision).await {
                Ok(revision) => {
                    object.set_meta("resourceVersion", revision.to_string());
                    self.journal.note(call, "delete", None, &object, revision);
                }
                Err(store::Error::Conflict(_)) => return Ok(None),
                Err(store::Error::NotFound(_)) => return Err(call.not_found()),
                Err(error) => return Err(store_failure(&error)),
            }
            self.after_delete(call, &object).await;
        }
        Ok(Some(self.answer(call, &object, true)))
    }

    /// The object where the kind answers with it or where it is not gone, a Status that names it otherwise.
    fn answer(&self, call: &Call, object: &Value, gone: bool) -> Deleted {
        let kind = call.served.rules().as_ref();
        let is_status = gone && !kind.returns_deleted();
        let answer = if is_status {
            let resource = call.served.resource.resource();
            Status::success(Some(Details {
                name: object.name().to_owned(),
                group: resource.group,
                kind: resource.resource,
                uid: object.uid().to_owned(),
                ..Details::default()
            }))
            .to_value()
        } else {
            call.served.serve(object.clone())
        };
        Deleted { answer, is_status, gone }
    }

    /// Tells the caller what their choice of options leads to, whether there is anything to delete or not.
    pub fn warn_of_delete(&self, call: &Call, options: &Options) {
        let kind = call.served.rules().as_ref();
        if kind.names().kind == "Job" && options.propagation.is_none() && options.orphan_dependents.is_none()
        {
            call.warnings.add(
                "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
            );
        }
    }
}

/// Namespaces go in two steps of their own: they become Terminating, and a controller empties them and takes the
/// finalizers out of the spec.
fn namespace_step(call: &Call, options: &Options, object: &Value) -> Step {
    let spec_waits = object
        .pointer("/spec/finalizers")
        .and_then(Value::as_array)
        .is_some_and(|finalizers| !finalizers.is_empty());
    if object.is_terminating() {
        return if spec_waits || !object.finalizers().is_empty() { Step::Pending } else { Step::Remove };
    }
    let mut marked = object.clone();
    marked.set_meta("deletionTimestamp", time(call.now));
    if let Some(status) = marked.as_object_mut().map(|map| api_types::object::object_at(map, "status")) {
        status.insert("phase".to_owned(), json!("Terminating"));
    }
    let finalizers = finalizers(Dependents::Collect, options, object);
    if finalizers != object.finalizers() {
        marked.set_meta("finalizers", if finalizers.is_empty() { Value::Null } else { json!(finalizers) });
    }
    Step::Mark { object: marked, then_remove: false }
}

/// A definition that goes takes its objects with it: it waits for them, and says so.
fn definition_step(call: &Call, object: &Value) -> Step {
    let mut marked = object.clone();
    marked.set_meta("deletionTimestamp", time(call.now));
    let mut finalizers = object.finalizers();
    if !finalizers.contains(&CLEANUP) {
        finalizers.push(CLEANUP);
    }
    marked.set_meta("finalizers", json!(finalizers));
    let pending = condition(
        "Terminating",
        "True",
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    );
    controller::apply(&mut marked, &Change { set: vec![pending], ..Change::default() }, call.now);
    Step::Mark { object: marked, then_remove: false }
}

/// Finds that the object is the one the caller means.
///
/// # Errors
/// 409
pub fn check(call: &Call, options: &Options, current: &Current) -> Result<(), Status> {
    // The resource of this conflict is the kind, as upstream has it.
    let kind = call.served.rules().kind();
    let resource = api_types::kind::GroupResource::new(&kind.group, &kind.kind);
    let object = &current.object;
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != object.uid()) {
        return Err(Status::conflict(
            &resource,
            &call.name,
            format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                object.uid()
            ),
        ));
    }
    if let Some(version) = options.resource_version.as_deref().filter(|it| *it != object.resource_version()) {
        return Err(Status::conflict(
            &resource,
            &call.name,
            format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
                object.resource_version()
            ),
        ));
    }
    Ok(())
}

/// The finalizers after the caller's wish about dependents; other finalizers stay as they are.
fn finalizers<'a>(rule: Dependents, options: &Options, object: &'a Value) -> Vec<&'a str> {
    let present = object.finalizers();
    let orphan = match (rule, options.orphan_dependents, options.propagation) {
        (Dependents::Unsupported, _, _) => false,
        (_, Some(orphan), _) => orphan,
        (_, None, Some(propagation)) => propagation == Propagation::Orphan,
        (_, None, None) => present
            .iter()
            .find_map(|&finalizer| match finalizer {
                ORPHAN => Some(true),
                FOREGROUND => Some(false),
                _ => None,
            })
            .unwrap_or(rule == Dependents::Orphan),
    };
    let foreground = match (rule, options.orphan_dependents, options.propagation) {
        (Dependents::Unsupported, _, _) | (_, Some(_), _) => false,
        (_, None, Some(propagation)) => propagation == Propagation::Foreground,
        (_, None, None) => present
            .iter()
            .find_map(|&finalizer| match finalizer {
                FOREGROUND => Some(true),
                ORPHAN => Some(false),
                _ => None,
            })
            .unwrap_or_default(),
    };
    let mut wanted: Vec<&str> =
        present.iter().copied().filter(|it| *it != ORPHAN && *it != FOREGROUND).collect();
    if orphan {
        wanted.push(ORPHAN);
    }
    if foreground {
        wanted.push(FOREGROUND);
    }
    let same = wanted.len() == present.len() && wanted.iter().all(|finalizer| present.contains(finalizer));
    if same { present } else { wanted }
}

/// A first mark: the time it goes, and a generation more where generations are counted.
fn mark(object: &mut Value, when: Timestamp, seconds: i64) {
    object.set_meta("deletionTimestamp", time(when));
    object.set_meta("deletionGracePeriodSeconds", seconds);
    if object.generation() > 0 {
        object.set_meta("generation", object.generation() + 1);
    }
}

/// A shorter grace period, counted from when the deletion began; never in the past, and graceful to the end.
fn shorten(object: &Value, left: i64, asked: i64, now: Timestamp) -> (Timestamp, i64) {
    let end = object.meta_str("deletionTimestamp").parse().unwrap_or(now);
    let when = later(end, asked.saturating_sub(left));
    if when >= now { (when, asked) } else { (now, if asked == 0 { 0 } else { 1 }) }
}

fn later(when: Timestamp, seconds: i64) -> Timestamp {
    when.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(when)
}

fn meta_number(object: &Value, field: &str) -> Option<i64> {
    object.meta()?.get(field)?.as_i64()
}

/// Reads `DeleteOptions` from a decoded body or from query parameters put into one object.
///
/// # Errors
/// 422 for values that make no sense.
pub fn options(value: &Value) -> Result<Options, Status> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let mut faults = Vec::new();
    let orphan_dependents = value.get("orphanDependents").and_then(Value::as_bool);
    if orphan_dependents.is_some() && text("propagationPolicy").is_some() {
        faults.push(Fault::invalid(
            &Path::new("propagationPolicy"),
            text("propagationPolicy").unwrap_or_default(),
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    let propagation = match text("propagationPolicy") {
        None => None,
        Some("Orphan") => Some(Propagation::Orphan),
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some(other) => {
            faults.push(Fault::not_supported(
                &Path::new("propagationPolicy"),
                other,
                &["Foreground", "Background", "Orphan", "nil"],
            ));
            None
        }
    };
    faults.extend(dry_run_faults(value));
    if !faults.is_empty() {
        return Err(Status::invalid(
            &GroupVersionKind::new("meta.k8s.io", "v1", "DeleteOptions"),
            "",
            &faults,
        ));
    }
    let precondition = |field: &str| {
        value.get("preconditions").and_then(|it| it.get(field)).and_then(Value::as_str).map(str::to_owned)
    };
    Ok(Options {
        grace_period: value.get("gracePeriodSeconds").and_then(Value::as_i64),
        propagation,
        orphan_dependents,
        uid: precondition("uid"),
        resource_version: precondition("resourceVersion"),
        unasked: false,
    })
}

/// What is wrong with the `dryRun` of options.
pub fn dry_run_faults(options: &Value) -> Vec<Fault> {
    let values: Vec<&str> = options
        .get("dryRun")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let wrong = !values.is_empty() && values.iter().any(|&value| value != "All");
    if wrong {
        let value = values.iter().map(|&it| Value::from(it)).collect::<Vec<_>>();
        return vec![Fault::not_supported(
            &Path::new("dryRun"),
            api_types::field::BadValue::Json(Value::Array(value)),
            &["All"],
        )];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_wish_about_dependents_becomes_a_finalizer() {
        let object = |finalizers: &[&str]| json!({"metadata": {"finalizers": finalizers}});
        let wish = |propagation| Options { propagation: Some(propagation), ..Options::default() };
        for (rule, options, present, expected) in [
            (Dependents::Collect, Options::default(), vec![], vec![]),
            (Dependents::Orphan, Options::default(), vec![], vec![ORPHAN]),
            (Dependents::Orphan, wish(Propagation::Background), vec![], vec![]),
            (Dependents::Collect, wish(Propagation::Foreground), vec!["a"], vec!["a", FOREGROUND]),
            (Dependents::Collect, wish(Propagation::Orphan), vec![FOREGROUND], vec![ORPHAN]),
            (Dependents::Collect, Options::default(), vec![FOREGROUND, "a"], vec![FOREGROUND, "a"]),
            (Dependents::Unsupported, wish(Propagation::Orphan), vec!["a"], vec!["a"]),
            (
                Dependents::Collect,
                Options { orphan_dependents: Some(true), ..Options::default() },
                vec![],
                vec![ORPHAN],
            ),
        ] {
            assert_eq!(
                finalizers(rule, &options, &object(&present)),
                expected,
                "{rule:?} {options:?} {present:?}"
            );
        }
    }

    #[test]
    fn a_grace_period_only_shrinks_and_never_ends_in_the_past() {
        let now: Timestamp = "2026-01-01T00:00:20Z".parse().unwrap();
        let object = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:30Z"}});
        let check = |asked| {
            let (when, seconds) = shorten(&object, 30, asked, now);
            (time(when), seconds)
        };
        assert_eq!(check(25), ("2026-01-01T00:00:25Z".to_owned(), 25));
        assert_eq!(check(5), ("2026-01-01T00:00:20Z".to_owned(), 1));
        assert_eq!(check(0), ("2026-01-01T00:00:20Z".to_owned(), 0));
    }
}
