//! `scale`: the replicas of a workload, read and written the same way whatever the kind.

use std::sync::Arc;

use api_types::{
    field::{Fault, Path},
    kind::{GroupResource, GroupVersionKind},
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
    options::{FieldValidation, Write},
    patch as patches, read,
};
use crate::{
    custom::{
        definition::Scale,
        kind::{fields, number, text_at},
    },
    http::respond::Answer,
    patch::apply::{self, BuiltIn, FieldManager, Reset, scale::Replicas},
    registry::{
        Call,
        catalogue::Served,
        metadata,
        strategy::{Called, Part},
        update::Plan,
        view::{Shown, View},
    },
    server::Server,
};

/// Whether a kind can be scaled.
pub(super) fn has(names: &Called<'_>) -> bool {
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

/// Where the versions that have a scale have their replica count: the same place everywhere.
const PATHS: &[(&str, &[&str])] = &[("apps/v1", &["spec", "replicas"]), ("v1", &["spec", "replicas"])];

const NOTHING_RESET: Reset<'static> = Reset::Fields(&[]);

pub(super) async fn run(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    match asked.info.verb.as_str() {
        "get" => {
            let object = read::find(server, &asked).await?;
            let value = read::value(&asked.served, &object)?;
            let (scale, found) = project(&asked.served, &value)?;
            if let (Some(paths), false) = (custom(&asked.served), found) {
                let path = api_types::field::go_quote(&paths.spec_replicas_path);
                return Err(Status::internal(format!("the spec replicas field {path} does not exist")));
            }
            asked.answer_as(server, 200, &scale, scale_schema())
        }
        "update" => {
            let options = Write::read(&asked.query, "UpdateOptions", false)?;
            let format = asked.body_format()?;
            let body = asked.body().await?;
            let expected = Expected { kind: kind(), schema: scale_schema(), custom: None };
            let decoded = decode::decode(
                &server.registry.catalogue,
                &body,
                format,
                &expected,
                options.field_validation,
            )?;
            asked.warnings.extend(decoded.warnings);
            let call = asked.call(server, &options);
            let mut scale = decoded.object;
            metadata::addressed(&call, &mut scale)?;
            write(server, &asked, &call, &|old| {
                let mut scale = scale.clone();
                manager(&call, |fields| fields.track(Some(old), &mut scale, &call.manager));
                Ok(scale)
            })
            .await
        }
        "patch" => patch(server, asked).await,
        _ => Err(method_not_allowed()),
    }
}

async fn patch(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    let patch_kind = patches::kind(&asked)?;
    let body = asked.body().await?;
    let options = Write::read(&asked.query, "PatchOptions", patch_kind == patches::Kind::Apply)?;
    let Some(schema) = scale_schema() else { return Err(method_not_allowed()) };
    let (document, complaints) = patches::Document::read(patch_kind, &body, options.field_validation)?;
    let call = asked.call(server, &options);
    if let patches::Document::Apply(applied) = &document {
        let force = options.force.unwrap_or_default();
        return write(server, &asked, &call, &|old| {
            let scale = manager(&call, |fields| fields.apply(Some(old), applied, &call.manager, force))?;
            patches::complain(&call, &complaints, options.field_validation)?;
            wire::typed::coerce(scale, schema)
                .map(|read| read.value)
                .map_err(|why| apply::misfit(applied, &why))
        })
        .await;
    }
    let shown = patches::shown(&document, &body);
    write(server, &asked, &call, &|old| {
        let patched = document.merge(old, Some(schema))?;
        let invalid = |why: String| {
            let fault = Fault::invalid(&Path::new("patch"), shown.clone(), why);
            Status::invalid(&GroupVersionKind::default(), "", &[fault])
        };
        let read = wire::typed::coerce(patched, schema).map_err(invalid)?;
        let all: Vec<String> = complaints.iter().cloned().chain(read.strict).collect();
        match options.field_validation {
            FieldValidation::Strict if !all.is_empty() => {
                return Err(invalid(format!("strict decoding error: {}", all.join(", "))));
            }
            FieldValidation::Ignore => {}
            FieldValidation::Strict | FieldValidation::Warn => call.warnings.extend(all),
        }
        let mut scale = read.value;
        manager(&call, |fields| fields.track(Some(old), &mut scale, &call.manager));
        Ok(scale)
    })
    .await
}

/// Who is on record for the fields of a Scale.
fn manager<T>(call: &Call, work: impl FnOnce(FieldManager<'_>) -> T) -> T {
    let kind = kind();
    let versions = BuiltIn { kind: &kind, convert: None };
    work(FieldManager {
        kind: &kind,
        versions: &versions,
        subresource: &call.subresource,
        reset: NOTHING_RESET,
        now: call.now,
    })
}

/// Changes a workload by a change of its Scale.
async fn write(
    server: &Arc<Server>,
    asked: &Asked,
    call: &Call,
    change: &(dyn Fn(&Value) -> Result<Value, Status> + Send + Sync),
) -> Result<Answer, Status> {
    let plan = Plan { owned: true, shown: Shown::As(&Scaled), ..Plan::of(Part::Main) };
    let change = |old: Option<&Value>| change(old.ok_or_else(|| call.not_found())?);
    let written = server.registry.update(call, plan, &change).await?;
    let (scale, _) = project(&asked.served, &written.object)?;
    asked.answer_as(server, 200, &scale, scale_schema())
}

/// A workload as its Scale, which carries the part of the record that is about the replica count.
#[derive(Debug)]
struct Scaled;

impl View for Scaled {
    fn kind(&self) -> GroupVersionKind {
        kind()
    }

    fn show(&self, call: &Call, object: &Value) -> Result<Value, Status> {
        let (mut scale, found) = project(&call.served, object)?;
        if !found && custom(&call.served).is_some() {
            scale["spec"]["replicas"] = json!(UNSET);
        }
        let part = with_replicas(call, |replicas| replicas.of_scale(record(object).as_ref()));
        scale.set_meta("managedFields", part.map_err(Status::internal)?.unwrap_or_default());
        Ok(scale)
    }

    fn take_back(&self, call: &Call, old: &Value, mut scale: Value) -> Result<Value, Status> {
        metadata::addressed(call, &mut scale)?;
        check(call, &scale, old)?;
        let mut object = old.clone();
        let count = scale.pointer("/spec/replicas").cloned().unwrap_or_else(|| json!(0));
        match custom(&call.served) {
            None => {
                object_at(object_of(&mut object), "spec").insert("replicas".to_owned(), count);
            }
            Some(paths) if count == UNSET => {
                let path = api_types::field::go_quote(&paths.spec_replicas_path);
                return Err(Status::bad_request(format!("the spec replicas field {path} cannot be empty")));
            }
            Some(paths) => put(&mut object, &paths.spec_replicas_path, count),
        }
        object.set_meta("resourceVersion", scale.resource_version());
        let owners =
            with_replicas(call, |replicas| replicas.of_object(record(old).as_ref(), record(&scale).as_ref()));
        object.set_meta("managedFields", owners.map_err(Status::internal)?.unwrap_or_default());
        Ok(object)
    }
}

/// Who set what, as an object has it.
fn record(object: &Value) -> Option<Value> {
    object.meta().and_then(|it| it.get("managedFields")).cloned()
}

/// Does something with the places of the replica count in all versions of the resource.
fn with_replicas<T>(call: &Call, work: impl FnOnce(Replicas<'_>) -> T) -> T {
    let api_version = call.served.resource.kind().api_version();
    let custom_paths = custom_paths(&call.served);
    let mut steps: Vec<(&str, Vec<&str>)> = Vec::new();
    for (version, path) in &custom_paths {
        steps.push((version, path.iter().map(String::as_str).collect()));
    }
    let own_paths: Vec<(&str, &[&str])> = steps.iter().map(|(version, path)| (*version, &path[..])).collect();
    let paths = if custom(&call.served).is_some() { own_paths.as_slice() } else { PATHS };
    work(Replicas { api_version: &api_version, paths })
}

/// What is wrong with a Scale.
fn check(call: &Call, scale: &Value, old: &Value) -> Result<(), Status> {
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or_default();
    let unset = replicas == UNSET && custom(&call.served).is_some();
    if replicas < 0 && !unset {
        let fault = Fault::invalid(
            &Path::new("spec").child("replicas"),
            replicas,
            "must be greater than or equal to 0",
        );
        return Err(Status::invalid(&kind(), old.name(), &[fault]));
    }
    let (asked, found) = (scale.uid(), old.uid());
    if !asked.is_empty() && asked != found {
        let resource = call.served.resource.resource();
        return Err(Status::conflict(
            &GroupResource::new(&resource.group, &format!("{}/scale", resource.resource)),
            old.name(),
            format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {found}"),
        ));
    }
    Ok(())
}

/// What stands for no number at all while a Scale is changed.
const UNSET: i64 = i32::MIN as i64;

/// Where a custom kind has its numbers.
fn custom(served: &Served) -> Option<&Scale> {
    served.resource.custom().and_then(|kind| kind.scale())
}

/// Where each version of a custom kind has its replica count.
fn custom_paths(served: &Served) -> Vec<(String, Vec<String>)> {
    let Some(kind) = served.resource.custom() else { return Vec::new() };
    let versions = kind.versions.definition.versions.iter();
    versions
        .filter_map(|version| {
            let path = fields(&version.scale.as_ref()?.spec_replicas_path).map(str::to_owned).collect();
            Some((kind.versions.definition.api_version(&version.name), path))
        })
        .collect()
}

/// Puts a number where a path says.
fn put(object: &mut Value, path: &str, count: Value) {
    let mut steps: Vec<&str> = fields(path).collect();
    let Some(last) = steps.pop() else { return };
    let mut map = object_of(object);
    for step in steps {
        map = object_at(map, step);
    }
    map.insert(last.to_owned(), count);
}

/// The Scale of an object, and whether its replica count is there.
fn project(served: &Served, object: &Value) -> Result<(Value, bool), Status> {
    let Some(paths) = custom(served) else { return Ok((project_workload(object), true)) };
    let plain = |why: String| Status::failure(500, "", why);
    let replicas = number(object, &paths.spec_replicas_path).map_err(plain)?;
    let current = number(object, &paths.status_replicas_path).map_err(plain)?;
    let selector = paths.label_selector_path.as_ref().map(|path| text_at(object, path)).transpose();
    let mut scale = head(object, current.unwrap_or_default());
    if let Some(replicas) = replicas.filter(|&replicas| replicas != 0) {
        scale["spec"]["replicas"] = json!(replicas);
    }
    if let Some(selector) = selector.map_err(plain)?.flatten().filter(|selector| !selector.is_empty()) {
        scale["status"]["selector"] = json!(selector);
    }
    Ok((scale, replicas.is_some()))
}

/// A Scale without what is asked for.
fn head(object: &Value, current: i64) -> Value {
    let meta = |field: &str| object.meta().and_then(|meta| meta.get(field)).cloned().unwrap_or_default();
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {},
        "spec": {},
        "status": {"replicas": current},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        scale.set_meta(field, meta(field));
    }
    scale
}

/// The Scale of a workload.
fn project_workload(object: &Value) -> Value {
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
    let current = object.pointer("/status/replicas").and_then(Value::as_i64).unwrap_or_default();
    let mut scale = head(object, current);
    if let Some(replicas) = object.pointer("/spec/replicas").filter(|it| it.as_i64() != Some(0)) {
        scale["spec"]["replicas"] = replicas.clone();
    }
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}
