//! APIServices: `apiservices` of `apiregistration.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path, go_quote};
use jiff::Timestamp;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    kube_aggregator::pkg::apis::apiregistration::v1::{
        APIService, APIServiceCondition, APIServiceSpec, APIServiceStatus,
    },
};

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        metadata::invalid_each,
        names::{dns1035_label, dns1123_subdomain, path_segment, port_number},
        optional::{Items, Switch, Text},
        webhook_client::PORT_DEFAULT,
    },
};

const GROUP_PRIORITY_MAX: i32 = 20_000;
const VERSION_PRIORITY_MAX: i32 = 1000;

/// The strategy of APIServices.
pub(crate) struct APIServices;

impl Strategy for APIServices {
    type Object = APIService;

    const NAMES: Names = Names {
        group: "apiregistration.k8s.io",
        version: "v1",
        kind: "APIService",
        plural: "apiservices",
        singular: "apiservice",
        short: &[],
        categories: &["api-extensions"],
        namespaced: false,
    };
    const STATUS: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;
    const KNOWN_FINALIZERS: bool = false;

    fn default(object: &mut APIService) {
        if let Some(service) = object.spec.as_mut().and_then(|spec| spec.service.as_mut()) {
            service.port.get_or_insert(PORT_DEFAULT);
        }
    }

    /// The core group's has a dot at its end.
    fn name_faults(name: &str, prefix: bool) -> Vec<String> {
        path_segment(name, prefix)
    }

    fn prepare_for_create(cx: &Context<'_>, object: &mut APIService) {
        let is_local = object.spec.as_ref().is_none_or(|spec| spec.service.is_none());
        object.status = Some(APIServiceStatus { conditions: is_local.then(|| vec![available_here(cx.now)]) });
    }

    fn validate(_cx: &Context<'_>, object: &APIService) -> Faults {
        let empty = APIServiceSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&empty);
        let name = object.metadata.name.text();
        let wanted = format!("{}.{}", spec.version.text(), spec.group.text());
        let mut faults = Vec::new();
        if !name.is_empty() && path_segment(name, false).is_empty() && name != wanted {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {}", go_quote(&wanted));
            faults.push(Fault::invalid(&Path::new("metadata.name"), name, detail));
        }
        faults.extend(spec_faults(spec, &Path::new("spec")));
        faults
    }

    fn prepare_for_status_update(_cx: &Context<'_>, object: &mut APIService, old: &APIService) {
        let (new, old) = (&mut object.metadata, &old.metadata);
        new.labels.clone_from(&old.labels);
        new.annotations.clone_from(&old.annotations);
        new.finalizers.clone_from(&old.finalizers);
        new.owner_references.clone_from(&old.owner_references);
    }

    fn validate_status_update(_cx: &Context<'_>, object: &APIService, _old: &APIService) -> Faults {
        let conditions = object.status.iter().flat_map(|status| status.conditions.items());
        let statuses = ["True", "False", "Unknown"];
        conditions
            .enumerate()
            .filter(|(_, condition)| !statuses.contains(&condition.status.as_str()))
            .map(|(index, condition)| {
                let path = Path::new("status.conditions").index(index).child("status");
                Fault::not_supported(&path, &condition.status, &statuses)
            })
            .collect()
    }
}

/// The condition of what this server serves itself.
fn available_here(now: Timestamp) -> APIServiceCondition {
    APIServiceCondition {
        type_: "Available".to_owned(),
        status: "True".to_owned(),
        reason: Some("Local".to_owned()),
        message: Some("Local APIServices are always available".to_owned()),
        last_transition_time: Some(Time(now)),
    }
}

