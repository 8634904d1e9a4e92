//! `LimitRanger`: containers get the requests and limits that their namespace has for those who say nothing, and
//! nothing is larger or smaller than the namespace allows.

use std::{str::FromStr as _, sync::Weak};

use api_types::{
    object::{ObjectExt, object_at, object_of},
    quantity::Quantity,
    status::Status,
    typed::Typed as _,
};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{
    Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod, PodSpec,
};
use serde_json::{Map, Value, json};

use super::{Attributes, Operation, Plugin};
use crate::{
    resources::shared::{
        optional::{Entries as _, Items as _},
        quantities::{Amounts, amount, amounts, limits_of_pod, requests_of_pod_without_overhead},
    },
    server::Server,
};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Larger values are compared as whole numbers, since their thousandths have no room.
const MILLI_VALUE_MAX: i64 = i64::MAX / 1000;

/// The plugin.
#[derive(Debug)]
pub(super) struct LimitRanger(pub(super) Weak<Server>);

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.change(attributes))
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl LimitRanger {
    async fn change(&self, attributes: &mut Attributes) -> Result<(), Status> {
        if attributes.resource.resource == "pods" {
            for range in self.ranges(attributes).await? {
                complete(&range, &mut attributes.object);
            }
        }
        Ok(())
    }

    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        for range in self.ranges(attributes).await? {
            let problems = problems(&range, attributes)?;
            match problems.as_slice() {
                [] => {}
                [only] => return Err(attributes.forbidden(only)),
                several => return Err(attributes.forbidden(format!("[{}]", several.join(", ")))),
            }
        }
        Ok(())
    }

    /// The limits that hold for the object of a write.
    async fn ranges(&self, attributes: &Attributes) -> Result<Vec<LimitRange>, Status> {
        let new = attributes.operation == Operation::Create;
        let changed = attributes.operation == Operation::Update;
        let looked_at = new && attributes.is("", "pods", "")
            || changed && attributes.is("", "pods", "resize")
            || (new || changed) && attributes.is("", "persistentvolumeclaims", "");
        // What goes may end as it is.
        let (true, false, Some(server)) = (looked_at, attributes.old.is_terminating(), self.0.upgrade())
        else {
            return Ok(Vec::new());
        };
        let ranges = server.list("", "v1", "limitranges", &attributes.namespace).await?;
        ranges.iter().map(|range| LimitRange::from_value(range).map_err(Status::internal)).collect()
    }
}

fn items(range: &LimitRange) -> &[LimitRangeItem] {
    range.spec.as_ref().map(|spec| spec.limits.as_slice()).unwrap_or_default()
}

// --- defaults

/// Fills in what containers do not say, and says so in an annotation.
fn complete(range: &LimitRange, pod: &mut Value) {
    let (mut limits, mut requests) = (Map::new(), Map::new());
    for item in items(range).iter().filter(|item| item.type_ == "Container") {
        requests
            .extend(item.default_request.entries().map(|(name, amount)| (name.to_owned(), json!(amount))));
        limits.extend(item.default.entries().map(|(name, amount)| (name.to_owned(), json!(amount))));
    }
    let mut said = Vec::new();
    for (field, what) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = object_at(object_of(pod), "spec").get_mut(field).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let resources = object_at(object_of(container), "resources");
            for (list, word, defaults) in [("requests", "request", &requests), ("limits", "limit", &limits)] {
                let missing = fill(resources, list, defaults);
                if !missing.is_empty() {
                    said.push(format!("{} {word} for {what} {name}", missing.join(", ")));
                }
            }
        }
    }
    if !said.is_empty() {
        let said = format!("LimitRanger plugin set: {}", said.join("; "));
        object_at(pod.meta_mut(), "annotations").insert(ANNOTATION.to_owned(), json!(said));
    }
}

/// Puts in what the list lacks and returns its names, sorted.
fn fill(resources: &mut Map<String, Value>, list: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let mut missing = Vec::new();
    for (name, amount) in defaults {
        let list = object_at(resources, list);
        if !list.contains_key(name) {
            list.insert(name.clone(), amount.clone());
            missing.push(name.clone());
        }
    }
    missing.sort();
    missing
}

// --- bounds

