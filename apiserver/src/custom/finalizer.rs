//! A definition that goes takes its objects with it: all are deleted, then awaited, then the finalizer is taken away.
//!
//! Invariant: the objects' own finalizers are waited for, however long they take.

use std::{sync::Arc, time::Duration};

use api_types::{field::aggregate, object::ObjectExt, status::Status};
use serde_json::Value;
use store::cache::{Filter, WatchFrom};
use tokio::time::Instant;

use super::{
    condition::{Change, condition},
    controller::{self, change, rewrite},
    definition::{CLEANUP, Condition},
};
use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    registry::{Call, catalogue::Served, delete, read_failure, warnings::Warnings},
    server::Server,
};

/// How long objects may take before the definition says that they are still there.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long before a failure is followed by another attempt: at first, and at the most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Built-in resources whose objects lie where those of a definition of that name would.
const OVERLAPPING: &[&str] =
    &["apiservices.apiregistration.k8s.io", "customresourcedefinitions.apiextensions.k8s.io"];

/// Begins to delete the objects of a definition.
pub(super) fn begin(server: &Arc<Server>, name: &str, uid: &str) {
    let (weak, name, uid) = (Arc::downgrade(server), name.to_owned(), uid.to_owned());
    server.runtime.tasks.spawn("objects of a definition", async move {
        let mut pause = BACKOFF.0;
        loop {
            let Some(server) = weak.upgrade() else { return };
            match finalize(&server, &name, &uid).await {
                Ok(()) => return server.definitions.end_finalizing(&uid),
                Err(error) => tracing::warn!(definition = name, %error, "cannot delete its objects"),
            }
            drop(server);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    });
}

async fn finalize(server: &Arc<Server>, name: &str, uid: &str) -> Result<(), Status> {
    let in_progress = condition(
        "Terminating",
        "True",
        "InstanceDeletionInProgress",
        "CustomResource deletion is in progress",
    );
    let Some(definition) = tell(server, name, uid, in_progress).await? else { return Ok(()) };
    let outcome = if OVERLAPPING.contains(&name) {
        let message = "instances overlap with built-in resources in storage";
        condition("Terminating", "False", "OverlappingBuiltInResource", message)
    } else if !definition.is("Established") {
        condition("Terminating", "False", "NeverEstablished", "resource was never established")
    } else {
        match delete_all(server, name).await {
            Ok(()) => condition("Terminating", "False", "InstanceDeletionCompleted", "removed all instances"),
            Err((reason, why)) => {
                tell(server, name, uid, condition("Terminating", "True", reason, why.clone())).await?;
                return Err(Status::internal(why));
            }
        }
    };
    rewrite(server, name, &|object, now_is, now| {
        if now_is.uid != uid {
            return;
        }
        controller::apply(object, &Change { set: vec![outcome.clone()], ..Change::default() }, now);
        let left: Vec<Value> =
            object.finalizers().into_iter().filter(|it| *it != CLEANUP).map(Value::from).collect();
        object.set_meta("finalizers", if left.is_empty() { Value::Null } else { Value::Array(left) });
    })
    .await
    .map(drop)
}

/// Sets a condition, if it is still this definition. `None` if it is gone.
async fn tell(
    server: &Server,
    name: &str,
    uid: &str,
    it: Condition,
) -> Result<Option<super::definition::Definition>, Status> {
    let decide = |definition: &super::definition::Definition| {
        (definition.uid == uid && definition.deleting)
            .then(|| Change { set: vec![it.clone()], ..Change::default() })
    };
    Ok(change(server, name, &decide).await?.filter(|definition| definition.uid == uid))
}

/// Deletes all objects and waits until they are gone.
async fn delete_all(server: &Arc<Server>, name: &str) -> Result<(), (&'static str, String)> {
    const FAILED: &str = "InstanceDeletionFailed";
    const UNSURE: &str = "InstanceDeletionCheck";
    let unlisted = |why: &str| (FAILED, format!("could not list instances: {why}"));
    let served = server.definitions.stored(name).ok_or_else(|| {
        unlisted(&format!("unable to find a custom resource client for {name}: it is not served"))
    })?;
    let storage = &served.storage;
    let cache = storage.cache();
    let snapshot = cache.fresh().await.map_err(|error| unlisted(&read_failure(&error).message))?;
    let mut wrong = Vec::new();
    for object in snapshot.range(&storage.prefix, None) {
        let namespace = object.header.namespace.as_deref().unwrap_or_default();
        let call = call(server, &served, namespace, &object.header.name);
        let options = delete::Options { unasked: true, ..delete::Options::default() };
        match server.registry.delete(&call, &options).await {
            Ok(_) => {}
            Err(status) if status.is("NotFound") => {}
            Err(status) => wrong.push(status.message),
        }
    }
    if !wrong.is_empty() {
        return Err((FAILED, format!("could not issue all deletes: {}", aggregate(wrong))));
    }
    let unsure = |why: &str| (UNSURE, format!("could not confirm zero CustomResources remaining: {why}"));
    let end = Instant::now() + PATIENCE;
    let mut watcher = cache
        .watch(WatchFrom::Now, Filter::prefix(&storage.prefix))
        .map_err(|error| unsure(&error.to_string()))?;
    loop {
        let left = cache.fresh().await.map_err(|error| unsure(&read_failure(&error).message))?;
        if left.is_empty() {
            return Ok(());
        }
        match tokio::time::timeout_at(end, watcher.next()).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_)) | None) => return Err(unsure("the watch ended")),
            Err(_late) => return Err(unsure("timed out waiting for the condition")),
        }
    }
}

fn call(server: &Server, served: &Arc<Served>, namespace: &str, name: &str) -> Call {
    Call {
        served: Arc::clone(served),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: String::new(),
        user: User::new("system:apiserver", &[MASTERS, AUTHENTICATED]),
        now: server.runtime.clock.now(),
        dry_run: false,
        manager: "kube-apiserver".to_owned(),
        options: Value::Null,
        warnings: Warnings::default(),
        answers: super::ownership::Answers::default(),
        audit: crate::audit::Record::default(),
    }
}
