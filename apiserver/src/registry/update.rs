//! A changed object: merged with what the server owns, admitted, prepared, validated, stored if it is still the one the
//! change was made from. Replacing and patching differ only in how the new object is made from the old.

use std::sync::Arc;

use api_types::{kind::GroupVersionKind, object::ObjectExt, status::Status};
use bytes::Bytes;
use serde_json::Value;
use store::Revision;

use super::{
    ATTEMPTS, Call, Current, Registry, Written,
    create::refuse,
    metadata, read, store_failure,
    strategy::{Generation, Part, counts},
    view::Shown,
};
use crate::{
    admission::{Attributes, Operation},
    patch::apply::restore_times,
    resources::shared,
};

/// What an update changes, and how it treats what it meets.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The main part or the status.
    pub part: Part,
    /// Whether a missing object is made, even where the kind does not do so for plain updates (server-side apply).
    pub create_missing: bool,
    /// Whether a uid in the new object is a precondition (a replacement) or a change like any other (a patch).
    pub uid_precondition: bool,
    /// Whether the caller computed the new object's ownership already (server-side apply).
    pub owned: bool,
    /// As what admission is shown the change; what is shown as another kind is changed as that kind, too.
    pub shown: Shown,
}

impl Plan {
    /// A plain change of a part: of what is there, by whoever asks.
    pub const fn of(part: Part) -> Self {
        Self { part, create_missing: false, uid_precondition: false, owned: false, shown: Shown::Itself }
    }
}

/// Makes the new object from the old, both in the version they are addressed in and defaulted. May be called again when
/// somebody else's write came between.
pub type Change<'a> = dyn Fn(Option<&Value>) -> Result<Value, Status> + Send + Sync + 'a;

/// One attempt's outcome.
enum Outcome {
    Written(Box<Written>),
    Raced(Box<Current>),
    Vanished,
}

impl Registry {
    /// Changes an object.
    ///
    /// # Errors
    /// Whatever the change, admission, validation or the store has against it; 409 if the object is not the one the
    /// caller's resource version names.
    pub async fn update(&self, call: &Call, plan: Plan, change: &Change<'_>) -> Result<Written, Status> {
        let mut current = match self.current(call).await {
            Ok(current) => current,
            Err(status) if status.is("NotFound") => return self.missing(call, plan, change, status).await,
            Err(status) => return Err(status),
        };
        for _ in 0..ATTEMPTS {
            match self.attempt(call, plan, change, current).await? {
                Outcome::Written(written) => return Ok(*written),
                Outcome::Raced(newer) => current = *newer,
                Outcome::Vanished => return Err(call.not_found()),
            }
        }
        Err(Status::modified(&call.served.resource.resource(), &call.name))
    }

    async fn missing(
        &self,
        call: &Call,
        plan: Plan,
        change: &Change<'_>,
        status: Status,
    ) -> Result<Written, Status> {
        let kind = call.served.rules().as_ref();
        if !(plan.create_missing || kind.creates_on_update()) || plan.part == Part::Status {
            return Err(status);
        }
        let mut object = changed(call, change, None).await?;
        metadata::addressed(call, &mut object)?;
        if !plan.owned && !object.resource_version().is_empty() && object.resource_version() != "0" {
            return Err(Status::conflict(
                &call.served.resource.resource(),
                &call.name,
                "StorageError: invalid object, Code: 4, Key: , ResourceVersion: 0, AdditionalErrorMsg: resource version does not match",
            ));
        }
        if plan.uid_precondition && !object.uid().is_empty() {
            return Err(precondition(call, object.uid(), ""));
        }
        if !object.uid().is_empty() {
            return Err(Status::conflict(
                &call.served.resource.resource(),
                &call.name,
                format!(
                    "uid mismatch: the provided object specified uid {}, and no existing object was found",
                    object.uid()
                ),
            ));
        }
        self.create_owned(call, object, plan.owned).await
    }