/// What is requested and limited of something that limits are for.
struct Usage<'a> {
    /// What it is, as the type of the limit has it.
    of: &'a str,
    requests: Amounts,
    limits: Amounts,
}

fn problems(range: &LimitRange, attributes: &Attributes) -> Result<Vec<String>, Status> {
    let mut problems = Vec::new();
    if attributes.resource.resource == "persistentvolumeclaims" {
        let claim = PersistentVolumeClaim::from_value(&attributes.object).map_err(Status::internal)?;
        let requests = claim.spec.and_then(|spec| spec.resources).and_then(|resources| resources.requests);
        let usage = Usage {
            of: "PersistentVolumeClaim",
            requests: amounts(requests.as_ref()),
            limits: Amounts::new(),
        };
        for item in items(range).iter().filter(|item| item.type_ == usage.of) {
            problems
                .extend(item.min.entries().filter_map(|(name, least)| usage.too_little(name, amount(least))));
            problems.extend(
                item.max.entries().filter_map(|(name, most)| usage.too_much_asked(name, amount(most))),
            );
        }
        return Ok(problems);
    }
    let pod = Pod::from_value(&attributes.object).map_err(Status::internal)?;
    let spec = pod.spec.unwrap_or_default();
    for item in items(range) {
        match item.type_.as_str() {
            "Container" => {
                for container in spec.containers.iter().chain(spec.init_containers.items()) {
                    problems.extend(Usage::of_container(container).problems(item));
                }
            }
            "Pod" => problems.extend(Usage::of_pod(&spec).problems(item)),
            _ => {}
        }
    }
    Ok(problems)
}

// === impl Usage ===

impl Usage<'_> {
    fn of_container(container: &Container) -> Self {
        let resources = container.resources.as_ref();
        Self {
            of: "Container",
            requests: amounts(resources.and_then(|it| it.requests.as_ref())),
            limits: amounts(resources.and_then(|it| it.limits.as_ref())),
        }
    }

    fn of_pod(spec: &PodSpec) -> Self {
        Self { of: "Pod", requests: requests_of_pod_without_overhead(spec), limits: limits_of_pod(spec) }
    }

    fn problems(&self, item: &LimitRangeItem) -> Vec<String> {
        let of = |(name, bound)| (name, amount(bound));
        let mut problems: Vec<String> = Vec::new();
        problems.extend(item.min.entries().map(of).filter_map(|(name, least)| self.too_little(name, least)));
        problems.extend(item.max.entries().map(of).filter_map(|(name, most)| self.too_much(name, most)));
        let ratios = item.max_limit_request_ratio.entries().map(of);
        problems.extend(ratios.filter_map(|(name, ratio)| self.too_wide(name, ratio)));
        problems
    }

    fn too_little(&self, name: &str, least: Quantity) -> Option<String> {
        let bound = format!("minimum {name} usage per {} is {least}", self.of);
        let limit = self.limits.get(name);
        let Some(request) = self.requests.get(name) else {
            return Some(format!("{bound}.  No request is specified"));
        };
        let [asked, limited, enforced] = values([Some(request), limit, Some(&least)]);
        if asked < enforced {
            return Some(format!("{bound}, but request is {request}"));
        }
        limit.filter(|_| limited < enforced).map(|limit| format!("{bound}, but limit is {limit}"))
    }

    fn too_much(&self, name: &str, most: Quantity) -> Option<String> {
        let bound = format!("maximum {name} usage per {} is {most}", self.of);
        let request = self.requests.get(name);
        let Some(limit) = self.limits.get(name) else {
            return Some(format!("{bound}.  No limit is specified"));
        };
        let [asked, limited, enforced] = values([request, Some(limit), Some(&most)]);
        if limited > enforced {
            return Some(format!("{bound}, but limit is {limit}"));
        }
        request.filter(|_| asked > enforced).map(|request| format!("{bound}, but request is {request}"))
    }

    fn too_much_asked(&self, name: &str, most: Quantity) -> Option<String> {
        let bound = format!("maximum {name} usage per {} is {most}", self.of);
        let Some(request) = self.requests.get(name) else {
            return Some(format!("{bound}.  No request is specified"));
        };
        let [asked, _, enforced] = values([Some(request), None, Some(&most)]);
        (asked > enforced).then(|| format!("{bound}, but request is {request}"))
    }

    #[expect(clippy::cast_precision_loss, reason = "ratios are compared and shown as Go does it, in floats")]
    fn too_wide(&self, name: &str, most: Quantity) -> Option<String> {
        let bound = format!("{name} max limit to request ratio per {} is {most}", self.of);
        let [asked, limited, _] = values([self.requests.get(name), self.limits.get(name), Some(&most)]);
        if asked == 0 {
            return Some(format!("{bound}, but no request is specified or request is 0"));
        }
        if limited == 0 {
            return Some(format!("{bound}, but no limit is specified or limit is 0"));
        }
        let ratio = limited as f64 / asked as f64;
        let exceeds = if most.value() <= MILLI_VALUE_MAX {
            ratio * 1000.0 > most.milli_value() as f64
        } else {
            ratio > most.value() as f64
        };
        exceeds.then(|| format!("{bound}, but provided ratio is {ratio:.6}"))
    }
}

