//! `EventRateLimit`: nobody floods the store with Events: not all together, not a namespace, not a user, not one source
//! about one object.

use std::collections::BTreeMap;

use api_types::{
    field::{Fault, Path},
    status::Status,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{Attributes, Operation, Plugin};

/// So many keys are told apart if nobody says. Upstream's figure.
const CACHE_SIZE: usize = 4096;
const TYPES: [&str; 4] = ["Namespace", "Server", "SourceAndObject", "User"];

/// The limits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Configuration {
    kind: String,
    api_version: String,
    limits: Vec<Limit>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Limit {
    r#type: String,
    qps: i32,
    burst: i32,
    cache_size: i32,
}

/// The plugin.
#[derive(Debug)]
pub(super) struct EventRateLimit(Vec<(Limit, Mutex<Buckets>)>);

/// What is left to whom. Once there are as many as are told apart, whoever was not heard of for longest is forgotten, and
/// begins anew.
#[derive(Debug, Default)]
struct Buckets {
    by_key: BTreeMap<String, Bucket>,
    by_use: BTreeMap<u64, String>,
    uses: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    since: Instant,
    used: u64,
}

impl Plugin for EventRateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(self.check(attributes, Instant::now())))
    }
}

impl EventRateLimit {
    pub(super) fn new(configuration: Configuration) -> Self {
        Self(configuration.limits.into_iter().map(|limit| (limit, Mutex::default())).collect())
    }

    fn check(&self, attributes: &Attributes, now: Instant) -> Result<(), Status> {
        if !matches!(attributes.operation, Operation::Create | Operation::Update)
            || !attributes.resource.group.is_empty()
            || attributes.resource.resource != "events"
            || attributes.dry_run
        {
            return Ok(());
        }
        let reached: Vec<String> = self
            .0
            .iter()
            .filter_map(|(limit, buckets)| {
                let key = limit.key(attributes);
                let reached = format!("limit reached on type {} for key {key}", limit.r#type);
                (!buckets.lock().take(limit, key, now)).then_some(reached)
            })
            .collect();
        match reached.as_slice() {
            [] => Ok(()),
            [only] => Err(refused(only)),
            several => Err(refused(&format!("[{}]", several.join(", ")))),
        }
    }
}

fn refused(why: &str) -> Status {
    Status::too_many_requests(why, 0)
}

impl Limit {
    fn key(&self, attributes: &Attributes) -> String {
        let text = |path: &str| attributes.object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        match self.r#type.as_str() {
            "Namespace" => attributes.namespace.clone(),
            "User" => attributes.user.name.clone(),
            "SourceAndObject" => [
                "/source/component",
                "/source/host",
                "/involvedObject/kind",
                "/involvedObject/namespace",
                "/involvedObject/name",
                "/involvedObject/uid",
                "/involvedObject/apiVersion",
            ]
            .map(text)
            .concat(),
            _ => String::new(),
        }
    }

    fn size(&self) -> usize {
        usize::try_from(self.cache_size).ok().filter(|size| *size > 0).unwrap_or(CACHE_SIZE)
    }
}

impl Buckets {
    /// Takes one from what is left to a key; false if nothing is.
    fn take(&mut self, limit: &Limit, key: String, now: Instant) -> bool {
        let burst = f64::from(limit.burst);
        self.uses += 1;
        let used = self.uses;
        let mut bucket = match self.by_key.get(&key) {
            Some(bucket) => {
                self.by_use.remove(&bucket.used);
                *bucket
            }
            None => Bucket { left: burst, since: now, used },
        };
        let passed = now.saturating_duration_since(bucket.since).as_secs_f64();
        bucket.left = (bucket.left + passed * f64::from(limit.qps)).min(burst);
        bucket.since = now;
        bucket.used = used;
        let granted = bucket.left >= 1.0;
        if granted {
            bucket.left -= 1.0;
        }
        self.by_use.insert(used, key.clone());
        self.by_key.insert(key, bucket);
        if self.by_key.len() > limit.size()
            && let Some((_, forgotten)) = self.by_use.pop_first()
        {
            self.by_key.remove(&forgotten);
        }
        granted
    }
}

