//! ResourceClaims: `resourceclaims` of `resource.k8s.io/v1`.

use std::collections::BTreeSet;

use api_types::field::{Faults, Path};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimStatus};

use super::{
    allocation::{DeviceId, allocated, status_faults},
    claim::{self, Requests},
};
use crate::{
    patch::apply::Reset,
    registry::strategy::{Context, Names, Part, Strategy},
    resources::shared::{internal, metadata::keep_for_status},
};

/// The strategy of ResourceClaims.
pub(crate) struct ResourceClaims;

impl Strategy for ResourceClaims {
    type Object = ResourceClaim;

    const NAMES: Names = Names {
        group: "resource.k8s.io",
        version: "v1",
        kind: "ResourceClaim",
        plural: "resourceclaims",
        singular: "resourceclaim",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const RESETS: &'static [(Part, Reset<'static>)] =
        &[(Part::Status, Reset::Fields(&[&["spec"], &["metadata"]]))];
    const RETURNS_DELETED: bool = true;
    const STATUS: bool = true;

    fn default(object: &mut ResourceClaim) {
        claim::default(&mut object.spec);
    }

    fn validate(_cx: &Context<'_>, object: &ResourceClaim) -> Faults {
        claim::faults(&object.spec, &Path::new("spec"))
    }

    fn validate_update(_cx: &Context<'_>, object: &ResourceClaim, old: &ResourceClaim) -> Faults {
        let path = Path::new("spec");
        let changed = internal::immutable("resource.ResourceClaimSpec", &path, &object.spec, &old.spec);
        changed.into_iter().collect()
    }

    fn prepare_for_status_update(_cx: &Context<'_>, object: &mut ResourceClaim, old: &ResourceClaim) {
        keep_for_status(&mut object.metadata, &old.metadata);
        drop_deallocated(object, old);
    }

    fn validate_status_update(_cx: &Context<'_>, object: &ResourceClaim, old: &ResourceClaim) -> Faults {
        let empty = ResourceClaimStatus::default();
        status_faults(
            object.status.as_ref().unwrap_or(&empty),
            old.status.as_ref().unwrap_or(&empty),
            object.metadata.deletion_timestamp.is_some(),
            &Requests::of(&object.spec),
            &Path::new("status"),
        )
    }
}

