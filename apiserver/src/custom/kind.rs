//! A version of a custom resource in the registry's eyes: the same as any built-in kind.
//!
//! What upstream's strategies of custom resources do, in their order; what is right for a value is the schema's to say.

use std::{sync::Arc, time::Duration};

use api_types::{
    field::{Fault, Faults, Path, go_quote},
    kind::{GroupResource, GroupVersionKind},
    object::{ObjectExt, object_of},
    schema::TypeRef,
};
use serde_json::Value;

use super::{
    conversion::go_type,
    definition::{Scale, Version},
    schema::{Change, Malformed},
    versions::Versions,
};
use crate::{
    discovery::compare_versions,
    patch::apply::Reset,
    registry::{
        catalogue::Conversion,
        strategy::{Called, Checked, Context, Dependents, Generation, Part, Resource, SelectableField},
    },
    resources::shared::{metadata, names},
};

/// One version of a custom resource.
#[derive(Debug)]
pub struct Kind {
    /// The versions it is one of.
    pub versions: Arc<Versions>,
    /// Which of them.
    pub at: usize,
    warning: Option<String>,
}

/// The verbs, as discovery lists them.
pub const VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
/// What is left of them while the definition goes.
pub const VERBS_TERMINATING: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];

const TERMINATING: &str = "create not allowed while custom resource definition is terminating";
/// Finalizers that may go without a domain.
const FINALIZERS: &[&str] = &["orphan", "foregroundDeletion", "kubernetes"];

// === impl Kind ===

impl Kind {
    /// The version at a position.
    pub fn new(versions: Arc<Versions>, at: usize) -> Self {
        let warning = warning(&versions, at);
        Self { versions, at, warning }
    }

    fn version(&self) -> &Version {
        self.versions.version(self.at)
    }

    /// Where its scale finds its numbers, if it has one.
    pub fn scale(&self) -> Option<&Scale> {
        self.version().scale.as_ref()
    }

    /// `GROUP/VERSION`
    pub fn api_version(&self) -> String {
        self.versions.api_version(self.at)
    }

    /// Whether a body is of this kind. Nothing else is wrong with one that is not.
    fn type_faults(&self, object: &Value) -> Faults {
        let kind = self.kind();
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let mut faults = Faults::new();
        for (field, expected) in [("kind", kind.kind.clone()), ("apiVersion", kind.api_version())] {
            if text(field) != expected {
                faults.push(Fault::invalid(&Path::new(field), text(field), format!("must be {expected}")));
            }
        }
        faults
    }

    fn scale_faults(&self, object: &Value, with_spec: bool) -> Faults {
        let Some(scale) = self.scale() else { return Faults::new() };
        let mut faults = Faults::new();
        let spec = Some(&scale.spec_replicas_path).filter(|_| with_spec);
        for path in spec.into_iter().chain([&scale.status_replicas_path]) {
            let shown = Path::new(path);
            match number(object, path) {
                Err(why) => faults.push(Fault::invalid(&shown, 0, why)),
                Ok(Some(count)) if count < 0 => {
                    faults.push(Fault::invalid(&shown, count, "should be a non-negative integer"));
                }
                Ok(Some(count)) if count > i64::from(i32::MAX) => {
                    let detail = format!("should be less than or equal to {}", i32::MAX);
                    faults.push(Fault::invalid(&shown, count, detail));
                }
                Ok(_) => {}
            }
        }
        if let Some(path) = &scale.label_selector_path
            && let Err(why) = text_at(object, path)
        {
            faults.push(Fault::invalid(&Path::new(path), "", why));
        }
        faults
    }
}

impl Resource for Kind {
    fn kind(&self) -> GroupVersionKind {
        let definition = &self.versions.definition;
        GroupVersionKind::new(&definition.group, &self.version().name, &definition.accepted.kind)
    }

    fn resource(&self) -> GroupResource {
        let definition = &self.versions.definition;
        GroupResource::new(&definition.group, &definition.accepted.plural)
    }

