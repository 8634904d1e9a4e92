//! What becomes of a definition's status: which names it has, whether it is established, what its schemas lack, who approved
//! it.
//!
//! Invariant: decisions only. Who else has which names comes as an argument; nothing is written here.

use std::collections::BTreeSet;

use api_types::field::{Faults, Path, aggregate, go_quote};
use base64::Engine as _;

use super::definition::{Condition, Definition, NameSet};
use crate::resources::apiextensions::customresourcedefinitions as kind;

/// The names that other definitions of a group have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Plural, singular and short ones.
    pub resources: BTreeSet<String>,
    /// Of objects and of lists.
    pub kinds: BTreeSet<String>,
}

/// One change of a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The names it has from now on, if they change.
    pub accepted: Option<NameSet>,
    /// Conditions to be set, in this order.
    pub set: Vec<Condition>,
    /// A condition to be taken away.
    pub remove: Option<&'static str>,
}

// === impl Taken ===

impl Taken {
    /// Adds the names of a definition.
    pub fn add(&mut self, names: &NameSet) {
        let resources = [&names.plural, &names.singular].into_iter().chain(&names.short_names);
        self.resources.extend(resources.cloned());
        self.kinds.extend([names.kind.clone(), names.list_kind.clone()]);
    }
}

/// A condition without a time, which whoever writes it sets.
pub fn condition(kind: &str, status: &str, reason: &str, message: impl Into<String>) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
        last_transition_time: None,
    }
}

/// The next change of a definition's status, if it needs one. `is_served` says whether this server answers requests for its
/// objects: before that it is not established.
pub fn next(definition: &Definition, taken: &Taken, is_served: bool) -> Option<Change> {
    names(definition, taken)
        .or_else(|| established(definition, is_served))
        .or_else(|| structure(definition))
        .or_else(|| approval(definition))
}

/// Accepts the names that nobody else has.
fn names(definition: &Definition, taken: &Taken) -> Option<Change> {
    let Definition { requested, accepted, .. } = definition;
    if requested == accepted {
        return None;
    }
    let mut names = accepted.clone();
    let mut conflict = None;
    let mut settle =
        |wanted: &String, has: &mut String, taken: &BTreeSet<String>, reason: &'static str| match in_use(
            wanted, has, taken,
        ) {
            Some(why) => conflict = Some((reason, why)),
            None => has.clone_from(wanted),
        };
    settle(&requested.plural, &mut names.plural, &taken.resources, "PluralConflict");
    settle(&requested.singular, &mut names.singular, &taken.resources, "SingularConflict");
    let short = requested.short_names.iter().filter(|it| !accepted.short_names.contains(it));
    let why: BTreeSet<String> = short.filter_map(|it| in_use(it, "", &taken.resources)).collect();
    if why.is_empty() {
        names.short_names.clone_from(&requested.short_names);
    }
    // The last one that is wrong is told of.
    let short_conflict = (!why.is_empty()).then(|| ("ShortNamesConflict", aggregate(why)));
    conflict = short_conflict.or(conflict);
    let mut settle =
        |wanted: &String, has: &mut String, reason: &'static str| match in_use(wanted, has, &taken.kinds) {
            Some(why) => conflict = Some((reason, why)),
            None => has.clone_from(wanted),
        };
    settle(&requested.kind, &mut names.kind, "KindConflict");
    settle(&requested.list_kind, &mut names.list_kind, "ListKindConflict");
    names.categories.clone_from(&requested.categories);

    let accepted_now = conflict.is_none();
    let judged = match conflict {
        Some((reason, why)) => condition("NamesAccepted", "False", reason, why),
        None => condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
    };
    if *accepted == names && definition.condition("NamesAccepted").is_some_and(|it| same(it, &judged)) {
        return None;
    }
    let mut set = vec![judged];
    match definition.condition("Established") {
        Some(it) if it.status == "True" => {}
        _ if accepted_now => {
            let message = "the initial names have been accepted";
            set.push(condition("Established", "False", "Installing", message));
        }
        Some(_) => {}
        None => {
            set.push(condition("Established", "False", "NotAccepted", "not all names are accepted"));
        }
    }
    Some(Change { accepted: Some(names), set, remove: None })
}

