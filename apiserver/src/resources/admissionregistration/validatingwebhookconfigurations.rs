//! ValidatingWebhookConfigurations: `validatingwebhookconfigurations` of `admissionregistration.k8s.io/v1`.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of ValidatingWebhookConfigurations.
pub(crate) struct ValidatingWebhookConfigurations;

impl Strategy for ValidatingWebhookConfigurations {
    type Object = ValidatingWebhookConfiguration;

    const NAMES: Names = Names {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "ValidatingWebhookConfiguration",
        plural: "validatingwebhookconfigurations",
        singular: "validatingwebhookconfiguration",
        short: &[],
        categories: &["api-extensions"],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Content;
}
