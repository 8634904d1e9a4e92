//! MutatingWebhookConfigurations: `mutatingwebhookconfigurations` of `admissionregistration.k8s.io/v1`.

use api_types::field::Faults;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use serde_json::Value;

use super::{
    hooks::{Webhooks as _, faults},
    name_warnings,
};
use crate::registry::strategy::{Context, Generation, Names, Strategy};

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
    const REJUDGES_CHANGE: bool = false;
    const GENERATION: Generation = Generation::Content;
    const UNCONDITIONAL_UPDATE: bool = false;
    const KNOWN_FINALIZERS: bool = false;

    fn mark(raw: &Value, object: &mut MutatingWebhookConfiguration) {
        object.mark(raw);
    }

    fn default(object: &mut MutatingWebhookConfiguration) {
        object.complete();
    }

    fn validate(_cx: &Context<'_>, object: &MutatingWebhookConfiguration) -> Faults {
        faults(&object.hooks(), None)
    }

    fn validate_update(
        _cx: &Context<'_>,
        object: &MutatingWebhookConfiguration,
        old: &MutatingWebhookConfiguration,
    ) -> Faults {
        faults(&object.hooks(), Some(&old.hooks()))
    }

    fn warnings(
        _cx: &Context<'_>,
        object: &MutatingWebhookConfiguration,
        _old: Option<&MutatingWebhookConfiguration>,
    ) -> Vec<String> {
        name_warnings(&object.metadata)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::MutatingWebhookConfigurations;
    use crate::resources::shared::testing::{check_create, created};

    fn hook(change: Value) -> Value {
        let mut hook = json!({"name": "a.b.c", "clientConfig": {"service": {"namespace": "n", "name": "s"}},
            "rules": [{"apiGroups": ["g"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"]}],
            "sideEffects": "None", "admissionReviewVersions": ["v1"]});
        if let (Value::Object(hook), Value::Object(change)) = (&mut hook, change) {
            hook.extend(change);
        }
        hook
    }

    fn hooks(change: Value) -> Value {
        json!({"webhooks": [hook(change)]})
    }

    #[test]
    fn a_webhook_is_completed() {
        assert_eq!(
            created::<MutatingWebhookConfigurations>(hooks(json!({}))).pointer("/webhooks/0"),
            Some(
                &json!({"name": "a.b.c", "clientConfig": {"service": {"namespace": "n", "name": "s", "port": 443}},
                "rules": [{"apiGroups": ["g"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"], "scope": "*"}],
                "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                "sideEffects": "None", "timeoutSeconds": 10, "admissionReviewVersions": ["v1"], "reinvocationPolicy": "Never"})
            )
        );
    }

    #[test]
    fn a_webhook_may_want_to_be_called_again() {
        assert_eq!(
            check_create::<MutatingWebhookConfigurations>(hooks(json!({"reinvocationPolicy": "IfNeeded"}))),
            [""; 0]
        );
        assert_eq!(
            check_create::<MutatingWebhookConfigurations>(hooks(json!({"reinvocationPolicy": "Odd"}))),
            [
                r#"webhooks[0].reinvocationPolicy: Unsupported value: "Odd": supported values: "IfNeeded", "Never""#
            ]
        );
    }
}
