//! Pods: `pods` of `v1`.
//!
//! What a pod's spec may say stands in [`pod_spec`](crate::resources::shared::pod_spec); here is what only pods have:
//! the server's part of a new pod, what may change of one that runs, its status, and its subresources.

mod binding;
mod ephemeral;
mod eviction;
mod resize;
mod status;
#[cfg(test)]
mod tests;
mod update;

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::{
    api::core::v1::{Pod, PodCondition, PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
};

use crate::{
    patch::apply::Reset,
    registry::strategy::{Context, Generation, Names, Part, SelectableField, Strategy, Subresource},
    resources::shared::{
        names::dns1123_label,
        optional::{Entries, Items, Switch, Text},
        pod_spec::{self, PodMeta, Rules, annotations, defaults, gates},
        pod_template::{Pairs, drop_old_annotations},
        quantities::{
            ResourceList, amount, is_huge_pages, is_pod_level, limits_of_containers, may_be_overcommitted,
            qos_class, requests_of_containers,
        },
        workloads::listed,
    },
};

pub(crate) use binding::{bind, check_binding};
pub(crate) use eviction::{
    budget_of, check_eviction, goes_uncounted, ignores_budgets, mark_evicted, must_not_change,
    refused_for_now, take_from_budget,
};

/// The strategy of Pods.
pub(crate) struct Pods;

impl Strategy for Pods {
    type Object = Pod;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short: &["po"],
        categories: &["all"],
        namespaced: true,
    };
    const RESETS: &'static [(Part, Reset<'static>)] = &[(
        Part::Status,
        Reset::Fields(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]),
    )];
    const RETURNS_DELETED: bool = true;
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
    const SUBRESOURCES: &'static [Subresource<Pod>] = &[
        // What a binding does is done to the pod before.
        Subresource { name: "binding", prepare: |_, _, _| {}, validate: |_, _, _| Vec::new() },
        Subresource {
            name: "ephemeralcontainers",
            prepare: |_, pod, old| ephemeral::prepare(pod, old),
            validate: ephemeral::validate,
        },
        Subresource {
            name: "resize",
            prepare: |_, pod, old| resize::prepare(pod, old),
            validate: resize::validate,
        },
    ];
    const SELECTABLE: &'static [SelectableField] = &[
        SelectableField { label: "spec.nodeName", path: "spec.nodeName", absent: "" },
        SelectableField { label: "spec.restartPolicy", path: "spec.restartPolicy", absent: "" },
        SelectableField { label: "spec.schedulerName", path: "spec.schedulerName", absent: "" },
        SelectableField { label: "spec.serviceAccountName", path: "spec.serviceAccountName", absent: "" },
        SelectableField { label: "spec.hostNetwork", path: "spec.hostNetwork", absent: "false" },
        SelectableField { label: "status.phase", path: "status.phase", absent: "" },
        SelectableField { label: "status.podIP", path: "status.podIP", absent: "" },
        SelectableField { label: "spec.host", path: "spec.nodeName", absent: "" },
        // Known, but without a value.
        SelectableField { label: "status.podIPs", path: "", absent: "" },
        SelectableField { label: "status.nominatedNodeName", path: "status.nominatedNodeName", absent: "" },
    ];

    fn default(pod: &mut Pod) {
        drop_old_annotations(&mut pod.metadata);
        let spec = pod.spec.get_or_insert_default();
        for container in spec.containers.iter_mut().chain(spec.init_containers.items_mut()) {
            if let Some(resources) = &mut container.resources {
                request_limits(&mut resources.requests, resources.limits.as_ref());
            }
        }
        limit_huge_pages(spec);
        request_for_pod(spec);
        spec.enable_service_links.get_or_insert(true);
        if spec.host_network.is_on() {
            for port in spec
                .containers
                .iter_mut()
                .chain(spec.init_containers.items_mut())
                .flat_map(|container| container.ports.items_mut())
            {
                if port.host_port.unwrap_or_default() == 0 {
                    port.host_port = Some(port.container_port);
                }
            }
        }
        defaults::default(spec);
        if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
            spec.termination_grace_period_seconds = Some(1);
        }
        if let Some(status) = &mut pod.status {
            status::default(status);
        }
    }

    fn prepare_for_create(cx: &Context<'_>, pod: &mut Pod) {
        let spec = pod.spec.get_or_insert_default();
        defaults::alias_service_account(spec);
        let mut status = PodStatus {
            phase: Some("Pending".to_owned()),
            qos_class: Some(qos_class(spec).to_owned()),
            ..PodStatus::default()
        };
        gates::drop_disabled(spec, None);
        if !spec.scheduling_gates.items().is_empty() {
            status.conditions = Some(vec![PodCondition {
                type_: "PodScheduled".to_owned(),
                status: "False".to_owned(),
                reason: Some("SchedulingGated".to_owned()),
                message: Some("Scheduling is blocked due to non-empty scheduling gates".to_owned()),
                last_transition_time: Some(status::time(cx.now)),
                ..PodCondition::default()
            }]);
        }
        merge_label_keys(spec, &pod.metadata.labels);
        pod.status = Some(status);
    }

    fn validate(cx: &Context<'_>, pod: &Pod) -> Faults {
        let rules = Rules::of_pod(None).under(cx);
        let mut faults = validate_spec(pod, &rules);
        let Some(spec) = &pod.spec else { return faults };
        let path = Path::new("spec");
        if !spec.ephemeral_containers.items().is_empty() {
            faults.push(Fault::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
        }
        if !(spec.node_name.text().is_empty() || spec.scheduling_gates.items().is_empty()) {
            faults.push(Fault::forbidden(
                &path.child("nodeName"),
                "cannot be set until all schedulingGates have been cleared",
            ));
        }
        faults.extend(annotations::contradictions(&pod.metadata.annotations, spec, &path));
        faults
    }

    fn prepare_for_update(_cx: &Context<'_>, pod: &mut Pod, old: &Pod) {
        prepare_changed(pod, old);
    }

    fn validate_update(cx: &Context<'_>, pod: &Pod, old: &Pod) -> Faults {
        update::validate(cx, pod, old)
    }

    fn prepare_for_status_update(_cx: &Context<'_>, pod: &mut Pod, old: &Pod) {
        status::prepare(pod, old);
    }

    fn validate_status_update(cx: &Context<'_>, pod: &Pod, old: &Pod) -> Faults {
        status::validate(cx, pod, old)
    }

    fn status_warnings(_cx: &Context<'_>, pod: &Pod, _old: &Pod) -> Vec<String> {
        pod.status.as_ref().map(status::warnings).unwrap_or_default()
    }

    fn warnings(_cx: &Context<'_>, pod: &Pod, old: Option<&Pod>) -> Vec<String> {
        // People seldom change pods; controllers do, and do not read.
        if old.is_some() {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        let sentences = dns1123_label(pod.metadata.name.text());
        if !sentences.is_empty() {
            warnings.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: {}",
                listed(&sentences)
            ));
        }
        if let Some(spec) = &pod.spec {
            warnings.extend(pod_spec::warnings::warnings(spec, &pod.metadata.annotations, None));
        }
        warnings
    }

    fn canonicalize(pod: &mut Pod) {
        apply_app_armor_annotations(pod);
    }

    fn grace_period(pod: &Pod, asked: Option<i64>) -> Option<i64> {
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let scheduled = spec.is_some_and(|spec| !spec.node_name.text().is_empty());
        let ended = status.is_some_and(|status| matches!(status.phase.text(), "Failed" | "Succeeded"));
        if !scheduled || ended {
            return Some(0);
        }
        let own = spec.and_then(|spec| spec.termination_grace_period_seconds);
        let seconds = asked.or(own).unwrap_or_default();
        Some(if seconds < 0 { 1 } else { seconds })
    }
}

