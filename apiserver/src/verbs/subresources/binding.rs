//! `pods/binding`: a Pod is given its node, once.

use std::sync::Arc;

use api_types::{kind::GroupVersionKind, object::ObjectExt, schema::schema, status::Status, typed::Typed};
use k8s_openapi::api::core::v1::{Binding, Pod};
use serde_json::Value;

use super::super::{
    Asked,
    decode::{self, Decoded, Expected},
    method_not_allowed,
    options::Write,
};
use crate::{
    admission::Operation,
    http::respond::Answer,
    registry::{Call, strategy::Part, update::Plan, view::Shown},
    resources::core::pods,
    server::Server,
};

pub(super) async fn run(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    if asked.info.verb != "create" {
        return Err(method_not_allowed());
    }
    let options = Write::read(&asked.query, "CreateOptions", false)?;
    let format = asked.body_format()?;
    let body = asked.body().await?;
    let expected = Expected {
        kind: GroupVersionKind::new("", "v1", "Binding"),
        schema: schema().type_of("", "v1", "Binding"),
        custom: None,
    };
    let Decoded { object, warnings } =
        decode::decode(&server.registry.catalogue, &body, format, &expected, options.field_validation)?;
    asked.warnings.extend(warnings);
    let call = asked.call(server, &options);
    bind(server, &call, &call.name, object).await?;
    Ok(super::success(&asked, 201))
}

/// Binds a Pod, as a scheduler asks for it.
///
/// # Errors
/// 400 for another Pod's binding, 409 for a Pod that is bound, gated or going; what admission has against it.
pub(in crate::verbs) async fn bind(
    server: &Server,
    call: &Call,
    pod: &str,
    binding: Value,
) -> Result<(), Status> {
    let registry = &server.registry;
    let kind = GroupVersionKind::new("", "v1", "Binding");
    let attributes = registry.admit(call, kind, Operation::Create, binding).await?;
    if attributes.object.name() != pod {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let binding = Binding::from_value(&attributes.object).map_err(Status::internal)?;
    pods::check_binding(&binding)?;
    registry.let_in(&attributes).await?;
    let served = registry.catalogue.find("", "v1", "pods");
    let served = served.ok_or_else(|| Status::internal("pods are not served"))?;
    let call = Call { served, name: pod.to_owned(), subresource: "binding".to_owned(), ..call.clone() };
    let plan = Plan { shown: Shown::Nothing, ..Plan::of(Part::Sub("binding")) };
    registry
        .update(&call, plan, &|old| {
            let old = old.ok_or_else(|| call.not_found())?;
            let mut pod = Pod::from_value(old).map_err(Status::internal)?;
            pods::bind(&mut pod, &binding, call.now)?;
            Ok(pod.to_value())
        })
        .await
        .map(|_| ())
}
