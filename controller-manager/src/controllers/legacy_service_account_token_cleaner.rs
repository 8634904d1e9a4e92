//! Legacy token cleaner: the tokens that were once made for every ServiceAccount, and that nobody has used for a year, are
//! marked as invalid, and after another year go (KEP-2799).
//!
//! The API server notes when a token was used last, and since when it takes such notes; before that was a year ago nothing
//! is known. A token counts as made by the system if its account names it, and as used if a Pod mounts it.
//!
//! What has gone unused cannot be watched, so this looks once a day. Which Secrets Pods use is asked for only where there
//! is a token to clean, which in most clusters is never.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use client::{
    Api, Cache, Error, Key, Kind, Plan,
    api::{Page, Selection},
    controller::{Executor, Manager, OnFailure, Options as Workers, Patch, Request},
    events::Recorder,
    queue::Queue,
    resource::{CONFIG_MAPS, PODS, SECRETS},
};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use runtime::SharedClock;
use serde_json::{Value, json};

use crate::{
    Options,
    kinds::{
        ServiceAccount, TokenSecret,
        token_secret::{ACCOUNT, ACCOUNT_UID},
    },
    shell::{self, Look, Looks},
};

/// A token that was not used for so long is cleaned up unless the operator says otherwise: a year.
pub const CLEAN_UP_PERIOD: Duration = Duration::from_hours(8760);
/// So often it is looked.
const PERIOD: Duration = Duration::from_hours(24);
/// Says since when it is noted when tokens are used.
const TRACKING: (&str, &str) = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking");
/// The label with the day a token was used last.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// The label with the day since which a token is invalid.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// Cleans tokens up.
struct Cleaner {
    /// As the controller's own account, which may do nothing but this.
    api: Api,
    /// As the component, which sees the Pods.
    component: Api,
    executor: Executor,
    clock: SharedClock,
    tokens: Cache<TokenSecret>,
    accounts: Cache<ServiceAccount>,
    period: SignedDuration,
}

/// Starts the controller.
pub(super) fn start(manager: &Manager, workers: Workers, options: &Options) {
    let api = workers.api.unwrap_or_else(|| manager.api.clone());
    let events = Recorder::start(&manager.runtime, api.clone(), Cleaner::NAME);
    let queue = Queue::named(Cleaner::NAME, &manager.metrics);
    let tokens = manager.caches.want::<TokenSecret>();
    let accounts = manager.caches.want::<ServiceAccount>();
    let period = options.legacy_token_clean_up_period.unwrap_or(CLEAN_UP_PERIOD);
    let looks = Cleaner {
        executor: Executor::new(api.clone(), events),
        api,
        component: manager.api.clone(),
        clock: Arc::clone(&manager.runtime.clock),
        tokens: tokens.clone(),
        accounts: accounts.clone(),
        period: SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX),
    };
    queue.add(());
    let ready = async move {
        tokens.synced().await;
        accounts.synced().await;
    };
    shell::start(manager, 1, &queue, &Arc::new(looks), ready.boxed().shared());
}

// === impl Cleaner ===

impl fmt::Debug for Cleaner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cleaner").field("period", &self.period).finish_non_exhaustive()
    }
}

impl Looks for Cleaner {
    type Key = ();
    const NAME: &'static str = "legacy-serviceaccount-token-cleaner-controller";

    async fn look(&self, (): &()) -> Look {
        let key = Key::new(TRACKING.0, TRACKING.1);
        match self.plan(&key).await {
            Ok(plan) => Look {
                execution: self.executor.execute(&plan).await,
                look_again: Some(PERIOD),
                ..Look::because(key, plan.why.to_string())
            },
            Err(error) if error.is_not_found() => {
                Look { look_again: Some(PERIOD), ..Look::because(key, "nobody notes when tokens are used") }
            }
            Err(error) => {
                Look { failure: Some(error.to_string()), ..Look::because(key, "cannot tell what is used") }
            }
        }
    }
}