/// What every change of a pod's spec goes through.
fn prepare_changed(pod: &mut Pod, old: &Pod) {
    let spec = pod.spec.get_or_insert_default();
    defaults::alias_service_account(spec);
    gates::drop_disabled(spec, old.spec.as_ref());
}

/// What an update may keep of this pod.
fn rules(cx: &Context<'_>, old: &Pod) -> Rules {
    let rules = match &old.spec {
        Some(spec) => Rules::of_pod(Some((spec, old.metadata.annotations.as_ref()))),
        None => Rules::of_pod(None),
    };
    rules.under(cx)
}

/// Takes status and metadata from the old pod, as every write does that is about a part of the spec.
fn keep_all_but_the_spec(pod: &mut Pod, old: &Pod) {
    pod.status.clone_from(&old.status);
    let (new, old) = (&mut pod.metadata, &old.metadata);
    new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    new.generation = old.generation;
    new.self_link.clone_from(&old.self_link);
    new.labels.clone_from(&old.labels);
    new.annotations.clone_from(&old.annotations);
    new.finalizers.clone_from(&old.finalizers);
    new.owner_references.clone_from(&old.owner_references);
}

fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.at(annotations::MIRROR).is_some()
}

/// Everything that is wrong with a pod, apart from how it came to be so. Metadata is somebody else's.
fn validate_spec(pod: &Pod, rules: &Rules) -> Faults {
    let nothing = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&nothing);
    let path = Path::new("spec");
    let mut faults =
        annotations::validate(&pod.metadata.annotations, spec, rules, &Path::new("metadata.annotations"));
    let meta = PodMeta { name: pod.metadata.name.text(), is_mirror: is_mirror(pod) };
    faults.extend(pod_spec::validate(spec, Some(meta), rules, &path));
    if spec.service_account_name.text().is_empty() {
        for (index, volume) in spec.volumes.items().iter().enumerate() {
            let Some(projected) = &volume.projected else { continue };
            let path = path.child("volumes").index(index).child("projected.sources");
            for (index, source) in projected.sources.items().iter().enumerate() {
                if source.service_account_token.is_some() {
                    faults.push(Fault::forbidden(
                        &path.index(index).child("serviceAccountToken"),
                        "must not be specified when serviceAccountName is not set",
                    ));
                }
            }
        }
    }
    faults.extend(pod_spec::validate_images(&spec.containers, &path.child("containers")));
    faults.extend(pod_spec::validate_images(spec.init_containers.items(), &path.child("initContainers")));
    faults
}

