//! What webhooks that validate and webhooks that change have in common.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::{
    api::admissionregistration::v1::{
        MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhook,
        ValidatingWebhookConfiguration, WebhookClientConfig,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use serde_json::Value;

use super::matching::{
    condition_faults, default_match_policy, default_rules, match_policy_fault, rule_faults,
};
use crate::resources::shared::{
    forms::fully_qualified_name,
    metadata::invalid_each,
    names::dns1035_label,
    optional::Items,
    selectors::{self, Leniency},
    webhook_client::{PORT_DEFAULT, ServiceRef, service_faults, url_faults},
};

const NO_SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun", "Some", "Unknown"];
/// In the order of preference.
const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];
const TIMEOUT_SECONDS_DEFAULT: i32 = 10;
const TIMEOUT_SECONDS: std::ops::RangeInclusive<i32> = 1..=30;

/// A webhook.
pub(super) struct Hook<'a> {
    name: &'a str,
    client: &'a WebhookClientConfig,
    rules: &'a [RuleWithOperations],
    failure_policy: Option<&'a str>,
    match_policy: Option<&'a str>,
    side_effects: &'a str,
    timeout_seconds: Option<i32>,
    namespaces: Option<&'a LabelSelector>,
    objects: Option<&'a LabelSelector>,
    /// Only of those that change objects.
    reinvocation: Option<&'a str>,
    conditions: &'a [MatchCondition],
    review_versions: &'a [String],
}

/// How strict the rules are, given what stored webhooks are like.
struct Rules {
    no_side_effects: bool,
    known_review_versions: bool,
    unique_names: bool,
    label_values: Leniency,
    conditions: bool,
}

/// A configuration of webhooks, of either sort.
pub(super) trait Webhooks {
    /// Its webhooks.
    fn hooks(&self) -> Vec<Hook<'_>>;
    /// Fills in what was left out.
    fn complete(&mut self);
    /// Marks the side effects that were written down as nothing: the typed object cannot tell these from absent ones. No
    /// object with the mark is ever valid.
    fn mark(&mut self, raw: &Value);
}

/// Side effects that are there, and empty.
const EMPTY: &str = "\u{0}";

/// The two sorts have the same fields, but for who may be called again.
macro_rules! webhooks_of {
    ($configuration:ident, $hook:ident, reinvocation: $reinvocation:expr, default: $default:expr) => {
        impl Webhooks for $configuration {
            fn hooks(&self) -> Vec<Hook<'_>> {
                fn view(hook: &$hook) -> Hook<'_> {
                    let reinvocation: fn(&$hook) -> Option<&str> = $reinvocation;
                    let $hook {
                        name,
                        client_config,
                        rules,
                        failure_policy,
                        match_policy,
                        side_effects,
                        timeout_seconds,
                        namespace_selector,
                        object_selector,
                        match_conditions,
                        admission_review_versions,
                        ..
                    } = hook;
                    Hook {
                        name,
                        client: client_config,
                        rules: rules.items(),
                        failure_policy: failure_policy.as_deref(),
                        match_policy: match_policy.as_deref(),
                        side_effects,
                        timeout_seconds: *timeout_seconds,
                        namespaces: namespace_selector.as_ref(),
                        objects: object_selector.as_ref(),
                        reinvocation: reinvocation(hook),
                        conditions: match_conditions.items(),
                        review_versions: admission_review_versions,
                    }
                }
                self.webhooks.items().iter().map(view).collect()
            }

            fn complete(&mut self) {
                let default: fn(&mut $hook) = $default;
                for hook in self.webhooks.items_mut() {
                    hook.failure_policy.get_or_insert_with(|| "Fail".to_owned());
                    default_match_policy(&mut hook.match_policy);
                    hook.namespace_selector.get_or_insert_default();
                    hook.object_selector.get_or_insert_default();
                    hook.timeout_seconds.get_or_insert(TIMEOUT_SECONDS_DEFAULT);
                    default(hook);
                    if let Some(service) = &mut hook.client_config.service {
                        service.port.get_or_insert(PORT_DEFAULT);
                    }
                    default_rules(hook.rules.items_mut());
                }
            }

            fn mark(&mut self, raw: &Value) {
                let raw = raw.get("webhooks").and_then(Value::as_array);
                for (hook, raw) in self.webhooks.items_mut().iter_mut().zip(raw.into_iter().flatten()) {
                    if raw.get("sideEffects").and_then(Value::as_str) == Some("") {
                        hook.side_effects = EMPTY.to_owned();
                    }
                }
            }
        }
    };
}
webhooks_of!(ValidatingWebhookConfiguration, ValidatingWebhook, reinvocation: |_| None, default: |_| ());
webhooks_of!(
    MutatingWebhookConfiguration,
    MutatingWebhook,
    reinvocation: |hook| hook.reinvocation_policy.as_deref(),
    default: |hook| {
        hook.reinvocation_policy.get_or_insert_with(|| "Never".to_owned());
    }
);

