//! What a Pod asks of a node.
//!
//! Containers run together, so their requests add up. Initial containers run one after another beside the sidecars that
//! were started before them; the largest moment counts (KEP-753). Requests of the Pod as a whole replace the sum (KEP-2837),
//! and its overhead comes on top (KEP-688). While a running Pod is resized, the larger of the wish and the grant counts
//! (KEP-1287).

use super::raw::{Container, ContainerStatus, Spec, Status};
use crate::resources::ResourceList;

/// The requests of a Pod; with what is not said taken for a little if `scored`.
pub(super) fn of_pod(spec: &Spec, status: &Status, scored: bool) -> ResourceList {
    let infeasible = status.resize_is_infeasible();
    let of_container = |container: &Container, statuses: &[ContainerStatus]| {
        let mut requests = container.resources.requests.clone();
        if let Some(known) = statuses.iter().find(|known| known.name == container.name) {
            if infeasible {
                if !known.allocated_resources.0.is_empty() {
                    requests = known.allocated_resources.clone();
                }
            } else if let Some(actual) = &known.resources {
                requests.max(&actual.requests);
                requests.max(&known.allocated_resources);
            }
        }
        if scored { requests.with_unsaid() } else { requests }
    };

    let mut sum = ResourceList::default();
    for container in &spec.containers {
        sum.add(&of_container(container, &status.container_statuses));
    }
    let mut sidecars = ResourceList::default();
    let mut peak = ResourceList::default();
    for container in &spec.init_containers {
        let requests = of_container(container, &status.init_container_statuses);
        if container.is_sidecar() {
            sum.add(&requests);
            sidecars.add(&requests);
            peak.max(&sidecars);
        } else {
            let mut moment = requests;
            moment.add(&sidecars);
            peak.max(&moment);
        }
    }
    sum.max(&peak);

    if let Some(whole) = &spec.resources {
        for (name, amount) in &whole.requests.0 {
            if matches!(&**name, "cpu" | "memory") || name.starts_with("hugepages-") {
                sum.0.insert(name.clone(), amount.clone());
            }
        }
    }
    sum.add(&spec.overhead);
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::pod::Pod;

    fn check(spec: Value, status: Value) -> String {
        let pod: Pod = serde_json::from_value(json!({"spec": spec, "status": status})).unwrap();
        let requests = &pod.requests;
        format!("{} {} {:?} scored {:?}", requests.cpu, requests.memory, requests.extended, pod.scored)
    }

    fn container(name: &str, cpu: &str, memory: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    fn sidecar(name: &str, cpu: &str, memory: &str) -> Value {
        let mut sidecar = container(name, cpu, memory);
        sidecar["restartPolicy"] = json!("Always");
        sidecar
    }

    #[test]
    fn containers_add_up_and_the_largest_initial_one_counts() {
        let spec = json!({
            "initContainers": [container("a", "2", "1"), container("b", "2", "3")],
            "containers": [container("c", "2", "1"), container("d", "1", "1")],
            "overhead": {"cpu": "10m", "memory": "5"},
        });
        assert_eq!(check(spec, json!({})), "3010 8 [] scored (3010, 8)");
    }

    #[test]
    fn sidecars_stay_beside_what_starts_after_them() {
        let spec = json!({
            "initContainers": [container("a", "5", "1"), sidecar("s", "1", "1"), container("b", "5", "1")],
            "containers": [container("c", "1", "1")],
        });
        assert_eq!(check(spec, json!({})), "6000 2 [] scored (6000, 2)");
    }

    #[test]
    fn what_is_not_said_counts_a_little_in_scores_only() {
        let spec =
            json!({"containers": [{"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "0"}}}]});
        assert_eq!(check(spec, json!({})), "0 0 [] scored (100, 419430400)");
    }

    #[test]
    fn the_pod_as_a_whole_may_ask_instead_of_its_containers() {
        let spec = json!({
            "resources": {"requests": {"cpu": "4"}},
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "7", "example.com/gpu": 2}}}],
        });
        assert_eq!(check(spec, json!({})), r#"4000 7 [("example.com/gpu", 2)] scored (4000, 7)"#);
    }

    #[test]
    fn while_a_pod_is_resized_the_larger_of_wish_and_grant_counts() {
        let spec = json!({"containers": [container("a", "1", "1")]});
        let status = |conditions: Value| {
            json!({"conditions": conditions, "containerStatuses": [{
                "name": "a", "allocatedResources": {"cpu": "2", "memory": "1"},
                "resources": {"requests": {"cpu": "3", "memory": "1"}},
            }]})
        };
        assert_eq!(check(spec.clone(), status(json!([]))), "3000 1 [] scored (3000, 1)");
        let infeasible = json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]);
        assert_eq!(check(spec, status(infeasible)), "2000 1 [] scored (2000, 1)");
    }
}
