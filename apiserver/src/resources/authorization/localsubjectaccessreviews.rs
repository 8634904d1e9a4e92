//! LocalSubjectAccessReviews: `localsubjectaccessreviews` of `authorization.k8s.io/v1`.

use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of LocalSubjectAccessReviews.
pub(crate) struct LocalSubjectAccessReviews;

impl Strategy for LocalSubjectAccessReviews {
    type Object = LocalSubjectAccessReview;

    const NAMES: Names = Names {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "LocalSubjectAccessReview",
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const VERBS: &'static [&'static str] = &["create"];
}
