//! What happens to an object on its way in: written once for all kinds.
//!
//! A kind supplies only its difference, a [`strategy::Strategy`]; built-in and custom kinds meet the registry as the
//! same erased [`strategy::Resource`]. The modules below are the writes; reads are answered by the watch cache of a kind's
//! [`catalogue::Storage`].
//!
//! Invariant: the registry knows objects and who writes them, not HTTP.

pub mod addresses;
pub mod catalogue;
pub mod create;
pub mod delete;
pub mod describe;
pub mod keys;
pub mod metadata;
pub mod ownership;
pub mod stored;
pub mod strategy;
pub mod update;
pub mod view;
pub mod warnings;

use std::sync::Arc;

use api_types::{
    object::ObjectExt,
    status::{Cause, Details, Status},
    wire,
};
use bytes::Bytes;
use jiff::Timestamp;
use runtime::Runtime;
use serde_json::Value;
use store::{Backend, Entry, Revision, cache};

use crate::{
    admission::Chain,
    audit::Record,
    authn::user::User,
    custom::{controller, ownership::Answers},
    observe::journal::Journal,
};
use catalogue::{Catalogue, Served};
use warnings::Warnings;

/// Everything the writes need: the catalogue of kinds, the store, admission, the time.
#[derive(Debug)]
pub struct Registry {
    /// The kinds.
    pub catalogue: Catalogue,
    /// Where objects are kept. Only the registry writes.
    pub backend: Arc<dyn Backend>,
    /// Time, randomness, tasks.
    pub runtime: Runtime,
    /// What may change or refuse a write.
    pub admission: Chain,
    /// Service addresses and node ports.
    pub addresses: addresses::Addresses,
    /// Whether containers may be privileged.
    pub allow_privileged: bool,
    /// Who wrote what, if anybody wants to know.
    pub journal: Journal,
}

/// One write (or delete): what is written where, by whom and how.
#[derive(Clone, Debug)]
pub struct Call {
    /// The resource as the caller addressed it.
    pub served: Arc<Served>,
    /// Empty for cluster-scoped resources.
    pub namespace: String,
    /// Empty for creates.
    pub name: String,
    /// Empty for the main resource.
    pub subresource: String,
    /// Who.
    pub user: User,
    /// The time of the request.
    pub now: Timestamp,
    /// Whether nothing shall be stored.
    pub dry_run: bool,
    /// Who shall own the fields this write sets: `fieldManager`, or the start of the user agent.
    pub manager: String,
    /// The request's options as the caller gave them, for admission.
    pub options: Value,
    /// What the caller should know.
    pub warnings: Warnings,
    /// What webhooks that convert were asked in the course of it.
    pub answers: Answers,
    /// What the request is put on record with.
    pub audit: Record,
}

/// What a write led to.
#[derive(Debug)]
pub struct Written {
    /// The object, in the version it was addressed in.
    pub object: Value,
    /// The same as JSON, if storing it left that at hand.
    pub json: Option<Bytes>,
    /// Whether it was made by this write.
    pub created: bool,
}

/// An object with the revision it was read at.
#[derive(Clone, Debug)]
pub struct Current {
    /// The object in its storage version, with its resource version.
    pub object: Value,
    /// Its revision.
    pub revision: Revision,
}

/// How often a write is tried again that met somebody else's.
const ATTEMPTS: usize = 64;

// === impl Call ===

impl Call {
    /// The message-friendly not-found answer.
    pub fn not_found(&self) -> Status {
        Status::not_found(&self.served.resource.resource(), &self.name)
    }

    fn key(&self, name: &str) -> String {
        keys::object(&self.served.storage.prefix, self.scope(), name)
    }

    /// Whether this is about a Namespace itself.
    pub fn is_namespace(&self) -> bool {
        let names = self.served.names();
        names.group.is_empty() && names.plural == "namespaces"
    }

    /// Whether this is about a CustomResourceDefinition.
    pub fn is_definition(&self) -> bool {
        let names = self.served.names();
        names.group == controller::GROUP && names.plural == controller::PLURAL
    }

    fn scope(&self) -> &str {
        if self.served.resource.names().namespaced { &self.namespace } else { "" }
    }

    fn context(&self, registry: &Registry) -> strategy::Context<'_> {
        strategy::Context {
            now: self.now,
            user: &self.user,
            namespace: self.scope(),
            group: self.served.resource.names().group,
            dry_run: self.dry_run,
            allow_privileged: registry.allow_privileged,
        }
    }
}

