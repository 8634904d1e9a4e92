//! CSIDrivers: `csidrivers` of `storage.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::storage::v1::{CSIDriver, CSIDriverSpec, TokenRequest};

use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::optional::{Items, immutable},
};

/// The shortest and the longest life of a token, in seconds.
const TOKEN_SECONDS: std::ops::RangeInclusive<i64> = 600..=1 << 32;
/// The shortest time between updates of how many volumes a node takes, in seconds.
const UPDATE_SECONDS_MIN: i64 = 10;
/// How group ownership of files is set, sorted.
const GROUP_POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];

/// The strategy of CSIDrivers.
pub(crate) struct CSIDrivers;

impl Strategy for CSIDrivers {
    type Object = CSIDriver;

    const NAMES: Names = Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "CSIDriver",
        plural: "csidrivers",
        singular: "csidriver",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const REJUDGES_METADATA: bool = false;
    const RETURNS_DELETED: bool = true;
    const GENERATION: Generation = Generation::SpecFromNone;
    const UNCONDITIONAL_UPDATE: bool = false;

    fn default(object: &mut CSIDriver) {
        let spec = &mut object.spec;
        spec.attach_required.get_or_insert(true);
        spec.pod_info_on_mount.get_or_insert(false);
        spec.storage_capacity.get_or_insert(false);
        spec.fs_group_policy.get_or_insert_with(|| "ReadWriteOnceWithFSType".to_owned());
        if spec.volume_lifecycle_modes.items().is_empty() {
            spec.volume_lifecycle_modes = Some(vec!["Persistent".to_owned()]);
        }
        spec.requires_republish.get_or_insert(false);
        spec.se_linux_mount.get_or_insert(false);
    }

    fn prepare_for_create(_cx: &Context<'_>, object: &mut CSIDriver) {
        // Keeping pods off nodes without the driver (KEP-5030) is alpha and off.
        object.spec.prevent_pod_scheduling_if_missing = None;
    }

    fn validate(_cx: &Context<'_>, object: &CSIDriver) -> Faults {
        faults(&object.spec)
    }

    fn prepare_for_update(_cx: &Context<'_>, object: &mut CSIDriver, old: &CSIDriver) {
        if old.spec.prevent_pod_scheduling_if_missing.is_none() {
            object.spec.prevent_pod_scheduling_if_missing = None;
        }
    }

    fn validate_update(_cx: &Context<'_>, object: &CSIDriver, old: &CSIDriver) -> Faults {
        let (spec, old) = (&object.spec, &old.spec);
        let mut faults = faults(spec);
        // The odd names of fields are upstream's.
        faults.extend(immutable(
            &Path::new("spec.attachedRequired"),
            &spec.attach_required,
            &old.attach_required,
        ));
        faults.extend(immutable(
            &Path::new("spec.volumeLifecycleModes"),
            &spec.volume_lifecycle_modes,
            &old.volume_lifecycle_modes,
        ));
        faults
    }

    fn warnings(_cx: &Context<'_>, object: &CSIDriver, old: Option<&CSIDriver>) -> Vec<String> {
        let requests = object.spec.token_requests.items();
        let unchanged = old.is_some_and(|old| old.spec.token_requests.items() == requests);
        if requests.is_empty() || object.spec.service_account_token_in_secrets.is_some() || unchanged {
            return Vec::new();
        }
        vec!["spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes".to_owned()]
    }
}

