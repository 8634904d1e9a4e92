//! What is asked for: the spec of claims and of their templates.

use std::collections::{BTreeMap, BTreeSet};

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::resource::v1::{
    DeviceClaim, DeviceConstraint, DeviceRequest, DeviceSelector, DeviceToleration, ResourceClaimSpec,
};
use serde_json::Value;

use super::parts::{
    CONFIG_MAX, CONSTRAINTS_MAX, REQUESTS_MAX, config_faults, fully_qualified_name_faults, label_faults,
    list_faults, selector_faults, set_faults, toleration_faults,
};
use crate::resources::shared::{
    metadata::invalid_each,
    names::dns1123_subdomain,
    optional::{Items, Text},
};

const ALTERNATIVES_MAX: usize = 8;
const EXACT_COUNT: &str = "ExactCount";
const NOT_A_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// The names of requests, each with those of its alternatives.
pub(super) struct Requests<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

/// What a request and each of its alternatives have.
struct Asked<'a> {
    class: &'a str,
    selectors: &'a [DeviceSelector],
    mode: &'a str,
    count: i64,
    tolerations: &'a [DeviceToleration],
}

impl<'a> Requests<'a> {
    pub(super) fn of(spec: &'a ResourceClaimSpec) -> Self {
        let requests = spec.devices.iter().flat_map(|devices| devices.requests.items());
        let alternatives = |request: &'a DeviceRequest| {
            request.first_available.items().iter().map(|it| it.name.as_str()).collect()
        };
        Self(requests.map(|request| (request.name.as_str(), alternatives(request))).collect())
    }

    fn has(&self, name: &str) -> bool {
        match name.split_once('/') {
            None => self.0.contains_key(name),
            Some((request, alternative)) => {
                self.0.get(request).is_some_and(|alternatives| alternatives.contains(alternative))
            }
        }
    }

    /// What is wrong with naming a request.
    pub(super) fn reference_faults(&self, name: &str, path: &Path) -> Faults {
        let segments: Vec<&str> = name.split('/').collect();
        if segments.len() > 2 {
            return vec![Fault::invalid(path, name, NOT_A_REQUEST)];
        }
        let mut faults: Faults =
            segments.into_iter().flat_map(|segment| label_faults(segment, path)).collect();
        if !self.has(name) {
            faults.push(Fault::invalid(path, name, NOT_A_REQUEST));
        }
        faults
    }

    /// What is wrong with a list of names of requests.
    pub(super) fn references_faults(&self, names: &[String], path: &Path) -> Faults {
        let check = |name: &String, path: &Path| self.reference_faults(name, path);
        set_faults(names, REQUESTS_MAX, path, check, String::clone)
    }
}

/// Fills in how many devices are asked for.
pub(super) fn default(spec: &mut ResourceClaimSpec) {
    let requests = spec.devices.iter_mut().flat_map(|devices| devices.requests.items_mut());
    for request in requests {
        let exactly = request.exactly.iter_mut().map(|it| (&mut it.allocation_mode, &mut it.count));
        let first = request.first_available.items_mut().iter_mut();
        for (mode, count) in exactly.chain(first.map(|it| (&mut it.allocation_mode, &mut it.count))) {
            mode.or_set(EXACT_COUNT);
            if mode.text() == EXACT_COUNT && count.unwrap_or_default() == 0 {
                *count = Some(1);
            }
        }
    }
}

/// What is wrong with a spec.
pub(super) fn faults(spec: &ResourceClaimSpec, path: &Path) -> Faults {
    let empty = DeviceClaim::default();
    let devices = spec.devices.as_ref().unwrap_or(&empty);
    let names = Requests::of(spec);
    let path = path.child("devices");
    let mut faults = set_faults(
        devices.requests.items(),
        REQUESTS_MAX,
        &path.child("requests"),
        request_faults,
        |request| request.name.clone(),
    );
    faults.extend(list_faults(
        devices.constraints.items(),
        CONSTRAINTS_MAX,
        &path.child("constraints"),
        |constraint, path| constraint_faults(constraint, &names, path),
    ));
    faults.extend(list_faults(devices.config.items(), CONFIG_MAX, &path.child("config"), |config, path| {
        let mut faults = names.references_faults(config.requests.items(), &path.child("requests"));
        faults.extend(config_faults(config.opaque.as_ref(), false, path));
        faults
    }));
    faults
}

fn request_faults(request: &DeviceRequest, path: &Path) -> Faults {
    let mut faults = label_faults(&request.name, &path.child("name"));
    let alternatives = request.first_available.items();
    match &request.exactly {
        None if alternatives.is_empty() => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required";
            faults.push(Fault::required(path, detail));
        }
        Some(_) if !alternatives.is_empty() => {
            let detail =
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            faults.push(Fault::invalid(path, BadValue::Json(Value::Null), detail));
        }
        Some(exactly) => {
            let asked = Asked {
                class: &exactly.device_class_name,
                selectors: exactly.selectors.items(),
                mode: exactly.allocation_mode.text(),
                count: exactly.count.unwrap_or_default(),
                tolerations: exactly.tolerations.items(),
            };
            faults.extend(asked_faults(&asked, &path.child("exactly")));
        }
        None => {
            faults.extend(set_faults(
                alternatives,
                ALTERNATIVES_MAX,
                &path.child("firstAvailable"),
                |it, path| {
                    let mut faults = label_faults(&it.name, &path.child("name"));
                    let asked = Asked {
                        class: &it.device_class_name,
                        selectors: it.selectors.items(),
                        mode: it.allocation_mode.text(),
                        count: it.count.unwrap_or_default(),
                        tolerations: it.tolerations.items(),
                    };
                    faults.extend(asked_faults(&asked, path));
                    faults
                },
                |it| it.name.clone(),
            ));
        }
    }
    faults
}

fn asked_faults(asked: &Asked<'_>, path: &Path) -> Faults {
    let class_path = path.child("deviceClassName");
    let mut faults = if asked.class.is_empty() {
        vec![Fault::required(&class_path, "")]
    } else {
        invalid_each(&class_path, asked.class, dns1123_subdomain(asked.class))
    };
    faults.extend(selector_faults(asked.selectors, &path.child("selectors")));
    let count_path = path.child("count");
    match asked.mode {
        "All" if asked.count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            faults.push(Fault::invalid(&count_path, asked.count, detail));
        }
        EXACT_COUNT if asked.count <= 0 => {
            faults.push(Fault::invalid(&count_path, asked.count, "must be greater than zero"));
        }
        "All" | EXACT_COUNT => {}
        odd => {
            let modes = ["All", EXACT_COUNT];
            faults.push(Fault::not_supported(&path.child("allocationMode"), odd, &modes));
        }
    }
    for (index, toleration) in asked.tolerations.iter().enumerate() {
        faults.extend(toleration_faults(toleration, &path.child("tolerations").index(index)));
    }
    faults
}

fn constraint_faults(constraint: &DeviceConstraint, names: &Requests<'_>, path: &Path) -> Faults {
    let mut faults = names.references_faults(constraint.requests.items(), &path.child("requests"));
    match (&constraint.match_attribute, &constraint.distinct_attribute) {
        (Some(name), _) => faults.extend(fully_qualified_name_faults(name, &path.child("matchAttribute"))),
        (None, Some(name)) => {
            faults.extend(fully_qualified_name_faults(name, &path.child("distinctAttribute")));
        }
        // The sentence is upstream's.
        (None, None) => {
            let detail = r#"exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set"#;
            faults.push(Fault::required(path, detail));
        }
    }
    faults
}
