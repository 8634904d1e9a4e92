//! TokenReviews: `tokenreviews` of `authentication.k8s.io/v1`.

use k8s_openapi::api::authentication::v1::TokenReview;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of TokenReviews.
pub(crate) struct TokenReviews;

impl Strategy for TokenReviews {
    type Object = TokenReview;

    const NAMES: Names = Names {
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenReview",
        plural: "tokenreviews",
        singular: "tokenreview",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const VERBS: &'static [&'static str] = &["create"];
}