impl Cleaner {
    async fn plan(&self, tracking: &Key) -> Result<Plan, Error> {
        let now = self.clock.now();
        let noted: Value = self.api.get(&CONFIG_MAPS, tracking).await?;
        let since = noted.pointer("/data/since").and_then(Value::as_str).unwrap_or_default();
        if !long_enough(since, self.period, now) {
            return Ok(Plan::because("it is not known for long when tokens are used"));
        }
        let unused: Vec<_> = self
            .tokens
            .list()
            .into_iter()
            .filter(|token| is_unused(token, self.period, now))
            .filter(|token| is_of_the_system(token, &self.accounts))
            .collect();
        let mut mounted = BTreeMap::new();
        for token in &unused {
            let namespace = &token.metadata.namespace;
            if !mounted.contains_key(namespace) {
                let selection = Selection::of_namespace(namespace);
                let pods = self.component.list::<Value>(&PODS, &selection, &Page::default()).await?;
                let names: BTreeSet<String> = pods.items.iter().flat_map(secrets_of).collect();
                mounted.insert(Arc::clone(namespace), names);
            }
        }
        let is_mounted = |token: &TokenSecret| {
            mounted.get(&token.metadata.namespace).is_some_and(|names| names.contains(&*token.metadata.name))
        };
        Ok(clean(&unused, is_mounted, self.period, now))
    }
}

/// Whether it was noted long enough when tokens are used: from the day after `since` on.
fn long_enough(since: &str, period: SignedDuration, now: Timestamp) -> bool {
    let since = day(since).and_then(|day| day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok());
    since.is_some_and(|since| since.timestamp().checked_add(period).is_ok_and(|then| now >= then))
}

/// A day as `2026-01-31`, and in no other form.
fn day(text: &str) -> Option<Date> {
    text.parse::<Date>().ok().filter(|day| day.to_string() == text)
}

/// The day that is as long ago.
fn day_before(period: SignedDuration, now: Timestamp) -> String {
    let then = now.checked_sub(period).unwrap_or(Timestamp::MIN);
    then.to_zoned(TimeZone::UTC).date().to_string()
}

/// Whether a token is old, and was not used for long.
fn is_unused(token: &TokenSecret, period: SignedDuration, now: Timestamp) -> bool {
    let meta = &token.metadata;
    let then = now.checked_sub(period).unwrap_or(Timestamp::MIN);
    let is_old = meta.creation_timestamp.is_some_and(|created| created < then);
    let is_used = meta.labels.get(LAST_USED).is_some_and(|last| {
        // What is no day says nothing.
        day(last).is_none() || last >= day_before(period, now).as_str()
    });
    is_old && !meta.is_terminating() && !is_used
}

/// Whether a token was made for its account without anybody asking for it: then the account names it.
fn is_of_the_system(token: &TokenSecret, accounts: &Cache<ServiceAccount>) -> bool {
    let meta = &token.metadata;
    let Some(name) = meta.annotations.get(ACCOUNT).filter(|name| !name.is_empty()) else { return false };
    let uid = meta.annotations.get(ACCOUNT_UID).unwrap_or_default();
    let account = accounts.get(&Key::new(&meta.namespace, name));
    account
        .filter(|account| uid.is_empty() || *account.metadata.uid == *uid)
        .is_some_and(|account| account.secrets.iter().any(|it| *it.name == *meta.name))
}

/// Marks what nobody uses, and removes what was marked long ago.
fn clean(
    unused: &[Arc<TokenSecret>],
    is_mounted: impl Fn(&TokenSecret) -> bool,
    period: SignedDuration,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::because("no token has to be cleaned up");
    for token in unused.iter().filter(|token| !is_mounted(token)) {
        let meta = &token.metadata;
        let since = meta.labels.get(INVALID_SINCE).filter(|since| day(since).is_some());
        let request = match since {
            None => {
                let today = now.to_zoned(TimeZone::UTC).date().to_string();
                let labels = json!({"metadata": {"labels": {INVALID_SINCE: today}}});
                Request::patch(SECRETS, token.key(), Patch::merge(labels)).if_same(&meta.uid)
            }
            Some(since) if since >= day_before(period, now).as_str() => continue,
            Some(_) => Request::delete(SECRETS, meta).if_unchanged(meta),
        };
        plan.why = "tokens that nobody uses are cleaned up".into();
        plan = plan.then(request.conflict_is_fine().on_failure(OnFailure::GoOn));
    }
    plan
}