fn faults(spec: &CSIDriverSpec) -> Faults {
    let path = Path::new("spec");
    let required =
        |given: Option<bool>, field: &str| given.is_none().then(|| Fault::required(&path.child(field), ""));
    let mut faults = Vec::new();
    faults.extend(required(spec.attach_required, "attachedRequired"));
    faults.extend(required(spec.pod_info_on_mount, "podInfoOnMount"));
    faults.extend(required(spec.storage_capacity, "storageCapacity"));
    if let Some(policy) = spec.fs_group_policy.as_deref().filter(|it| !GROUP_POLICIES.contains(it)) {
        faults.push(Fault::not_supported(&path.child("fsGroupPolicy"), policy, GROUP_POLICIES));
    }
    faults.extend(token_faults(spec.token_requests.items(), &path.child("tokenRequests")));
    let modes = ["Persistent", "Ephemeral"];
    for mode in spec.volume_lifecycle_modes.items().iter().filter(|it| !modes.contains(&it.as_str())) {
        faults.push(Fault::not_supported(&path.child("volumeLifecycleModes"), mode, &modes));
    }
    faults.extend(required(spec.se_linux_mount, "seLinuxMount"));
    if let Some(seconds) = spec.node_allocatable_update_period_seconds.filter(|&it| it < UPDATE_SECONDS_MIN) {
        faults.push(Fault::invalid(
            &path.child("nodeAllocatableUpdatePeriodSeconds"),
            seconds,
            "must be greater than or equal to 10 seconds",
        ));
    }
    if let Some(given) = spec.service_account_token_in_secrets
        && spec.token_requests.items().is_empty()
    {
        faults.push(Fault::invalid(
            &path.child("serviceAccountTokenInSecrets"),
            given,
            "serviceAccountTokenInSecrets is set but no tokenRequests are specified",
        ));
    }
    faults
}

fn token_faults(requests: &[TokenRequest], path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let path = path.index(index);
        if requests.iter().take(index).any(|earlier| earlier.audience == request.audience) {
            faults.push(Fault::duplicate(&path.child("audience"), &request.audience));
            continue;
        }
        let Some(seconds) = request.expiration_seconds else { continue };
        let detail = if seconds < *TOKEN_SECONDS.start() {
            "may not specify a duration less than 10 minutes"
        } else if seconds > *TOKEN_SECONDS.end() {
            "may not specify a duration larger than 2^32 seconds"
        } else {
            continue;
        };
        faults.push(Fault::invalid(&path.child("expirationSeconds"), seconds, detail));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::CSIDrivers;
    use crate::resources::shared::testing::{check_create, check_update, created, warnings};

    fn driver(spec: Value) -> Value {
        json!({"spec": spec})
    }

    #[test]
    fn what_is_left_out_is_filled_in_and_what_is_off_is_dropped() {
        assert_eq!(
            created::<CSIDrivers>(driver(json!({"preventPodSchedulingIfMissing": true}))).get("spec"),
            Some(&json!({"attachRequired": true, "podInfoOnMount": false, "storageCapacity": false,
                "fsGroupPolicy": "ReadWriteOnceWithFSType", "volumeLifecycleModes": ["Persistent"],
                "requiresRepublish": false, "seLinuxMount": false}))
        );
    }

    #[test]
    fn tokens_are_for_one_audience_each() {
        for (spec, faults) in [
            (json!({"tokenRequests": [{"audience": "a", "expirationSeconds": 600}]}), vec![]),
            (
                json!({"tokenRequests": [{"audience": "a", "expirationSeconds": 1}, {"audience": "a"}]}),
                vec![
                    "spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
                    r#"spec.tokenRequests[1].audience: Duplicate value: "a""#,
                ],
            ),
            (
                json!({"fsGroupPolicy": "X", "volumeLifecycleModes": ["Y"], "nodeAllocatableUpdatePeriodSeconds": 1,
                    "serviceAccountTokenInSecrets": true}),
                vec![
                    r#"spec.fsGroupPolicy: Unsupported value: "X": supported values: "File", "None", "ReadWriteOnceWithFSType""#,
                    r#"spec.volumeLifecycleModes: Unsupported value: "Y": supported values: "Persistent", "Ephemeral""#,
                    "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 1: must be greater than or equal to 10 seconds",
                    "spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified",
                ],
            ),
        ] {
            assert_eq!(check_create::<CSIDrivers>(driver(spec)), faults);
        }
    }

    #[test]
    fn how_volumes_live_is_fixed() {
        assert_eq!(
            check_update::<CSIDrivers>(
                driver(json!({"attachRequired": false, "volumeLifecycleModes": ["Ephemeral"]})),
                driver(json!({}))
            ),
            [
                "spec.attachedRequired: Invalid value: false: field is immutable",
                r#"spec.volumeLifecycleModes: Invalid value: ["Ephemeral"]: field is immutable"#,
            ]
        );
    }

    #[test]
    fn tokens_in_volume_attributes_are_warned_about() {
        assert_eq!(
            warnings::<CSIDrivers>(driver(json!({"tokenRequests": [{"audience": "a"}]}))),
            [
                "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"
            ]
        );
    }
}
