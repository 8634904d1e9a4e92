//! Rules that roles and their bindings share.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use serde_json::json;

use super::{
    metadata::invalid_each,
    names::{dns_subdomain, path_segment},
    optional::{Items, Text},
};

/// The group that roles, users and groups are of.
const GROUP: &str = "rbac.authorization.k8s.io";

/// Fills in the group of a reference to a role.
pub(crate) fn default_role_ref(role: &mut RoleRef) {
    role.api_group.or_set(GROUP);
}

/// Fills in the groups of subjects that have one.
pub(crate) fn default_subjects(subjects: &mut Option<Vec<Subject>>) {
    for subject in subjects.iter_mut().flatten() {
        if matches!(subject.kind.as_str(), "User" | "Group") {
            subject.api_group.or_set(GROUP);
        }
    }
}

/// What is wrong with the rules of a role.
pub(crate) fn rules_faults(rules: &Option<Vec<PolicyRule>>, namespaced: bool) -> Faults {
    let path = Path::new("rules");
    rules
        .items()
        .iter()
        .enumerate()
        .flat_map(|(index, rule)| rule_faults(&path.index(index), rule, namespaced))
        .collect()
}

fn rule_faults(path: &Path, rule: &PolicyRule, namespaced: bool) -> Faults {
    let mut faults = Vec::new();
    if rule.verbs.is_empty() {
        faults.push(Fault::required(&path.child("verbs"), "verbs must contain at least one value"));
    }
    let groups = rule.api_groups.items();
    let resources = rule.resources.items();
    let urls = rule.non_resource_urls.items();
    if !urls.is_empty() {
        let path = path.child("nonResourceURLs");
        let mut wrong = |detail: &str| faults.push(Fault::invalid(&path, BadValue::json(&urls), detail));
        if namespaced {
            wrong("namespaced rules cannot apply to non-resource URLs");
        }
        let names = rule.resource_names.items();
        if !(groups.is_empty() && resources.is_empty() && names.is_empty()) {
            wrong("rules cannot apply to both regular resources and non-resource URLs");
        }
        return faults;
    }
    if groups.is_empty() {
        faults.push(Fault::required(
            &path.child("apiGroups"),
            "resource rules must supply at least one api group",
        ));
    }
    if resources.is_empty() {
        faults.push(Fault::required(
            &path.child("resources"),
            "resource rules must supply at least one resource",
        ));
    }
    faults
}

/// What is wrong with a binding: the role it refers to, one of these kinds, and its subjects.
pub(crate) fn binding_faults(
    role: &RoleRef,
    kinds: &[&str],
    subjects: &Option<Vec<Subject>>,
    namespaced: bool,
) -> Faults {
    let path = Path::new("roleRef");
    let mut faults = Vec::new();
    let group = role.api_group.text();
    if group != GROUP {
        faults.push(Fault::not_supported(&path.child("apiGroup"), group, &[GROUP]));
    }
    if !kinds.contains(&role.kind.as_str()) {
        faults.push(Fault::not_supported(&path.child("kind"), &role.kind, kinds));
    }
    if role.name.is_empty() {
        faults.push(Fault::required(&path.child("name"), ""));
    }
    faults.extend(invalid_each(&path.child("name"), &role.name, path_segment(&role.name, false)));
    let path = Path::new("subjects");
    for (index, subject) in subjects.items().iter().enumerate() {
        faults.extend(subject_faults(&path.index(index), subject, namespaced));
    }
    faults
}

fn subject_faults(path: &Path, subject: &Subject, namespaced: bool) -> Faults {
    let mut faults = Vec::new();
    if subject.name.is_empty() {
        faults.push(Fault::required(&path.child("name"), ""));
    }
    let group = subject.api_group.text();
    match subject.kind.as_str() {
        "ServiceAccount" => {
            if !subject.name.is_empty() {
                let wrongs = dns_subdomain(&subject.name, false);
                faults.extend(invalid_each(&path.child("name"), &subject.name, wrongs));
            }
            if !group.is_empty() {
                faults.push(Fault::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !namespaced && subject.namespace.text().is_empty() {
                faults.push(Fault::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                faults.push(Fault::not_supported(&path.child("apiGroup"), group, &[GROUP]));
            }
        }
        other => faults.push(Fault::not_supported(
            &path.child("kind"),
            other,
            &["ServiceAccount", "User", "Group"],
        )),
    }
    faults
}

/// The fault of a binding that changes its role: rights would be given that nobody checked.
pub(crate) fn changed_role(new: &RoleRef, old: &RoleRef) -> Option<Fault> {
    let parts = |role: &RoleRef| (role.api_group.text().to_owned(), role.kind.clone(), role.name.clone());
    // Printed as upstream does: in its internal form.
    let (group, kind, name) = parts(new);
    let printed = BadValue::Json(json!({"APIGroup": group, "Kind": kind, "Name": name}));
    (parts(new) != parts(old))
        .then(|| Fault::invalid(&Path::new("roleRef"), printed, "cannot change roleRef"))
}