    async fn attempt(
        &self,
        call: &Call,
        plan: Plan,
        change: &Change<'_>,
        current: Current,
    ) -> Result<Outcome, Status> {
        let kind = call.served.rules().as_ref();
        let resource = call.served.resource.resource();
        let (revision, old) = (current.revision, Arc::new(current.object));
        let old_served = call.served.serve_borrowed(&old);
        let mut attributes = Attributes::of(call, Operation::Update, Value::Null, Arc::clone(&old));
        let mut object = match plan.shown {
            Shown::As(view) => {
                let shown = view.show(call, &old_served)?;
                attributes.kind = view.kind();
                attributes.object = changed(call, change, Some(&shown)).await?;
                attributes.old = Arc::new(shown);
                self.admission.admit(&mut attributes).await?;
                view.take_back(call, &old_served, std::mem::take(&mut attributes.object))?
            }
            Shown::Itself | Shown::Nothing => changed(call, change, Some(&old_served)).await?,
        };
        metadata::addressed(call, &mut object)?;
        if plan.uid_precondition && !object.uid().is_empty() && object.uid() != old.uid() {
            return Err(precondition(call, object.uid(), old.uid()));
        }
        let asked = object.resource_version().to_owned();
        if !asked.is_empty() {
            crate::verbs::parse_version(&asked).map_err(|why| Status::failure(500, "", why))?;
        }
        let unconditional = asked.is_empty() || asked == "0";
        if unconditional {
            if !kind.updates_unconditionally() {
                // Told of the resource, not of the kind.
                let resource = call.served.resource.resource();
                let kind = GroupVersionKind::new(&resource.group, "", &resource.resource);
                return Err(Status::invalid(&kind, &call.name, &[metadata::version_required()]));
            }
        } else if asked != old.resource_version() {
            return Err(Status::modified(&resource, &call.name));
        }
        call.warnings.extend(metadata::repeated_owners(&mut object));
        metadata::keep(&mut object, &old_served);
        object.set_meta("resourceVersion", old.resource_version());
        if !plan.owned {
            self.track(call, plan.part, Some(&old_served), &mut object).await?;
        }
        let mut object = call.served.store(object);
        if let Shown::Itself = plan.shown {
            attributes.object = object;
            self.admission.admit(&mut attributes).await?;
            object = std::mem::take(&mut attributes.object);
        }
        let claim = self.claim_for_update(call, &mut object, &old).await?;
        let outcome = self.change(call, plan, (revision, &old), object, &mut attributes).await;
        self.settle_claim(claim, matches!(outcome, Ok(Outcome::Written(_)))).await;
        outcome.map(|outcome| match outcome {
            Outcome::Written(mut written) => {
                written.object = call.served.serve(written.object);
                Outcome::Written(written)
            }
            other => other,
        })
    }

    /// The part of an attempt from the strategy on.
    async fn change(
        &self,
        call: &Call,
        plan: Plan,
        (revision, old): (Revision, &Value),
        object: Value,
        attributes: &mut Attributes,
    ) -> Result<Outcome, Status> {
        let kind = call.served.rules().as_ref();
        let checked =
            kind.check_update(&call.context(self), plan.part, object, old).map_err(Status::internal)?;
        let mut object = checked.object;
        metadata::keep(&mut object, old);
        let mut faults = shared::metadata::validate(
            object.get("metadata").unwrap_or(&Value::Null),
            kind.names().namespaced,
            &|name, prefix| shared::names::path_segment(name, prefix),
        );
        let changes = shared::metadata::validate_update(
            object.get("metadata").unwrap_or(&Value::Null),
            old.get("metadata").unwrap_or(&Value::Null),
        );
        // Kinds check them again, as upstream's do: each fault is told twice.
        faults.extend(changes);
        faults.extend(checked.faults);
        refuse(call, &call.name, faults)?;
        call.warnings.extend(checked.warnings);

        let mut object = self.normalise(&call.served, object)?;
        // A pod that is given its node is not a new generation of it.
        let part_counts = match plan.part {
            Part::Sub("binding") => false,
            Part::Status => kind.generation() != Generation::AllButMetadata,
            Part::Main | Part::Sub(_) => true,
        };
        if part_counts && counts(kind.generation(), &object, old) {
            object.set_meta("generation", old.generation() + 1);
        }
        match plan.shown {
            Shown::Nothing => return self.store_changed(call, &mut object, revision, old).await,
            Shown::Itself => {
                attributes.object = object;
                self.admission.validate(attributes).await?;
                object = std::mem::take(&mut attributes.object);
            }
            Shown::As(view) => {
                // The record of fields is not part of what is judged.
                let show = |object: &Value| {
                    let mut shown = view.show(call, &call.served.serve_borrowed(object))?;
                    shown.set_meta("managedFields", Value::Null);
                    Ok::<_, Status>(shown)
                };
                attributes.object = show(&object)?;
                attributes.old = Arc::new(show(old)?);
                self.admission.validate(attributes).await?;
            }
        }
        let outcome = self.store_changed(call, &mut object, revision, old).await;
        self.admission.settle(attributes, matches!(outcome, Ok(Outcome::Written(_)))).await;
        outcome
    }

