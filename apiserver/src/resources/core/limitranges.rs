//! LimitRanges: `limitranges` of `v1`.

use k8s_openapi::api::core::v1::LimitRange;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of LimitRanges.
pub(crate) struct LimitRanges;

impl Strategy for LimitRanges {
    type Object = LimitRange;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "LimitRange",
        plural: "limitranges",
        singular: "limitrange",
        short: &["limits"],
        categories: &[],
        namespaced: true,
    };
}
