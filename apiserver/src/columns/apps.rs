//! Workloads.

use k8s_openapi::api::{
    apps::v1::{
        DaemonSetSpec, DaemonSetStatus, DeploymentSpec, DeploymentStatus, ReplicaSetSpec, ReplicaSetStatus,
    },
    core::v1::PodSpec,
};
use serde_json::Value;

use super::{
    TableDef,
    column::{AGE, NAME, integer, of, says, text, wide},
    core::{CONTAINERS, IMAGES},
    read::{self, ObjectExt as _, age, at, containers, list},
    selector,
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    Some(match resource {
        "controllerrevisions" => &CONTROLLER_REVISIONS,
        "daemonsets" => &DAEMON_SETS,
        "deployments" => &DEPLOYMENTS,
        "replicasets" => &REPLICA_SETS,
        "statefulsets" => &STATEFUL_SETS,
        _ => return None,
    })
}

static CONTROLLER_REVISIONS: TableDef = TableDef::new(
    &[
        NAME,
        text("Controller", says("Controller of the object")),
        text("Revision", of::<k8s_openapi::api::apps::v1::ControllerRevision>("revision")),
        AGE,
    ],
    |revision, now| {
        vec![
            revision.name().into(),
            controller(revision).into(),
            read::integer(revision, "revision").into(),
            age(revision, now),
        ]
    },
);

/// The owner that controls the object, as `kind.group/name`.
fn controller(object: &Value) -> String {
    let Some(owner) =
        list(object, "metadata.ownerReferences").iter().find(|owner| read::flag(owner, "controller"))
    else {
        return "<none>".to_owned();
    };
    let kind = read::text(owner, "kind").to_lowercase();
    let name = read::text(owner, "name");
    match read::text(owner, "apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{}/{name}", group.to_lowercase()),
        None => format!("{kind}/{name}"),
    }
}

static DAEMON_SETS: TableDef = TableDef::new(
    &[
        NAME,
        integer("Desired", of::<DaemonSetStatus>("desiredNumberScheduled")),
        integer("Current", of::<DaemonSetStatus>("currentNumberScheduled")),
        integer("Ready", of::<DaemonSetStatus>("numberReady")),
        integer("Up-to-date", of::<DaemonSetStatus>("updatedNumberScheduled")),
        integer("Available", of::<DaemonSetStatus>("numberAvailable")),
        text("Node Selector", of::<PodSpec>("nodeSelector")),
        AGE,
        CONTAINERS,
        IMAGES,
        wide("Selector", of::<DaemonSetSpec>("selector")),
    ],
    |set, now| {
        let status = at(set, "status");
        let (names, images) = containers(list(set, "spec.template.spec.containers"));
        vec![
            set.name().into(),
            read::integer(status, "desiredNumberScheduled").into(),
            read::integer(status, "currentNumberScheduled").into(),
            read::integer(status, "numberReady").into(),
            read::integer(status, "updatedNumberScheduled").into(),
            read::integer(status, "numberAvailable").into(),
            selector::labels(at(set, "spec.template.spec.nodeSelector")).into(),
            age(set, now),
            names,
            images,
            selector::selector_or_none(at(set, "spec.selector")).into(),
        ]
    },
);

static DEPLOYMENTS: TableDef = TableDef::new(
    &[
        NAME,
        text("Ready", says("Number of the pod with ready state")),
        text("Up-to-date", of::<DeploymentStatus>("updatedReplicas")),
        text("Available", of::<DeploymentStatus>("availableReplicas")),
        AGE,
        CONTAINERS,
        IMAGES,
        wide("Selector", of::<DeploymentSpec>("selector")),
    ],
    |deployment, now| {
        let (names, images) = containers(list(deployment, "spec.template.spec.containers"));
        vec![
            deployment.name().into(),
            ready(deployment).into(),
            read::integer(deployment, "status.updatedReplicas").into(),
            read::integer(deployment, "status.availableReplicas").into(),
            age(deployment, now),
            names,
            images,
            selector::requirements(at(deployment, "spec.selector"))
                .unwrap_or_else(|| "<invalid>".to_owned())
                .into(),
        ]
    },
);

fn ready(object: &Value) -> String {
    format!("{}/{}", read::integer(object, "status.readyReplicas"), read::integer(object, "spec.replicas"))
}

static REPLICA_SETS: TableDef = TableDef::new(
    &[
        NAME,
        integer("Desired", of::<ReplicaSetSpec>("replicas")),
        integer("Current", of::<ReplicaSetStatus>("replicas")),
        integer("Ready", of::<ReplicaSetStatus>("readyReplicas")),
        AGE,
        CONTAINERS,
        IMAGES,
        wide("Selector", of::<ReplicaSetSpec>("selector")),
    ],
    |set, now| {
        let (names, images) = containers(list(set, "spec.template.spec.containers"));
        vec![
            set.name().into(),
            read::integer(set, "spec.replicas").into(),
            read::integer(set, "status.replicas").into(),
            read::integer(set, "status.readyReplicas").into(),
            age(set, now),
            names,
            images,
            selector::selector_or_none(at(set, "spec.selector")).into(),
        ]
    },
);

static STATEFUL_SETS: TableDef = TableDef::new(
    &[NAME, text("Ready", says("Number of the pod with ready state")), AGE, CONTAINERS, IMAGES],
    |set, now| {
        let (names, images) = containers(list(set, "spec.template.spec.containers"));
        vec![set.name().into(), ready(set).into(), age(set, now), names, images]
    },
);
