//! CustomResourceDefinitions: `customresourcedefinitions` of `apiextensions.k8s.io/v1`.
//!
//! What is judged here: names, versions, what must be there, and what each schema may say. What a schema then says about
//! objects is in `custom/schema.rs`.

mod conversions;
mod formats;
mod json;
mod parts;
mod paths;
mod schemas;
mod spec;
mod structural;

use std::collections::BTreeSet;

use api_types::{
    field::{BadValue, Fault, Faults, Path, go_quote},
    typed::Typed,
};
use serde_json::{Value, json};

use self::{
    json::{get, is_on, items, text},
    spec::{Rules, Spec},
};
use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::{fields::immutable_text, url::Url, webhook_client::PORT_DEFAULT},
};

/// The annotation that says who allowed a group of the community to be extended.
const APPROVED: &str = "api-approved.kubernetes.io";
const APPROVAL_HELP: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// What is wrong with the structure of a schema at a path, sorted: what the condition `NonStructuralSchema` tells.
///
/// # Errors
/// Why it has no structure at all, in upstream's words.
pub(crate) fn structure_faults(schema: &Value, path: &Path) -> Result<Faults, String> {
    structural::faults(schema, path)
}

/// The strategy of CustomResourceDefinitions.
pub(crate) struct CustomResourceDefinitions;

/// A definition. It stays JSON: schemas are trees of it, and come back to their writer digit by digit.
#[derive(Debug)]
pub(crate) struct Definition(Value);

impl Typed for Definition {
    fn from_value(value: &Value) -> Result<Self, serde_json::Error> {
        Ok(Self(value.clone()))
    }

    fn to_value(&self) -> Value {
        self.0.clone()
    }
}

impl Strategy for CustomResourceDefinitions {
    type Object = Definition;

    const NAMES: Names = Names {
        group: "apiextensions.k8s.io",
        version: "v1",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        short: &["crd", "crds"],
        categories: &["api-extensions"],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;
    const KNOWN_FINALIZERS: bool = false;
    const REJUDGES_METADATA: bool = false;

    fn default(Definition(object): &mut Definition) {
        let Some(spec) = object.get_mut("spec") else { return };
        if let Some(names) = spec.get_mut("names").filter(|names| names.is_object()) {
            let kind = text(names, "kind").to_owned();
            if text(names, "singular").is_empty() {
                put(names, "singular", kind.to_lowercase().into());
            }
            if text(names, "listKind").is_empty() && !kind.is_empty() {
                put(names, "listKind", format!("{kind}List").into());
            }
        }
        if get(spec, "conversion").is_none() {
            put(spec, "conversion", json!({"strategy": "None"}));
        }
        if let Some(service) = spec.pointer_mut("/conversion/webhook/clientConfig/service")
            && service.is_object()
            && get(service, "port").is_none()
        {
            put(service, "port", PORT_DEFAULT.into());
        }
        let no_stored =
            object.pointer("/status/storedVersions").and_then(Value::as_array).is_none_or(Vec::is_empty);
        if no_stored {
            store_version(object);
        }
    }

    fn prepare_for_create(_cx: &Context<'_>, Definition(object): &mut Definition) {
        put(object, "status", json!({}));
        store_version(object);
    }

    fn validate(_cx: &Context<'_>, Definition(object): &Definition) -> Faults {
        let spec = Spec::of(object);
        let mut faults = Vec::new();
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        if !name.is_empty() && name != format!("{}.{}", text(spec.names(), "plural"), spec.group()) {
            let detail = r#"must be spec.names.plural+"."+spec.group"#;
            faults.push(Fault::invalid(&Path::new("metadata.name"), name, detail));
        }
        faults.extend(spec.faults(&Rules::of_new(), &Path::new("spec")));
        faults.extend(rest_faults(object, None));
        faults
    }

    fn prepare_for_update(_cx: &Context<'_>, Definition(object): &mut Definition, _old: &Definition) {
        store_version(object);
    }

    fn validate_update(
        _cx: &Context<'_>,
        Definition(object): &Definition,
        Definition(old): &Definition,
    ) -> Faults {
        let (spec, old_spec) = (Spec::of(object), Spec::of(old));
        let established = is_established(old);
        let path = Path::new("spec");
        let mut faults = spec.faults(&Rules::of_change(&spec, &old_spec, established), &path);
        let kind = |spec: &Spec<'_>| text(spec.names(), "kind").to_owned();
        let plural = |spec: &Spec<'_>| text(spec.names(), "plural").to_owned();
        if established {
            faults.extend(immutable_text(&path.child("scope"), spec.scope(), old_spec.scope()));
            faults.extend(immutable_text(&path.child("names.kind"), &kind(&spec), &kind(&old_spec)));
        }
        faults.extend(immutable_text(&path.child("group"), spec.group(), old_spec.group()));
        faults.extend(immutable_text(&path.child("names.plural"), &plural(&spec), &plural(&old_spec)));
        faults.extend(rest_faults(object, Some(old)));
        faults
    }

    fn validate_status_update(
        _cx: &Context<'_>,
        Definition(object): &Definition,
        _old: &Definition,
    ) -> Faults {
        status_faults(object)
    }

    fn warnings(_cx: &Context<'_>, Definition(object): &Definition, old: Option<&Definition>) -> Vec<String> {
        let known: BTreeSet<String> = old
            .map(|Definition(old)| formats::unknown(&Spec::of(old)).into_iter().collect())
            .unwrap_or_default();
        let unknown = formats::unknown(&Spec::of(object)).into_iter();
        unknown
            .filter(|format| !known.contains(format))
            .map(|format| format!("unrecognized format {}", go_quote(&format)))
            .collect()
    }
}

fn put(object: &mut Value, field: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(field.to_owned(), value);
    }
}

