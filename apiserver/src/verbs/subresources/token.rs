//! `serviceaccounts/token`: a token for a service account, bound to what the caller names.

use std::sync::Arc;

use api_types::{kind::GroupVersionKind, schema::schema, status::Status};

use super::super::{
    Asked,
    decode::{self, Decoded, Expected},
    method_not_allowed,
    options::Write,
};
use crate::{admission::Operation, http::respond::Answer, server::Server};

pub(super) async fn run(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    if asked.info.verb != "create" {
        return Err(method_not_allowed());
    }
    let options = Write::read(&asked.query, "CreateOptions", false)?;
    let format = asked.body_format()?;
    let body = asked.body().await?;
    let kind = GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest");
    let schema = schema().type_of("authentication.k8s.io", "v1", "TokenRequest");
    let expected = Expected { kind, schema, custom: None };
    let Decoded { object, warnings } =
        decode::decode(&server.registry.catalogue, &body, format, &expected, options.field_validation)?;
    asked.warnings.extend(warnings);
    let call = asked.call(server, &options);
    let attributes = server.registry.admit(&call, expected.kind, Operation::Create, object).await?;
    server.registry.let_in(&attributes).await?;
    let (answer, more) =
        server.identity.issue(server, &attributes.object, &call.namespace, &call.name).await?;
    asked.warnings.extend(more);
    asked.answer_as(server, 201, &answer, schema)
}
