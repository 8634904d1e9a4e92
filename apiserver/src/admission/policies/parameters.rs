//! The objects that a binding gives a policy as parameters.

use std::sync::Arc;

use serde_json::Value;

use super::compiled::{Binding, ParameterKind, Policy, text};
use crate::{
    admission::seen::{labels, selector},
    server::Server,
};

/// Why the parameters of a policy cannot be had at all.
pub(super) fn unknown_kind(server: &Server, policy: &Policy) -> Option<String> {
    let ParameterKind { group, version, kind } = policy.parameter_kind.as_ref()?;
    if server.registry.catalogue.find_kind(group, version, kind).is_some() {
        return None;
    }
    let version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    Some(format!("failed to find resource referenced by paramKind: '{version}, Kind={kind}'"))
}

/// The parameters, null for a policy that takes none; none at all if it is not to be asked.
///
/// # Errors
/// Why they cannot be had.
pub(super) async fn collect(
    server: &Server,
    policy: &Policy,
    binding: &Binding,
    namespace: &str,
) -> Result<Vec<Arc<Value>>, String> {
    let nothing = || vec![Arc::new(Value::Null)];
    let (Some(of), reference) = (&policy.parameter_kind, &binding.reference) else { return Ok(nothing()) };
    if reference.is_null() {
        return Ok(nothing());
    }
    let Some(served) = server.registry.catalogue.find_kind(&of.group, &of.version, &of.kind) else {
        return Err(unknown_kind(server, policy).unwrap_or_default());
    };
    let names = served.names();
    let named = text(reference, "namespace");
    let namespace = match (names.namespaced, named.is_empty()) {
        (true, false) => named,
        (true, true) if namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .to_owned(),
            );
        }
        (true, true) => namespace,
        (false, false) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
        (false, true) => "",
    };
    let name = text(reference, "name");
    let found = if !name.is_empty() {
        let found = server.try_get(names.group, names.version, names.plural, namespace, name).await;
        found.map_err(|status| status.message)?.into_iter().collect()
    } else {
        let selector = selector(reference.get("selector"))?;
        let all = server.list(names.group, names.version, names.plural, namespace).await;
        let mut all = all.map_err(|status| status.message)?;
        all.retain(|object| selector.matches(&labels(object)));
        all
    };
    if found.is_empty() && text(reference, "parameterNotFoundAction") == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    // What is stored may be of another version than the policy speaks of.
    Ok(found.into_iter().map(|object| Arc::new(served.serve(object.as_ref().clone()))).collect())
}
