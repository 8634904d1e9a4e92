//! What is wrong with requests, limits and claims, of a container and of a pod as a whole.

use std::collections::BTreeSet;

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::{PodSpec, ResourceClaim, ResourceRequirements};

use super::{
    super::{
        metadata::invalid_each,
        names::dns1123_label,
        optional::{Entries, Items, Text},
        quantities::{
            self, ResourceList, amount, is_huge_pages, is_whole_pages, limits_of_containers,
            may_be_overcommitted, requests_of_containers,
        },
    },
    Rules,
};

type NameRule = fn(&str, &Path) -> Faults;

/// Faults of what a container asks for. `claims` are the claims of its pod.
pub(crate) fn validate_requirements(
    requirements: &ResourceRequirements,
    claims: &BTreeSet<&str>,
    rules: &Rules,
    path: &Path,
) -> Faults {
    validate(requirements, quantities::container_name_faults, claims, rules, path)
}

fn validate(
    requirements: &ResourceRequirements,
    name_rule: NameRule,
    claims: &BTreeSet<&str>,
    rules: &Rules,
    path: &Path,
) -> Faults {
    let mut faults = Vec::new();
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    for (name, limit) in requirements.limits.entries() {
        let path = limits_path.key(name);
        faults.extend(name_rule(name, &path));
        faults.extend(quantities::amount_faults(name, limit, &path));
        faults.extend(partial_pages(name, limit, rules, &path));
    }
    for (name, request) in requirements.requests.entries() {
        let path = requests_path.key(name);
        faults.extend(name_rule(name, &path));
        faults.extend(quantities::amount_faults(name, request, &path));
        let request_amount = amount(request);
        match requirements.limits.at(name).map(amount) {
            Some(limit) if request_amount != limit && !may_be_overcommitted(name) => {
                faults.push(Fault::invalid(
                    &requests_path,
                    request_amount.to_string(),
                    format!("must be equal to {name} limit of {limit}"),
                ));
            }
            Some(limit) if request_amount > limit => faults.push(Fault::invalid(
                &requests_path,
                request_amount.to_string(),
                format!("must be less than or equal to {name} limit of {limit}"),
            )),
            None if !may_be_overcommitted(name) => {
                faults.push(Fault::required(
                    &limits_path,
                    "Limit must be set for non overcommitable resources",
                ));
            }
            Some(_) | None => {}
        }
        faults.extend(partial_pages(name, request, rules, &path));
    }
    let names = || requirements.limits.entries().chain(requirements.requests.entries()).map(|(name, _)| name);
    if names().any(is_huge_pages) && !names().any(|name| matches!(name, "cpu" | "memory")) {
        faults.push(Fault::forbidden(path, "HugePages require cpu or memory"));
    }
    faults.extend(claim_names(requirements.claims.items(), claims, &path.child("claims")));
    faults
}

fn partial_pages(
    name: &str,
    text: &k8s_openapi::apimachinery::pkg::api::resource::Quantity,
    rules: &Rules,
    path: &Path,
) -> Option<Fault> {
    let value = amount(text);
    (is_huge_pages(name) && !rules.indivisible_huge_pages && !is_whole_pages(name, &value)).then(|| {
        Fault::invalid(path, value.to_string(), format!("{value} is not positive integer multiple of {name}"))
    })
}

fn claim_names(claims: &[ResourceClaim], of_pod: &BTreeSet<&str>, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = path.index(index);
        let name = claim.name.as_str();
        if name.is_empty() {
            faults.push(Fault::required(&path, ""));
            continue;
        }
        if seen.contains(name) {
            faults.push(Fault::duplicate(&path, name));
        } else {
            let request = claim.request.text();
            let mut key = name.to_owned();
            if !request.is_empty() {
                faults.extend(invalid_each(&path.child("request"), request, dns1123_label(request)));
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                faults.push(Fault::duplicate(&path, key.as_str()));
            } else if request.is_empty() {
                // The whole claim after some request of it.
                let parts =
                    seen.iter().filter(|it| it.split_once('/').is_some_and(|(claim, _)| claim == name));
                faults.extend(parts.map(|_| Fault::duplicate(&path, name)));
            }
            seen.insert(key);
        }
        if !of_pod.contains(name) {
            let mut fault = Fault::not_found(&path, name);
            let names: Vec<&str> = of_pod.iter().copied().collect();
            let which = if names.is_empty() {
                " which is empty".to_owned()
            } else {
                format!(": {}", names.join(", "))
            };
            fault.detail = format!("must be one of the names in pod.spec.resourceClaims{which}");
            faults.push(fault);
        }
    }
    faults
}

/// Faults of what a pod as a whole asks for.
pub(super) fn validate_pod_level(
    spec: &PodSpec,
    claims: &BTreeSet<&str>,
    rules: &Rules,
    path: &Path,
) -> Faults {
    let Some(resources) = &spec.resources else { return Vec::new() };
    let path = path.child("resources");
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return vec![Fault::forbidden(&path, "may not be set for a windows pod")];
    }
    let mut faults = Vec::new();
    if resources.claims.is_some() {
        faults.push(Fault::forbidden(
            &path.child("claims"),
            "claims may not be set for Resources at pod-level",
        ));
    }
    faults.extend(validate(resources, quantities::pod_name_faults, claims, rules, &path));
    faults.extend(consistency(spec, resources, &path));
    faults
}

/// Faults of containers that ask for more than their pod.
fn consistency(spec: &PodSpec, resources: &ResourceRequirements, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (name, together) in requests_of_containers(spec) {
        let Some(request) = resources.requests.at(&name).map(amount) else { continue };
        if together > request {
            faults.push(Fault::invalid(
                &path.child("requests").key(&name),
                request.to_string(),
                format!("must be greater than or equal to aggregate container requests of {together}"),
            ));
        }
    }
    for (name, together) in limits_of_containers(spec) {
        let Some(limit) = resources.limits.at(&name).map(amount).filter(|_| is_huge_pages(&name)) else {
            continue;
        };
        if together > limit {
            faults.push(Fault::invalid(
                &path.child("limits").key(&name),
                limit.to_string(),
                format!("must be greater than or equal to aggregate container limits of {together}"),
            ));
        }
    }
    let none = None::<ResourceList>;
    for (index, container) in spec.containers.iter().enumerate() {
        let limits = container.resources.as_ref().map_or(&none, |it| &it.limits);
        for (name, limit) in limits.entries() {
            let Some(of_pod) = resources.limits.at(name).map(amount) else { continue };
            let limit = amount(limit);
            if limit > of_pod {
                faults.push(Fault::invalid(
                    &path.child("containers").index(index).key(name).child("limits"),
                    limit.to_string(),
                    format!("must be less than or equal to pod limits of {of_pod}"),
                ));
            }
        }
    }
    faults
}
