//! Leases: `leases` of `coordination.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::coordination::v1::Lease;

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{metadata::invalid_each, names::qualified_name, optional::Text},
};

/// The strategies of coordinated leader election that Kubernetes itself defines.
const STRATEGIES: &[&str] = &["OldestEmulationVersion"];

/// The strategy of Leases.
pub(crate) struct Leases;

impl Strategy for Leases {
    type Object = Lease;

    const NAMES: Names = Names {
        group: "coordination.k8s.io",
        version: "v1",
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const REJUDGES_METADATA: bool = false;
    const CREATE_ON_UPDATE: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;

    fn prepare_for_create(_cx: &Context<'_>, object: &mut Lease) {
        // Coordinated leader election (KEP-4355) is beta and off by default: its fields are dropped.
        if let Some(spec) = &mut object.spec {
            spec.strategy = None;
            spec.preferred_holder = None;
        }
    }

    fn validate(_cx: &Context<'_>, object: &Lease) -> Faults {
        let Some(spec) = &object.spec else { return Vec::new() };
        let path = Path::new("spec");
        let mut faults = Vec::new();
        if let Some(seconds) = spec.lease_duration_seconds.filter(|&seconds| seconds <= 0) {
            faults.push(Fault::invalid(
                &path.child("leaseDurationSeconds"),
                seconds,
                "must be greater than 0",
            ));
        }
        if let Some(transitions) = spec.lease_transitions.filter(|&transitions| transitions < 0) {
            faults.push(Fault::invalid(
                &path.child("leaseTransitions"),
                transitions,
                "must be greater than or equal to 0",
            ));
        }
        if let Some(strategy) = &spec.strategy {
            // Upstream names the field twice.
            let path = path.child("strategy.strategy");
            if strategy.contains('/') {
                faults.extend(invalid_each(&path, strategy, qualified_name(strategy)));
            } else if !STRATEGIES.contains(&strategy.as_str()) {
                faults.push(Fault::not_supported(&path, strategy, STRATEGIES));
            }
        }
        if !spec.preferred_holder.text().is_empty() && spec.strategy.text().is_empty() {
            faults.push(Fault::forbidden(
                &path.child("preferredHolder"),
                "may only be specified if `strategy` is defined",
            ));
        }
        faults
    }

    fn prepare_for_update(_cx: &Context<'_>, object: &mut Lease, old: &Lease) {
        let old = old.spec.as_ref();
        if let Some(spec) = &mut object.spec {
            // As at creation, unless the stored lease has them from when the feature was on.
            if old.is_none_or(|old| old.strategy.is_none()) {
                spec.strategy = None;
            }
            if old.is_none_or(|old| old.preferred_holder.is_none()) {
                spec.preferred_holder = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Leases;
    use crate::resources::shared::testing::{check_create, check_update, created};

    #[test]
    fn durations_are_positive_and_transitions_not_negative() {
        assert_eq!(
            check_create::<Leases>(json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}})),
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }

    #[test]
    fn fields_of_coordinated_election_are_dropped_unless_already_stored() {
        let given = json!({"spec": {"strategy": "X", "preferredHolder": "b", "holderIdentity": "a"}});
        let object = created::<Leases>(given.clone());
        assert_eq!(object.get("spec"), Some(&json!({"holderIdentity": "a"})));
        assert_eq!(
            check_update::<Leases>(given.clone(), given),
            [r#"spec.strategy.strategy: Unsupported value: "X": supported values: "OldestEmulationVersion""#]
        );
    }
}
