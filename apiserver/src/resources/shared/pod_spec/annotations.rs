//! What is wrong with the annotations that mean something for a pod.

use std::collections::BTreeMap;

use api_types::field::{Fault, Faults, Path, go_quote};
use k8s_openapi::api::core::v1::{AppArmorProfile, PodSpec, SeccompProfile, Toleration};

use super::{
    super::optional::{Entries, Text},
    Rules, any_container, each_container, paths, scheduling,
};

/// Marks the pod that stands for one of a kubelet's own.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The seccomp profile of a pod, before there was a field.
pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// The same of a container, whose name follows.
pub(super) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// The AppArmor profile of a container, whose name follows, before there was a field.
pub(crate) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const LOCALHOST: &str = "localhost/";

type Annotations = BTreeMap<String, String>;

/// Faults of annotations, which stand beside this spec.
pub(crate) fn validate(
    annotations: &Option<Annotations>,
    spec: &PodSpec,
    rules: &Rules,
    path: &Path,
) -> Faults {
    let mut faults = Vec::new();
    if let Some(value) = annotations.at(MIRROR)
        && spec.node_name.text().is_empty()
    {
        faults.push(Fault::invalid(
            &path.key(MIRROR),
            value,
            "must set spec.nodeName if mirror pod annotation is set",
        ));
    }
    if let Some(text) = annotations.at(TOLERATIONS).filter(|text| !text.is_empty()) {
        match serde_json::from_str::<Vec<Toleration>>(text) {
            Ok(list) => faults.extend(scheduling::tolerations(&list, rules, &path.child(TOLERATIONS))),
            Err(error) => faults.push(Fault::invalid(path, TOLERATIONS, error.to_string())),
        }
    }
    if !rules.invalid_deletion_cost && !has_deletion_cost_or_none(annotations.as_ref()) {
        let value = annotations.at(DELETION_COST).map(String::as_str).unwrap_or_default();
        faults.push(Fault::invalid(&path.key(DELETION_COST), value, "must be a 32bit integer"));
    }
    if let Some(profile) = annotations.at(SECCOMP_POD) {
        faults.extend(seccomp(profile, &path.child(SECCOMP_POD)));
    }
    for (key, profile) in annotations.entries() {
        if key.starts_with(SECCOMP_CONTAINER) {
            faults.extend(seccomp(profile, &path.child(key)));
        }
    }
    for (key, profile) in annotations.entries() {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        let path = path.key(key);
        if !any_container(spec, |container| container.name == name) {
            faults.push(Fault::invalid(&path, name, "container not found"));
        }
        if !matches!(profile.as_str(), "" | "runtime/default" | "unconfined")
            && !profile.starts_with(LOCALHOST)
        {
            faults.push(Fault::invalid(
                &path,
                profile,
                format!("invalid AppArmor profile name: {}", go_quote(profile)),
            ));
        }
    }
    faults
}

/// Faults of changed annotations: some must stay as they are.
pub(crate) fn validate_update(new: &Option<Annotations>, old: &Option<Annotations>, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut refuse = |key: &str, app_armor: &str, mirror: &str| {
        if key.starts_with(APP_ARMOR) {
            faults.push(Fault::forbidden(&path.key(key), app_armor));
        }
        if key == MIRROR {
            faults.push(Fault::forbidden(&path.key(key), mirror));
        }
    };
    for (key, value) in old.entries() {
        if new.at(key) != Some(value) {
            refuse(
                key,
                "may not remove or update AppArmor annotations",
                "may not remove or update mirror pod annotation",
            );
        }
    }
    for (key, _) in new.entries() {
        if old.at(key).is_none() {
            refuse(key, "may not add AppArmor annotations", "may not add mirror pod annotation");
        }
    }
    faults
}

/// Whether the cost of deletion is a number of 32 bits in its one spelling, if it is given.
pub(super) fn has_deletion_cost_or_none(annotations: Option<&Annotations>) -> bool {
    let Some(cost) = annotations.and_then(|annotations| annotations.get(DELETION_COST)) else { return true };
    let begins_well = cost == "0"
        || cost.starts_with('-')
        || cost.bytes().next().is_some_and(|byte| matches!(byte, b'1'..=b'9'));
    begins_well && cost.parse::<i32>().is_ok()
}

