//! Connections through the apiserver to a node: logs, exec, attach, port-forward and proxies.
//!
//! Everything the apiserver itself can find wrong is answered as upstream answers it. Dialling the node is not there
//! yet, which is said plainly instead of pretending.

use std::sync::Arc;

use api_types::{
    field::{Fault, Faults, Path},
    kind::GroupVersionKind,
    status::Status,
};
use serde_json::Value;

use super::super::{Asked, method_not_allowed, read};
use crate::{
    http::respond::{self, Answer},
    server::Server,
};

pub(super) async fn run(server: &Arc<Server>, asked: Asked) -> Result<Answer, Status> {
    let allowed: &[&str] = match asked.info.subresource.as_str() {
        "log" => &["get"],
        "proxy" => &["get", "create", "update", "patch", "delete"],
        _ => &["get", "create"],
    };
    if !allowed.contains(&asked.info.verb.as_str()) {
        return Err(method_not_allowed());
    }
    if asked.info.subresource == "log" {
        log_options(&asked)?;
    }
    let object = read::find(server, &asked).await?;
    let object = read::value(&asked.served, &object)?;
    if asked.served.names().plural != "pods" {
        return Err(unreachable_node(&format!("{} {}", asked.served.names().plural, asked.info.name)));
    }
    let node = object.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    let container = container(&object, &asked)?;
    if node.is_empty() {
        if asked.info.subresource == "log" {
            // A Pod without a node has said nothing yet.
            let mut answer = respond::text(204, String::new());
            answer.headers_mut().remove(http::header::CONTENT_TYPE);
            return Ok(answer);
        }
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", asked.info.name)));
    }
    Err(unreachable_node(&format!("container {container} of pod {} on node {node}", asked.info.name)))
}

fn unreachable_node(what: &str) -> Status {
    Status::failure(
        501,
        "NotImplemented",
        format!(
            "{what} cannot be reached: its node is simulated or has no kubelet that this apiserver can dial"
        ),
    )
}

/// The container that is meant: the one that is named, or the only one.
fn container(pod: &Value, asked: &Asked) -> Result<String, Status> {
    let names = |field: &str| -> Vec<&str> {
        pod.pointer(&format!("/spec/{field}"))
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(|it| it.get("name").and_then(Value::as_str)).collect())
            .unwrap_or_default()
    };
    let (main, init, ephemeral) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let name = &asked.info.name;
    match asked.query.get("container").filter(|it| !it.is_empty()) {
        Some(wanted) if main.contains(&wanted) || init.contains(&wanted) || ephemeral.contains(&wanted) => {
            Ok(wanted.to_owned())
        }
        Some(wanted) => Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}"))),
        None => match main.as_slice() {
            [only] => Ok((*only).to_owned()),
            [] => Ok(String::new()),
            many => {
                let mut message = format!(
                    "a container name must be specified for pod {name}, choose one of: [{}]",
                    many.join(" ")
                );
                if !init.is_empty() {
                    message += &format!(" or one of the init containers: [{}]", init.join(" "));
                }
                if !ephemeral.is_empty() {
                    message += &format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" "));
                }
                Err(Status::bad_request(message))
            }
        },
    }
}

/// What is wrong with the options of a log request.
fn log_options(asked: &Asked) -> Result<(), Status> {
    let mut faults = Faults::new();
    let number = |name: &str| asked.query.number(name).map_err(Status::bad_request);
    if let Some(lines) = number("tailLines")?.filter(|&lines| lines < 0) {
        faults.push(Fault::invalid(&Path::new("tailLines"), lines, "must be greater than or equal to 0"));
    }
    if let Some(bytes) = number("limitBytes")?.filter(|&bytes| bytes < 1) {
        faults.push(Fault::invalid(&Path::new("limitBytes"), bytes, "must be greater than 0"));
    }
    let since = number("sinceSeconds")?;
    if since.is_some() && asked.query.get("sinceTime").is_some() {
        faults.push(Fault::forbidden(
            &Path::root(),
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ));
    } else if let Some(seconds) = since.filter(|&seconds| seconds < 1) {
        faults.push(Fault::invalid(&Path::new("sinceSeconds"), seconds, "must be greater than 0"));
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupVersionKind::new("", "v1", "PodLogOptions"), &asked.info.name, &faults))
}
