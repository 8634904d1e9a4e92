//! HorizontalPodAutoscalers: `horizontalpodautoscalers` of `autoscaling/v2`.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of HorizontalPodAutoscalers.
pub(crate) struct HorizontalPodAutoscalers;

impl Strategy for HorizontalPodAutoscalers {
    type Object = HorizontalPodAutoscaler;

    const NAMES: Names = Names {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        singular: "horizontalpodautoscaler",
        short: &["hpa"],
        categories: &["all"],
        namespaced: true,
    };
    const STATUS: bool = true;
}
