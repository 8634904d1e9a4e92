//! Ephemeral containers, which may be added to a pod that runs, and nothing else.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::{is_mirror, keep_all_but_the_spec, prepare_changed, rules, validate_spec};
use crate::registry::strategy::Context;
use crate::resources::shared::{
    internal::difference,
    optional::{Items, same},
    pod_spec::{annotations, scheduling::nowhere},
};

/// Drops every change but that of the ephemeral containers.
pub(super) fn prepare(pod: &mut Pod, old: &Pod) {
    let wanted = pod.spec.take().and_then(|spec| spec.ephemeral_containers);
    keep_all_but_the_spec(pod, old);
    let spec = old.spec.clone().unwrap_or_default();
    pod.spec = Some(PodSpec { ephemeral_containers: wanted, ..spec });
    prepare_changed(pod, old);
}

/// Everything that is wrong with the ephemeral containers of a prepared pod and with their change.
pub(super) fn validate(cx: &Context<'_>, pod: &Pod, old: &Pod) -> Faults {
    if is_mirror(old) {
        return vec![Fault::forbidden(&nowhere(), "static pods do not support ephemeral containers")];
    }
    let nothing = PodSpec::default();
    let (spec, old_spec) = (pod.spec.as_ref().unwrap_or(&nothing), old.spec.as_ref().unwrap_or(&nothing));
    let rules = rules(cx, old);
    let annotations_path = Path::new("metadata.annotations");
    let mut faults = validate_spec(pod, &rules);
    faults.extend(annotations::validate_update(
        &pod.metadata.annotations,
        &old.metadata.annotations,
        &annotations_path,
    ));
    faults.extend(annotations::validate(&pod.metadata.annotations, spec, &rules, &annotations_path));
    let path = Path::new("spec.ephemeralContainers");
    for old in old_spec.ephemeral_containers.items() {
        let name = &old.name;
        // Of several by that name, the last counts.
        match spec.ephemeral_containers.items().iter().rfind(|it| it.name == *name) {
            None => faults.push(Fault::forbidden(
                &path,
                format!("existing ephemeral containers {name:?} may not be removed\n"),
            )),
            Some(new) if !same(new, old) => faults.push(Fault::forbidden(
                &path,
                format!(
                    "existing ephemeral containers {name:?} may not be changed\n{}",
                    difference("core.EphemeralContainer", old, new)
                ),
            )),
            Some(_) => {}
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        registry::strategy::Strategy as _,
        resources::{core::pods::Pods, shared::testing::with_context},
    };

    fn pod(ephemeral: Value, image: &str) -> Pod {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {
                "containers": [{"name": "c", "image": image}],
                "ephemeralContainers": ephemeral,
            },
        }))
        .unwrap();
        Pods::default(&mut pod);
        pod
    }

    fn faults(new: Value, old: Value) -> Vec<String> {
        let old = pod(old, "i");
        let mut new = pod(new, "other");
        prepare(&mut new, &old);
        assert_eq!(
            new.spec.as_ref().unwrap().containers,
            old.spec.as_ref().unwrap().containers,
            "other changes are dropped"
        );
        with_context(|cx| validate(cx, &new, &old)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ephemeral_containers_may_be_added_but_neither_changed_nor_removed() {
        let one = json!({"name": "debug", "image": "busybox"});
        let other = json!({"name": "other", "image": "busybox"});
        let none: Vec<String> = Vec::new();
        assert_eq!(faults(json!([one]), json!([])), none);
        assert_eq!(faults(json!([other, one]), json!([one])), none);
        assert_eq!(
            faults(json!([other]), json!([one])),
            [
                r#"spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be removed
"#
            ]
        );
        assert_eq!(
            faults(json!([{"name": "debug", "image": "alpine"}]), json!([one])),
            [
                r#"spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be changed
@@ -1,6 +1,6 @@
 {
  "Name": "debug",
- "Image": "busybox",
+ "Image": "alpine",
  "Command": null,
  "Args": null,
  "WorkingDir": "",
"#
            ]
        );
    }

    #[test]
    fn a_list_that_is_not_for_them_may_not_even_be_empty() {
        for field in ["ports", "resizePolicy", "restartPolicyRules"] {
            assert_eq!(
                faults(json!([{"name": "debug", "image": "busybox", field: []}]), json!([])),
                [format!(
                    "spec.ephemeralContainers[0].{field}: Forbidden: cannot be set for an Ephemeral Container"
                )]
            );
        }
    }

    #[test]
    fn pods_of_files_have_no_ephemeral_containers() {
        let mut old = pod(json!([]), "i");
        old.metadata.annotations =
            Some([(annotations::MIRROR.to_owned(), "x".to_owned())].into_iter().collect());
        let mut new = pod(json!([{"name": "debug", "image": "busybox"}]), "i");
        prepare(&mut new, &old);
        let faults = with_context(|cx| validate(cx, &new, &old));
        assert_eq!(faults.len(), 1);
        assert_eq!(
            faults.first().unwrap().to_string(),
            "[]: Forbidden: static pods do not support ephemeral containers"
        );
    }
}