fn in_use(wanted: &str, has: &str, taken: &BTreeSet<String>) -> Option<String> {
    (wanted != has && taken.contains(wanted)).then(|| format!("{} is already in use", go_quote(wanted)))
}

/// Establishes what is served.
fn established(definition: &Definition, is_served: bool) -> Option<Change> {
    if !definition.is("NamesAccepted") || definition.is("Established") || !is_served {
        return None;
    }
    let bundle = definition.webhook.as_ref().and_then(|webhook| webhook.client_config.ca_bundle.as_deref());
    let judged = if bundle.is_some_and(|bundle| !is_bundle(bundle)) {
        let message = "The conversion webhook CABundle is invalid";
        condition("Established", "False", "InvalidCABundle", message)
    } else {
        let message = "the initial names have been accepted";
        condition("Established", "True", "InitialNamesAccepted", message)
    };
    set_if_new(definition, judged)
}

/// Whether text in base64 is certificates in PEM, or nothing at all.
fn is_bundle(text: &str) -> bool {
    let Ok(pem) = base64::prelude::BASE64_STANDARD.decode(text) else { return false };
    let found: Result<Vec<_>, _> = rustls_pemfile::certs(&mut pem.as_slice()).collect();
    pem.trim_ascii().is_empty() || found.is_ok_and(|certificates| !certificates.is_empty())
}

/// Tells of schemas without structure.
fn structure(definition: &Definition) -> Option<Change> {
    let judged = match structure_faults(definition) {
        Ok(faults) if faults.is_empty() => None,
        Ok(faults) => Some(condition("NonStructuralSchema", "True", "Violations", aggregate(faults.iter()))),
        Err(why) => Some(condition("NonStructuralSchema", "Unknown", "StructuralError", why)),
    };
    match judged {
        Some(judged) => set_if_new(definition, judged),
        None => definition
            .condition("NonStructuralSchema")
            .map(|_| Change { remove: Some("NonStructuralSchema"), ..Change::default() }),
    }
}

fn structure_faults(definition: &Definition) -> Result<Faults, String> {
    let mut faults = Faults::new();
    // What passed validation as v1 is structural; only of what did not is there anything to find.
    if !definition.preserve_unknown {
        return Ok(faults);
    }
    let path = Path::new("spec");
    let detail = "must be false";
    faults.push(api_types::field::Fault::invalid(&path.child("preserveUnknownFields"), true, detail));
    for (index, version) in definition.versions.iter().enumerate() {
        let Some(schema) = version.schema.as_ref().and_then(|bytes| serde_json::from_slice(bytes).ok())
        else {
            continue;
        };
        let path = path.child("versions").index(index).child("schema").child("openAPIV3Schema");
        let found = kind::structure_faults(&schema, &path).map_err(|why| {
            format!("failed to check validation schema for version {}: {why}", version.name)
        })?;
        faults.extend(found);
    }
    Ok(faults)
}

/// Tells who let a group of the community be extended.
fn approval(definition: &Definition) -> Option<Change> {
    let (status, reason, message) = kind::approval_of(&definition.group, &definition.approval)?;
    set_if_new(definition, condition("KubernetesAPIApprovalPolicyConformant", status, reason, message))
}

fn set_if_new(definition: &Definition, judged: Condition) -> Option<Change> {
    let known = definition.condition(&judged.kind).is_some_and(|it| same(it, &judged));
    (!known).then(|| Change { set: vec![judged], ..Change::default() })
}

