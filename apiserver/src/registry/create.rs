//! A new object: named, admitted, prepared, validated, stored.

use std::sync::Arc;

use api_types::{
    field::{Fault, Faults, Path},
    object::ObjectExt,
    status::Status,
};
use bytes::Bytes;
use serde_json::Value;

use super::{Call, Registry, Written, metadata, store_failure, strategy::Part};
use crate::{
    admission::{Attributes, Operation},
    resources::shared,
};

/// How many generated names are tried before the client is told to.
const GENERATED_NAMES_MAX: usize = 8;

impl Registry {
    /// Stores a new object. `object` is decoded and defaulted, in the version it was addressed in.
    ///
    /// # Errors
    /// Whatever admission, validation or the store has against it.
    pub async fn create(&self, call: &Call, object: Value) -> Result<Written, Status> {
        self.create_owned(call, object, false).await
    }

    /// The same; with `owned` the object says already who set what (server-side apply).
    pub(super) async fn create_owned(
        &self,
        call: &Call,
        mut object: Value,
        owned: bool,
    ) -> Result<Written, Status> {
        metadata::settle_namespace(call, &mut object)?;
        if !call.name.is_empty() && object.name().is_empty() {
            object.set_meta("name", call.name.as_str());
        }
        call.warnings.extend(metadata::repeated_owners(&mut object));
        if !owned {
            self.track(call, Part::Main, None, &mut object).await?;
        }
        if let Some(why) = call.served.resource.refuses_new() {
            return Err(Status::forbidden(&call.served.resource.resource(), object.name(), why));
        }
        let named = Call { name: object.name().to_owned(), ..call.clone() };
        let mut attributes =
            Attributes::of(&named, Operation::Create, call.served.store(object), Arc::default());
        let admitted = self.admission.admit(&mut attributes).await;
        admitted?;
        let mut admitted = std::mem::take(&mut attributes.object);

        // Only a name that the server makes is worth another try.
        let retried = admitted.name().is_empty();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut object = if retried { admitted.clone() } else { std::mem::take(&mut admitted) };
            let generated = self.generate_name(&mut object);
            match self.create_named(call, object, &mut attributes).await {
                Err(status) if generated && status.is("AlreadyExists") => {
                    if attempt == GENERATED_NAMES_MAX {
                        return Err(exhausted(status));
                    }
                }
                Err(status) => return Err(status),
                Ok((object, json)) => {
                    return Ok(Written { object: call.served.serve(object), json, created: true });
                }
            }
        }
    }

    async fn create_named(
        &self,
        call: &Call,
        mut object: Value,
        attributes: &mut Attributes,
    ) -> Result<(Value, Option<Bytes>), Status> {
        self.fill_new(call, &mut object);
        // Addresses are part of what is validated, so they are taken first and given back if it comes to nothing.
        let claim = self.claim_for_create(call, &mut object).await?;
        let stored = self.create_claimed(call, object, attributes).await;
        self.settle_claim(claim, stored.is_ok()).await;
        stored
    }

    async fn create_claimed(
        &self,
        call: &Call,
        object: Value,
        attributes: &mut Attributes,
    ) -> Result<(Value, Option<Bytes>), Status> {
        let kind = call.served.rules().as_ref();
        let checked = kind.check_create(&call.context(self), object).map_err(Status::internal)?;
        let name = checked.object.name().to_owned();
        // Kinds look at the metadata too; what passed them is looked at once more, as upstream does.
        refuse(call, &name, checked.faults)?;
        refuse(
            call,
            &name,
            shared::metadata::validate(
                checked.object.get("metadata").unwrap_or(&Value::Null),
                kind.names().namespaced,
                &|name, prefix| kind.name_faults(name, prefix),
            ),
        )?;
        call.warnings.extend(checked.warnings);
        attributes.object = self.normalise(&call.served, checked.object)?;
        attributes.name.clone_from(&name);
        self.admission.validate(attributes).await?;

        let stored = self.store_new(call, &name, &mut attributes.object).await;
        self.admission.settle(attributes, stored.is_ok()).await;
        stored.map(|json| (std::mem::take(&mut attributes.object), json))
    }

    /// Gives the JSON of what was stored, if it is at hand.
    async fn store_new(&self, call: &Call, name: &str, object: &mut Value) -> Result<Option<Bytes>, Status> {
        let resource = call.served.resource.resource();
        let key = call.key(name);
        if call.dry_run {
            return match self.backend.get(&key).await.map_err(|error| store_failure(&error))? {
                None => Ok(None),
                Some(_) => Err(Status::already_exists(&resource, name)),
            };
        }
        let bytes = self.encode(&call.served, object).await?;
        match self.backend.create(&key, bytes.clone(), call.served.storage.ttl()).await {
            Ok(revision) => {
                object.set_meta("resourceVersion", revision.to_string());
                self.journal.note(call, "create", None, object, revision);
                Ok(self.answered(&call.served, &bytes, revision))
            }
            Err(store::Error::Exists(_)) => {
                let mut status = Status::already_exists(&resource, name);
                // A name that is about to be free reads differently, so that callers know to wait.
                if let Ok(current) = self.current(&Call { name: name.to_owned(), ..call.clone() }).await
                    && current.object.is_terminating()
                {
                    status.message = format!("object is being deleted: {}", status.message);
                }
                Err(status)
            }
            Err(error) => Err(store_failure(&error)),
        }
    }
}

/// 422 if there are faults.
pub(super) fn refuse(call: &Call, name: &str, faults: Faults) -> Result<(), Status> {
    if faults.is_empty() {
        return Ok(());
    }
    // Told of the kind whose rules hold, whatever it was addressed as.
    Err(Status::invalid(&call.served.rules().kind(), name, &faults))
}

fn exhausted(status: Status) -> Status {
    let mut status = status;
    status.message =
        format!("{}, the server was not able to generate a unique name for the object", status.message);
    if let Some(details) = &mut status.details {
        details.retry_after_seconds = 1;
    }
    status
}

/// The fault of an object that must have a name and has none.
pub fn name_required() -> Fault {
    Fault::required(&Path::new("metadata").child("name"), "name or generateName is required")
}
