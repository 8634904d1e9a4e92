//! Which plugins are on: upstream's default ones, and what the flags say of others.

use std::{collections::BTreeSet, path::Path, sync::Weak};

use serde::Deserialize;
use serde_json::Value;

use super::{event_rate_limit, pod_node_selector, pod_toleration_restriction, resource_quota};

/// Upstream's plugins, in the order they run, with whether they are on if nobody says anything.
const PLUGINS: &[(&str, bool)] = &[
    ("AlwaysAdmit", false),
    ("NamespaceAutoProvision", false),
    ("NamespaceLifecycle", true),
    ("NamespaceExists", false),
    ("LimitPodHardAntiAffinityTopology", false),
    ("LimitRanger", true),
    ("ServiceAccount", true),
    ("NodeRestriction", false),
    ("TaintNodesByCondition", true),
    ("AlwaysPullImages", false),
    ("ImagePolicyWebhook", false),
    ("PodSecurity", true),
    ("PodNodeSelector", false),
    ("Priority", true),
    ("DefaultTolerationSeconds", true),
    ("PodTolerationRestriction", false),
    ("EventRateLimit", false),
    ("ExtendedResourceToleration", false),
    ("DefaultStorageClass", true),
    ("StorageObjectInUseProtection", true),
    ("PodGroupProtection", true),
    ("OwnerReferencesPermissionEnforcement", false),
    ("PersistentVolumeClaimResize", true),
    ("RuntimeClass", true),
    ("CertificateApproval", true),
    ("CertificateSigning", true),
    ("ClusterTrustBundleAttest", true),
    ("CertificateSubjectRestriction", true),
    ("DefaultIngressClass", true),
    ("DenyServiceExternalIPs", false),
    ("PodTopologyLabels", true),
    ("PodGroupWorkloadExists", true),
    ("NodeDeclaredFeatureValidator", true),
    ("JobValidation", true),
    ("PodResizeValidator", true),
    ("MutatingAdmissionPolicy", true),
    ("MutatingAdmissionWebhook", true),
    ("ValidatingAdmissionPolicy", true),
    ("ValidatingAdmissionWebhook", true),
    ("ResourceQuota", true),
    ("AlwaysDeny", false),
];

/// Those that do nothing upstream either unless a gate is opened that we do not have, or a kind served.
const IDLE: [&str; 4] =
    ["ClusterTrustBundleAttest", "JobValidation", "PodGroupProtection", "PodGroupWorkloadExists"];

/// Which plugins are on, and how those are configured that can be.
#[derive(Clone, Debug)]
pub struct Selection {
    off: BTreeSet<&'static str>,
    /// How plugins are configured.
    pub(super) configured: Configurations,
}

/// How plugins are configured that can be.
#[derive(Clone, Debug, Default)]
pub(super) struct Configurations {
    pub(super) event_rate_limit: event_rate_limit::Configuration,
    pub(super) pod_node_selector: pod_node_selector::Configuration,
    pub(super) pod_toleration_restriction: pod_toleration_restriction::Configuration,
    pub(super) resource_quota: resource_quota::Configuration,
}

