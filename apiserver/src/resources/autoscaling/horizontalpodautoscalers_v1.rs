//! HorizontalPodAutoscalers: `horizontalpodautoscalers` of `autoscaling/v1`, stored as those of `autoscaling/v2`,
//! whose rules judge both.

use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;

use super::conversion::{value_to_v1, value_to_v2};
use crate::registry::{
    catalogue::Conversion,
    strategy::{Names, Strategy},
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
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::HorizontalPodAutoscalersV1;
    use crate::resources::shared::testing::created;

    #[test]
    fn there_is_one_replica_at_least_unless_said() {
        let spec =
            json!({"maxReplicas": 3, "scaleTargetRef": {"kind": "D", "name": "d", "apiVersion": "apps/v1"}});
        assert_eq!(
            created::<HorizontalPodAutoscalersV1>(json!({"spec": spec})).pointer("/spec/minReplicas"),
            Some(&json!(1))
        );
    }
}
