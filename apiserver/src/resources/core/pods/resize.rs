//! Resizing a pod that runs: other amounts of processor time and memory for its containers, or for all of it.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus, ResourceRequirements};

use super::{is_mirror, keep_all_but_the_spec, prepare_changed, rules, validate_spec};
use crate::registry::strategy::Context;
use crate::resources::shared::{
    optional::{Entries, Items, Text, same},
    pod_spec::scheduling::nowhere,
    quantities::{ResourceList, is_sidecar, qos_class},
};

const MUTABLE: &str = "only cpu and memory resources are mutable";
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Drops every change but that of resources and of how they may be resized. A change of which containers there are
/// stays, so that it is found.
pub(super) fn prepare(pod: &mut Pod, old: &Pod) {
    let old_spec = old.spec.clone().unwrap_or_default();
    let spec = pod.spec.get_or_insert_default();
    let (init, old_init) = (spec.init_containers.items(), old_spec.init_containers.items());
    if spec.containers.len() == old_spec.containers.len() && init.len() == old_init.len() {
        *spec = PodSpec {
            containers: resized(&spec.containers, &old_spec.containers),
            init_containers: spec.init_containers.as_ref().map(|init| resized(init, old_init)),
            resources: spec.resources.take(),
            ..old_spec
        };
        keep_all_but_the_spec(pod, old);
    }
    prepare_changed(pod, old);
}

/// The old containers with the new ones' resources; the new ones if they are others.
fn resized(new: &[Container], old: &[Container]) -> Vec<Container> {
    if new.iter().zip(old).any(|(new, old)| new.name != old.name) {
        return new.to_vec();
    }
    new.iter()
        .zip(old)
        .map(|(new, old)| Container {
            resources: new.resources.clone(),
            resize_policy: new.resize_policy.clone(),
            ..old.clone()
        })
        .collect()
}