    fn names(&self) -> Called<'_> {
        let definition = &self.versions.definition;
        Called {
            group: &definition.group,
            version: &self.version().name,
            kind: &definition.accepted.kind,
            plural: &definition.accepted.plural,
            singular: &definition.accepted.singular,
            namespaced: definition.namespaced,
        }
    }

    fn short(&self) -> Vec<&str> {
        self.versions.definition.accepted.short_names.iter().map(String::as_str).collect()
    }

    fn categories(&self) -> Vec<&str> {
        self.versions.definition.accepted.categories.iter().map(String::as_str).collect()
    }

    fn list_kind(&self) -> String {
        self.versions.definition.accepted.list_kind.clone()
    }

    fn schema(&self) -> Option<TypeRef> {
        None
    }

    fn verbs(&self) -> &'static [&'static str] {
        VERBS
    }

    fn has_status(&self) -> bool {
        self.version().status
    }

    fn part(&self, subresource: &str) -> Option<Part> {
        (subresource == "status" && self.has_status()).then_some(Part::Status)
    }

    fn resets(&self, part: Part) -> Option<Reset<'static>> {
        (part == Part::Status).then_some(Reset::Fields(&[&["metadata"], &["spec"]]))
    }

    fn generation(&self) -> Generation {
        Generation::AllButMetadata
    }

    fn creates_on_update(&self) -> bool {
        false
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }

    fn selectable(&self) -> &'static [SelectableField] {
        &[]
    }

    fn selects(&self, label: &str) -> bool {
        self.version().selectable.iter().any(|path| path.trim_start_matches('.') == label)
    }

    fn deprecated(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    fn alias_selectable(&self) -> &'static [SelectableField] {
        &[]
    }

    fn conversion(&self) -> Option<Conversion> {
        None
    }

    fn dependents(&self) -> Dependents {
        Dependents::Collect
    }

    fn time_to_live(&self) -> Option<Duration> {
        None
    }

    fn returns_deleted(&self) -> bool {
        false
    }

    fn name_faults(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_subdomain(name, prefix)
    }

    fn refuses_new(&self) -> Option<&'static str> {
        self.versions.is_terminating().then_some(TERMINATING)
    }

    fn custom(&self) -> Option<&Kind> {
        Some(self)
    }

    fn coerce(&self, mut object: Value) -> Result<(Value, Vec<String>), String> {
        let unknown = self.versions.coerce(self.at, &mut object, Malformed::Refused)?;
        let unknown = unknown.into_iter().map(|path| format!("unknown field \"{path}\"")).collect();
        Ok((object, unknown))
    }

    fn default(&self, mut object: Value) -> Result<Value, String> {
        self.versions.schema(self.at).default(&mut object);
        Ok(object)
    }

    fn check_create(&self, _cx: &Context<'_>, mut object: Value) -> Result<Checked, String> {
        if self.has_status() {
            object_of(&mut object).remove("status");
        }
        let mut warnings = finalizer_warnings(&object, None);
        let mut faults = self.type_faults(&object);
        if faults.is_empty() {
            let meta = object.get("metadata").unwrap_or(&Value::Null);
            let namespaced = self.versions.definition.namespaced;
            faults.extend(metadata::validate(meta, namespaced, &names::dns_subdomain));
            let scale = || self.scale_faults(&object, true);
            let schema = self.versions.schema(self.at);
            let (found, told) = schema.validate_with_warnings(&object, Change::Create, faults, scale);
            faults = found;
            warnings.extend(told);
        }
        Ok(Checked { object, faults, warnings })
    }

    fn check_update(
        &self,
        _cx: &Context<'_>,
        part: Part,
        mut object: Value,
        old: &Value,
    ) -> Result<Checked, String> {
        let meta = |object: &Value| object.get("metadata").cloned().unwrap_or_default();
        let change_faults = |object: &Value| metadata::validate_update(&meta(object), &meta(old));
        let schema = self.versions.schema(self.at);
        let mut warnings = Vec::new();
        if part == Part::Status {
            object = with_status(old, object);
        } else if self.has_status() {
            let status = old.get("status").cloned();
            let fields = object_of(&mut object);
            match status {
                Some(status) => fields.insert("status".to_owned(), status),
                None => fields.remove("status"),
            };
        }
        let mut faults = self.type_faults(&object);
        if faults.is_empty() {
            faults.extend(change_faults(&object));
            let scale = || self.scale_faults(&object, part != Part::Status);
            let change = if part == Part::Status { Change::Status(old) } else { Change::Update(old) };
            let (found, told) = schema.validate_with_warnings(&object, change, faults, scale);
            faults = found;
            warnings.extend(told);
        }
        if part != Part::Status {
            warnings.extend(finalizer_warnings(&object, Some(old)));
        }
        Ok(Checked { object, faults, warnings })
    }

    fn grace_period(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }
}

/// The old object with the new one's status, and with the record of who set it.
fn with_status(old: &Value, mut new: Value) -> Value {
    let mut merged = old.clone();
    let owners = new.meta_mut().remove("managedFields").unwrap_or_default();
    merged.set_meta("managedFields", owners);
    match object_of(&mut new).remove("status") {
        Some(status) => object_of(&mut merged).insert("status".to_owned(), status),
        None => object_of(&mut merged).remove("status"),
    };
    merged
}

