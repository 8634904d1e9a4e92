//! `scale`: the replicas of a workload, read and written the same way whatever the kind.

use std::sync::Arc;

use api_types::{
    field::{Fault, Path},
    kind::GroupVersionKind,
    object::{ObjectExt, object_at, object_of},
    schema::{TypeRef, schema},
    selectors::labels,
    status::Status,
    wire,
};
use serde_json::{Value, json};

use super::super::{
    Asked,
    decode::{self, Expected},
    method_not_allowed,
    options::Write,
    patch as patches, read,
    write::check_name,
};
use crate::{
    http::respond::{self, Answer},
    registry::{
        ownership,
        strategy::{Names, Part},
        update::Plan,
    },
    server::Server,
};

/// Whether a kind can be scaled.
pub(super) fn has(names: &Names) -> bool {
    matches!(
        (names.group, names.plural),
        ("apps", "deployments" | "replicasets" | "statefulsets") | ("", "replicationcontrollers")
    )
}

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("autoscaling", "v1", "Scale")
}

fn scale_schema() -> Option<TypeRef> {
    schema().type_of("autoscaling", "v1", "Scale")
}

pub(super) async fn run(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    match asked.info.verb.as_str() {
        "get" => {
            let object = read::find(server, &asked).await?;
            let value = read::value(&asked.served, &object)?;
            asked.answer_as(server, 200, &project(&value), scale_schema())
        }
        "update" => {
            let options = Write::read(&asked.query, "UpdateOptions", false)?;
            let format = asked.body_format()?;
            let body = asked.body().await?;
            let expected = Expected { kind: kind(), schema: scale_schema() };
            let decoded = decode::decode(
                &server.registry.catalogue,
                &body,
                format,
                &expected,
                options.field_validation,
            )?;
            let scale = decoded.object;
            check_name(&scale, &asked.info.name)?;
            write(server, &asked, &options, decoded.warnings, &|_| Ok(scale.clone())).await
        }
        "patch" => patch_scale(server, asked).await,
        _ => Err(method_not_allowed()),
    }
}

async fn patch_scale(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    let patch_kind = patches::kind(&asked)?;
    let body = asked.body().await?;
    let options = Write::read(&asked.query, "PatchOptions", patch_kind == patches::Kind::Apply)?;
    let Some(schema) = scale_schema() else { return Err(method_not_allowed()) };
    if patch_kind == patches::Kind::Apply {
        return apply_scale(server, &asked, &body, &options, schema).await;
    }
    let (document, complaints) = patches::Document::read(patch_kind, &body, options.field_validation)?;
    let shown = String::from_utf8_lossy(&body).into_owned();
    let change = |scale: &Value| {
        let patched = document.merge(scale, Some(schema))?;
        wire::typed::coerce(patched, schema).map(|decoded| decoded.value).map_err(|why| {
            let fault = Fault::invalid(&Path::new("patch"), shown.as_str(), why);
            Status::invalid(&GroupVersionKind::default(), "", &[fault])
        })
    };
    write(server, &asked, &options, complaints, &change).await
}

/// An apply of a Scale: ownership is kept on the workload, where `spec.replicas` stands at the same place.
async fn apply_scale(
    server: &Arc<Server>,
    asked: &Asked,
    body: &[u8],
    options: &Write,
    schema: TypeRef,
) -> Result<Answer, Status> {
    let read = wire::yaml::to_value(body)
        .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
    let applied = wire::typed::coerce(read.value, schema)
        .map_err(|why| Status::bad_request(format!("error decoding YAML: {why}")))?
        .value;
    let call = asked.call(server, options);
    let plan = Plan { part: Part::Main, create_missing: false, uid_precondition: false, owned: true };
    let api_version = asked.served.resource.kind().api_version();
    let written = server
        .registry
        .update(&call, plan, &|old| {
            let old = old.ok_or_else(|| call.not_found())?;
            let mut wanted = json!({
                "apiVersion": api_version,
                "kind": asked.served.resource.kind().kind,
                "metadata": {"name": old.name(), "namespace": old.namespace()},
            });
            if let Some(replicas) = applied.pointer("/spec/replicas") {
                wanted["spec"] = json!({"replicas": replicas});
            }
            check(&applied, old)?;
            ownership::apply(&call, Part::Main, Some(old), &wanted, options.force.unwrap_or_default())
        })
        .await?;
    asked.answer_as(server, 200, &project(&written.object), scale_schema())
}

async fn write(
    server: &Arc<Server>,
    asked: &Asked,
    options: &Write,
    warnings: Vec<String>,
    change: &(dyn Fn(&Value) -> Result<Value, Status> + Send + Sync),
) -> Result<Answer, Status> {
    let call = asked.call(server, options);
    let plan = Plan { part: Part::Main, create_missing: false, uid_precondition: false, owned: false };
    let written = server
        .registry
        .update(&call, plan, &|old| {
            let old = old.ok_or_else(|| call.not_found())?;
            let scale = change(&project(old))?;
            check(&scale, old)?;
            let mut object = old.clone();
            let replicas = scale.pointer("/spec/replicas").cloned().unwrap_or_else(|| json!(0));
            object_at(object_of(&mut object), "spec").insert("replicas".to_owned(), replicas);
            object.set_meta("resourceVersion", scale.resource_version());
            if !scale.uid().is_empty() {
                object.set_meta("uid", scale.uid());
            }
            Ok(object)
        })
        .await?;
    let mut answer = asked.answer_as(server, 200, &project(&written.object), scale_schema())?;
    respond::warn(&mut answer, &warnings);
    Ok(answer)
}

/// What is wrong with a Scale.
fn check(scale: &Value, old: &Value) -> Result<(), Status> {
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or_default();
    if replicas < 0 {
        let fault = Fault::invalid(
            &Path::new("spec").child("replicas"),
            replicas,
            "must be greater than or equal to 0",
        );
        return Err(Status::invalid(&kind(), old.name(), &[fault]));
    }
    Ok(())
}

/// The Scale of a workload.
fn project(object: &Value) -> Value {
    let selector = object.pointer("/spec/selector").cloned().unwrap_or(Value::Null);
    let selector = if selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some() {
        serde_json::from_value(selector)
            .ok()
            .and_then(|selector| labels::Selector::of_object(Some(&selector)).ok())
            .map(|selector| selector.to_string())
            .unwrap_or_default()
    } else {
        // A ReplicationController's selector is a plain map.
        serde_json::from_value::<std::collections::BTreeMap<String, String>>(selector)
            .map(|labels| labels::Selector::of_labels(&labels).to_string())
            .unwrap_or_default()
    };
    let meta = |field: &str| object.meta().and_then(|meta| meta.get(field)).cloned().unwrap_or_default();
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {},
        "spec": {},
        "status": {"replicas": object.pointer("/status/replicas").and_then(Value::as_i64).unwrap_or_default()},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        scale.set_meta(field, meta(field));
    }
    if let Some(replicas) = object.pointer("/spec/replicas").filter(|it| it.as_i64() != Some(0)) {
        scale["spec"]["replicas"] = replicas.clone();
    }
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}