/// Everything that is wrong with a resized, prepared pod.
pub(super) fn validate(cx: &Context<'_>, pod: &Pod, old: &Pod) -> Faults {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let (spec, old_spec) = (pod.spec.as_ref().unwrap_or(&no_spec), old.spec.as_ref().unwrap_or(&no_spec));
    let (status, old_status) =
        (pod.status.as_ref().unwrap_or(&no_status), old.status.as_ref().unwrap_or(&no_status));
    if is_mirror(old) {
        return vec![Fault::forbidden(&nowhere(), "static pods cannot be resized")];
    }
    if old_spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return vec![Fault::forbidden(&nowhere(), "windows pods cannot be resized")];
    }
    let mut faults = validate_spec(pod, &rules(cx, old));
    let path = Path::new("spec");
    let old_class = match old_status.qos_class.text() {
        "" => qos_class(old_spec),
        class => class,
    };
    if old_class != qos_class(spec) {
        faults.push(Fault::invalid(
            &path,
            status.qos_class.text(),
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
    if !is_supported(old_status) {
        faults.push(Fault::forbidden(&path, "Pod running on node without support for resize"));
    }
    let mut rest = spec.clone();
    if says_something(old_spec.resources.as_ref()) || says_something(spec.resources.as_ref()) {
        faults.extend(whole(spec, old_spec, &mut rest, &path));
    }
    if !old_status.node_allocatable_resource_claim_statuses.items().is_empty() {
        faults.push(Fault::forbidden(&path, "pods with node allocatable resource claims cannot be resized"));
    }
    let others = other_containers(spec, old_spec, &path);
    if !others.is_empty() {
        faults.extend(others);
        return faults;
    }
    for (field, new, old) in [
        ("initContainers", spec.init_containers.items(), old_spec.init_containers.items()),
        ("containers", &spec.containers, &old_spec.containers),
    ] {
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            faults.extend(removed(
                new.resources.as_ref(),
                old.resources.as_ref(),
                &path.child(field).index(index).child("resources"),
                "",
            ));
        }
    }
    for (new, old) in rest.containers.iter_mut().zip(&old_spec.containers) {
        if !differs_in_amounts_only(new, old) {
            faults.push(Fault::forbidden(&path, MUTABLE));
        }
        new.clone_from(old);
    }
    let inits = rest.init_containers.items_mut().iter_mut().zip(old_spec.init_containers.items());
    for (index, (new, old)) in inits.enumerate() {
        let path = path.child("initContainers").index(index);
        let is_changed = !same(new, old);
        if !differs_in_amounts_only(new, old) {
            faults.push(Fault::forbidden(
                &path,
                "only cpu and memory resources for init or sidecar containers are mutable",
            ));
        }
        if is_changed && !is_sidecar(new) {
            let restarts =
                new.resize_policy.items().iter().filter(|it| it.restart_policy == "RestartContainer");
            faults.extend(restarts.map(|_| {
                Fault::forbidden(
                    &path,
                    "non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
                )
            }));
        }
        new.clone_from(old);
    }
    if faults.is_empty() && !same(&rest, old_spec) {
        faults.push(Fault::forbidden(&path, MUTABLE));
    }
    faults
}

/// Whether the node can resize. What a running container says of its resources tells; without one, we trust.
fn is_supported(status: &PodStatus) -> bool {
    status
        .container_statuses
        .items()
        .iter()
        .find(|it| it.state.as_ref().is_some_and(|state| state.running.is_some()))
        .is_none_or(|it| it.resources.is_some())
}

fn says_something(resources: Option<&ResourceRequirements>) -> bool {
    resources.is_some_and(|it| it.requests.entries().count() + it.limits.entries().count() > 0)
}

/// Faults of resizing the pod as a whole; takes that change out of `rest`.
fn whole(new: &PodSpec, old: &PodSpec, rest: &mut PodSpec, path: &Path) -> Faults {
    let here = path.child("resources");
    if new.resources.is_none() && old.resources.is_some() {
        return vec![Fault::forbidden(&here, "pod-level resources cannot be removed")];
    }
    let mut faults = match &old.resources {
        Some(old) => removed(new.resources.as_ref(), Some(old), &here, "pod-level "),
        None => Vec::new(),
    };
    let masked = rest.resources.take().map(|new| {
        let claims = new.claims.clone();
        ResourceRequirements { claims, ..with_amounts_of(Some(&new), old.resources.as_ref()) }
    });
    let says_nothing = |it: &ResourceRequirements| !says_something(Some(it)) && it.claims.items().is_empty();
    rest.resources = masked.filter(|it| old.resources.is_some() || !says_nothing(it));
    let without_empties = |it: &Option<ResourceRequirements>| {
        it.as_ref().map(|it| ResourceRequirements {
            claims: it.claims.clone(),
            ..with_amounts_of(Some(it), Some(it))
        })
    };
    if same(&rest.resources, &without_empties(&old.resources)) {
        rest.resources.clone_from(&old.resources);
    } else {
        faults.push(Fault::forbidden(path, format!("{MUTABLE} at pod-level")));
    }
    faults
}

/// Faults of containers that are others than they were.
fn other_containers(new: &PodSpec, old: &PodSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (field, new, old) in [
        ("containers", new.containers.as_slice(), old.containers.as_slice()),
        ("initContainers", new.init_containers.items(), old.init_containers.items()),
    ] {
        let path = path.child(field);
        if new.len() != old.len() {
            faults.push(Fault::forbidden(&path, format!("{field} may not be added or removed on resize")));
            continue;
        }
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            if new.name != old.name {
                faults.push(Fault::forbidden(
                    &path.index(index).child("name"),
                    format!("{field} may not be renamed or reordered on resize"),
                ));
            }
        }
    }
    faults
}

/// Faults of requests and limits that are no longer there.
fn removed(
    new: Option<&ResourceRequirements>,
    old: Option<&ResourceRequirements>,
    path: &Path,
    of: &str,
) -> Faults {
    let Some(old) = old else { return Vec::new() };
    let mut faults = Vec::new();
    for (field, new, old) in [
        ("requests", new.map(|it| &it.requests), &old.requests),
        ("limits", new.map(|it| &it.limits), &old.limits),
    ] {
        if old.entries().any(|(name, _)| new.and_then(|new| new.at(name)).is_none()) {
            faults.push(Fault::forbidden(
                &path.child(field),
                format!("{of}resource {field} cannot be removed"),
            ));
        }
    }
    faults
}

/// Whether nothing but amounts of what can be resized sets the two apart. A container that claims devices does not
/// pass: upstream's comparison forgets the claims of one side.
fn differs_in_amounts_only(new: &Container, old: &Container) -> bool {
    let masked = Container {
        resources: Some(with_amounts_of(new.resources.as_ref(), old.resources.as_ref())),
        ..new.clone()
    };
    let nothing = ResourceRequirements::default();
    let was = old.resources.as_ref().unwrap_or(&nothing);
    let plain = Container {
        resources: Some(ResourceRequirements {
            claims: was.claims.clone(),
            ..with_amounts_of(Some(was), Some(was))
        }),
        ..old.clone()
    };
    same(&masked, &plain)
}

