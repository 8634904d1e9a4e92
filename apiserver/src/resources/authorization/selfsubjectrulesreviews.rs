//! SelfSubjectRulesReviews: `selfsubjectrulesreviews` of `authorization.k8s.io/v1`.

use k8s_openapi::api::authorization::v1::SelfSubjectRulesReview;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of SelfSubjectRulesReviews.
pub(crate) struct SelfSubjectRulesReviews;

impl Strategy for SelfSubjectRulesReviews {
    type Object = SelfSubjectRulesReview;

    const NAMES: Names = Names {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const VERBS: &'static [&'static str] = &["create"];
}
