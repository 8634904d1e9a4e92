//! PodDisruptionBudgets: `poddisruptionbudgets` of `policy/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};

use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::{
        conditions,
        internal::printed,
        names::path_segment,
        optional::{Items, negative},
        selectors::{self, Leniency},
        workloads::{above_all, int_or_percent},
    },
};

/// The strategy of PodDisruptionBudgets.
pub(crate) struct PodDisruptionBudgets;

impl Strategy for PodDisruptionBudgets {
    type Object = PodDisruptionBudget;

    const NAMES: Names = Names {
        group: "policy",
        version: "v1",
        kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        short: &["pdb"],
        categories: &[],
        namespaced: true,
    };
    const REJUDGES_CHANGE: bool = false;
    const STATUS_REJUDGES_CHANGE: bool = false;
    const REJUDGES_METADATA: bool = false;
    const KNOWN_FINALIZERS: bool = false;
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;

    // Names were never restricted further.
    fn name_faults(name: &str, prefix: bool) -> Vec<String> {
        path_segment(name, prefix)
    }

    fn validate(_cx: &Context<'_>, object: &PodDisruptionBudget) -> Faults {
        object.spec.as_ref().map(|spec| faults(spec, Leniency::default())).unwrap_or_default()
    }

    fn validate_update(_cx: &Context<'_>, object: &PodDisruptionBudget, old: &PodDisruptionBudget) -> Faults {
        let old = old.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let old_is_bad = !selectors::validate(old, Leniency::default(), &Path::root()).is_empty();
        let leniency = Leniency { invalid_values: old_is_bad, ..Leniency::default() };
        object.spec.as_ref().map(|spec| faults(spec, leniency)).unwrap_or_default()
    }

    fn validate_status_update(
        _cx: &Context<'_>,
        object: &PodDisruptionBudget,
        _old: &PodDisruptionBudget,
    ) -> Faults {
        let Some(status) = &object.status else { return Vec::new() };
        let path = Path::new("status");
        let mut faults = conditions::faults(status.conditions.items(), &path.child("conditions"));
        for (field, count) in [
            ("disruptionsAllowed", status.disruptions_allowed),
            ("currentHealthy", status.current_healthy),
            ("desiredHealthy", status.desired_healthy),
            ("expectedPods", status.expected_pods),
        ] {
            faults.extend(negative(&path.child(field), count.unwrap_or_default()));
        }
        faults
    }
}

fn faults(spec: &PodDisruptionBudgetSpec, leniency: Leniency) -> Faults {
    let path = Path::new("spec");
    let mut faults = Vec::new();
    let bounds = [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)];
    if bounds.iter().all(|(_, bound)| bound.is_some()) {
        faults.push(Fault::invalid(
            &path,
            printed("policy.PodDisruptionBudgetSpec", spec),
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for (field, bound) in bounds {
        if let Some(bound) = bound {
            faults.extend(int_or_percent(bound, &path.child(field)));
            faults.extend(above_all(bound, &path.child(field)));
        }
    }
    faults.extend(selectors::validate(spec.selector.as_ref(), leniency, &path.child("selector")));
    let known = ["AlwaysAllow", "IfHealthyBudget"];
    if let Some(policy) = spec.unhealthy_pod_eviction_policy.as_deref().filter(|it| !known.contains(it)) {
        faults.push(Fault::not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &known));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::PodDisruptionBudgets;
    use crate::resources::shared::testing::{check_create, check_status_update};

    #[test]
    fn a_budget_has_one_bound() {
        for (spec, faults) in [
            (json!({"minAvailable": "50%"}), vec![]),
            (json!({"maxUnavailable": 0, "unhealthyPodEvictionPolicy": "AlwaysAllow"}), vec![]),
            (
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                vec![
                    r#"spec: Invalid value: {"MinAvailable":1,"Selector":null,"MaxUnavailable":1,"UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set"#,
                ],
            ),
            (
                json!({"minAvailable": -1, "unhealthyPodEvictionPolicy": "X"}),
                vec![
                    "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
                    r#"spec.unhealthyPodEvictionPolicy: Unsupported value: "X": supported values: "AlwaysAllow", "IfHealthyBudget""#,
                ],
            ),
            (
                json!({"maxUnavailable": "101%"}),
                vec![r#"spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%"#],
            ),
        ] {
            assert_eq!(check_create::<PodDisruptionBudgets>(json!({"spec": spec})), faults);
        }
    }

    #[test]
    fn counts_in_a_status_are_not_negative() {
        assert_eq!(
            check_status_update::<PodDisruptionBudgets>(
                json!({"status": {"currentHealthy": -1, "expectedPods": -2}}),
                json!({})
            ),
            [
                "status.currentHealthy: Invalid value: -1: must be greater than or equal to 0",
                "status.expectedPods: Invalid value: -2: must be greater than or equal to 0",
            ]
        );
    }
}
