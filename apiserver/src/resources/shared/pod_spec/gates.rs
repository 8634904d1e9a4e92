//! Fields that this version keeps behind switches which are off: they are taken out, unless the stored object uses
//! them already.

use k8s_openapi::api::core::v1::{ContainerStatus, Lifecycle, PodSpec, PodStatus, VolumeProjection};

use super::{super::optional::Items, any_container, each_container_mut};

/// Takes out of a spec what it may not use.
pub(crate) fn drop_disabled(spec: &mut PodSpec, old: Option<&PodSpec>) {
    if !old.is_some_and(|old| any_projection(old, |source| source.cluster_trust_bundle.is_some())) {
        each_projection_mut(spec, |source| source.cluster_trust_bundle = None);
    }
    if !old.is_some_and(|old| any_projection(old, |source| source.pod_certificate.is_some())) {
        each_projection_mut(spec, |source| source.pod_certificate = None);
    }
    if old.is_none_or(|old| old.scheduling_group.is_none()) {
        spec.scheduling_group = None;
    }
    let uses_stop_signals = |spec: &PodSpec| {
        any_container(spec, |container| {
            container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.stop_signal.is_some())
        })
    };
    // Ephemeral containers are rebuilt when visited, so look first.
    if uses_stop_signals(spec) && !old.is_some_and(uses_stop_signals) {
        each_container_mut(spec, |container| {
            let Some(lifecycle) = &mut container.lifecycle else { return };
            if lifecycle.stop_signal.take().is_some() && *lifecycle == Lifecycle::default() {
                container.lifecycle = None;
            }
        });
    }
}

/// Takes out of a status what it may not use.
pub(crate) fn drop_disabled_status(status: &mut PodStatus, old: Option<&PodStatus>) {
    let shows_volumes = |old: &PodStatus| {
        statuses(old).any(|container| {
            container.volume_mounts.items().iter().any(|mount| mount.volume_status.is_some())
        })
    };
    if !old.is_some_and(shows_volumes) {
        let lists = [
            &mut status.container_statuses,
            &mut status.init_container_statuses,
            &mut status.ephemeral_container_statuses,
        ];
        for mount in
            lists.into_iter().flatten().flatten().flat_map(|container| container.volume_mounts.items_mut())
        {
            mount.volume_status = None;
        }
    }
    if old.is_none_or(|old| old.node_allocatable_resource_claim_statuses.items().is_empty()) {
        status.node_allocatable_resource_claim_statuses = None;
    }
}

/// The statuses of all containers, of every sort.
pub(crate) fn statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
}

fn any_projection(spec: &PodSpec, is_so: impl Fn(&VolumeProjection) -> bool) -> bool {
    spec.volumes
        .items()
        .iter()
        .filter_map(|volume| volume.projected.as_ref())
        .flat_map(|projected| projected.sources.items())
        .any(is_so)
}

fn each_projection_mut(spec: &mut PodSpec, change: impl Fn(&mut VolumeProjection)) {
    spec.volumes
        .items_mut()
        .iter_mut()
        .filter_map(|volume| volume.projected.as_mut())
        .flat_map(|projected| projected.sources.items_mut())
        .for_each(change);
}
