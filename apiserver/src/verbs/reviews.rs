//! Kinds that are questions: they are posted, answered and forgotten.

use std::sync::Arc;

use api_types::{object::ObjectExt, status::Status};
use serde_json::Value;

use super::{Asked, options::Write, subresources};
use crate::{admission::Operation, authn, authz::review, registry::Call, server::Server};

/// The answer to a question.
pub(super) async fn answer(server: &Arc<Server>, asked: &Asked, question: Value) -> Result<Value, Status> {
    let names = asked.served.names();
    let authorizer = server.authorizer.as_ref();
    let options = Write::read(&asked.query, "CreateOptions", false)?;
    let call = Call { name: question.name().to_owned(), ..asked.call(server, &options) };
    if (names.group, names.plural) == ("", "bindings") {
        return bind(server, &call, question).await;
    }
    let kind = asked.served.resource.kind();
    let attributes = server.registry.admit(&call, kind, Operation::Create, question).await?;
    server.registry.let_in(&attributes).await?;
    let question = attributes.object;
    match (names.group, names.plural) {
        ("authorization.k8s.io", "subjectaccessreviews") => review::subject_access(&question, authorizer),
        ("authorization.k8s.io", "selfsubjectaccessreviews") => {
            review::self_subject_access(&question, &asked.user, authorizer)
        }
        ("authorization.k8s.io", "localsubjectaccessreviews") => {
            review::local_subject_access(&question, &asked.info.namespace, authorizer)
        }
        ("authorization.k8s.io", "selfsubjectrulesreviews") => {
            review::self_subject_rules(&question, &asked.user, authorizer)
        }
        ("authentication.k8s.io", "tokenreviews") => {
            authn::review::token(&question, &server.identity.authenticator).await
        }
        ("authentication.k8s.io", "selfsubjectreviews") => {
            Ok(authn::review::self_subject(&asked.user, server.runtime.clock.now()))
        }
        _ => Err(super::method_not_allowed()),
    }
}

/// The old spelling of `pods/binding`.
async fn bind(server: &Arc<Server>, call: &Call, binding: Value) -> Result<Value, Status> {
    subresources::bind(server, call, &call.name, binding).await?;
    Ok(
        serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    )
}
