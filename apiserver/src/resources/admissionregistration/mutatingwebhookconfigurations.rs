//! MutatingWebhookConfigurations: `mutatingwebhookconfigurations` of `admissionregistration.k8s.io/v1`.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of MutatingWebhookConfigurations.
pub(crate) struct MutatingWebhookConfigurations;

impl Strategy for MutatingWebhookConfigurations {
    type Object = MutatingWebhookConfiguration;

    const NAMES: Names = Names {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "MutatingWebhookConfiguration",
        plural: "mutatingwebhookconfigurations",
        singular: "mutatingwebhookconfiguration",
        short: &[],
        categories: &["api-extensions"],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Content;
}
