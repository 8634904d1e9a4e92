//! SelfSubjectAccessReviews: `selfsubjectaccessreviews` of `authorization.k8s.io/v1`.

use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of SelfSubjectAccessReviews.
pub(crate) struct SelfSubjectAccessReviews;

impl Strategy for SelfSubjectAccessReviews {
    type Object = SelfSubjectAccessReview;

    const NAMES: Names = Names {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const VERBS: &'static [&'static str] = &["create"];
}