/// What says how plugins are configured.
const KINDS: &[(&str, &str)] = &[
    ("apiserver.config.k8s.io/v1", "AdmissionConfiguration"),
    ("apiserver.k8s.io/v1alpha1", "AdmissionConfiguration"),
];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct AdmissionConfiguration {
    kind: String,
    api_version: String,
    plugins: Vec<PluginConfiguration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PluginConfiguration {
    name: String,
    /// A file, if it is not written here; from the folder of this one.
    path: Option<String>,
    configuration: Option<Value>,
}

/// A YAML file.
fn document(file: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    crate::flags::document(text.as_bytes())
}

// === impl Selection ===

impl Default for Selection {
    fn default() -> Self {
        let off = PLUGINS.iter().filter(|(_, on)| !on).map(|(name, _)| *name).collect();
        Self { off, configured: Configurations::default() }
    }
}

impl Selection {
    /// What is on by default, and those that are enabled, without those that are disabled.
    ///
    /// # Errors
    /// Names that nobody knows, that are not there, or that are both enabled and disabled.
    pub fn new(enabled: &[String], disabled: &[String]) -> Result<Self, String> {
        let mut selection = Self::default();
        let there = super::all(&Weak::new(), &selection.configured);
        let there: BTreeSet<&str> = there.iter().map(|plugin| plugin.name()).collect();
        let mut faults = Vec::new();
        let mut find = |flag: &str, name: &str| {
            let known = PLUGINS.iter().map(|(known, _)| *known).find(|known| *known == name);
            if known.is_none() {
                faults.push(format!("{flag} plugin {name:?} is unknown"));
            }
            known
        };
        let enabled: Vec<_> =
            enabled.iter().filter_map(|name| find("enable-admission-plugins", name)).collect();
        let disabled: Vec<_> =
            disabled.iter().filter_map(|name| find("disable-admission-plugins", name)).collect();
        for name in enabled.iter().filter(|name| !there.contains(*name) && !IDLE.contains(name)) {
            faults.push(format!("enable-admission-plugins plugin {name:?} is not supported"));
        }
        let both: BTreeSet<&str> = enabled.iter().copied().filter(|name| disabled.contains(name)).collect();
        if !both.is_empty() {
            let both: Vec<&str> = both.into_iter().collect();
            faults.push(format!(
                "[{}] in enable-admission-plugins and disable-admission-plugins overlapped",
                both.join(" ")
            ));
        }
        if !faults.is_empty() {
            return Err(faults.join(", "));
        }
        selection.off.extend(disabled);
        selection.off.retain(|name| !enabled.contains(name));
        Ok(selection)
    }

    /// With the plugins configured as a file says, which is an `AdmissionConfiguration` of `apiserver.config.k8s.io/v1`.
    ///
    /// # Errors
    /// A file that cannot be read, or what is wrong with it.
    pub fn configured(mut self, file: &Path) -> Result<Self, String> {
        let cannot = |why: String| {
            format!("unable to read admission control configuration from {:?} [{why}]", file.display())
        };
        let read: AdmissionConfiguration = serde_json::from_value(document(file).map_err(cannot)?)
            .map_err(|error| cannot(error.to_string()))?;
        if !KINDS.contains(&(read.api_version.as_str(), read.kind.as_str())) {
            return Err(cannot(format!(
                "no kind {:?} is registered for version {:?}",
                read.kind, read.api_version
            )));
        }
        for plugin in read.plugins {
            let configuration = match &plugin.path {
                Some(path) if !path.is_empty() => {
                    let path = file.parent().unwrap_or(Path::new("")).join(path);
                    Some(document(&path).map_err(cannot)?)
                }
                _ => plugin.configuration,
            };
            self.configure(&plugin.name, configuration).map_err(cannot)?;
        }
        Ok(self)
    }

    fn configure(&mut self, plugin: &str, configuration: Option<Value>) -> Result<(), String> {
        let Some(configuration) = configuration.filter(|it| !it.is_null()) else { return Ok(()) };
        match plugin {
            "EventRateLimit" => {
                self.configured.event_rate_limit = event_rate_limit::Configuration::read(configuration)?;
            }
            "PodNodeSelector" => {
                self.configured.pod_node_selector = pod_node_selector::Configuration::read(configuration)?;
            }
            "PodTolerationRestriction" => {
                self.configured.pod_toleration_restriction =
                    pod_toleration_restriction::Configuration::read(configuration)?;
            }
            "ResourceQuota" => {
                self.configured.resource_quota = resource_quota::Configuration::read(configuration)?;
            }
            // What is not heeded is refused.
            other => return Err(format!("the plugin {other:?} takes no configuration")),
        }
        Ok(())
    }

    /// Whether the plugins that are on have the configuration they cannot do without.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self) -> Result<(), String> {
        if self.is_on("EventRateLimit") {
            self.configured.event_rate_limit.check().map_err(|why| {
                format!("the admission plugin \"EventRateLimit\" has no valid configuration: {why}")
            })?;
        }
        Ok(())
    }

    /// Turns on a plugin that is off by default.
    #[must_use]
    pub fn with(mut self, name: &str) -> Self {
        self.off.remove(name);
        self
    }

    /// Whether a plugin runs. What has no name of upstream's always does.
    pub(super) fn is_on(&self, name: &str) -> bool {
        !self.off.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_file_configures_plugins_that_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        file(
            "quota.yaml",
            "apiVersion: apiserver.config.k8s.io/v1\nkind: ResourceQuotaConfiguration\nlimitedResources: [{resource: pods, matchContains: [cpu]}]",
        );
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n";
        let with = |plugins: &str| {
            let read = Selection::default().configured(&file("it.yaml", &format!("{head}{plugins}")));
            read.map(|it| format!("{:?}", it.configured.resource_quota))
                .map_err(|why| why.split_once('[').unwrap().1.to_owned())
        };
        assert!(
            with("- {name: ResourceQuota, path: quota.yaml}").unwrap().contains("match_contains: [\"cpu\"]")
        );
        assert!(with("- {name: LimitRanger}").is_ok());
        assert_eq!(
            with("- {name: PodSecurity, configuration: {a: 1}}").unwrap_err(),
            "the plugin \"PodSecurity\" takes no configuration]"
        );
        assert!(with("- {name: ResourceQuota, configuration: {apiVersion: v1, kind: X}}").is_err());
        assert!(with("- {nam: X}").is_err());
        assert!(Selection::default().configured(folder.path()).is_err());
    }

    #[test]
    fn plugins_stand_in_upstreams_order() {
        let all = super::super::all(&Weak::new(), &Configurations::default());
        let places: Vec<usize> = all
            .iter()
            .filter_map(|plugin| PLUGINS.iter().position(|(name, _)| *name == plugin.name()))
            .collect();
        assert!(places.is_sorted(), "{all:?}");
        assert!(places.len() > 30, "{all:?}");
    }

    #[test]
    fn flags_turn_plugins_on_and_off() {
        let on = |enabled: &[&str], disabled: &[&str]| Selection::new(&names(enabled), &names(disabled));
        let plain = on(&[], &[]).unwrap();
        assert!(plain.is_on("ResourceQuota") && !plain.is_on("NodeRestriction"));
        let changed =
            on(&["NodeRestriction", "LimitRanger", "JobValidation"], &["ResourceQuota", "AlwaysDeny"])
                .unwrap();
        assert!(!changed.is_on("ResourceQuota") && changed.is_on("NodeRestriction"));
        for (enabled, disabled, complaint) in [
            (vec!["Nonsense"], vec![], r#"enable-admission-plugins plugin "Nonsense" is unknown"#),
            (
                vec![],
                vec!["a", "b"],
                r#"disable-admission-plugins plugin "a" is unknown, disable-admission-plugins plugin "b" is unknown"#,
            ),
            (
                vec!["NodeRestriction"],
                vec!["NodeRestriction"],
                "[NodeRestriction] in enable-admission-plugins and disable-admission-plugins overlapped",
            ),
            (
                vec!["ImagePolicyWebhook"],
                vec![],
                r#"enable-admission-plugins plugin "ImagePolicyWebhook" is not supported"#,
            ),
        ] {
            assert_eq!(on(&enabled, &disabled).map(|_| ()), Err(complaint.to_owned()));
        }
    }
}
