//! MutatingWebhookConfigurations: `mutatingwebhookconfigurations` of `admissionregistration.k8s.io/v1`.

use api_types::field::Faults;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;

use super::{
    hooks::{Hook, faults},
    matching::{default_match_policy, default_rules},
    name_warnings,
};
use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::{optional::Items, webhook_client::PORT_DEFAULT},
};

const TIMEOUT_SECONDS_DEFAULT: i32 = 10;

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
    const UNCONDITIONAL_UPDATE: bool = false;
    const KNOWN_FINALIZERS: bool = false;

    fn default(object: &mut MutatingWebhookConfiguration) {
        for hook in object.webhooks.items_mut() {
            hook.failure_policy.get_or_insert_with(|| "Fail".to_owned());
            default_match_policy(&mut hook.match_policy);
            hook.namespace_selector.get_or_insert_default();
            hook.object_selector.get_or_insert_default();
            hook.timeout_seconds.get_or_insert(TIMEOUT_SECONDS_DEFAULT);
            hook.reinvocation_policy.get_or_insert_with(|| "Never".to_owned());
            if let Some(service) = &mut hook.client_config.service {
                service.port.get_or_insert(PORT_DEFAULT);
            }
            default_rules(hook.rules.items_mut());
        }
    }

    fn validate(_cx: &Context<'_>, object: &MutatingWebhookConfiguration) -> Faults {
        faults(&hooks(object), None)
    }

    fn validate_update(
        _cx: &Context<'_>,
        object: &MutatingWebhookConfiguration,
        old: &MutatingWebhookConfiguration,
    ) -> Faults {
        faults(&hooks(object), Some(&hooks(old)))
    }

    fn warnings(
        _cx: &Context<'_>,
        object: &MutatingWebhookConfiguration,
        _old: Option<&MutatingWebhookConfiguration>,
    ) -> Vec<String> {
        name_warnings(&object.metadata)
    }
}

fn hooks(object: &MutatingWebhookConfiguration) -> Vec<Hook<'_>> {
    object.webhooks.items().iter().map(Hook::from).collect()
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
