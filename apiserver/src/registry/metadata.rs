//! The metadata that the server owns: filled in on create, kept on update.

use api_types::{
    field::{Fault, Path},
    object::ObjectExt,
    status::Status,
};
use serde_json::Value;

use super::{Call, Registry, time};

/// The longest base of a generated name, so that the suffix of five fits into 63.
const GENERATED_BASE_MAX: usize = 58;
const GENERATED_SUFFIX: usize = 5;

impl Registry {
    /// Metadata of a new object: uid, time of creation, first generation; nothing the client may not set.
    pub(super) fn fill_new(&self, call: &Call, object: &mut Value) {
        for field in
            ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"]
        {
            object.set_meta(field, Value::Null);
        }
        object.set_meta("creationTimestamp", time(call.now));
        object.set_meta("uid", self.runtime.random.uuid().to_string());
        if let Some(first) = call.served.rules().generation().first() {
            object.set_meta("generation", first);
        }
    }

    /// A name from `generateName`, if the object has that and no name. True if it was made.
    pub(super) fn generate_name(&self, object: &mut Value) -> bool {
        let base = object.meta_str("generateName");
        if base.is_empty() || !object.name().is_empty() {
            return false;
        }
        let mut end = base.len().min(GENERATED_BASE_MAX);
        while !base.is_char_boundary(end) {
            end -= 1;
        }
        let stem = base.get(..end).unwrap_or_default();
        let name = format!("{stem}{}", self.runtime.random.name_suffix(GENERATED_SUFFIX));
        object.set_meta("name", name);
        true
    }
}

/// Puts the request's namespace on the object, or finds that the object has another.
///
/// # Errors
/// 400
pub(super) fn settle_namespace(call: &Call, object: &mut Value) -> Result<(), Status> {
    let expected = call.scope();
    if object.namespace().is_empty() {
        if !expected.is_empty() {
            object.set_meta("namespace", expected);
        }
        return Ok(());
    }
    if object.namespace() == expected {
        return Ok(());
    }
    if expected.is_empty() {
        // Upstream clears what a cluster-scoped object cannot have, unless it is named on purpose.
        object.set_meta("namespace", Value::Null);
        return Ok(());
    }
    Err(Status::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

/// Finds that a changed object is the one the URL names, in its namespace and by its name.
///
/// # Errors
/// 400
pub(crate) fn addressed(call: &Call, object: &mut Value) -> Result<(), Status> {
    settle_namespace(call, object)?;
    let (name, url) = (object.name(), call.name.as_str());
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({url} based on URL) was undeterminable: name must be provided"
        )));
    }
    if name != url {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({url})"
        )));
    }
    Ok(())
}

/// What a changed object takes over from the old one, whatever the client sent.
pub(super) fn keep(object: &mut Value, old: &Value) {
    let kept = |field: &str| old.meta().and_then(|meta| meta.get(field)).cloned().unwrap_or_default();
    object.set_meta("generation", kept("generation"));
    object.set_meta("creationTimestamp", kept("creationTimestamp"));
    object.set_meta("selfLink", Value::Null);
    if object.uid().is_empty() {
        object.set_meta("uid", kept("uid"));
    }
    if old.is_terminating() {
        object.set_meta("deletionTimestamp", kept("deletionTimestamp"));
    }
    if object.meta().is_none_or(|meta| !meta.contains_key("deletionGracePeriodSeconds")) {
        object.set_meta("deletionGracePeriodSeconds", kept("deletionGracePeriodSeconds"));
    }
}

/// The fault of an update without resource version where one is needed.
pub(super) fn version_required() -> Fault {
    Fault::invalid(&Path::new("metadata").child("resourceVersion"), 0, "must be specified for an update")
}

/// Owners that are named twice, by uid; upstream drops repetitions and warns.
pub(super) fn repeated_owners(object: &mut Value) -> Option<String> {
    let owners = object.meta_mut().get_mut("ownerReferences")?.as_array_mut()?;
    let mut seen: Vec<Value> = Vec::new();
    let mut repeated: Vec<String> = Vec::new();
    owners.retain(|owner| {
        if seen.contains(owner) {
            let uid = owner.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !repeated.contains(&uid) {
                repeated.push(uid);
            }
            return false;
        }
        seen.push(owner.clone());
        true
    });
    (!repeated.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            repeated.join(", ")
        )
    })
}