/// The new requests and limits with the old amounts of what can be resized; empty lists are absent.
fn with_amounts_of(
    new: Option<&ResourceRequirements>,
    old: Option<&ResourceRequirements>,
) -> ResourceRequirements {
    let list = |pick: fn(&ResourceRequirements) -> &Option<ResourceList>| {
        let mut list = new.and_then(|it| pick(it).clone()).unwrap_or_default();
        for name in RESIZABLE {
            match old.and_then(|it| pick(it).at(name)) {
                Some(amount) => list.insert(name.to_owned(), amount.clone()),
                None => list.remove(name),
            };
        }
        (!list.is_empty()).then_some(list)
    };
    ResourceRequirements { limits: list(|it| &it.limits), requests: list(|it| &it.requests), claims: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        registry::strategy::Strategy as _,
        resources::{core::pods::Pods, shared::testing::with_context},
    };

    fn pod(containers: Value, more: Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": containers},
            "status": {},
        });
        json_patch(&mut pod, more);
        let mut pod: Pod = serde_json::from_value(pod).unwrap();
        Pods::default(&mut pod);
        pod
    }

    fn json_patch(target: &mut Value, patch: Value) {
        match (target, patch) {
            (Value::Object(target), Value::Object(patch)) => {
                for (key, value) in patch {
                    json_patch(target.entry(key).or_insert(Value::Null), value);
                }
            }
            (target, patch) => *target = patch,
        }
    }

    fn faults(new: &Pod, old: &Pod) -> Vec<String> {
        let mut new = new.clone();
        prepare(&mut new, old);
        with_context(|cx| validate(cx, &new, old)).iter().map(ToString::to_string).collect()
    }

    fn container(resources: Value) -> Value {
        json!([{"name": "c", "image": "i", "resources": resources}])
    }

    #[test]
    fn processor_time_and_memory_may_change() {
        let old = pod(container(json!({"requests": {"cpu": "1", "memory": "1Gi"}})), json!({}));
        let mut new = pod(
            json!([{"name": "c", "image": "other", "resources": {"requests": {"cpu": "2", "memory": "1Gi"}}}]),
            json!({"metadata": {"labels": {"a": "b"}}}),
        );
        assert_eq!(faults(&new, &old), Vec::<String>::new());
        prepare(&mut new, &old);
        let container = new.spec.as_ref().unwrap().containers.first().unwrap();
        assert_eq!(container.image.as_deref(), Some("i"), "other changes are dropped");
        assert_eq!(new.metadata.labels, None);
    }

    #[test]
    fn other_changes_may_not_be_made_by_resizing() {
        let old = pod(container(json!({"requests": {"cpu": "1", "memory": "1Gi"}})), json!({}));
        for (resources, expected) in [
            (
                json!({"requests": {"cpu": "1"}}),
                vec!["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"],
            ),
            (
                json!({"requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}}),
                vec!["spec: Forbidden: only cpu and memory resources are mutable"],
            ),
            (
                json!({
                    "requests": {"cpu": "1", "memory": "1Gi"},
                    "limits": {"cpu": "1", "memory": "1Gi"},
                }),
                vec![r#"spec: Invalid value: "": Pod QOS Class may not change as a result of resizing"#],
            ),
        ] {
            let new = pod(container(resources.clone()), json!({}));
            assert_eq!(faults(&new, &old), expected, "{resources}");
        }
    }

    #[test]
    fn containers_stay_what_and_where_they_are() {
        let old = pod(json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]), json!({}));
        for (containers, expected) in [
            (
                json!([{"name": "a", "image": "i"}]),
                vec!["spec.containers: Forbidden: containers may not be added or removed on resize"],
            ),
            (
                json!([{"name": "b", "image": "i"}, {"name": "a", "image": "i"}]),
                vec![
                    "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
                    "spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize",
                ],
            ),
        ] {
            assert_eq!(faults(&pod(containers, json!({})), &old), expected);
        }
    }

    #[test]
    fn some_pods_cannot_be_resized() {
        let containers = || container(json!({"requests": {"cpu": "1"}}));
        for (more, expected) in [
            (
                json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}),
                "[]: Forbidden: static pods cannot be resized",
            ),
            (json!({"spec": {"os": {"name": "windows"}}}), "[]: Forbidden: windows pods cannot be resized"),
            (
                json!({"status": {"containerStatuses": [{
                    "name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"running": {}},
                }]}}),
                "spec: Forbidden: Pod running on node without support for resize",
            ),
        ] {
            let old = pod(containers(), more.clone());
            assert_eq!(faults(&pod(containers(), json!({})), &old), [expected], "{more}");
        }
    }
}
