//! `get`: one object, as fresh as asked for.

use std::sync::Arc;

use api_types::{field::go_quote, status::Status};
use store::{Revision, cache::Object};
use tokio::time::Instant;

use super::{
    Asked,
    shape::{self, Shape},
};
use crate::{
    http::respond::Answer,
    registry::{catalogue::Served, keys, read_failure},
    server::Server,
};

/// How long a read waits for the cache to reach a revision.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

pub(super) async fn get(server: &Arc<Server>, asked: Asked) -> Result<Answer, Status> {
    let object = find(server, &asked).await?;
    let json = shape::served_bytes(&asked.served, &object.bytes)?;
    Shape::of(&asked)?.answer(200, &json, asked.served.resource.schema(), server.runtime.clock.now())
}

/// The object a request names, from the cache, at the freshness it asks for.
pub(super) async fn find(server: &Server, asked: &Asked) -> Result<Arc<Object>, Status> {
    let storage = &asked.served.storage;
    let names = asked.served.names();
    let namespace = if names.namespaced { asked.info.namespace.as_str() } else { "" };
    let key = keys::object(&storage.prefix, namespace, &asked.info.name);
    let cache = storage.cache();
    let fresh = match asked.query.get("resourceVersion").unwrap_or_default() {
        "" => true,
        "0" => false,
        text => {
            let version = super::parse_version(text).map_err(|why| {
                Status::bad_request(format!(
                    "invalid resource version: resourceVersion: Invalid value: {}: {why}",
                    go_quote(text)
                ))
            })?;
            reach(&cache, version).await?;
            false
        }
    };
    let _ = server;
    let found = cache.get(&key, fresh).await.map_err(|error| read_failure(&error))?.ok_or_else(|| {
        let mut resource = asked.served.resource.resource();
        // Upstream tells of these, and of nothing else, in the singular.
        if names.kind == "ComponentStatus" {
            names.singular.clone_into(&mut resource.resource);
        }
        Status::not_found(&resource, &asked.info.name)
    })?;
    asked.served.serve_cached(found).await
}

/// Waits until the cache has reached a revision.
pub(super) async fn reach(cache: &store::cache::Cache, version: u64) -> Result<(), Status> {
    cache.wait_for(Revision(version), Instant::now() + PATIENCE).await.map_err(|error| read_failure(&error))
}

/// A stored object as a value in the version it is addressed in.
pub(super) fn value(served: &Served, object: &Object) -> Result<serde_json::Value, Status> {
    serde_json::from_slice(&object.bytes).map(|value| served.serve(value)).map_err(Status::internal)
}
