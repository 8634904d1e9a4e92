//! `KubeSchedulerConfiguration` (`kubescheduler.config.k8s.io/v1`), as upstream's `--config` reads it.
//!
//! Invariant: a field or a plugin that does nothing here is refused by name, never ignored. To disable a plugin that is not
//! here is no mistake.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use api_types::wire::yaml;
use serde::Deserialize;

use crate::{
    plugin::{Plugin, Point},
    plugins,
    profile::{DEFAULT_SCHEDULER_NAME, Profile, Profiles},
    queue::Waits,
};

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file, or none we may read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no YAML.
    #[error("cannot parse the configuration")]
    Yaml(#[source] yaml::Error),
    /// A field is unknown or of another type.
    #[error("cannot understand the configuration")]
    Fields(#[source] serde_json::Error),
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// What a configuration says.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// The profiles.
    pub profiles: Profiles,
    /// How many of the nodes are looked at, in percent; adaptive if 0.
    pub percentage_of_nodes_to_score: u32,
    /// How long Pods wait.
    pub waits: Waits,
    /// How to elect a leader.
    pub leader_election: LeaderElection,
    /// The kubeconfig, empty if it does not say.
    pub kubeconfig: String,
}

/// How to elect a leader; what is not said is left to flags.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaderElection {
    /// Whether to elect one at all.
    pub leader_elect: Option<bool>,
    /// How long a lease lasts that is not renewed.
    #[serde(default, deserialize_with = "duration")]
    pub lease_duration: Option<Duration>,
    /// How long a leader may fail to renew it.
    #[serde(default, deserialize_with = "duration")]
    pub renew_deadline: Option<Duration>,
    /// How often to try.
    #[serde(default, deserialize_with = "duration")]
    pub retry_period: Option<Duration>,
    /// `leases`.
    pub resource_lock: Option<String>,
    /// The lease's name.
    pub resource_name: Option<String>,
    /// The lease's namespace.
    pub resource_namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    api_version: String,
    kind: String,
    #[serde(default)]
    leader_election: LeaderElection,
    #[serde(default)]
    client_connection: ClientConnection,
    percentage_of_nodes_to_score: Option<u32>,
    pod_initial_backoff_seconds: Option<u64>,
    pod_max_backoff_seconds: Option<u64>,
    /// How many nodes upstream looks at at a time. Here one task decides, so there is nothing to set; any number is fine.
    parallelism: Option<i64>,
    #[serde(default)]
    profiles: Vec<RawProfile>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClientConnection {
    #[serde(default)]
    kubeconfig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawProfile {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<u32>,
    #[serde(default)]
    plugins: RawPlugins,
    #[serde(default)]
    plugin_config: Vec<PluginConfig>,
}

/// Arguments of a plugin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginConfig {
    name: String,
    #[serde(default)]
    args: serde_json::Map<String, serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RawPlugins {
    multi_point: PluginSet,
    pre_enqueue: PluginSet,
    queue_sort: PluginSet,
    pre_filter: PluginSet,
    filter: PluginSet,
    post_filter: PluginSet,
    pre_score: PluginSet,
    score: PluginSet,
    reserve: PluginSet,
    permit: PluginSet,
    pre_bind: PluginSet,
    bind: PluginSet,
    post_bind: PluginSet,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PluginSet {
    enabled: Vec<RawPlugin>,
    disabled: Vec<RawPlugin>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlugin {
    name: String,
    #[serde(default)]
    weight: i64,
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    go_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

/// Reads a duration as Go writes it: `15s`, `1m30s`, `500ms`.
///
/// # Errors
/// When the text is none.
pub fn go_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration such as 15s");
    let mut rest = text;
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_malformed| wrong())?;
        sum += Duration::try_from_secs_f64(number * seconds).map_err(|_too_large| wrong())?;
        rest = tail;
    }
    Ok(sum)
}

// === impl Configuration ===

impl Configuration {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or says what we cannot do.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read(path).map_err(|source| Error::Read { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// When it says what we cannot do.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let value = yaml::to_value(text).map_err(Error::Yaml)?.value;
        let raw: Raw = serde_json::from_value(value).map_err(Error::Fields)?;
        if raw.api_version != API_VERSION || raw.kind != KIND {
            let (version, kind) = (raw.api_version, raw.kind);
            return Err(Error::Invalid(format!("{version} {kind} is not {API_VERSION} {KIND}")));
        }
        if let Some(parallelism @ ..=0) = raw.parallelism {
            return Err(Error::Invalid(format!(
                "parallelism: Invalid value: {parallelism}: should be an integer value greater than zero"
            )));
        }
        let mut waits = Waits::default();
        if let Some(seconds) = raw.pod_initial_backoff_seconds {
            waits.backoff_initial = Duration::from_secs(seconds);
        }
        if let Some(seconds) = raw.pod_max_backoff_seconds {
            waits.backoff_max = Duration::from_secs(seconds);
        }
        if waits.backoff_initial.is_zero() {
            return Err(Error::Invalid("podInitialBackoffSeconds must be greater than 0".to_owned()));
        }
        if waits.backoff_max < waits.backoff_initial {
            return Err(Error::Invalid(
                "podMaxBackoffSeconds must be greater than or equal to podInitialBackoffSeconds".to_owned(),
            ));
        }
        let percentage = checked(raw.percentage_of_nodes_to_score)?.unwrap_or_default();
        let profiles = if raw.profiles.is_empty() {
            Profiles::default()
        } else {
            let profiles = raw.profiles.into_iter().map(profile).collect::<Result<Vec<_>, _>>()?;
            let mut names: Vec<&str> = profiles.iter().map(|profile| &*profile.scheduler_name).collect();
            names.sort_unstable();
            if names.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
                return Err(Error::Invalid("two profiles have the same schedulerName".to_owned()));
            }
            Profiles::new(profiles)
        };
        Ok(Self {
            profiles,
            percentage_of_nodes_to_score: percentage,
            waits,
            leader_election: raw.leader_election,
            kubeconfig: raw.client_connection.kubeconfig,
        })
    }
}

fn checked(percentage: Option<u32>) -> Result<Option<u32>, Error> {
    match percentage {
        Some(percentage) if percentage > 100 => {
            Err(Error::Invalid(format!("percentageOfNodesToScore {percentage} is not in the range 0-100")))
        }
        percentage => Ok(percentage),
    }
}

type Weighed = (Arc<dyn Plugin>, i64);

/// The binder there is. It is no plugin here: something must bind.
const BINDER: &str = "DefaultBinder";

fn profile(raw: RawProfile) -> Result<Profile, Error> {
    let known = Known::new(&raw.plugin_config)?;
    let plugins = &raw.plugins;
    let everywhere = merged(&known, known.all()?, &without_binder(&plugins.multi_point)?)?;
    let at = |point: Point, set: &PluginSet| {
        let here: Vec<Weighed> =
            everywhere.iter().filter(|(plugin, _)| plugin.points().contains(&point)).cloned().collect();
        for enabled in &set.enabled {
            let plugin = known.get(&enabled.name)?;
            if !plugin.points().contains(&point) {
                return Err(Error::Invalid(format!(
                    "plugin {:?} does not extend {point:?} plugin",
                    enabled.name
                )));
            }
        }
        merged(&known, here, set)
    };
    let names = |plugins: Vec<Weighed>| plugins.into_iter().map(|(plugin, _)| plugin).collect::<Vec<_>>();
    let order = names(at(Point::QueueSort, &plugins.queue_sort)?);
    let [order] = <[Arc<dyn Plugin>; 1]>::try_from(order)
        .map_err(|_several| Error::Invalid("only one queue sort plugin required for profile".to_owned()))?;
    // Here the first of two points makes the second, so that one cannot be off alone.
    if !plugins.pre_filter.is_empty() || !plugins.pre_score.is_empty() {
        return Err(Error::Invalid(
            "plugins are enabled and disabled at filter and score; preFilter and preScore follow them"
                .to_owned(),
        ));
    }
    without_binder(&plugins.bind).and_then(|bind| match bind.enabled.first() {
        Some(other) => Err(Error::Invalid(format!("plugin {:?} does not extend Bind plugin", other.name))),
        None if bind.disabled.is_empty() => Ok(()),
        None => Err(Error::Invalid("at least one bind plugin is needed for profile".to_owned())),
    })?;
    Ok(Profile {
        scheduler_name: raw.scheduler_name.unwrap_or_else(|| DEFAULT_SCHEDULER_NAME.to_owned()),
        percentage_of_nodes_to_score: checked(raw.percentage_of_nodes_to_score)?,
        gates: names(at(Point::PreEnqueue, &plugins.pre_enqueue)?),
        order,
        filters: names(at(Point::Filter, &plugins.filter)?),
        relief: names(at(Point::PostFilter, &plugins.post_filter)?),
        scores: at(Point::Score, &plugins.score)?,
        reserves: names(at(Point::Reserve, &plugins.reserve)?),
        permits: names(at(Point::Permit, &plugins.permit)?),
        prepares: names(at(Point::PreBind, &plugins.pre_bind)?),
        told: names(at(Point::PostBind, &plugins.post_bind)?),
    })
}

/// The plugins there are, with the arguments of a profile.
struct Known<'a>(BTreeMap<&'a str, serde_json::Value>);

impl<'a> Known<'a> {
    fn new(configs: &'a [PluginConfig]) -> Result<Self, Error> {
        let mut arguments = BTreeMap::new();
        for PluginConfig { name, args } in configs {
            let mut args = args.clone();
            let kind = format!("{name}Args");
            for (field, expected) in [("apiVersion", API_VERSION), ("kind", &*kind)] {
                if let Some(said) = args.remove(field).filter(|said| said != expected) {
                    return Err(Error::Invalid(format!(
                        "args of plugin {name:?}: {field} {said} is not {expected:?}"
                    )));
                }
            }
            if arguments.insert(&**name, args.into()).is_some() {
                return Err(Error::Invalid(format!("repeated config for plugin {name}")));
            }
        }
        let known = Self(arguments);
        // Arguments must make sense even if the plugin is off.
        known.0.keys().try_for_each(|name| known.get(name).map(drop))?;
        Ok(known)
    }

    fn get(&self, name: &str) -> Result<Arc<dyn Plugin>, Error> {
        plugins::with(name, self.0.get(name))
            .map_err(|why| Error::Invalid(format!("args of plugin {name:?}: {why}")))?
            .ok_or_else(|| Error::Invalid(format!("plugin {name:?} is not supported")))
    }

    /// All of them with their weights.
    fn all(&self) -> Result<Vec<Weighed>, Error> {
        let weighed = |plugin: Arc<dyn Plugin>| {
            let plugin = self.get(plugin.name())?;
            let weight = plugin.weight();
            Ok((plugin, weight))
        };
        plugins::all().into_iter().map(weighed).collect()
    }
}

/// What a set says of other plugins than the binder, which can be enabled where it is, but not alone disabled.
fn without_binder(set: &PluginSet) -> Result<PluginSet, Error> {
    let is_other = |plugin: &&RawPlugin| plugin.name != BINDER;
    let enables = set.enabled.iter().any(|plugin| plugin.name == BINDER);
    if !enables && set.disabled.iter().any(|plugin| plugin.name == BINDER) {
        return Err(Error::Invalid("at least one bind plugin is needed for profile".to_owned()));
    }
    let mut disabled: Vec<RawPlugin> = set.disabled.iter().filter(is_other).cloned().collect();
    if enables && set.enabled.len() == 1 {
        disabled.retain(|plugin| plugin.name != "*");
    }
    Ok(PluginSet { enabled: set.enabled.iter().filter(is_other).cloned().collect(), disabled })
}

impl PluginSet {
    fn is_empty(&self) -> bool {
        self.enabled.is_empty() && self.disabled.is_empty()
    }
}

/// The defaults that are not disabled, those that are enabled again in their place, and the others after them.
fn merged(known: &Known<'_>, defaults: Vec<Weighed>, set: &PluginSet) -> Result<Vec<Weighed>, Error> {
    let disabled = |name: &str| set.disabled.iter().any(|plugin| plugin.name == "*" || plugin.name == name);
    let mut enabled = Vec::new();
    for raw in &set.enabled {
        let plugin = known.get(&raw.name)?;
        if raw.weight < 0 {
            return Err(Error::Invalid(format!("the weight of plugin {:?} is negative", raw.name)));
        }
        let weight = if raw.weight == 0 { plugin.weight() } else { raw.weight };
        enabled.push((plugin, weight));
    }
    let mut all = Vec::new();
    for (plugin, weight) in defaults {
        if disabled(plugin.name()) {
            continue;
        }
        match enabled.iter().position(|(other, _)| other.name() == plugin.name()) {
            Some(at) => all.push(enabled.remove(at)),
            None => all.push((plugin, weight)),
        }
    }
    all.extend(enabled);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Configuration, String> {
        let whole = format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{text}");
        Configuration::parse(whole.as_bytes()).map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
    }

    fn scores(profile: &Profile) -> String {
        profile
            .scores
            .iter()
            .map(|(plugin, weight)| format!("{} {weight}", plugin.name()))
            .collect::<Vec<_>>()
            .join(", ")
    }

    #[test]
    fn what_is_not_said_is_as_upstream_has_it() {
        let configuration = parse("").unwrap();
        let profile = configuration.profiles.iter().next().unwrap();
        assert_eq!(profile.scheduler_name, "default-scheduler");
        assert_eq!(
            scores(profile),
            "TaintToleration 3, NodeAffinity 2, NodeResourcesFit 1, PodTopologySpread 2, InterPodAffinity 2, DynamicResources 2, \
             NodeResourcesBalancedAllocation 1, ImageLocality 1"
        );
        assert_eq!(configuration.waits, Waits::default());
    }

    #[test]
    fn profiles_enable_disable_and_weigh_plugins() {
        let text = "
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
percentageOfNodesToScore: 30
leaderElection: {leaderElect: true, leaseDuration: 1m30s}
profiles:
- schedulerName: a
  percentageOfNodesToScore: 10
  plugins:
    score:
      disabled: [{name: '*'}]
      enabled: [{name: ImageLocality, weight: 7}, {name: NodeAffinity}]
    filter:
      disabled: [{name: NodePorts}, {name: VolumeBinding}]
- schedulerName: b
  plugins:
    multiPoint:
      disabled: [{name: ImageLocality}]
      enabled: [{name: TaintToleration, weight: 9}]
";
        let configuration = parse(text).unwrap();
        let [a, b] = configuration.profiles.iter().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(scores(a), "ImageLocality 7, NodeAffinity 2");
        assert!(a.filters.iter().all(|plugin| plugin.name() != "NodePorts"));
        assert_eq!(
            scores(b),
            "TaintToleration 9, NodeAffinity 2, NodeResourcesFit 1, PodTopologySpread 2, InterPodAffinity 2, DynamicResources 2, \
             NodeResourcesBalancedAllocation 1"
        );
        assert_eq!(
            (a.percentage_of_nodes_to_score, configuration.percentage_of_nodes_to_score),
            (Some(10), 30)
        );
        assert_eq!(configuration.leader_election.lease_duration, Some(Duration::from_secs(90)));
    }

    #[test]
    fn profiles_set_plugins_and_say_where_they_have_a_say() {
        let text = "
parallelism: 8
profiles:
- schedulerName: packed
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      scoringStrategy: {type: MostAllocated}
  plugins:
    postFilter: {disabled: [{name: '*'}]}
    reserve: {disabled: [{name: VolumeBinding}, {name: DynamicResources}]}
    bind: {disabled: [{name: '*'}], enabled: [{name: DefaultBinder}]}
";
        let configuration = parse(text).unwrap();
        let profile = configuration.profiles.iter().next().unwrap();
        assert!(profile.relief.is_empty() && profile.reserves.is_empty());
        assert_eq!(
            profile.prepares.iter().map(|plugin| plugin.name()).collect::<Vec<_>>(),
            ["VolumeBinding", "DynamicResources"]
        );
        let fit = profile.scores.iter().find(|(plugin, _)| plugin.name() == "NodeResourcesFit").unwrap();
        assert!(format!("{fit:?}").contains("MostAllocated"));
    }

    #[test]
    fn what_we_cannot_do_is_refused_by_name() {
        for (text, expected) in [
            ("extenders: []", "unknown field `extenders`"),
            ("profiles: [{plugins: {score: {enabled: [{name: Mine}]}}}]", "plugin \"Mine\" is not supported"),
            (
                "profiles: [{plugins: {score: {enabled: [{name: NodePorts}]}}}]",
                "plugin \"NodePorts\" does not extend Score plugin",
            ),
            ("profiles: [{pluginConfigs: []}]", "unknown field `pluginConfigs`"),
            ("parallelism: 0", "should be an integer value greater than zero"),
            (
                "profiles: [{pluginConfig: [{name: NodePorts, args: {}}]}]",
                "args of plugin \"NodePorts\": it has no arguments",
            ),
            (
                "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]}]",
                "args of plugin \"InterPodAffinity\": hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
            ),
            (
                "profiles: [{pluginConfig: [{name: VolumeBinding, args: {bindTimeout: 1}}]}]",
                "unknown field `bindTimeout`",
            ),
            (
                "profiles: [{pluginConfig: [{name: NodeAffinity, args: {kind: OtherArgs}}]}]",
                "kind \"OtherArgs\" is not \"NodeAffinityArgs\"",
            ),
            (
                "profiles: [{pluginConfig: [{name: NodeAffinity}, {name: NodeAffinity}]}]",
                "repeated config for plugin NodeAffinity",
            ),
            ("profiles: [{plugins: {bind: {disabled: [{name: '*'}]}}}]", "at least one bind plugin"),
            ("profiles: [{plugins: {bind: {enabled: [{name: NodePorts}]}}}]", "does not extend Bind plugin"),
            (
                "profiles: [{plugins: {permit: {enabled: [{name: NodePorts}]}}}]",
                "does not extend Permit plugin",
            ),
            ("profiles: [{}, {}]", "two profiles have the same schedulerName"),
            ("percentageOfNodesToScore: 101", "not in the range 0-100"),
            ("podInitialBackoffSeconds: 11", "podMaxBackoffSeconds must be greater"),
            ("leaderElection: {leaseDuration: soon}", "is no duration"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