impl Configuration {
    /// Reads a configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(value: Value) -> Result<Self, String> {
        let read: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        let (version, kind) = (read.api_version.as_str(), read.kind.as_str());
        if (version, kind) != ("eventratelimit.admission.k8s.io/v1alpha1", "Configuration") {
            return Err(format!("no kind {kind:?} is registered for version {version:?}"));
        }
        read.check()?;
        Ok(read)
    }

    /// Whether it limits anything, and makes sense.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let path = Path::new("limits");
        let mut faults = Vec::new();
        if self.limits.is_empty() {
            faults.push(Fault::invalid(&path, Value::Null, "must not be empty"));
        }
        for (index, limit) in self.limits.iter().enumerate() {
            let path = path.index(index);
            if !TYPES.contains(&limit.r#type.as_str()) {
                faults.push(Fault::not_supported(&path.child("type"), limit.r#type.as_str(), &TYPES));
            }
            if limit.burst <= 0 {
                faults.push(Fault::invalid(&path.child("burst"), limit.burst, "must be positive"));
            }
            if limit.qps <= 0 {
                faults.push(Fault::invalid(&path.child("qps"), limit.qps, "must be positive"));
            }
            if limit.r#type != "Server" && limit.cache_size < 0 {
                faults.push(Fault::invalid(
                    &path.child("cacheSize"),
                    limit.cache_size,
                    "must not be negative",
                ));
            }
        }
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        match faults.as_slice() {
            [] => Ok(()),
            [only] => Err(only.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{super::testing, *};

    fn with(limits: Value) -> Result<Configuration, String> {
        Configuration::read(
            json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration", "limits": limits}),
        )
    }

    #[tokio::test]
    async fn each_key_has_its_burst_and_then_so_many_a_second() {
        let limits = json!([{"type": "Namespace", "qps": 2, "burst": 3, "cacheSize": 2}, {"type": "Server", "qps": 100, "burst": 100}]);
        let plugin = EventRateLimit::new(with(limits).unwrap());
        let begin = Instant::now();
        let ask = |namespace: &str, seconds: f64| {
            let mut event = testing::of("", "events", "", Operation::Create, json!({}), Value::Null);
            event.namespace = namespace.to_owned();
            plugin.check(&event, begin + Duration::from_secs_f64(seconds)).map_err(|it| (it.code, it.message))
        };
        for _ in 0..3 {
            assert_eq!(ask("a", 0.0), Ok(()));
        }
        assert_eq!(ask("a", 0.4), Err((429, "limit reached on type Namespace for key a".to_owned())));
        assert_eq!(ask("b", 0.4), Ok(()));
        assert_eq!(ask("a", 0.9), Ok(()));
        assert!(ask("a", 0.9).is_err());
        // A third key: the one not heard of for longest is forgotten, and has its burst again.
        assert_eq!(ask("b", 1.0), Ok(()));
        assert_eq!(ask("c", 1.0), Ok(()));
        assert_eq!(ask("a", 1.0), Ok(()));
        let mut dry = testing::of("", "events", "", Operation::Create, json!({}), Value::Null);
        dry.dry_run = true;
        dry.namespace = "a".to_owned();
        (0..10).for_each(|_| assert!(plugin.check(&dry, begin).is_ok()));
    }

    #[test]
    fn a_configuration_limits_something() {
        assert_eq!(with(json!([])).unwrap_err(), "limits: Invalid value: null: must not be empty");
        assert_eq!(
            with(json!([{"type": "X", "qps": 0, "burst": 1}])).unwrap_err(),
            r#"[limits[0].type: Unsupported value: "X": supported values: "Namespace", "Server", "SourceAndObject", "User", limits[0].qps: Invalid value: 0: must be positive]"#
        );
        assert!(with(json!([{"type": "User", "qps": 1, "burst": 1, "cacheSize": -1}])).is_err());
    }
}
