//! A webhook as its configuration describes it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use api_types::{object::ObjectExt as _, selectors::labels::Selector};
use runtime::Tasks;
use serde_json::Value;

use crate::{
    admission::{
        conditions::Expression,
        seen::{Rule, selector},
    },
    server::Server,
    webhooks::client::{Client, Error},
};
use cel::admission::{self as expressions, Setting};

const TIMEOUT_DEFAULT: u64 = 10;

/// One webhook.
#[derive(Debug)]
pub(in crate::admission) struct Hook {
    /// Which one it is among all.
    pub(in crate::admission) uid: String,
    pub(in crate::admission) name: String,
    pub(in crate::admission) configuration: String,
    pub(super) rules: Vec<Rule>,
    /// Whether writes go on if it cannot be asked.
    pub(super) ignores_failure: bool,
    /// Whether its rules mean other versions of a resource too.
    pub(super) equivalent: bool,
    pub(super) namespaces: Result<Selector, String>,
    pub(super) objects: Result<Selector, String>,
    /// Whether it may be asked about a write that only tries.
    pub(super) is_without_effects: bool,
    pub(super) timeout: Duration,
    /// The versions of reviews it takes, best first.
    pub(super) review_versions: Vec<String>,
    /// Whether it may be asked again about what others changed after it.
    pub(in crate::admission) is_reinvoked: bool,
    pub(super) conditions: Vec<Expression>,
    pub(super) client: Result<Client, Error>,
}

/// The webhooks of a configuration, in order.
pub(super) fn parse(configuration: &Value, server: &Weak<Server>, tasks: &Tasks) -> Arc<[Arc<Hook>]> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let hooks = configuration.get("webhooks").and_then(Value::as_array).into_iter().flatten();
    hooks
        .map(|hook| {
            let name = text(hook, "name");
            let number = times.entry(name).or_default();
            let uid = format!("{}/{name}/{number}", configuration.name());
            *number += 1;
            Arc::new(read(hook, uid, configuration.name(), server, tasks))
        })
        .collect()
}

fn read(hook: &Value, uid: String, configuration: &str, server: &Weak<Server>, tasks: &Tasks) -> Hook {
    let seconds = hook.get("timeoutSeconds").and_then(Value::as_u64).unwrap_or(TIMEOUT_DEFAULT);
    let rules = hook.get("rules").and_then(Value::as_array).into_iter().flatten();
    let config = hook.get("clientConfig").cloned().unwrap_or_default();
    Hook {
        uid,
        name: text(hook, "name").to_owned(),
        configuration: configuration.to_owned(),
        rules: rules.filter_map(|rule| serde_json::from_value(rule.clone()).ok()).collect(),
        ignores_failure: text(hook, "failurePolicy") == "Ignore",
        equivalent: text(hook, "matchPolicy") != "Exact",
        namespaces: selector(hook.get("namespaceSelector")),
        objects: selector(hook.get("objectSelector")),
        is_without_effects: matches!(text(hook, "sideEffects"), "None" | "NoneOnDryRun"),
        timeout: Duration::from_secs(seconds),
        review_versions: hook
            .get("admissionReviewVersions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|version| version.as_str().map(str::to_owned))
            .collect(),
        is_reinvoked: text(hook, "reinvocationPolicy") == "IfNeeded",
        conditions: Expression::conditions(
            &expressions::environment(Setting { authorizer: true, ..Setting::default() }),
            hook.get("matchConditions"),
        ),
        client: serde_json::from_value(config)
            .map_err(|error| Error(error.to_string()))
            .and_then(|config| Client::new(&config, Weak::clone(server), tasks)),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