/// The amounts in a unit in which all have room: thousandths if possible. What is absent counts nothing.
fn values(of: [Option<&Quantity>; 3]) -> [i64; 3] {
    let nothing = Quantity::from_str("0").unwrap_or_default();
    let whole = of.map(|amount| amount.unwrap_or(&nothing).value());
    if whole.iter().all(|value| *value <= MILLI_VALUE_MAX) {
        of.map(|amount| amount.unwrap_or(&nothing).milli_value())
    } else {
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(item: Value) -> LimitRange {
        LimitRange::from_value(&json!({"spec": {"limits": [item]}})).unwrap()
    }

    #[test]
    fn containers_get_what_they_do_not_say() {
        let defaults = range(json!({"type": "Container", "default": {"cpu": "500m", "memory": "256Mi"},
            "defaultRequest": {"cpu": "100m", "memory": "256Mi"}}));
        let mut pod = json!({"spec": {
            "containers": [{"name": "c"}, {"name": "d", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "1"}}}],
            "initContainers": [{"name": "i", "resources": {"limits": {"cpu": "2", "memory": "2"}, "requests": {"cpu": "2", "memory": "2"}}}]}});
        complete(&defaults, &mut pod);
        assert_eq!(
            pod.pointer("/metadata/annotations").unwrap(),
            &json!({ANNOTATION: "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c; memory request for container d"})
        );
        assert_eq!(
            pod.pointer("/spec/containers/0/resources").unwrap(),
            &json!({"limits": {"cpu": "500m", "memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}})
        );
        let mut content = json!({"spec": {"containers": [{"name": "c"}]}});
        complete(&range(json!({"type": "Pod", "default": {"cpu": "1"}})), &mut content);
        assert_eq!(content.pointer("/metadata/annotations"), None);
    }

    #[test]
    fn containers_and_pods_stay_within_bounds() {
        let pod: PodSpec = serde_json::from_value(json!({"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "4"}}},
            {"name": "b", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "4"}}}]}))
        .unwrap();
        let check = |item: Value| {
            let item: LimitRangeItem = serde_json::from_value(item).unwrap();
            match item.type_.as_str() {
                "Pod" => Usage::of_pod(&pod).problems(&item),
                _ => Usage::of_container(&pod.containers[0]).problems(&item),
            }
        };
        for (item, expected) in [
            (json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "4"}}), vec![]),
            (
                json!({"type": "Container", "min": {"cpu": "1500m", "memory": "1Mi"}, "max": {"cpu": "3"}}),
                vec![
                    "minimum cpu usage per Container is 1500m, but request is 1",
                    "minimum memory usage per Container is 1Mi.  No request is specified",
                    "maximum cpu usage per Container is 3, but limit is 4",
                ],
            ),
            (
                json!({"type": "Pod", "max": {"cpu": "7", "memory": "1Gi"}}),
                vec![
                    "maximum cpu usage per Pod is 7, but limit is 8",
                    "maximum memory usage per Pod is 1Gi.  No limit is specified",
                ],
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "3", "memory": "1"}}),
                vec![
                    "cpu max limit to request ratio per Container is 3, but provided ratio is 4.000000",
                    "memory max limit to request ratio per Container is 1, but no request is specified or request is 0",
                ],
            ),
            (json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "4"}}), vec![]),
        ] {
            assert_eq!(check(item), expected);
        }
    }
}
