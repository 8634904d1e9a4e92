//! `AlwaysPullImages`: every image is pulled anew, so that nobody runs one that only somebody else has the credentials for.

use std::collections::BTreeSet;

use api_types::{
    field::{Fault, Path},
    status::Status,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin};

const ALWAYS: &str = "Always";
/// The lists of containers of a Pod, in the order in which upstream looks at them.
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// The plugin.
#[derive(Debug)]
pub(super) struct AlwaysPullImages;

impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        if matters(attributes) {
            pull(&mut attributes.object);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(if matters(attributes) { check(attributes) } else { Ok(()) }))
    }
}

/// Whether there may be an image that was not there before.
fn matters(attributes: &Attributes) -> bool {
    attributes.is("", "pods", "")
        && match attributes.operation {
            Operation::Create => true,
            Operation::Update => !images(&attributes.object).is_subset(&images(&attributes.old)),
            Operation::Delete | Operation::Connect => false,
        }
}

fn items<'a>(pod: &'a Value, list: &str) -> &'a [Value] {
    let items = pod.get("spec").and_then(|spec| spec.get(list)).and_then(Value::as_array);
    items.map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn images(pod: &Value) -> BTreeSet<&str> {
    LISTS.iter().flat_map(|list| items(pod, list)).map(|container| text(container, "image")).collect()
}

fn pull(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for list in LISTS {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                container.insert("imagePullPolicy".to_owned(), json!(ALWAYS));
            }
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
            image.insert("pullPolicy".to_owned(), json!(ALWAYS));
        }
    }
}

/// That nobody has changed it back.
fn check(attributes: &Attributes) -> Result<(), Status> {
    let pod = &attributes.object;
    let mut faults = Vec::new();
    let mut look = |value: &str, path: &Path| {
        if value != ALWAYS {
            let fault = Fault::not_supported(path, value, &[ALWAYS]);
            faults.push(attributes.forbidden(fault).message);
        }
    };
    for list in LISTS {
        let path = Path::new("spec").child(list);
        for (index, container) in items(pod, list).iter().enumerate() {
            look(text(container, "imagePullPolicy"), &path.index(index).child("imagePullPolicy"));
        }
    }
    for (index, volume) in items(pod, "volumes").iter().enumerate() {
        if let Some(image) = volume.get("image").filter(|image| !image.is_null()) {
            let path = Path::new("spec").child("volumes").index(index).child("image").child("pullPolicy");
            look(text(image, "pullPolicy"), &path);
        }
    }
    match faults.as_slice() {
        [] => Ok(()),
        [only] => Err(Status::failure(500, "", only)),
        several => Err(Status::failure(500, "", format!("[{}]", several.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn images_of_containers_and_volumes_are_always_pulled() {
        let mut pod = json!({"spec": {"containers": [{"image": "a", "imagePullPolicy": "Never"}], "initContainers": [{"image": "b"}],
            "volumes": [{"image": {"reference": "r"}}, {"emptyDir": {}}]}});
        let refused = check(&testing::of("", "pods", "", Operation::Create, pod.clone(), Value::Null));
        assert_eq!(
            refused.unwrap_err().message,
            r#"[pods "Unknown" is forbidden: spec.initContainers[0].imagePullPolicy: Unsupported value: "": supported values: "Always", pods "Unknown" is forbidden: spec.containers[0].imagePullPolicy: Unsupported value: "Never": supported values: "Always", pods "Unknown" is forbidden: spec.volumes[0].image.pullPolicy: Unsupported value: "": supported values: "Always"]"#
        );
        pull(&mut pod);
        assert_eq!(
            pod,
            json!({"spec": {"containers": [{"image": "a", "imagePullPolicy": "Always"}], "initContainers": [{"image": "b", "imagePullPolicy": "Always"}],
                "volumes": [{"image": {"reference": "r", "pullPolicy": "Always"}}, {"emptyDir": {}}]}})
        );
        assert!(check(&testing::of("", "pods", "", Operation::Create, pod, Value::Null)).is_ok());
    }

    #[test]
    fn a_change_without_a_new_image_is_left_alone() {
        let pod = |images: &[&str]| {
            let containers: Vec<Value> = images.iter().map(|image| json!({"image": image})).collect();
            json!({"spec": {"containers": containers}})
        };
        let of = |now: &[&str], old: &[&str]| {
            matters(&testing::of("", "pods", "", Operation::Update, pod(now), pod(old)))
        };
        assert!(!of(&["a"], &["a", "b"]));
        assert!(of(&["a", "c"], &["a", "b"]));
        assert!(!matters(&testing::of("", "pods", "status", Operation::Create, pod(&["a"]), Value::Null)));
    }
}