/// Notes that objects may be stored in the version that is now the one to store.
fn store_version(object: &mut Value) {
    let version = object.get("spec").and_then(|spec| {
        items(spec, "versions")
            .iter()
            .find(|version| is_on(version, "storage"))
            .map(|it| text(it, "name").to_owned())
    });
    let (Some(version), Some(object)) = (version, object.as_object_mut()) else { return };
    let status = object.entry("status").or_insert_with(|| json!({}));
    if status.is_null() {
        *status = json!({});
    }
    let Some(status) = status.as_object_mut() else { return };
    let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
    if stored.is_null() {
        *stored = json!([]);
    }
    if let Some(stored) = stored.as_array_mut().filter(|stored| !stored.iter().any(|it| *it == version)) {
        stored.push(version.into());
    }
}

fn is_established(object: &Value) -> bool {
    let status = object.get("status").unwrap_or(&Value::Null);
    items(status, "conditions")
        .iter()
        .any(|condition| text(condition, "type") == "Established" && text(condition, "status") == "True")
}

/// What is wrong outside of the spec.
fn rest_faults(object: &Value, old: Option<&Value>) -> Faults {
    let mut faults = status_faults(object);
    faults.extend(stored_version_faults(object));
    faults.extend(approval_fault(object, old));
    let keeps_unknown =
        |object: &Value| object.get("spec").is_some_and(|spec| is_on(spec, "preserveUnknownFields"));
    if keeps_unknown(object) && !old.is_some_and(keeps_unknown) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        faults.push(Fault::invalid(&Path::new("spec.preserveUnknownFields"), true, detail));
    }
    faults
}

fn status_faults(object: &Value) -> Faults {
    let names = object.pointer("/status/acceptedNames").unwrap_or(&Value::Null);
    parts::name_faults(names, &Path::new("status.acceptedNames"))
}

/// What is wrong with the versions in which objects may be stored: all must still be known.
fn stored_version_faults(object: &Value) -> Faults {
    let path = Path::new("status.storedVersions");
    let stored = items(object.get("status").unwrap_or(&Value::Null), "storedVersions");
    if stored.is_empty() {
        let value = BadValue::Json(Value::Null);
        return vec![Fault::invalid(&path, value, "must have at least one stored version")];
    }
    let mut unknown: BTreeSet<&str> = stored.iter().filter_map(Value::as_str).collect();
    let mut faults = Vec::new();
    for version in items(object.get("spec").unwrap_or(&Value::Null), "versions") {
        let name = text(version, "name");
        // A name that stands twice is missed the second time; upstream does the same.
        if !unknown.remove(name) && is_on(version, "storage") {
            let detail = format!("must have the storage version {name}");
            faults.push(Fault::invalid(&path, BadValue::json(&stored), detail));
        }
    }
    for (index, name) in stored.iter().enumerate() {
        let Some(name) = name.as_str().filter(|name| unknown.contains(name)) else { continue };
        faults.push(Fault::invalid(
            &path.index(index),
            name,
            format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            ),
        ));
    }
    faults
}

/// How a group of the community came to be extended.
#[derive(PartialEq, Eq)]
enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

fn approval(object: &Value) -> (Approval, &str) {
    let annotations = object.pointer("/metadata/annotations").unwrap_or(&Value::Null);
    let annotation = text(annotations, APPROVED);
    (judge_approval(annotation), annotation)
}

fn judge_approval(annotation: &str) -> Approval {
    let is_url = |text| Url::parse(text).is_ok_and(|url| !url.host.is_empty() && !url.scheme.is_empty());
    if annotation.is_empty() {
        Approval::Missing
    } else if annotation.starts_with("unapproved") {
        Approval::Bypassed
    } else if is_url(annotation) {
        Approval::Approved
    } else {
        Approval::Invalid
    }
}

fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        group.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

/// How a group came to be extended, as its condition says: status, reason and message. None where nobody need ask.
pub(crate) fn approval_of(group: &str, annotation: &str) -> Option<(&'static str, &'static str, String)> {
    if !is_protected(group) {
        return None;
    }
    let must = format!("protected groups must have approval annotation \"{APPROVED}\"");
    let quoted = go_quote(annotation);
    Some(match judge_approval(annotation) {
        Approval::Missing => ("False", "MissingAnnotation", format!("{must}, {APPROVAL_HELP}")),
        Approval::Bypassed => ("False", "UnapprovedAnnotation", format!("not approved: {quoted}")),
        Approval::Approved => ("True", "ApprovedAnnotation", format!("approved in {annotation}")),
        Approval::Invalid => (
            "False",
            "InvalidAnnotation",
            format!("{must} with either a URL or a reason starting with \"unapproved\", {APPROVAL_HELP}"),
        ),
    })
}

/// The fault of extending a group of the community without its leave. What was like that already may stay.
fn approval_fault(object: &Value, old: Option<&Value>) -> Option<Fault> {
    let group = Spec::of(object).group();
    let (state, annotation) = approval(object);
    if !is_protected(group) || old.is_some_and(|old| approval(old).0 == state) {
        return None;
    }
    let path = Path::new("metadata.annotations").key(APPROVED);
    let must = format!("protected groups must have approval annotation \"{APPROVED}\"");
    match state {
        Approval::Missing => Some(Fault::required(&path, format!("{must}, {APPROVAL_HELP}"))),
        Approval::Invalid => {
            let detail =
                format!("{must} with either a URL or a reason starting with \"unapproved\", {APPROVAL_HELP}");
            Some(Fault::invalid(&path, annotation, detail))
        }
        Approval::Approved | Approval::Bypassed => None,
    }
}

#[cfg(test)]
mod tests;