// === impl Registry ===

impl Registry {
    /// The newest state of an object, straight from the store.
    ///
    /// # Errors
    /// 404; 500 and 503 for trouble with the store.
    pub async fn current(&self, call: &Call) -> Result<Current, Status> {
        let entry = self.backend.get(&call.key(&call.name)).await.map_err(|error| store_failure(&error))?;
        match entry {
            Some(entry) => read(call, &entry).await,
            None => Err(call.not_found()),
        }
    }

    /// The bytes to store: everything but the resource version, in field order, in the version that is stored.
    ///
    /// # Errors
    /// 500 if a webhook that converts fails.
    async fn encode(&self, served: &Served, object: &mut Value) -> Result<Bytes, Status> {
        let converted = served.before_storing(object).await?;
        Ok(match converted {
            Some(mut converted) => Self::encode_stored(served, &mut converted),
            None => Self::encode_stored(served, object),
        })
    }

    fn encode_stored(served: &Served, object: &mut Value) -> Bytes {
        let version = object.meta_mut().remove("resourceVersion");
        let bytes = Bytes::from(match served.storage.resource.schema() {
            Some(schema) => wire::json::encode(object, schema),
            None => wire::json::encode_untyped(object),
        });
        if let Some(version) = version {
            object.set_meta("resourceVersion", version);
        }
        bytes
    }

    /// The JSON of what was stored, as it is answered: with its resource version. None where the answer has another form
    /// than the store.
    fn answered(&self, served: &Served, stored: &Bytes, revision: Revision) -> Option<Bytes> {
        if served.conversion.is_some() { None } else { describe::stamp(stored, revision) }
    }

    /// Brings an object into the form Go would print: zero values dropped, never-omitted fields there.
    fn normalise(&self, served: &Served, object: Value) -> Result<Value, Status> {
        match served.storage.resource.schema() {
            Some(schema) => {
                let mut object = wire::typed::coerce(object, schema)
                    .map(|decoded| decoded.value)
                    .map_err(Status::internal)?;
                // What is stored as JSON keeps empty lists; all else loses them on upstream's way to the store.
                if !keys::is_stored_as_json(&served.storage.resource.resource()) {
                    wire::typed::as_stored(&mut object, schema);
                }
                Ok(object)
            }
            None => Ok(object),
        }
    }
}

/// An entry of the store as an object with its resource version.
///
/// # Errors
/// 500 if it cannot be read.
async fn read(call: &Call, entry: &Entry) -> Result<Current, Status> {
    let object =
        call.served.storage.read(&entry.value).map_err(|error| {
            Status::internal(format!("the object at {} cannot be read: {error}", entry.key))
        })?;
    let mut object = call.served.after_reading(object).await?;
    object.set_meta("resourceVersion", entry.revision.to_string());
    Ok(Current { object, revision: entry.revision })
}

/// What trouble with the store looks like to a client.
pub fn store_failure(error: &store::Error) -> Status {
    match error {
        store::Error::Unavailable { reason, .. } => {
            Status::unavailable(format!("the store is unavailable: {reason}"))
        }
        // As upstream tells what etcd says and it has no reason of its own for.
        store::Error::NoSpace { reason, .. } | store::Error::TooLarge(reason) => {
            Status::failure(500, "", reason)
        }
        store::Error::Compacted { .. } => {
            Status::expired("The resourceVersion for the provided request is too old.")
        }
        other => Status::internal(other),
    }
}

/// What trouble with a read from the cache looks like to a client.
pub fn read_failure(error: &cache::Error) -> Status {
    match error {
        cache::Error::Compacted { .. } => {
            Status::expired("The resourceVersion for the provided request is too old.")
        }
        cache::Error::NotReached { asked, current } | cache::Error::Future { asked, current } => {
            too_large(*asked, *current)
        }
        cache::Error::Store(error) => store_failure(error),
    }
}

/// 504 for a revision the server has not reached.
fn too_large(asked: Revision, current: Revision) -> Status {
    let status = Status::timeout(format!("Too large resource version: {asked}, current: {current}"), 1);
    status.with_details(Details {
        causes: vec![Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        }],
        retry_after_seconds: 1,
        ..Details::default()
    })
}

/// The time as objects carry it: RFC 3339 in seconds.
pub fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
