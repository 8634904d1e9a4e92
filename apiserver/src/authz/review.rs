//! Questions about permissions, asked as objects: SubjectAccessReview and its kin.
//!
//! Each function takes the object as the client sent it and gives it back with the answer in its status.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use api_types::{
    field::{BadValue, Fault, Faults, Path},
    kind::GroupVersionKind,
    object::{ObjectExt, object_at, object_of},
    selectors::{fields, labels},
    status::Status,
};

use super::{
    attributes::Attributes,
    decision::{Authorizer, Decision, Rules},
    rbac::rule::Rule,
};
use crate::{
    authn::user::User,
    resources::shared::{internal::printed, selectors},
};

/// The group of these kinds.
pub const GROUP: &str = "authorization.k8s.io";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    resource_attributes: Option<ResourceAttributes>,
    non_resource_attributes: Option<NonResourceAttributes>,
    user: String,
    groups: Option<Vec<String>>,
    extra: Option<std::collections::BTreeMap<String, Option<Vec<String>>>>,
    uid: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceAttributes {
    namespace: String,
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    name: String,
    field_selector: Option<SelectorAttributes>,
    label_selector: Option<SelectorAttributes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NonResourceAttributes {
    path: String,
    verb: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SelectorAttributes {
    raw_selector: String,
    requirements: Option<Vec<Requirement>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

/// A selector as authorizers take it, and what had to be left out because it could not be read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Narrowing {
    text: String,
    flawed: bool,
}

/// SubjectAccessReview: may some user?
pub fn subject_access(review: &Value, authorizer: &dyn Authorizer) -> Result<Value, Status> {
    let spec = read(review)?;
    reject(validate(review, &spec, true, false))?;
    let user = spec.user();
    Ok(answer(review, &spec, user, authorizer))
}

/// SelfSubjectAccessReview: may the caller?
pub fn self_subject_access(
    review: &Value,
    caller: &User,
    authorizer: &dyn Authorizer,
) -> Result<Value, Status> {
    let spec = read(review)?;
    reject(validate(review, &spec, false, false))?;
    Ok(answer(review, &spec, caller.clone(), authorizer))
}

/// LocalSubjectAccessReview: may some user, in this namespace?
pub fn local_subject_access(
    review: &Value,
    namespace: &str,
    authorizer: &dyn Authorizer,
) -> Result<Value, Status> {
    let spec = read(review)?;
    reject(validate(review, &spec, true, true))?;
    if review.namespace() != namespace {
        return Err(Status::bad_request(format!(
            "spec.resourceAttributes.namespace must match namespace: {namespace}"
        )));
    }
    let user = spec.user();
    Ok(answer(review, &spec, user, authorizer))
}

/// SelfSubjectRulesReview: what may the caller do in a namespace?
pub fn self_subject_rules(
    review: &Value,
    caller: &User,
    authorizer: &dyn Authorizer,
) -> Result<Value, Status> {
    let namespace = review.pointer("/spec/namespace").and_then(Value::as_str).unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let Rules { rules, incomplete, errors } = authorizer.rules_for(caller, namespace);
    let list = |rule: &Rule, fields: &[(&str, &Vec<String>)]| {
        let mut entry = Map::new();
        entry.insert("verbs".to_owned(), json!(rule.verbs));
        for (field, values) in fields.iter().filter(|(_, values)| !values.is_empty()) {
            entry.insert((*field).to_owned(), json!(values));
        }
        Value::Object(entry)
    };
    let on_resources: Vec<Value> = rules
        .iter()
        .filter(|rule| !rule.resources.is_empty())
        .map(|rule| {
            list(
                rule,
                &[
                    ("apiGroups", &rule.api_groups),
                    ("resources", &rule.resources),
                    ("resourceNames", &rule.resource_names),
                ],
            )
        })
        .collect();
    let on_paths: Vec<Value> = rules
        .iter()
        .filter(|rule| !rule.non_resource_urls.is_empty())
        .map(|rule| list(rule, &[("nonResourceURLs", &rule.non_resource_urls)]))
        .collect();
    let mut status =
        json!({"resourceRules": on_resources, "nonResourceRules": on_paths, "incomplete": incomplete});
    if !errors.is_empty() {
        set(&mut status, "evaluationError", api_types::field::aggregate(errors));
    }
    Ok(json!({
        "kind": "SelfSubjectRulesReview",
        "apiVersion": format!("{GROUP}/v1"),
        "metadata": {},
        // Upstream answers with a new object, so the namespace asked about is not in it.
        "spec": {},
        "status": status,
    }))
}

fn read(review: &Value) -> Result<Spec, Status> {
    match review.get("spec") {
        None | Some(Value::Null) => Ok(Spec::default()),
        Some(spec) => Spec::deserialize(spec).map_err(|error| Status::bad_request(error.to_string())),
    }
}

fn reject(faults: Faults) -> Result<(), Status> {
    if faults.is_empty() {
        return Ok(());
    }
    // Upstream looks the kind up in a field that decoding has emptied, so it is missing here too.
    Err(Status::invalid(&GroupVersionKind::new(GROUP, "v1", ""), "", &faults))
}

fn answer(review: &Value, spec: &Spec, user: User, authorizer: &dyn Authorizer) -> Value {
    let mut errors: Vec<String> = Vec::new();
    let attributes = spec.attributes(user, &mut errors);
    let decision = authorizer.authorize(&attributes);
    let mut status = json!({"allowed": decision.is_allow()});
    if matches!(decision, Decision::Deny(_)) {
        set(&mut status, "denied", true);
    }
    if !decision.reason().is_empty() {
        set(&mut status, "reason", decision.reason().as_str());
    }
    if !errors.is_empty() {
        set(&mut status, "evaluationError", errors.join("; "));
    }
    let mut review = review.clone();
    set(&mut review, "status", status);
    object_at(object_of(&mut review), "metadata");
    review
}

fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    object_of(object).insert(field.to_owned(), value.into());
}

// === impl Spec ===

impl Spec {
    fn user(&self) -> User {
        let extra = self.extra.clone().unwrap_or_default();
        User {
            name: self.user.clone(),
            uid: self.uid.clone(),
            groups: self.groups.clone().unwrap_or_default(),
            extra: extra.into_iter().map(|(key, values)| (key, values.unwrap_or_default())).collect(),
        }
    }

    fn attributes(&self, user: User, errors: &mut Vec<String>) -> Attributes {
        if let Some(asked) = &self.resource_attributes {
            let mut narrow = |what: &str, narrowing: Narrowing| {
                if narrowing.flawed {
                    let partly = if narrowing.text.is_empty() { "" } else { "partially " };
                    errors.push(format!("spec.resourceAttributes.{what} {partly}ignored due to parse error"));
                }
                narrowing.text
            };
            return Attributes {
                user,
                verb: asked.verb.clone(),
                namespace: asked.namespace.clone(),
                group: asked.group.clone(),
                version: if asked.version.is_empty() { "*".to_owned() } else { asked.version.clone() },
                resource: asked.resource.clone(),
                subresource: asked.subresource.clone(),
                name: asked.name.clone(),
                resource_request: true,
                path: String::new(),
                field_selector: narrow("fieldSelector", field_narrowing(asked.field_selector.as_ref())),
                label_selector: narrow("labelSelector", label_narrowing(asked.label_selector.as_ref())),
            };
        }
        let (path, verb) = self
            .non_resource_attributes
            .as_ref()
            .map(|asked| (asked.path.clone(), asked.verb.clone()))
            .unwrap_or_default();
        Attributes { user, verb, path, ..Attributes::default() }
    }
}

// === selectors ===

fn field_narrowing(selector: Option<&SelectorAttributes>) -> Narrowing {
    let Some(selector) = selector else { return Narrowing::default() };
    let Some(requirements) = selector.requirements.as_deref().filter(|it| !it.is_empty()) else {
        return match fields::Selector::parse(&selector.raw_selector) {
            Ok(_) => Narrowing { text: selector.raw_selector.clone(), flawed: false },
            Err(_) => Narrowing { text: String::new(), flawed: true },
        };
    };
    let mut terms: Vec<String> = Vec::new();
    let mut flawed = false;
    for requirement in requirements {
        let symbol = match requirement.operator.as_str() {
            "In" => "=",
            "NotIn" => "!=",
            _ => "",
        };
        match requirement.values.as_deref() {
            Some([value]) if !symbol.is_empty() => {
                terms.push(format!("{}{symbol}{}", requirement.key, fields::escape(value)));
            }
            _ => flawed = true,
        }
    }
    Narrowing { text: terms.join(","), flawed }
}

fn label_narrowing(selector: Option<&SelectorAttributes>) -> Narrowing {
    let Some(selector) = selector else { return Narrowing::default() };
    let Some(requirements) = selector.requirements.as_deref().filter(|it| !it.is_empty()) else {
        return match labels::Selector::parse(&selector.raw_selector) {
            Ok(_) => Narrowing { text: selector.raw_selector.clone(), flawed: false },
            Err(_) => Narrowing { text: String::new(), flawed: true },
        };
    };
    let read: Vec<Option<labels::Requirement>> = requirements
        .iter()
        .map(|requirement| {
            let operator = match requirement.operator.as_str() {
                "In" => labels::Operator::In,
                "NotIn" => labels::Operator::NotIn,
                "Exists" => labels::Operator::Exists,
                "DoesNotExist" => labels::Operator::DoesNotExist,
                _ => return None,
            };
            let values = requirement.values.clone().unwrap_or_default();
            labels::Requirement::new(&requirement.key, operator, values).ok()
        })
        .collect();
    let flawed = read.iter().any(Option::is_none);
    let terms: Vec<String> = read.into_iter().flatten().map(|it| it.to_string()).collect();
    Narrowing { text: terms.join(","), flawed }
}

// === validation ===

fn validate(review: &Value, spec: &Spec, names_user: bool, local: bool) -> Faults {
    let mut faults = Faults::new();
    let path = Path::new("spec");
    let paths = || {
        let given = review.pointer("/spec/nonResourceAttributes").unwrap_or(&Value::Null);
        printed("authorization.NonResourceAttributes", given)
    };
    match (&spec.resource_attributes, &spec.non_resource_attributes) {
        (Some(_), Some(_)) => faults.push(Fault::invalid(
            &path.child("nonResourceAttributes"),
            paths(),
            "cannot be specified in combination with resourceAttributes",
        )),
        (None, None) => faults.push(Fault::invalid(
            &path.child("resourceAttributes"),
            BadValue::Json(Value::Null),
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        (Some(_), None) | (None, Some(_)) => {}
    }
    if names_user && spec.user.is_empty() && spec.groups.as_ref().is_none_or(Vec::is_empty) {
        faults.push(Fault::invalid(
            &path.child("user"),
            spec.user.as_str(),
            "at least one of user or group must be specified",
        ));
    }
    if let Some(asked) = &spec.resource_attributes {
        let path = path.child("resourceAttributes");
        validate_selector(
            asked.field_selector.as_ref(),
            &path.child("fieldSelector"),
            &field_faults,
            &mut faults,
        );
        validate_selector(
            asked.label_selector.as_ref(),
            &path.child("labelSelector"),
            &label_faults,
            &mut faults,
        );
    }
    let is_empty = review.meta().is_none_or(|meta| {
        meta.iter().all(|(field, value)| {
            field == "managedFields" || (local && field == "namespace") || is_zero(value)
        })
    });
    if !is_empty {
        let detail = if local { "must be empty except for namespace" } else { "must be empty" };
        let metadata = printed("meta.ObjectMeta", review.get("metadata").unwrap_or(&Value::Null));
        faults.push(Fault::invalid(&Path::new("metadata"), metadata, detail));
    }
    if local {
        if let Some(asked) = spec.resource_attributes.as_ref().filter(|it| it.namespace != review.namespace())
        {
            faults.push(Fault::invalid(
                &path.child("resourceAttributes.namespace"),
                asked.namespace.as_str(),
                "must match metadata.namespace",
            ));
        }
        if spec.non_resource_attributes.is_some() {
            faults.push(Fault::invalid(
                &path.child("nonResourceAttributes"),
                paths(),
                "disallowed on this kind of request",
            ));
        }
    }
    faults
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_i64() == Some(0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(value) => value.is_empty(),
    }
}

type RequirementRule = dyn Fn(&Requirement, &Path) -> Faults;

fn validate_selector(
    selector: Option<&SelectorAttributes>,
    path: &Path,
    rule: &RequirementRule,
    faults: &mut Faults,
) {
    let Some(selector) = selector else { return };
    let requirements = selector.requirements.as_deref().unwrap_or_default();
    match (selector.raw_selector.is_empty(), requirements.is_empty()) {
        (false, false) => faults.push(Fault::invalid(
            &path.child("rawSelector"),
            selector.raw_selector.as_str(),
            "may not specified at the same time as requirements",
        )),
        (true, true) => faults.push(Fault::required(
            &path.child("requirements"),
            format!("when {path} is specified, requirements or rawSelector is required"),
        )),
        (true, false) | (false, true) => {}
    }
    for (index, requirement) in requirements.iter().enumerate() {
        faults.extend(rule(requirement, &path.child("requirements").index(index)));
    }
}

/// Operators of newer clients pass: they are left out when the question is put, which only widens it.
fn operator_faults(requirement: &Requirement, path: &Path) -> Faults {
    let has_values = requirement.values.as_ref().is_some_and(|it| !it.is_empty());
    match (requirement.operator.as_str(), has_values) {
        ("In" | "NotIn", false) => vec![Fault::required(
            &path.child("values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )],
        ("Exists" | "DoesNotExist", true) => vec![Fault::forbidden(
            &path.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )],
        _ => Faults::new(),
    }
}

fn field_faults(requirement: &Requirement, path: &Path) -> Faults {
    let mut faults = Faults::new();
    if requirement.key.is_empty() {
        faults.push(Fault::required(&path.child("key"), "must be specified"));
    }
    faults.extend(operator_faults(requirement, path));
    faults
}

fn label_faults(requirement: &Requirement, path: &Path) -> Faults {
    let mut faults = operator_faults(requirement, path);
    faults.extend(selectors::validate_label_key(&requirement.key, &path.child("key")));
    for (index, value) in requirement.values.iter().flatten().enumerate() {
        for fault in crate::resources::shared::names::label_value(value) {
            faults.push(Fault::invalid(&path.child("values").index(index), value, fault));
        }
    }
    faults
}

#[cfg(test)]
mod tests;
