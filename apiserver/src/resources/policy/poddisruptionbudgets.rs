//! PodDisruptionBudgets: `poddisruptionbudgets` of `policy/v1`.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::registry::strategy::{Generation, Names, Strategy};

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
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
}