fn same(one: &Condition, other: &Condition) -> bool {
    one.status == other.status && one.reason == other.reason && one.message == other.message
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::definition::tests::*, *};

    fn told(change: Option<Change>) -> Vec<String> {
        let change = change.unwrap_or_default();
        change
            .set
            .iter()
            .map(|it| format!("{}={} {}: {}", it.kind, it.status, it.reason, it.message))
            .collect()
    }

    fn taken(names: Value) -> Taken {
        let mut taken = Taken::default();
        taken.add(&serde_json::from_value(names).unwrap());
        taken
    }

    #[test]
    fn names_are_accepted_then_served_then_established() {
        let mut object = foos();
        let definition = read(&object);
        let first = next(&definition, &Taken::default(), false).unwrap();
        assert_eq!(first.accepted.as_ref(), Some(&definition.requested));
        assert_eq!(
            told(Some(first)),
            [
                "NamesAccepted=True NoConflicts: no conflicts found",
                "Established=False Installing: the initial names have been accepted"
            ]
        );
        object["status"]["acceptedNames"] = object["spec"]["names"].clone();
        object["status"]["conditions"] = json!([{"type": "NamesAccepted", "status": "True"}]);
        assert_eq!(next(&read(&object), &Taken::default(), false), None, "not before it is served");
        assert_eq!(
            told(next(&read(&object), &Taken::default(), true)),
            ["Established=True InitialNamesAccepted: the initial names have been accepted"]
        );
    }

    #[test]
    fn names_that_others_have_are_not_accepted_but_the_rest_is() {
        for (others, reason, expected) in [
            (json!({"kind": "Foo"}), "KindConflict: \"Foo\" is already in use", ("foos", "", "FooList", 1)),
            (
                json!({"kind": "Foo", "listKind": "FooList"}),
                "ListKindConflict: \"FooList\" is already in use",
                ("foos", "", "", 1),
            ),
            (
                json!({"shortNames": ["fo"]}),
                "ShortNamesConflict: \"fo\" is already in use",
                ("foos", "Foo", "FooList", 0),
            ),
            (
                json!({"plural": "foos"}),
                "PluralConflict: \"foos\" is already in use",
                ("", "Foo", "FooList", 1),
            ),
        ] {
            let change = next(&read(&foos()), &taken(others), false).unwrap();
            let names = change.accepted.clone().unwrap();
            let found = (
                names.plural.as_str(),
                names.kind.as_str(),
                names.list_kind.as_str(),
                names.short_names.len(),
            );
            assert_eq!(found, expected, "{reason}");
            assert_eq!(
                told(Some(change)),
                [
                    format!("NamesAccepted=False {reason}"),
                    "Established=False NotAccepted: not all names are accepted".to_owned()
                ]
            );
        }
    }

    #[test]
    fn an_established_definition_stays_so_when_it_asks_for_a_name_it_cannot_have() {
        let mut object = foos();
        object["status"]["acceptedNames"] = object["spec"]["names"].clone();
        object["status"]["conditions"] = json!([
            {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts"},
            {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"},
        ]);
        object["spec"]["names"]["shortNames"] = json!(["fo", "f"]);
        let change = next(&read(&object), &taken(json!({"shortNames": ["f"]})), true);
        assert_eq!(told(change), ["NamesAccepted=False ShortNamesConflict: \"f\" is already in use"]);
    }

    #[test]
    fn a_group_of_the_community_says_who_approved() {
        let mut object = foos();
        object["spec"]["group"] = json!("example.k8s.io");
        object["status"]["acceptedNames"] = object["spec"]["names"].clone();
        object["metadata"]["annotations"] =
            json!({"api-approved.kubernetes.io": "https://github.com/x/y/pull/1"});
        let message = "approved in https://github.com/x/y/pull/1";
        assert_eq!(
            told(next(&read(&object), &Taken::default(), false)),
            [format!("KubernetesAPIApprovalPolicyConformant=True ApprovedAnnotation: {message}")]
        );
    }

    #[test]
    fn old_definitions_that_keep_what_is_unknown_are_not_structural() {
        let mut object = foos();
        object["status"]["acceptedNames"] = object["spec"]["names"].clone();
        object["spec"]["preserveUnknownFields"] = json!(true);
        assert_eq!(
            told(next(&read(&object), &Taken::default(), false)),
            [
                "NonStructuralSchema=True Violations: spec.preserveUnknownFields: Invalid value: true: must be false"
            ]
        );
        object["spec"]["preserveUnknownFields"] = json!(false);
        object["status"]["conditions"] = json!([{"type": "NonStructuralSchema", "status": "True"}]);
        let change = next(&read(&object), &Taken::default(), false).unwrap();
        assert_eq!(change.remove, Some("NonStructuralSchema"));
    }
}
