//! ControllerRevisions: `controllerrevisions` of `apps/v1`.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::Value;

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::optional::negative,
};

/// The strategy of ControllerRevisions.
pub(crate) struct ControllerRevisions;

impl Strategy for ControllerRevisions {
    type Object = ControllerRevision;

    const NAMES: Names = Names {
        group: "apps",
        version: "v1",
        kind: "ControllerRevision",
        plural: "controllerrevisions",
        singular: "controllerrevision",
        short: &[],
        categories: &[],
        namespaced: true,
    };

    fn validate(_cx: &Context<'_>, revision: &ControllerRevision) -> Faults {
        let mut faults: Faults = negative(&Path::new("revision"), revision.revision).into_iter().collect();
        let path = Path::new("data");
        match revision.data.as_ref().map(|data| &data.0) {
            None | Some(Value::Null) => faults.push(Fault::required(&path, "data is mandatory")),
            Some(Value::Object(_)) => {}
            Some(_) => faults.push(Fault::required(&path, "data must be a valid JSON object")),
        }
        faults
    }

    fn validate_update(_cx: &Context<'_>, revision: &ControllerRevision, old: &ControllerRevision) -> Faults {
        let mut faults: Faults = negative(&Path::new("revision"), revision.revision).into_iter().collect();
        if revision.data != old.data {
            faults.push(Fault::invalid(
                &Path::new("data"),
                BadValue::json(&revision.data),
                "field is immutable",
            ));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::shared::testing::{check_create, check_update};

    #[test]
    fn a_revision_has_a_number_and_data() {
        for (object, expected) in [
            (json!({"revision": 1, "data": {"a": "b"}}), vec![]),
            (
                json!({"revision": -1}),
                vec![
                    "revision: Invalid value: -1: must be greater than or equal to 0",
                    "data: Required value: data is mandatory",
                ],
            ),
            (
                json!({"revision": 1, "data": [1]}),
                vec!["data: Required value: data must be a valid JSON object"],
            ),
        ] {
            assert_eq!(check_create::<ControllerRevisions>(object), expected);
        }
    }

    #[test]
    fn data_are_for_ever() {
        assert_eq!(
            check_update::<ControllerRevisions>(
                json!({"revision": 2, "data": {"a": "c"}}),
                json!({"revision": 1, "data": {"a": "b"}})
            ),
            [r#"data: Invalid value: {"a":"c"}: field is immutable"#]
        );
    }
}
