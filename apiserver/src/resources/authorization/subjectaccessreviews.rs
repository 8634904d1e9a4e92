//! SubjectAccessReviews: `subjectaccessreviews` of `authorization.k8s.io/v1`.

use k8s_openapi::api::authorization::v1::SubjectAccessReview;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of SubjectAccessReviews.
pub(crate) struct SubjectAccessReviews;

impl Strategy for SubjectAccessReviews {
    type Object = SubjectAccessReview;

    const NAMES: Names = Names {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "SubjectAccessReview",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const VERBS: &'static [&'static str] = &["create"];
}