/// Takes out what drivers said about devices that the claim no longer has.
fn drop_deallocated(object: &mut ResourceClaim, old: &ResourceClaim) {
    let had: BTreeSet<DeviceId> = old.status.iter().flat_map(allocated).collect();
    let Some(status) = &mut object.status else { return };
    let has: BTreeSet<DeviceId> = allocated(status).collect();
    if let Some(devices) = &mut status.devices {
        devices.retain(|device| {
            let device = DeviceId::from(device as &_);
            has.contains(&device) || !had.contains(&device)
        });
        if devices.is_empty() {
            status.devices = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use api_types::typed::Typed;
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::shared::testing::{
        check_create, check_status_update, check_update, created, with_context,
    };

    fn claim(devices: Value) -> Value {
        json!({"spec": {"devices": devices}})
    }

    fn request(exactly: Value) -> Value {
        claim(json!({"requests": [{"name": "r", "exactly": exactly}]}))
    }

    fn with_status(status: Value) -> Value {
        let mut claim = request(json!({"deviceClassName": "c"}));
        claim["status"] = status;
        claim
    }

    fn result(device: &str) -> Value {
        json!({"request": "r", "driver": "d.example.com", "pool": "p", "device": device})
    }

    fn allocation(devices: &[&str]) -> Value {
        json!({"devices": {"results": devices.iter().map(|device| result(device)).collect::<Vec<_>>()}})
    }

    #[test]
    fn one_device_is_asked_for_unless_said() {
        let object = created::<ResourceClaims>(claim(json!({"requests": [
            {"name": "r", "exactly": {"deviceClassName": "c"}},
            {"name": "s", "firstAvailable": [{"name": "a", "deviceClassName": "c", "count": 2}, {"name": "b", "deviceClassName": "c", "allocationMode": "All"}]}]})));
        assert_eq!(
            object.pointer("/spec/devices/requests"),
            Some(&json!([
                {"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}},
                {"name": "s", "firstAvailable": [{"name": "a", "deviceClassName": "c", "allocationMode": "ExactCount", "count": 2},
                    {"name": "b", "deviceClassName": "c", "allocationMode": "All"}]}]))
        );
    }

    #[test]
    fn a_claim_asks_for_devices_of_classes() {
        let exactly = json!({"deviceClassName": "c"});
        for (object, faults) in [
            (request(exactly.clone()), vec![]),
            (
                claim(
                    json!({"requests": [{"name": "r"}, {"name": "r", "exactly": exactly, "firstAvailable": [{"name": "a", "deviceClassName": "c"}]}]}),
                ),
                vec![
                    "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
                    "spec.devices.requests[1]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
                    r#"spec.devices.requests[1]: Duplicate value: "r""#,
                ],
            ),
            (
                request(
                    json!({"deviceClassName": "", "allocationMode": "All", "count": 1, "selectors": [{}], "tolerations": [{}]}),
                ),
                vec![
                    "spec.devices.requests[0].exactly.deviceClassName: Required value",
                    "spec.devices.requests[0].exactly.selectors[0].cel: Required value",
                    "spec.devices.requests[0].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'",
                    "spec.devices.requests[0].exactly.tolerations[0].operator: Required value",
                ],
            ),
            (
                request(json!({"deviceClassName": "c", "count": -1})),
                vec!["spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero"],
            ),
            (
                request(json!({"deviceClassName": "c", "allocationMode": "Odd"})),
                vec![
                    r#"spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Odd": supported values: "All", "ExactCount""#,
                ],
            ),
            (
                claim(
                    json!({"requests": [{"name": "r", "firstAvailable": [{"name": "a", "deviceClassName": "c"}]}],
                    "constraints": [{"requests": ["r", "r/a", "r/b", "s", "r/a/b"]}, {"matchAttribute": "a", "requests": ["r", "r"]}, {"distinctAttribute": "a.b/c"}],
                    "config": [{"requests": ["r"]}]}),
                ),
                vec![
                    r#"spec.devices.constraints[0].requests[2]: Invalid value: "r/b": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"#,
                    r#"spec.devices.constraints[0].requests[3]: Invalid value: "s": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"#,
                    r#"spec.devices.constraints[0].requests[4]: Invalid value: "r/a/b": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"#,
                    r#"spec.devices.constraints[0]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set"#,
                    r#"spec.devices.constraints[1].requests[1]: Duplicate value: "r""#,
                    r#"spec.devices.constraints[1].matchAttribute: Invalid value: "a": a fully qualified name must be a domain and a name separated by a slash"#,
                    "spec.devices.config[0].opaque: Required value",
                ],
            ),
            (
                claim(json!({"requests": vec![json!({}); 33]})),
                vec!["spec.devices.requests: Too many: 33: must have at most 32 items"],
            ),
        ] {
            assert_eq!(check_create::<ResourceClaims>(object), faults);
        }
    }

    #[test]
    fn what_is_asked_for_stays() {
        let (old, new) = (request(json!({"deviceClassName": "c"})), request(json!({"deviceClassName": "d"})));
        assert_eq!(check_update::<ResourceClaims>(old.clone(), old.clone()), [""; 0]);
        let found = check_update::<ResourceClaims>(new, old);
        let [fault] = found.as_slice() else { panic!("{found:?}") };
        assert!(
            fault.starts_with("spec: Invalid value: {") && fault.ends_with("}: field is immutable"),
            "{fault}"
        );
    }

    #[test]
    fn devices_that_are_gone_are_not_spoken_of() {
        let device = |name: &str| json!({"driver": "d.example.com", "pool": "p", "device": name});
        let old = with_status(json!({"allocation": allocation(&["a", "b"])}));
        let new = with_status(
            json!({"allocation": allocation(&["a"]), "devices": [device("a"), device("b"), device("c")]}),
        );
        let mut object = ResourceClaim::from_value(&new).unwrap();
        with_context(|cx| {
            ResourceClaims::prepare_for_status_update(
                cx,
                &mut object,
                &ResourceClaim::from_value(&old).unwrap(),
            );
        });
        assert_eq!(object.to_value().pointer("/status/devices"), Some(&json!([device("a"), device("c")])));
    }

    #[test]
    fn a_status_says_which_devices_and_for_whom() {
        let user = |uid: &str| json!({"resource": "pods", "name": "p", "uid": uid});
        let none = with_status(json!({}));
        let given = with_status(json!({"allocation": allocation(&["a"])}));
        for (new, old, faults) in [
            (given.clone(), none.clone(), vec![]),
            (
                with_status(json!({"reservedFor": [user("u"), user("u"), {}]})),
                none.clone(),
                vec![
                    "status.reservedFor[2].resource: Required value",
                    "status.reservedFor[2].name: Required value",
                    "status.reservedFor[2].uid: Required value",
                    r#"status.reservedFor[1]: Duplicate value: "u""#,
                    "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
                ],
            ),
            (
                with_status(
                    json!({"allocation": {"devices": {"results": [{"request": "x", "driver": "", "pool": "", "device": "a", "shareID": "x"}],
                    "config": [{"source": "Odd", "opaque": {"driver": "d", "parameters": {}}}, {"source": ""}]}, "nodeSelector": {"nodeSelectorTerms": []}}}),
                ),
                none,
                vec![
                    r#"status.allocation.devices.results[0].request: Invalid value: "x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"#,
                    "status.allocation.devices.results[0].driver: Required value",
                    "status.allocation.devices.results[0].pool: Required value",
                    r#"status.allocation.devices.results[0].shareID: Invalid value: "x": error validating uid: invalid UUID length: 1"#,
                    r#"status.allocation.devices.config[0].source: Unsupported value: "Odd": supported values: "FromClaim", "FromClass""#,
                    "status.allocation.devices.config[1].source: Required value",
                    "status.allocation.devices.config[1].opaque: Required value",
                    "status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term",
                ],
            ),
            (
                with_status(json!({"allocation": allocation(&["a"]), "devices": [
                    {"driver": "d.example.com", "pool": "p", "device": "a", "data": [], "networkData": {"interfaceName": "x".repeat(257), "ips": ["10.0.0.1"]}},
                    {"driver": "d.example.com", "pool": "p", "device": "b", "data": {}}]})),
                given.clone(),
                vec![
                    r#"status.devices[0].data: Invalid value: "<value omitted>": must be a valid JSON object"#,
                    "status.devices[0].networkData.interfaceName: Too long: may not be more than 256 bytes",
                    r#"status.devices[0].networkData.ips[0]: Invalid value: "10.0.0.1": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"#,
                    r#"status.devices[1]: Invalid value: {"Driver":"d.example.com","Pool":"p","Device":"b","ShareID":""}: must be an allocated device in the claim"#,
                ],
            ),
        ] {
            assert_eq!(check_status_update::<ResourceClaims>(new, old), faults);
        }
        let found = check_status_update::<ResourceClaims>(
            with_status(json!({"allocation": allocation(&["b"])})),
            given,
        );
        let [fault] = found.as_slice() else { panic!("{found:?}") };
        assert!(
            fault.starts_with("status.allocation: Invalid value: {")
                && fault.ends_with("}: field is immutable")
        );
    }

    #[test]
    fn a_claim_that_goes_is_reserved_for_nobody_new() {
        let reserved = |uid: &str| {
            let mut claim = with_status(json!({"allocation": allocation(&["a"]),
                "reservedFor": [{"resource": "pods", "name": "p", "uid": uid}]}));
            claim["metadata"] = json!({"deletionTimestamp": "2024-01-01T00:00:00Z"});
            claim
        };
        assert_eq!(check_status_update::<ResourceClaims>(reserved("u"), reserved("u")), [""; 0]);
        assert_eq!(
            check_status_update::<ResourceClaims>(reserved("v"), reserved("u")),
            [
                "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
            ]
        );
    }
}