// --- defaults

/// Requests what is limited and not requested.
fn request_limits(requests: &mut Option<ResourceList>, limits: Option<&ResourceList>) {
    let Some(limits) = limits else { return };
    let requests = requests.get_or_insert_default();
    for (name, limit) in limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

/// Limits the huge pages of a pod as a whole to those of its containers, if the pod as a whole says something.
fn limit_huge_pages(spec: &mut PodSpec) {
    let together = limits_of_containers(spec);
    let Some(resources) = &mut spec.resources else { return };
    let empty = |list: &Option<ResourceList>| list.as_ref().is_none_or(ResourceList::is_empty);
    if empty(&resources.limits) && empty(&resources.requests) {
        return;
    }
    for (name, limit) in together {
        if !is_huge_pages(&name) || resources.requests.at(&name).is_some() {
            continue;
        }
        let limits = resources.limits.get_or_insert_default();
        limits
            .entry(name)
            .or_insert_with(|| k8s_openapi::apimachinery::pkg::api::resource::Quantity(limit.to_string()));
    }
}

/// Requests for the pod as a whole what its containers request, or else what it is limited to, if it is limited.
fn request_for_pod(spec: &mut PodSpec) {
    let together = requests_of_containers(spec);
    let Some(resources) = &mut spec.resources else { return };
    let Some(limits) = resources.limits.as_ref().filter(|limits| !limits.is_empty()) else { return };
    let mut requests = resources.requests.take().unwrap_or_default();
    for (name, request) in together {
        if is_pod_level(&name) && may_be_overcommitted(&name) {
            requests.entry(name).or_insert_with(|| {
                k8s_openapi::apimachinery::pkg::api::resource::Quantity(request.to_string())
            });
        }
    }
    for (name, limit) in limits.iter().filter(|(name, _)| is_pod_level(name)) {
        requests.entry(name.clone()).or_insert_with(|| {
            k8s_openapi::apimachinery::pkg::api::resource::Quantity(amount(limit).to_string())
        });
    }
    resources.requests = (!requests.is_empty()).then_some(requests);
}

// --- preparing

/// Adds to selectors what the values of the pod's own labels say, where a term asks for that.
fn merge_label_keys(spec: &mut PodSpec, labels: &Pairs) {
    if let Some(affinity) = &mut spec.affinity {
        let mut required = Vec::new();
        let mut preferred = Vec::new();
        if let Some(pod) = &mut affinity.pod_affinity {
            required.push(&mut pod.required_during_scheduling_ignored_during_execution);
            preferred.push(&mut pod.preferred_during_scheduling_ignored_during_execution);
        }
        if let Some(anti) = &mut affinity.pod_anti_affinity {
            required.push(&mut anti.required_during_scheduling_ignored_during_execution);
            preferred.push(&mut anti.preferred_during_scheduling_ignored_during_execution);
        }
        let required = required.into_iter().flat_map(|list| list.items_mut());
        let preferred =
            preferred.into_iter().flat_map(|list| list.items_mut()).map(|it| &mut it.pod_affinity_term);
        for term in required.chain(preferred) {
            let Some(selector) = &mut term.label_selector else { continue };
            require_own(selector, term.match_label_keys.items(), "In", labels);
            require_own(selector, term.mismatch_label_keys.items(), "NotIn", labels);
        }
    }
    for constraint in spec.topology_spread_constraints.items_mut() {
        if let Some(selector) = &mut constraint.label_selector {
            require_own(selector, constraint.match_label_keys.items(), "In", labels);
        }
    }
}

fn require_own(selector: &mut LabelSelector, keys: &[String], operator: &str, labels: &Pairs) {
    for key in keys {
        let Some(value) = labels.at(key) else { continue };
        selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![value.clone()]),
        });
    }
}

/// Makes fields of the annotations by which AppArmor profiles were once chosen. A pod that has the fields, or an
/// annotation that says what the pod's own field says, stays as it is, so that doing it again changes nothing.
fn apply_app_armor_annotations(pod: &mut Pod) {
    let annotations = pod.metadata.annotations.clone();
    let Some(spec) = &mut pod.spec else { return };
    let applies = annotations.entries().any(|(key, _)| key.starts_with(annotations::APP_ARMOR));
    if !applies || spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    let of_pod = spec.security_context.as_ref().and_then(|context| context.app_armor_profile.clone());
    pod_spec::each_container_mut(spec, |container| {
        let Some(annotation) = annotations.at(&format!("{}{}", annotations::APP_ARMOR, container.name))
        else {
            return;
        };
        let profile = annotations::app_armor_profile(annotation)
            .filter(|profile| pod_spec::security::app_armor(Some(profile), &Path::root()).is_empty());
        if profile.is_none() || profile == of_pod {
            return;
        }
        let context = container.security_context.get_or_insert_default();
        if context.app_armor_profile.is_none() {
            context.app_armor_profile = profile;
        }
    });
}
