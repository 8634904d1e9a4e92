//! ValidatingWebhookConfigurations: `validatingwebhookconfigurations` of `admissionregistration.k8s.io/v1`.

use api_types::field::Faults;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use serde_json::Value;

use super::{
    hooks::{Webhooks as _, faults},
    name_warnings,
};
use crate::registry::strategy::{Context, Generation, Names, Strategy};

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
    const REJUDGES_CHANGE: bool = false;
    const GENERATION: Generation = Generation::Content;
    const UNCONDITIONAL_UPDATE: bool = false;
    const KNOWN_FINALIZERS: bool = false;

    fn mark(raw: &Value, object: &mut ValidatingWebhookConfiguration) {
        object.mark(raw);
    }

    fn default(object: &mut ValidatingWebhookConfiguration) {
        object.complete();
    }

    fn validate(_cx: &Context<'_>, object: &ValidatingWebhookConfiguration) -> Faults {
        faults(&object.hooks(), None)
    }

    fn validate_update(
        _cx: &Context<'_>,
        object: &ValidatingWebhookConfiguration,
        old: &ValidatingWebhookConfiguration,
    ) -> Faults {
        faults(&object.hooks(), Some(&old.hooks()))
    }

    fn warnings(
        _cx: &Context<'_>,
        object: &ValidatingWebhookConfiguration,
        _old: Option<&ValidatingWebhookConfiguration>,
    ) -> Vec<String> {
        name_warnings(&object.metadata)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::ValidatingWebhookConfigurations;
    use crate::resources::shared::testing::{check_create, check_update, created, warnings};

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
            created::<ValidatingWebhookConfigurations>(hooks(json!({}))).pointer("/webhooks/0"),
            Some(
                &json!({"name": "a.b.c", "clientConfig": {"service": {"namespace": "n", "name": "s", "port": 443}},
                "rules": [{"apiGroups": ["g"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"], "scope": "*"}],
                "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                "sideEffects": "None", "timeoutSeconds": 10, "admissionReviewVersions": ["v1"]})
            )
        );
    }

    #[test]
    fn a_webhook_says_where_it_is_and_what_it_is_asked() {
        for (change, faults) in [
            (json!({}), vec![]),
            (
                json!({"name": "short", "failurePolicy": "Odd", "matchPolicy": "Odd", "sideEffects": "Some", "timeoutSeconds": 31,
                    "clientConfig": {}, "admissionReviewVersions": [],
                    "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
                vec![
                    r#"webhooks[0].name: Invalid value: "short": should be a domain with at least three segments separated by dots"#,
                    r#"webhooks[0].failurePolicy: Unsupported value: "Odd": supported values: "Fail", "Ignore""#,
                    r#"webhooks[0].matchPolicy: Unsupported value: "Odd": supported values: "Equivalent", "Exact""#,
                    r#"webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun""#,
                    "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
                    "webhooks[0].namespaceSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                    "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
                    "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
                ],
            ),
            (
                json!({"sideEffects": "", "clientConfig": {"service": {"namespace": "n", "name": ""}}, "matchConditions": [{"name": "a", "expression": ""}],
                    "admissionReviewVersions": ["v2", "v2"]}),
                vec![
                    r#"webhooks[0].sideEffects: Unsupported value: "": supported values: "None", "NoneOnDryRun""#,
                    "webhooks[0].clientConfig.service.namespace: Required value",
                    "webhooks[0].matchConditions[0].expression: Required value",
                    r#"webhooks[0].admissionReviewVersions[1]: Invalid value: "v2": duplicate version"#,
                    r#"webhooks[0].admissionReviewVersions: Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<ValidatingWebhookConfigurations>(hooks(change)), faults);
        }
        let twice = json!({"webhooks": [hook(json!({})), hook(json!({}))]});
        assert_eq!(
            check_create::<ValidatingWebhookConfigurations>(twice),
            [r#"webhooks[1].name: Duplicate value: "a.b.c""#]
        );
    }

    #[test]
    fn what_older_rules_let_in_may_stay() {
        let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["-"]}]});
        let old = json!({"webhooks": [
            hook(json!({"sideEffects": "Some", "admissionReviewVersions": ["v2"], "objectSelector": selector, "matchConditions": [{"name": "", "expression": ""}]})),
            hook(json!({})),
        ]});
        assert_eq!(check_update::<ValidatingWebhookConfigurations>(old.clone(), old), [""; 0]);
        assert_eq!(
            check_update::<ValidatingWebhookConfigurations>(
                hooks(json!({"sideEffects": "Some"})),
                hooks(json!({}))
            ),
            [
                r#"webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun""#
            ]
        );
    }

    #[test]
    fn some_names_are_kept_for_files() {
        let mut object = hooks(json!({}));
        object["metadata"] = json!({"name": "a.static.k8s.io"});
        assert_eq!(
            warnings::<ValidatingWebhookConfigurations>(object),
            [
                r#"metadata.name: names ending with ".static.k8s.io" are reserved for static manifest-based configurations and cannot be managed via the API"#
            ]
        );
    }
}