    async fn store_changed(
        &self,
        call: &Call,
        object: &mut Value,
        current: Revision,
        old: &Value,
    ) -> Result<Outcome, Status> {
        let written = |object: &mut Value, json: Option<Bytes>| {
            let object = std::mem::take(object);
            Ok(Outcome::Written(Box::new(Written { object, json, created: false })))
        };
        object.set_meta("resourceVersion", old.resource_version());
        restore_times(old, object);
        // A write that changes nothing takes no revision and wakes nobody.
        // Unless it is kept in another form than it should be.
        if object == old && (call.dry_run || !self.is_stale(call).await?) {
            return written(object, None);
        }
        if is_last_finalizer(object) {
            if !call.dry_run {
                match self.backend.delete(&call.key(&call.name), current).await {
                    // The answer is the object as it was last stored, with that version.
                    Ok(gone) => self.journal.note(call, "delete", Some(old), object, gone),
                    Err(error) => return self.raced(call, &error).await,
                }
                self.after_delete(call, object).await;
            }
            return written(object, None);
        }
        if call.dry_run {
            return written(object, None);
        }
        let bytes = self.encode(&call.served, object).await?;
        match self
            .backend
            .update(&call.key(&call.name), current, bytes.clone(), call.served.storage.ttl())
            .await
        {
            Ok(revision) => {
                object.set_meta("resourceVersion", revision.to_string());
                self.journal.note(call, "update", Some(old), object, revision);
                written(object, self.answered(&call.served, &bytes, revision))
            }
            Err(error) => self.raced(call, &error).await,
        }
    }

    async fn is_stale(&self, call: &Call) -> Result<bool, Status> {
        self.backend.is_stale(&call.key(&call.name)).await.map_err(|error| store_failure(&error))
    }

    /// Somebody else was first. The change is made again from what they left, which is where a caller who named a
    /// resource version learns that it is not that one any more.
    async fn raced(&self, call: &Call, error: &store::Error) -> Result<Outcome, Status> {
        match error {
            store::Error::Conflict(entry) => Ok(Outcome::Raced(Box::new(read(call, entry).await?))),
            store::Error::NotFound(_) => Ok(Outcome::Vanished),
            other => Err(store_failure(other)),
        }
    }

    /// Replaces an object's stored state without strategy or admission; for the server's own bookkeeping (deletion
    /// marks, finalizers). `None` if somebody else wrote first.
    ///
    /// # Errors
    /// 404 if it is gone; trouble with the store.
    pub(super) async fn put(
        &self,
        call: &Call,
        object: &mut Value,
        revision: Revision,
    ) -> Result<Option<Revision>, Status> {
        let bytes = self.encode(&call.served, object).await?;
        match self.backend.update(&call.key(&call.name), revision, bytes, call.served.storage.ttl()).await {
            Ok(revision) => {
                object.set_meta("resourceVersion", revision.to_string());
                self.journal.note(call, "mark", None, object, revision);
                Ok(Some(revision))
            }
            Err(store::Error::Conflict(_)) => Ok(None),
            Err(store::Error::NotFound(_)) => Err(call.not_found()),
            Err(error) => Err(store_failure(&error)),
        }
    }
}

/// The new object. Where a webhook must be asked to make it, it is made again with the answers.
async fn changed(call: &Call, change: &Change<'_>, old: Option<&Value>) -> Result<Value, Status> {
    loop {
        let object = change(old);
        if !call.fetch_answers().await? {
            return object;
        }
    }
}

/// Whether this state of a dying object lets go of it.
fn is_last_finalizer(object: &Value) -> bool {
    let grace = object
        .meta()
        .and_then(|meta| meta.get("deletionGracePeriodSeconds"))
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let spec_finalizers = object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind == "Namespace")
        && object
            .pointer("/spec/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|finalizers| !finalizers.is_empty());
    object.is_terminating() && object.finalizers().is_empty() && grace == 0 && !spec_finalizers
}

fn precondition(call: &Call, asked: &str, found: &str) -> Status {
    Status::conflict(
        &call.served.resource.resource(),
        &call.name,
        format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {asked}, UID in object meta: {found}",
            call.key(&call.name)
        ),
    )
}
