//! `kubectl apply` moving from the client's side to the server's.
//!
//! Client-side apply kept its last configuration in an annotation and wrote with plain patches. When the same `kubectl`
//! then applies from the server's side, it must not be in conflict with its former self, and the annotation follows, so
//! that it can go back.

use api_types::{
    kind::GroupVersionKind,
    object::{ObjectExt, object_at},
    wire::json::encode_untyped,
};
use serde_json::Value;

use super::{Versions, check::check, compare::compare, extract::fields_of, set::Set};

/// The only manager this is done for.
pub(super) const MANAGER: &str = "kubectl";

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Bytes of all annotations of an object.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// The fields that are as client-side apply last set them; `None` if it never did or that cannot be told.
pub(super) fn own_fields(live: &Value, kind: &GroupVersionKind, versions: &dyn Versions) -> Option<Set> {
    let text = live.annotation(ANNOTATION).filter(|text| !text.is_empty())?;
    let shape = versions.shape(&kind.api_version())?;
    check(live, shape, false).ok()?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(&kind.api_version()) {
        return None;
    }
    check(&last, shape, false).ok()?;
    let changes = compare(&last, live, shape, &[]).ok()?;
    let mut set = fields_of(&last, shape);
    [changes.modified, changes.added, changes.removed].iter().for_each(|changed| set.subtract(changed));
    Some(set)
}

/// Writes what is applied now into the annotation, if the object has one. It is dropped if it became too large.
pub(super) fn bring_up_to_date(object: &mut Value, applied: &Value) {
    if object.annotation(ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut last = applied.clone();
    if let Some(Value::Object(annotations)) = last.meta_mut().get_mut("annotations") {
        annotations.remove(ANNOTATION);
    }
    let mut text = encode_untyped(&last);
    text.push(b'\n');
    let annotations = object_at(object.meta_mut(), "annotations");
    annotations.insert(ANNOTATION.to_owned(), Value::String(String::from_utf8(text).unwrap_or_default()));
    let size: usize =
        annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_MAX {
        annotations.remove(ANNOTATION);
    }
}
