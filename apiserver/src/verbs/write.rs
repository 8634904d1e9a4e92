//! `create`, `update`, `delete` and `deletecollection`.

use std::sync::Arc;

use api_types::{object::ObjectExt, status::Status, wire};
use serde_json::{Value, json};

use super::{
    Asked,
    decode::{self, Expected},
    list,
    options::{List, Write},
    reviews,
};
use crate::{
    http::{
        negotiate::Format,
        respond::{self, Answer},
    },
    registry::{
        create::name_required,
        delete::{self, Deleted},
        metadata,
        strategy::Part,
        update::Plan,
    },
    server::Server,
};

pub(super) async fn create(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    let options = Write::read(&asked.query, "CreateOptions", false)?;
    let object = body_object(server, &mut asked, &options).await?;
    if object.name().is_empty() && object.meta_str("generateName").is_empty() && !is_review(&asked) {
        return Err(Status::invalid(&asked.served.resource.kind(), "", &[name_required()]));
    }
    if is_review(&asked) {
        let answer = reviews::answer(server, &asked, object).await?;
        return asked.answer(server, 201, &answer);
    }
    let call = asked.call(server, &options);
    let written = server.registry.create(&call, object).await?;
    asked.answer_written(server, 201, &written)
}

/// Kinds that are questions, not objects: they have no name.
fn is_review(asked: &Asked) -> bool {
    let verbs = asked.served.resource.verbs();
    verbs == ["create"]
}

pub(super) async fn update(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    let options = Write::read(&asked.query, "UpdateOptions", false)?;
    let mut object = body_object(server, &mut asked, &options).await?;
    let call = asked.call(server, &options);
    metadata::addressed(&call, &mut object)?;
    let plan = Plan { uid_precondition: true, ..Plan::of(Part::Main) };
    let written = server.registry.update(&call, plan, &|_| Ok(object.clone())).await?;
    asked.answer_written(server, if written.created { 201 } else { 200 }, &written)
}

pub(super) async fn delete(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    let raw = delete_options(&mut asked).await?;
    let options = delete::options(&raw)?;
    let write = Write { dry_run: dry_run(&raw), raw, ..Write::default() };
    let call = asked.call(server, &write);
    let Deleted { answer, is_status, gone } = server.registry.delete(&call, &options).await?;
    let code = if !gone && options.orphan_dependents == Some(false) { 202 } else { 200 };
    if is_status {
        Ok(respond::object(code, asked.media, &answer, super::meta_schema(&answer)))
    } else {
        asked.answer(server, code, &answer)
    }
}

pub(super) async fn delete_collection(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    let selection = List::read(&asked.query, asked.served.resource.as_ref(), false)?;
    let raw = delete_options(&mut asked).await?;
    let options = delete::options(&raw)?;
    let write = Write { dry_run: dry_run(&raw), raw, ..Write::default() };
    server.registry.warn_of_delete(&asked.call(server, &write), &options);
    let found = list::find(&asked, &selection).await?;
    let items = list::values(&asked, &found)?;
    for object in &items {
        let mut call = asked.call(server, &write);
        call.name = object.name().to_owned();
        call.namespace = object.namespace().to_owned();
        match server.registry.delete(&call, &options).await {
            Ok(_) => {}
            Err(status) if status.is("NotFound") => {}
            Err(status) => return Err(status),
        }
    }
    // The answer is the list of what was there.
    list::answer(server, &asked, found)
}

/// The object of a create or update body, decoded and defaulted.
pub(super) async fn body_object(
    server: &Server,
    asked: &mut Asked,
    options: &Write,
) -> Result<Value, Status> {
    let format = asked.body_format()?;
    let body = asked.body().await?;
    let expected = Expected::of(&asked.served);
    let decoded =
        decode::decode(&server.registry.catalogue, &body, format, &expected, options.field_validation)?;
    asked.warnings.extend(decoded.warnings);
    let object = asked.served.resource.default(decoded.object).map_err(Status::internal)?;
    asked.audit.request_object(&object, asked.served.resource.schema());
    Ok(object)
}

/// `DeleteOptions` from the body, or from the query if there is no body.
async fn delete_options(asked: &mut Asked) -> Result<Value, Status> {
    let body = asked.body().await?;
    if body.is_empty() {
        return query_options(asked);
    }
    let schema = api_types::schema::schema().type_of("", "v1", "DeleteOptions");
    let value = match asked.body_format()? {
        Format::Json => wire::json::decode(&body).map(|(value, _)| value).map_err(|error| {
            Status::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
        })?,
        Format::Yaml => wire::yaml::to_value(&body).map(|read| read.value).map_err(|error| {
            Status::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
        })?,
        Format::Protobuf => match schema {
            Some(schema) => wire::protobuf::decode(&body, schema)
                .map_err(|error| Status::bad_request(error.to_string()))?,
            None => Value::Null,
        },
    };
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or("DeleteOptions");
    let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or("v1");
    if kind != "DeleteOptions" {
        return Err(Status::bad_request(format!(
            "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:110\"",
        )));
    }
    let options = match schema {
        Some(schema) => {
            wire::typed::coerce(value, schema).map(|decoded| decoded.value).map_err(Status::bad_request)?
        }
        None => value,
    };
    asked.audit.request_options(&options);
    Ok(options)
}

fn query_options(asked: &Asked) -> Result<Value, Status> {
    let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
    if let Some(seconds) = asked.query.number("gracePeriodSeconds").map_err(Status::bad_request)? {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    if let Some(policy) = asked.query.get("propagationPolicy").filter(|policy| !policy.is_empty()) {
        options["propagationPolicy"] = json!(policy);
    }
    if asked.query.get("orphanDependents").is_some() {
        options["orphanDependents"] = json!(asked.query.flag("orphanDependents"));
    }
    let dry_run: Vec<&str> = asked.query.all("dryRun").collect();
    if !dry_run.is_empty() {
        options["dryRun"] = json!(dry_run);
    }
    Ok(options)
}

fn dry_run(options: &Value) -> bool {
    options.get("dryRun").and_then(Value::as_array).is_some_and(|values| !values.is_empty())
}