/// What is wrong with webhooks. What was wrong with the old ones already may be wrong still.
pub(super) fn faults(hooks: &[Hook<'_>], old: Option<&[Hook<'_>]>) -> Faults {
    let rules = rules(hooks, old);
    let mut names = BTreeSet::new();
    let mut faults = Vec::new();
    for (index, hook) in hooks.iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        faults.extend(hook_faults(hook, &rules, &path));
        faults.extend(review_version_faults(
            hook.review_versions,
            rules.known_review_versions,
            &path.child("admissionReviewVersions"),
        ));
        if rules.unique_names && !hook.name.is_empty() && !names.insert(hook.name) {
            faults.push(Fault::duplicate(&path.child("name"), hook.name));
        }
    }
    faults
}

fn rules(hooks: &[Hook<'_>], old: Option<&[Hook<'_>]>) -> Rules {
    let Some(old) = old else {
        return Rules {
            no_side_effects: true,
            known_review_versions: true,
            unique_names: true,
            label_values: Leniency::default(),
            conditions: true,
        };
    };
    let strict = |selector| !selectors::validate(selector, Leniency::default(), &Path::new("")).is_empty();
    let names: BTreeSet<&str> = old.iter().map(|hook| hook.name).collect();
    Rules {
        no_side_effects: old.iter().all(|hook| NO_SIDE_EFFECTS.contains(&hook.side_effects)),
        known_review_versions: old.iter().all(|hook| {
            hook.review_versions.is_empty() || hook.review_versions.iter().any(|version| is_known(version))
        }),
        unique_names: names.len() == old.len(),
        label_values: Leniency {
            invalid_values: old.iter().any(|hook| strict(hook.namespaces) || strict(hook.objects)),
            ..Leniency::default()
        },
        conditions: !hooks.iter().map(|hook| hook.conditions).eq(old.iter().map(|hook| hook.conditions)),
    }
}

fn is_known(version: &str) -> bool {
    REVIEW_VERSIONS.contains(&version)
}

fn hook_faults(hook: &Hook<'_>, rules: &Rules, path: &Path) -> Faults {
    let mut faults = fully_qualified_name(&path.child("name"), hook.name);
    for (index, rule) in hook.rules.iter().enumerate() {
        faults.extend(rule_faults(rule, &path.child("rules").index(index)));
    }
    faults.extend(hook.failure_policy.and_then(|policy| failure_policy_fault(policy, path)));
    faults.extend(hook.match_policy.and_then(|policy| match_policy_fault(policy, path)));
    let effects = if rules.no_side_effects { NO_SIDE_EFFECTS } else { SIDE_EFFECTS };
    let effects_path = path.child("sideEffects");
    if hook.side_effects.is_empty() {
        faults.push(Fault::required(&effects_path, format!("must specify one of {}", effects.join(", "))));
    } else if !effects.contains(&hook.side_effects) {
        let said = if hook.side_effects == EMPTY { "" } else { hook.side_effects };
        faults.push(Fault::not_supported(&effects_path, said, effects));
    }
    if let Some(seconds) = hook.timeout_seconds.filter(|seconds| !TIMEOUT_SECONDS.contains(seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        faults.push(Fault::invalid(&path.child("timeoutSeconds"), seconds, detail));
    }
    for (field, selector) in [("namespaceSelector", hook.namespaces), ("objectSelector", hook.objects)] {
        faults.extend(selectors::validate(selector, rules.label_values, &path.child(field)));
    }
    faults.extend(hook.reinvocation.and_then(|policy| reinvocation_fault(policy, path)));
    faults.extend(client_faults(hook.client, &path.child("clientConfig")));
    if rules.conditions {
        faults.extend(condition_faults(hook.conditions, false, &path.child("matchConditions")));
    }
    faults
}

pub(super) fn failure_policy_fault(policy: &str, path: &Path) -> Option<Fault> {
    let policies = ["Fail", "Ignore"];
    let fault = || Fault::not_supported(&path.child("failurePolicy"), policy, &policies);
    (!policies.contains(&policy)).then(fault)
}

pub(super) fn reinvocation_fault(policy: &str, path: &Path) -> Option<Fault> {
    let policies = ["IfNeeded", "Never"];
    let fault = || Fault::not_supported(&path.child("reinvocationPolicy"), policy, &policies);
    (!policies.contains(&policy)).then(fault)
}

fn client_faults(client: &WebhookClientConfig, path: &Path) -> Faults {
    match (&client.url, &client.service) {
        (Some(url), None) => url_faults(&path.child("url"), url),
        (None, Some(service)) => {
            // Upstream has them crosswise here, and clients see a missing name as a missing namespace.
            let (namespace, name) = (&service.name, &service.namespace);
            let service = ServiceRef { namespace, name, path: service.path.as_deref(), port: service.port };
            service_faults(&path.child("service"), service)
        }
        _ => vec![Fault::required(path, "exactly one of url or service is required")],
    }
}

fn review_version_faults(versions: &[String], must_be_known: bool, path: &Path) -> Faults {
    let known = REVIEW_VERSIONS.join(", ");
    if versions.is_empty() {
        return vec![Fault::required(path, format!("must specify one of {known}"))];
    }
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        if seen.insert(version) {
            faults.extend(invalid_each(&path, version, dns1035_label(version)));
        } else {
            faults.push(Fault::invalid(&path, version, "duplicate version"));
        }
    }
    if must_be_known && !versions.iter().any(|version| is_known(version)) {
        let detail = format!("must include at least one of {known}");
        faults.push(Fault::invalid(path, BadValue::json(&versions), detail));
    }
    faults
}