fn spec_faults(spec: &APIServiceSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let (group, version) = (spec.group.text(), spec.version.text());
    let group_path = path.child("group");
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        faults.push(Fault::required(&group_path, detail));
    }
    if !group.is_empty() {
        faults.extend(invalid_each(&group_path, group, dns1123_subdomain(group)));
    }
    faults.extend(invalid_each(&path.child("version"), version, dns1035_label(version)));
    for (field, value, max) in [
        ("groupPriorityMinimum", spec.group_priority_minimum, GROUP_PRIORITY_MAX),
        ("versionPriority", spec.version_priority, VERSION_PRIORITY_MAX),
    ] {
        if value <= 0 || value > max {
            let detail = format!("must be positive and less than {max}");
            faults.push(Fault::invalid(&path.child(field), value, detail));
        }
    }
    let bundle_size = spec.ca_bundle.as_ref().map_or(0, |bundle| bundle.0.len());
    let insecure = spec.insecure_skip_tls_verify.is_on();
    let insecure_path = path.child("insecureSkipTLSVerify");
    let Some(service) = &spec.service else {
        if bundle_size > 0 {
            let detail = "local APIServices may not have a caBundle";
            faults.push(Fault::invalid(&path.child("caBundle"), format!("{bundle_size} bytes"), detail));
        }
        if insecure {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            faults.push(Fault::invalid(&insecure_path, true, detail));
        }
        return faults;
    };
    let service_path = path.child("service");
    for (field, value) in [("namespace", &service.namespace), ("name", &service.name)] {
        if value.text().is_empty() {
            faults.push(Fault::required(&service_path.child(field), ""));
        }
    }
    let port = service.port.unwrap_or(PORT_DEFAULT);
    let wrongs = port_number(i64::from(port));
    if !wrongs.is_empty() {
        let detail = format!("port is not valid: {}", wrongs.join(", "));
        faults.push(Fault::invalid(&service_path.child("port"), port, detail));
    }
    if insecure && bundle_size > 0 {
        faults.push(Fault::invalid(&insecure_path, true, "may not be true if caBundle is present"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::APIServices;
    use crate::resources::shared::testing::{check_create, check_status_update, created};

    fn service(name: &str, change: Value) -> Value {
        let mut spec =
            json!({"group": "g", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1});
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change) {
            spec.extend(change);
        }
        json!({"metadata": {"name": name}, "spec": spec})
    }

    #[test]
    fn what_is_served_here_is_available_at_once() {
        let object = created::<APIServices>(service("v1.g", json!({})));
        assert_eq!(
            object.pointer("/status/conditions/0"),
            Some(&json!({"type": "Available", "status": "True", "reason": "Local",
                "message": "Local APIServices are always available", "lastTransitionTime": "2023-11-14T22:13:20Z"}))
        );
        let object =
            created::<APIServices>(service("v1.g", json!({"service": {"namespace": "n", "name": "s"}})));
        assert_eq!(object.get("status"), Some(&json!({})));
        assert_eq!(object.pointer("/spec/service/port"), Some(&json!(443)));
    }

    #[test]
    fn a_service_is_of_a_version_of_a_group() {
        for (object, faults) in [
            (service("v1.g", json!({})), vec![]),
            (service("v1.", json!({"group": ""})), vec![]),
            (
                service(
                    "x",
                    json!({"group": "", "version": "v2", "groupPriorityMinimum": 20001, "versionPriority": 0,
                    "caBundle": "eA==", "insecureSkipTLSVerify": true}),
                ),
                vec![
                    r#"metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v2.""#,
                    "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
                    "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
                    "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
                    r#"spec.caBundle: Invalid value: "1 bytes": local APIServices may not have a caBundle"#,
                    "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
                ],
            ),
            (
                service(
                    "v1.g",
                    json!({"service": {"port": 0}, "caBundle": "eA==", "insecureSkipTLSVerify": true}),
                ),
                vec![
                    "spec.service.namespace: Required value",
                    "spec.service.name: Required value",
                    "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                    "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
                ],
            ),
        ] {
            assert_eq!(check_create::<APIServices>(object), faults);
        }
    }

    #[test]
    fn conditions_hold_or_not_or_are_unknown() {
        let mut new = service("v1.g", json!({}));
        new["status"] =
            json!({"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "Odd"}]});
        assert_eq!(
            check_status_update::<APIServices>(new, service("v1.g", json!({}))),
            [
                r#"status.conditions[1].status: Unsupported value: "Odd": supported values: "True", "False", "Unknown""#
            ]
        );
    }
}