/// What users of a deprecated version are told.
fn warning(versions: &Versions, at: usize) -> Option<String> {
    let version = versions.version(at);
    let text = version.deprecated.as_ref()?;
    if !text.is_empty() {
        return Some(text.clone());
    }
    let definition = &versions.definition;
    let kind = &definition.requested.kind;
    let mut newer: Vec<&str> = definition
        .versions
        .iter()
        .filter(|it| it.served && it.deprecated.is_none())
        .map(|it| it.name.as_str())
        .filter(|name| compare_versions(name, &version.name).is_gt())
        .collect();
    newer.sort_by(|one, other| compare_versions(other, one));
    let mut text = format!("{} {kind} is deprecated", versions.api_version(at));
    if let Some(newest) = newer.first() {
        text.push_str(&format!("; use {} {kind}", definition.api_version(newest)));
    }
    Some(text)
}

/// What writers of finalizers that others may take for theirs are told.
fn finalizer_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let known = old.map(|old| old.finalizers()).unwrap_or_default();
    let mut added: Vec<&str> = object.finalizers().into_iter().filter(|it| !known.contains(it)).collect();
    added.sort_unstable();
    added.dedup();
    let mut warnings = Vec::new();
    for finalizer in added {
        let place = format!("metadata.finalizers: {}", go_quote(finalizer));
        warnings.extend(names::qualified_name(finalizer).into_iter().map(|why| format!("{place}: {why}")));
        if !finalizer.contains('/') && !FINALIZERS.contains(&finalizer) {
            let form = if finalizer.contains('.') { " including a path (/)" } else { "" };
            warnings.push(format!(
                "{place}: prefer a domain-qualified finalizer name{form} to avoid accidental conflicts with other finalizer writers"
            ));
        }
    }
    warnings
}

/// The names of the fields of a path such as `.spec.replicas`.
pub(crate) fn fields(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('.').unwrap_or(path).split('.')
}

/// What is at a path; in Go's words, where it leads through what is no map.
fn at<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, String> {
    let mut value = object;
    let mut walked = String::new();
    for field in fields(path) {
        match value {
            Value::Object(map) => match map.get(field) {
                Some(next) => value = next,
                None => return Ok(None),
            },
            Value::Null => return Ok(None),
            other => {
                return Err(format!(
                    "{walked} accessor error: {} is of the type {}, expected map[string]interface{{}}",
                    crate::verbs::go_print(other),
                    go_type(other)
                ));
            }
        }
        walked.push('.');
        walked.push_str(field);
    }
    Ok(Some(value))
}

fn accessor_error(path: &str, value: &Value, expected: &str) -> String {
    let path: Vec<&str> = fields(path).collect();
    let (path, shown) = (path.join("."), crate::verbs::go_print(value));
    format!(".{path} accessor error: {shown} is of the type {}, expected {expected}", go_type(value))
}

/// The integer at a path.
///
/// # Errors
/// That it is none.
pub(crate) fn number(object: &Value, path: &str) -> Result<Option<i64>, String> {
    match at(object, path)? {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(accessor_error(path, value, "int64")),
        },
    }
}

/// The text at a path.
///
/// # Errors
/// That it is none.
pub(crate) fn text_at<'a>(object: &'a Value, path: &str) -> Result<Option<&'a str>, String> {
    match at(object, path)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => Err(accessor_error(path, value, "string")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_found_by_path_or_it_is_said_what_is_there() {
        let object = json!({"spec": {"n": 3, "t": "x", "none": null}});
        assert_eq!(number(&object, ".spec.n"), Ok(Some(3)));
        assert_eq!(number(&object, ".spec.other.n"), Ok(None));
        assert_eq!(
            number(&object, ".spec.t"),
            Err(".spec.t accessor error: x is of the type string, expected int64".to_owned())
        );
        assert_eq!(
            number(&object, ".spec.t.n"),
            Err(".spec.t accessor error: x is of the type string, expected map[string]interface{}".to_owned())
        );
        assert_eq!(
            text_at(&object, ".spec.n"),
            Err(".spec.n accessor error: 3 is of the type int64, expected string".to_owned())
        );
    }

    #[test]
    fn finalizers_without_a_domain_are_warned_of_when_they_come() {
        let object =
            json!({"metadata": {"finalizers": ["a", "b.example", "c.example/d", "orphan", "known"]}});
        let old = json!({"metadata": {"finalizers": ["known"]}});
        assert_eq!(
            finalizer_warnings(&object, Some(&old)),
            [
                r#"metadata.finalizers: "a": prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"#,
                r#"metadata.finalizers: "b.example": prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"#,
            ]
        );
    }

    #[test]
    fn a_write_of_the_status_takes_nothing_else() {
        let old = json!({"metadata": {"name": "a", "labels": {"x": "y"}, "managedFields": [1]}, "spec": 1, "status": 1});
        let new =
            json!({"metadata": {"name": "a", "managedFields": [2]}, "spec": 2, "status": 2, "other": 3});
        assert_eq!(
            with_status(&old, new),
            json!({"metadata": {"name": "a", "labels": {"x": "y"}, "managedFields": [2]}, "spec": 1, "status": 2})
        );
    }
}
