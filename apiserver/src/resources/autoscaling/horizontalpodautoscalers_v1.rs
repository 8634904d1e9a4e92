//! HorizontalPodAutoscalers: `horizontalpodautoscalers` of `autoscaling/v1`.

use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;

use crate::registry::strategy::{Names, Strategy};

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
    const STATUS: bool = true;
}
