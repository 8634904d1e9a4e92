//! What a pod's spec means where it says nothing; alike for pods and for the templates of workloads.

use k8s_openapi::api::core::v1::{
    AzureDiskVolumeSource, Container, ContainerPort, DownwardAPIVolumeFile, EnvVar, HTTPGetAction, Lifecycle,
    PersistentVolumeClaimSpec, PodSpec, Probe, ProjectedVolumeSource, Volume,
};

use super::super::{
    images::default_pull_policy,
    optional::{Items, Text},
    quantities::round_up,
};

/// File mode 0644.
const READABLE: i32 = 0o644;
const HOUR_SECONDS: i64 = 60 * 60;

/// Fills in what was left out.
pub(crate) fn default(spec: &mut PodSpec) {
    alias_service_account(spec);
    spec.dns_policy.or_set("ClusterFirst");
    spec.restart_policy.or_set("Always");
    spec.security_context.get_or_insert_default();
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.scheduler_name.or_set("default-scheduler");
    for volume in spec.volumes.items_mut() {
        self::volume(volume);
    }
    for container in spec.init_containers.items_mut().iter_mut().chain(&mut spec.containers) {
        self::container(container);
    }
    for container in spec.ephemeral_containers.items_mut() {
        super::as_container(container, self::container);
    }
    round_up(spec.overhead.as_mut());
    if let Some(resources) = &mut spec.resources {
        round_up(resources.limits.as_mut());
        round_up(resources.requests.as_mut());
    }
}

/// Makes `serviceAccount`, the old name of the field, say what `serviceAccountName` says.
pub(crate) fn alias_service_account(spec: &mut PodSpec) {
    if spec.service_account_name.text().is_empty() {
        spec.service_account_name = spec.service_account.take();
    }
    spec.service_account.clone_from(&spec.service_account_name);
}

/// Fills in what was left out of the spec of a claim.
pub(crate) fn claim(spec: &mut PersistentVolumeClaimSpec) {
    spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
    if let Some(resources) = &mut spec.resources {
        round_up(resources.limits.as_mut());
        round_up(resources.requests.as_mut());
    }
}

fn volume(volume: &mut Volume) {
    if has_no_source(volume) {
        volume.empty_dir = Some(k8s_openapi::api::core::v1::EmptyDirVolumeSource::default());
    }
    if let Some(image) = &mut volume.image {
        image.pull_policy.or_set(default_pull_policy(image.reference.text()));
    }
    if let Some(host_path) = &mut volume.host_path {
        host_path.type_.get_or_insert_default();
    }
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(READABLE);
    }
    if let Some(iscsi) = &mut volume.iscsi {
        iscsi.iscsi_interface.or_set("default");
    }
    if let Some(rbd) = &mut volume.rbd {
        rbd.pool.or_set("rbd");
        rbd.user.or_set("admin");
        rbd.keyring.or_set("/etc/ceph/keyring");
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(READABLE);
        downward_files(downward.items.items_mut());
    }
    if let Some(config_map) = &mut volume.config_map {
        config_map.default_mode.get_or_insert(READABLE);
    }
    if let Some(disk) = &mut volume.azure_disk {
        azure_disk(disk);
    }
    if let Some(projected) = &mut volume.projected {
        self::projected(projected);
    }
    if let Some(scale_io) = &mut volume.scale_io {
        scale_io.storage_mode.or_set("ThinProvisioned");
        scale_io.fs_type.or_set("xfs");
    }
    if let Some(template) = volume.ephemeral.as_mut().and_then(|it| it.volume_claim_template.as_mut()) {
        claim(&mut template.spec);
    }
}

/// Whether nothing says where the volume comes from.
fn has_no_source(volume: &Volume) -> bool {
    *volume == Volume { name: volume.name.clone(), ..Volume::default() }
}

fn azure_disk(disk: &mut AzureDiskVolumeSource) {
    disk.caching_mode.get_or_insert_with(|| "ReadWrite".to_owned());
    disk.fs_type.get_or_insert_with(|| "ext4".to_owned());
    disk.read_only.get_or_insert(false);
    disk.kind.get_or_insert_with(|| "Shared".to_owned());
}

fn projected(projected: &mut ProjectedVolumeSource) {
    projected.default_mode.get_or_insert(READABLE);
    for source in projected.sources.items_mut() {
        if let Some(downward) = &mut source.downward_api {
            downward_files(downward.items.items_mut());
        }
        if let Some(token) = &mut source.service_account_token {
            token.expiration_seconds.get_or_insert(HOUR_SECONDS);
        }
    }
}

fn downward_files(files: &mut [DownwardAPIVolumeFile]) {
    for field in files.iter_mut().filter_map(|file| file.field_ref.as_mut()) {
        field.api_version.or_set("v1");
    }
}

fn container(container: &mut Container) {
    container.image_pull_policy.or_set(default_pull_policy(container.image.text()));
    container.termination_message_path.or_set("/dev/termination-log");
    container.termination_message_policy.or_set("File");
    container.ports.items_mut().iter_mut().for_each(port);
    container.env.items_mut().iter_mut().for_each(env);
    if let Some(resources) = &mut container.resources {
        round_up(resources.limits.as_mut());
        round_up(resources.requests.as_mut());
    }
    let probes =
        [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    for probe in probes.into_iter().flatten() {
        self::probe(probe);
    }
    if let Some(lifecycle) = &mut container.lifecycle {
        self::lifecycle(lifecycle);
    }
}

fn port(port: &mut ContainerPort) {
    port.protocol.or_set("TCP");
}

fn env(env: &mut EnvVar) {
    let Some(from) = &mut env.value_from else { return };
    if let Some(field) = &mut from.field_ref {
        field.api_version.or_set("v1");
    }
    if let Some(file) = &mut from.file_key_ref {
        file.optional.get_or_insert(false);
    }
}

fn probe(probe: &mut Probe) {
    let or_set = |number: &mut Option<i32>, default: i32| {
        if number.unwrap_or_default() == 0 {
            *number = Some(default);
        }
    };
    or_set(&mut probe.timeout_seconds, 1);
    or_set(&mut probe.period_seconds, 10);
    or_set(&mut probe.success_threshold, 1);
    or_set(&mut probe.failure_threshold, 3);
    if let Some(get) = &mut probe.http_get {
        http_get(get);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn lifecycle(lifecycle: &mut Lifecycle) {
    for handler in [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten() {
        if let Some(get) = &mut handler.http_get {
            http_get(get);
        }
    }
}

fn http_get(get: &mut HTTPGetAction) {
    get.path.or_set("/");
    get.scheme.or_set("HTTP");
}
