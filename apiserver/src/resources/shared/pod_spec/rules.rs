//! What an update may keep: rules grew stricter over the years, and an object that was stored under the old ones must
//! stay changeable elsewhere.

use std::collections::BTreeMap;

use api_types::field::Path;
use k8s_openapi::api::core::v1::{NodeSelectorTerm, PodSpec};

use super::{
    super::{
        names::label_value,
        optional::{Items, Switch, Text},
        quantities::{ResourceList, amounts, is_huge_pages, is_sidecar, is_whole_pages},
        selectors::{self, Leniency},
    },
    affinity, annotations, any_container, paths, scheduling, security,
};
use crate::registry::strategy::Context;

/// Where the strictest rules do not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one exception, and they are independent")]
pub(crate) struct Rules {
    /// The spec is that of a pod, not of a template.
    pub is_pod: bool,
    /// The annotation for the cost of deletion may be no number.
    pub invalid_deletion_cost: bool,
    /// Selectors of pod affinity may hold values that are no label values.
    pub invalid_affinity_values: bool,
    /// So may what node affinity requires.
    pub invalid_required_node_values: bool,
    /// Selectors of topology spread constraints may be malformed.
    pub invalid_spread_selector: bool,
    /// Keys of topology spread constraints are judged as they were before 1.34.
    pub legacy_spread_keys: bool,
    /// Amounts of huge pages may be no whole pages.
    pub indivisible_huge_pages: bool,
    /// Paths of projected tokens may lead anywhere.
    pub non_local_token_path: bool,
    /// Sysctls of a namespace may be set on a pod that shares it with the node.
    pub host_sysctls: bool,
    /// Any policy for changing SELinux labels is fine, not only the recursive one.
    pub any_selinux_change_policy: bool,
    /// Init containers that end may have resizes restart them.
    pub resize_restarts_init: bool,
    /// Block devices may be used without the node's users.
    pub devices_without_host_users: bool,
    /// Tolerations may compare numbers.
    pub toleration_comparisons: bool,
    /// The node's network may be used without the node's users.
    pub host_network_without_host_users: bool,
    /// Nothing may be privileged.
    pub unprivileged: bool,
}

// === impl Rules ===

impl Rules {
    /// The same, with what this server allows.
    pub(crate) fn under(self, cx: &Context<'_>) -> Self {
        Self { unprivileged: !cx.allow_privileged, ..self }
    }

    /// The rules of a new pod, or of a pod that was like `old`.
    pub(crate) fn of_pod(old: Option<(&PodSpec, Option<&BTreeMap<String, String>>)>) -> Self {
        Self { is_pod: true, ..Self::of_template(old) }
    }

    /// The rules of a new template, or of one that was like `old`: its spec and its annotations.
    pub(crate) fn of_template(old: Option<(&PodSpec, Option<&BTreeMap<String, String>>)>) -> Self {
        let Some((spec, annotations)) = old else { return Self::default() };
        Self {
            is_pod: false,
            unprivileged: false,
            invalid_deletion_cost: !annotations::has_deletion_cost_or_none(annotations),
            invalid_affinity_values: affinity::has_malformed_selector(spec),
            invalid_required_node_values: requires_invalid_node_value(spec),
            invalid_spread_selector: spec.topology_spread_constraints.items().iter().any(|constraint| {
                !selectors::validate(constraint.label_selector.as_ref(), Leniency::default(), &Path::root())
                    .is_empty()
            }),
            legacy_spread_keys: spec.topology_spread_constraints.items().iter().any(|constraint| {
                !affinity::label_keys(
                    constraint.match_label_keys.items(),
                    &[],
                    constraint.label_selector.as_ref(),
                    &Path::root(),
                )
                .is_empty()
            }),
            indivisible_huge_pages: has_indivisible_huge_pages(spec),
            non_local_token_path: has_non_local_token_path(spec),
            host_sysctls: security::sysctls(spec)
                .iter()
                .any(|sysctl| security::host_sysctl(&sysctl.name, spec, &Path::root()).is_some()),
            any_selinux_change_policy: spec
                .security_context
                .as_ref()
                .is_some_and(|context| context.se_linux_change_policy.is_some()),
            resize_restarts_init: spec.init_containers.items().iter().any(|container| {
                !is_sidecar(container)
                    && container
                        .resize_policy
                        .items()
                        .iter()
                        .any(|policy| policy.restart_policy == "RestartContainer")
            }),
            devices_without_host_users: spec.host_users == Some(false)
                && any_container(spec, |container| !container.volume_devices.items().is_empty()),
            toleration_comparisons: spec
                .tolerations
                .items()
                .iter()
                .any(|toleration| scheduling::compares_numbers(toleration.operator.text())),
            host_network_without_host_users: spec.host_users == Some(false) && spec.host_network.is_on(),
        }
    }
}

fn requires_invalid_node_value(spec: &PodSpec) -> bool {
    let terms: &[NodeSelectorTerm] = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref())
        .map(|selector| selector.node_selector_terms.as_slice())
        .unwrap_or_default();
    terms
        .iter()
        .flat_map(|term| term.match_expressions.items())
        .flat_map(|expression| expression.values.items())
        .any(|value| !label_value(value).is_empty())
}

fn has_indivisible_huge_pages(spec: &PodSpec) -> bool {
    let indivisible = |list: Option<&ResourceList>| {
        amounts(list).iter().any(|(name, amount)| is_huge_pages(name) && !is_whole_pages(name, amount))
    };
    any_container(spec, |container| {
        container
            .resources
            .as_ref()
            .is_some_and(|it| indivisible(it.limits.as_ref()) || indivisible(it.requests.as_ref()))
    }) || indivisible(spec.overhead.as_ref())
}

fn has_non_local_token_path(spec: &PodSpec) -> bool {
    spec.volumes
        .items()
        .iter()
        .filter_map(|volume| volume.projected.as_ref())
        .flat_map(|projected| projected.sources.items())
        .filter_map(|source| source.service_account_token.as_ref())
        .any(|token| !paths::local_non_reserved(&token.path, &Path::root()).is_empty())
}
