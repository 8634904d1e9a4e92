//! HorizontalPodAutoscalers: `horizontalpodautoscalers` of `autoscaling/v1`, stored as those of `autoscaling/v2`.

use api_types::field::Faults;
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;

use super::{
    conversion::{hpa_to_v2, value_to_v1, value_to_v2},
    horizontalpodautoscalers::{faults, status_faults},
};
use crate::registry::{
    catalogue::Conversion,
    strategy::{Context, Names, Strategy},
};

/// The strategy of HorizontalPodAutoscalers.
pub(crate) struct HorizontalPodAutoscalersV1;

impl Strategy for HorizontalPodAutoscalersV1 {
    type Object = HorizontalPodAutoscaler;

    const NAMES: Names = Names {
        group: "autoscaling",
        version: "v1",
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        singular: "horizontalpodautoscaler",
        short: &["hpa"],
        categories: &["all"],
        namespaced: true,
    };
    const REJUDGES_METADATA: bool = false;
    const STATUS: bool = true;
    const CONVERSION: Option<Conversion> = Some(Conversion {
        stored_as: ("autoscaling", "v2", "horizontalpodautoscalers"),
        store: value_to_v2,
        serve: value_to_v1,
    });

    fn default(object: &mut HorizontalPodAutoscaler) {
        object.spec.min_replicas.get_or_insert(1);
    }

    fn validate(_cx: &Context<'_>, object: &HorizontalPodAutoscaler) -> Faults {
        faults(&hpa_to_v2(object), None)
    }

    fn validate_update(
        _cx: &Context<'_>,
        object: &HorizontalPodAutoscaler,
        old: &HorizontalPodAutoscaler,
    ) -> Faults {
        faults(&hpa_to_v2(object), Some(&hpa_to_v2(old)))
    }

    fn validate_status_update(
        _cx: &Context<'_>,
        object: &HorizontalPodAutoscaler,
        _old: &HorizontalPodAutoscaler,
    ) -> Faults {
        status_faults(&hpa_to_v2(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::HorizontalPodAutoscalersV1;
    use crate::resources::shared::testing::check_create;

    #[test]
    fn faults_are_those_of_the_stored_form() {
        assert_eq!(
            check_create::<HorizontalPodAutoscalersV1>(json!({"spec": {"maxReplicas": 3,
                "targetCPUUtilizationPercentage": 0, "scaleTargetRef": {"kind": "D", "name": "d", "apiVersion": "apps/v1"}}})),
            ["spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"]
        );
    }
}