/// The names of all Secrets that a Pod mentions.
fn secrets_of(pod: &Value) -> Vec<String> {
    let list = |value: &Value, field: &str| -> Vec<Value> {
        value.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let spec = pod.get("spec").cloned().unwrap_or_default();
    let mut names = Vec::new();
    let mut add = |value: &Value, path: &str| {
        names.extend(value.pointer(path).and_then(Value::as_str).map(str::to_owned));
    };
    for secret in list(&spec, "imagePullSecrets") {
        add(&secret, "/name");
    }
    for containers in ["initContainers", "containers", "ephemeralContainers"] {
        for container in list(&spec, containers) {
            for source in list(&container, "envFrom") {
                add(&source, "/secretRef/name");
            }
            for variable in list(&container, "env") {
                add(&variable, "/valueFrom/secretKeyRef/name");
            }
        }
    }
    for volume in list(&spec, "volumes") {
        for path in [
            "/secret/secretName",
            "/azureFile/secretName",
            "/cephfs/secretRef/name",
            "/cinder/secretRef/name",
            "/csi/nodePublishSecretRef/name",
            "/flexVolume/secretRef/name",
            "/iscsi/secretRef/name",
            "/rbd/secretRef/name",
            "/scaleIO/secretRef/name",
            "/storageos/secretRef/name",
        ] {
            add(&volume, path);
        }
        for source in list(volume.get("projected").unwrap_or(&Value::Null), "sources") {
            add(&source, "/secret/name");
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use client::{Write, controller::Verb, testing::Filled};

    use super::*;

    const YEAR: SignedDuration = SignedDuration::from_hours(8760);

    fn now() -> Timestamp {
        "2026-06-15T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn nothing_is_known_before_a_year_of_notes() {
        for (since, expected) in [
            ("2025-06-14", true),
            ("2025-06-15", false),
            ("2020-01-01", true),
            ("", false),
            ("2020-01-01T00:00:00Z", false),
        ] {
            assert_eq!(long_enough(since, YEAR, now()), expected, "{since}");
        }
    }

    #[test]
    fn a_token_that_nobody_used_for_a_year_is_marked_and_goes_a_year_later() {
        let old = "2020-01-01T00:00:00Z";
        for (name, created, labels, named, mounted, expected) in [
            ("never used", old, json!({}), true, false, "mark"),
            ("used of late", old, json!({LAST_USED: "2025-06-15"}), true, false, ""),
            ("used long ago", old, json!({LAST_USED: "2025-06-14"}), true, false, "mark"),
            ("used nobody knows when", old, json!({LAST_USED: "x"}), true, false, ""),
            ("new", "2026-01-01T00:00:00Z", json!({}), true, false, ""),
            ("made by somebody", old, json!({}), false, false, ""),
            ("mounted", old, json!({}), true, true, ""),
            ("marked of late", old, json!({INVALID_SINCE: "2025-06-15"}), true, false, ""),
            ("marked long ago", old, json!({INVALID_SINCE: "2025-06-14"}), true, false, "delete"),
            ("marked badly", old, json!({INVALID_SINCE: "once"}), true, false, "mark"),
        ] {
            let token = json!({"metadata": {"namespace": "ns", "name": "t", "uid": "t", "resourceVersion": "4", "creationTimestamp": created,
                "labels": labels, "annotations": {ACCOUNT: "robot", ACCOUNT_UID: "r"}}});
            let names = if named { json!([{"name": "t"}]) } else { Value::Null };
            let account =
                json!({"metadata": {"namespace": "ns", "name": "robot", "uid": "r"}, "secrets": names});
            let caches =
                Filled::new().with::<TokenSecret>([token]).with::<ServiceAccount>([account]).caches();
            let unused: Vec<_> = caches
                .read::<TokenSecret>()
                .list()
                .into_iter()
                .filter(|token| is_unused(token, YEAR, now()))
                .filter(|token| is_of_the_system(token, &caches.read::<ServiceAccount>()))
                .collect();
            let plan = clean(&unused, |_| mounted, YEAR, now());
            let did = match plan.writes.first() {
                None => "",
                Some(Write::Request(request)) => match &request.verb {
                    Verb::Patch(patch) => {
                        assert_eq!(patch.document()["metadata"]["labels"][INVALID_SINCE], "2026-06-15");
                        "mark"
                    }
                    Verb::Delete(options) => {
                        assert_eq!(options.preconditions.resource_version.as_deref(), Some("4"));
                        "delete"
                    }
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            };
            assert_eq!(did, expected, "{name}");
        }
    }

    #[test]
    fn a_pod_mentions_secrets_in_many_places() {
        let pod = json!({"spec": {
            "imagePullSecrets": [{"name": "a"}],
            "initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "b"}}}, {"value": "x"}]}],
            "containers": [{"envFrom": [{"secretRef": {"name": "c"}}, {"configMapRef": {"name": "no"}}]}],
            "volumes": [{"secret": {"secretName": "d"}}, {"projected": {"sources": [{"secret": {"name": "e"}}]}},
                {"csi": {"nodePublishSecretRef": {"name": "f"}}}, {"emptyDir": {}}],
        }});
        assert_eq!(secrets_of(&pod), ["a", "b", "c", "d", "e", "f"]);
    }
}