fn seccomp(profile: &str, path: &Path) -> Faults {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return Vec::new();
    }
    match profile.strip_prefix(LOCALHOST) {
        Some(file) => paths::local_descending(file, path),
        None => vec![Fault::invalid(path, profile, "must be a valid seccomp profile")],
    }
}

/// Faults of annotations that say something else than the fields that replaced them.
pub(crate) fn contradictions(annotations: &Option<Annotations>, spec: &PodSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let of_pod = spec.security_context.as_ref();
    if let Some(profile) = of_pod.and_then(|context| context.seccomp_profile.as_ref())
        && let Some(annotation) = annotations.at(SECCOMP_POD)
    {
        let path = path.child("securityContext.seccompProfile");
        faults.extend(seccomp_contradiction(annotation, profile, &path));
    }
    each_container(spec, path, |container, path| {
        let profile =
            container.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
        let annotation = annotations.at(&format!("{SECCOMP_CONTAINER}{}", container.name));
        if let (Some(profile), Some(annotation)) = (profile, annotation) {
            let path = path.child("securityContext.seccompProfile");
            faults.extend(seccomp_contradiction(annotation, profile, &path));
        }
    });
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return faults;
    }
    each_container(spec, path, |container, path| {
        let own = container.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
        let profile = own.or_else(|| of_pod.and_then(|context| context.app_armor_profile.as_ref()));
        let annotation = annotations.at(&format!("{APP_ARMOR}{}", container.name));
        if let (Some(profile), Some(annotation)) = (profile, annotation) {
            let path = path.child("securityContext.appArmorProfile");
            faults.extend(app_armor_contradiction(annotation, profile, &path));
        }
    });
    faults
}

fn seccomp_contradiction(annotation: &str, profile: &SeccompProfile, path: &Path) -> Option<Fault> {
    let agrees = match profile.type_.as_str() {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => matches!(annotation, "runtime/default" | "docker/default"),
        "Localhost" => annotation.starts_with(LOCALHOST),
        _ => true,
    };
    contradiction(agrees, annotation, &profile.type_, profile.localhost_profile.as_deref(), "seccomp", path)
}

fn app_armor_contradiction(annotation: &str, profile: &AppArmorProfile, path: &Path) -> Option<Fault> {
    let agrees = match profile.type_.as_str() {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => annotation == "runtime/default",
        "Localhost" => annotation.starts_with(LOCALHOST),
        _ => true,
    };
    contradiction(agrees, annotation, &profile.type_, profile.localhost_profile.as_deref(), "apparmor", path)
}

fn contradiction(
    agrees: bool,
    annotation: &str,
    kind: &str,
    file: Option<&str>,
    what: &str,
    path: &Path,
) -> Option<Fault> {
    if !agrees {
        let detail = format!("{what} type in annotation and field must match");
        return Some(Fault::forbidden(&path.child("type"), detail));
    }
    if kind == "Localhost" && annotation.strip_prefix(LOCALHOST) != file {
        let detail = format!("{what} profile in annotation and field must match");
        return Some(Fault::forbidden(&path.child("localhostProfile"), detail));
    }
    None
}

/// The AppArmor profile that an annotation's value means, if it means one.
pub(crate) fn app_armor_profile(annotation: &str) -> Option<AppArmorProfile> {
    let (type_, file) = match annotation {
        "unconfined" => ("Unconfined", None),
        "runtime/default" => ("RuntimeDefault", None),
        other => ("Localhost", Some(other.strip_prefix(LOCALHOST).filter(|file| !file.is_empty())?)),
    };
    Some(AppArmorProfile { type_: type_.to_owned(), localhost_profile: file.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_deletion_is_a_plain_number() {
        for (cost, expected) in [
            ("0", true),
            ("-10", true),
            ("2147483647", true),
            ("2147483648", false),
            ("+1", false),
            ("01", false),
            ("", false),
            ("a", false),
        ] {
            let annotations = Annotations::from([(DELETION_COST.to_owned(), cost.to_owned())]);
            assert_eq!(has_deletion_cost_or_none(Some(&annotations)), expected, "{cost}");
        }
    }
}
