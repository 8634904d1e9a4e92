//! `pods/binding`: a Pod is given its node, once.

use std::sync::Arc;

use api_types::{object::ObjectExt, schema::schema, status::Status, typed::Typed};
use k8s_openapi::api::core::v1::{Binding, Pod};
use serde_json::Value;

use super::super::{
    Asked,
    decode::{self, Decoded, Expected},
    method_not_allowed,
    options::Write,
};
use crate::{
    http::respond::Answer,
    registry::{Call, strategy::Part, update::Plan},
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
        kind: api_types::kind::GroupVersionKind::new("", "v1", "Binding"),
        schema: schema().type_of("", "v1", "Binding"),
        custom: None,
    };
    let Decoded { object, warnings } =
        decode::decode(&server.registry.catalogue, &body, format, &expected, options.field_validation)?;
    asked.warnings.extend(warnings);
    let call = asked.call(server, &options);
    bind(server, &call, &object).await?;
    Ok(super::success(&asked, 201))
}

/// Binds a Pod, as a scheduler asks for it.
///
/// # Errors
/// 400 for another Pod's binding, 409 for a Pod that is bound, gated or going.
pub(in crate::verbs) async fn bind(server: &Server, call: &Call, binding: &Value) -> Result<(), Status> {
    if binding.name() != call.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let typed = Binding::from_value(binding).map_err(Status::internal)?;
    pods::check_binding(&typed)?;
    let plan =
        Plan { part: Part::Sub("binding"), create_missing: false, uid_precondition: false, owned: false };
    server
        .registry
        .update(call, plan, &|old| {
            let old = old.ok_or_else(|| call.not_found())?;
            let mut pod = Pod::from_value(old).map_err(Status::internal)?;
            pods::bind(&mut pod, &typed, call.now)?;
            Ok(pod.to_value())
        })
        .await
        .map(|_| ())
}
