//! What is asked of a part of an object: status, scale, binding, eviction and the rest.

mod binding;
mod connect;
mod eviction;
mod scale;
mod token;

pub(super) use binding::bind;

use std::sync::Arc;

use api_types::status::{Details, Status};

use super::{Asked, method_not_allowed, options::Write, patch, read, write::body_object};
use crate::{
    http::respond::{self, Answer},
    registry::{metadata, strategy::Part, update::Plan},
    server::Server,
};

/// Answers a request about a subresource.
///
/// # Errors
/// 404 for subresources the kind does not have, 405 for verbs they do not have.
pub(super) async fn run(server: &Arc<Server>, asked: Asked) -> Result<Answer, Status> {
    let names = asked.served.names();
    let kind = asked.served.resource.clone();
    let subresource = asked.info.subresource.clone();
    if asked.info.name.is_empty() {
        return Err(missing());
    }
    match (names.group, names.plural, subresource.as_str()) {
        (_, _, "scale") if scale::has(&names) || kind.custom().is_some_and(|it| it.scale().is_some()) => {
            scale::run(server, asked).await
        }
        ("", "pods", "binding") => binding::run(server, asked).await,
        ("", "pods", "eviction") => Box::pin(eviction::run(server, asked)).await,
        ("", "serviceaccounts", "token") => token::run(server, asked).await,
        ("", "pods", "log" | "exec" | "attach" | "portforward" | "proxy")
        | ("", "services" | "nodes", "proxy") => connect::run(server, asked).await,
        _ => match kind.part(&subresource) {
            Some(part) => part_of(server, asked, part).await,
            // Their router knows no parts that a kind does not have.
            None if kind.custom().is_some() => Err(Status::not_found(&kind.resource(), &asked.info.name)),
            None => Err(missing()),
        },
    }
}

/// 404: no such subresource.
fn missing() -> Status {
    Status::failure(404, "NotFound", "the server could not find the requested resource")
        .with_details(Details::default())
}

/// Reads and writes of a part that has the shape of the whole object.
async fn part_of(server: &Arc<Server>, mut asked: Asked, part: Part) -> Result<Answer, Status> {
    // Finalizing a Namespace is a write and nothing else.
    let write_only = asked.info.subresource == "finalize";
    match asked.info.verb.as_str() {
        "get" if !write_only => read::get(server, asked).await,
        "patch" if !write_only => patch::patch_part(server, asked, part).await,
        "update" => {
            let options = Write::read(&asked.query, "UpdateOptions", false)?;
            let mut object = body_object(server, &mut asked, &options).await?;
            let call = asked.call(server, &options);
            metadata::addressed(&call, &mut object)?;
            let plan = Plan { uid_precondition: true, ..Plan::of(part) };
            let written = server.registry.update(&call, plan, &|_| Ok(object.clone())).await?;
            asked.answer_written(server, 200, &written)
        }
        _ => Err(method_not_allowed()),
    }
}

/// The Status that tells of a success with a code, as bindings and evictions answer.
fn success(asked: &Asked, code: u16) -> Answer {
    let value = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code,
    });
    respond::object(code, asked.media, &value, super::meta_schema(&value))
}
