//! SelfSubjectReviews: `selfsubjectreviews` of `authentication.k8s.io/v1`.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of SelfSubjectReviews.
pub(crate) struct SelfSubjectReviews;

impl Strategy for SelfSubjectReviews {
    type Object = SelfSubjectReview;

    const NAMES: Names = Names {
        group: "authentication.k8s.io",
        version: "v1",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const VERBS: &'static [&'static str] = &["create"];
}
