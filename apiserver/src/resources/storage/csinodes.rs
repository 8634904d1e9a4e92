//! CSINodes: `csinodes` of `storage.k8s.io/v1`.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver};
use serde_json::Value;

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        metadata::invalid_each,
        names::qualified_name,
        optional::{Items, negative, same},
        pod_spec::volumes::csi_driver_name,
    },
};

const NODE_ID_LENGTH_MAX: usize = 256;

/// The strategy of CSINodes.
pub(crate) struct CSINodes;

impl Strategy for CSINodes {
    type Object = CSINode;

    const NAMES: Names = Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "CSINode",
        plural: "csinodes",
        singular: "csinode",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const REJUDGES_CHANGE: bool = false;
    const RETURNS_DELETED: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;

    fn validate(_cx: &Context<'_>, object: &CSINode) -> Faults {
        let path = Path::new("spec.drivers");
        let drivers = &object.spec.drivers;
        let mut faults = Vec::new();
        for (index, driver) in drivers.iter().enumerate() {
            let taken = drivers.iter().take(index).any(|earlier| earlier.name == driver.name);
            faults.extend(driver_faults(driver, taken, &path.index(index)));
        }
        faults
    }

    fn validate_update(cx: &Context<'_>, object: &CSINode, old: &CSINode) -> Faults {
        let mut faults = Self::validate(cx, object);
        // How many volumes a node takes may change (KEP-4876), nothing else about a driver.
        let fixed = |driver: &CSINodeDriver| CSINodeDriver { allocatable: None, ..driver.clone() };
        for old in &old.spec.drivers {
            for new in object.spec.drivers.iter().filter(|new| new.name == old.name) {
                if !same(&fixed(new), &fixed(old)) {
                    faults.push(Fault::invalid(
                        &Path::new("spec.drivers"),
                        printed(new),
                        "field is immutable",
                    ));
                }
            }
        }
        faults
    }
}

/// A driver as upstream prints it in messages: in its internal form.
fn printed(driver: &CSINodeDriver) -> BadValue {
    let text = |text: &String| Value::from(text.as_str()).to_string();
    BadValue::Plain(format!(
        r#"{{"Name":{},"NodeID":{},"TopologyKeys":{},"Allocatable":null}}"#,
        text(&driver.name),
        text(&driver.node_id),
        serde_json::json!(driver.topology_keys)
    ))
}

fn driver_faults(driver: &CSINodeDriver, taken: bool, path: &Path) -> Faults {
    let mut faults = csi_driver_name(&driver.name, &path.child("name"));
    let id_path = path.child("nodeID");
    if driver.node_id.is_empty() {
        faults.push(Fault::required(&id_path, ""));
    }
    if driver.node_id.len() > NODE_ID_LENGTH_MAX {
        let detail = format!("must be {NODE_ID_LENGTH_MAX} characters or less");
        faults.push(Fault::invalid(&id_path, &driver.node_id, detail));
    }
    if let Some(count) = driver.allocatable.as_ref().and_then(|allocatable| allocatable.count) {
        faults.extend(negative(&path.child("allocatable.count"), count));
    }
    if taken {
        faults.push(Fault::duplicate(&path.child("name"), &driver.name));
    }
    let keys = driver.topology_keys.items();
    for (index, key) in keys.iter().enumerate() {
        if key.is_empty() {
            faults.push(Fault::required(path, ""));
        }
        if keys.iter().take(index).any(|earlier| earlier == key) {
            faults.push(Fault::duplicate(path, key));
        }
        faults.extend(invalid_each(path, key, qualified_name(key)));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::CSINodes;
    use crate::resources::shared::testing::{check_create, check_update};

    fn node(drivers: Value) -> Value {
        json!({"spec": {"drivers": drivers}})
    }

    #[test]
    fn each_driver_is_there_once() {
        assert_eq!(
            check_create::<CSINodes>(node(json!([
                {"name": "a", "nodeID": "x", "topologyKeys": ["k", "k"]},
                {"name": "a", "nodeID": "", "allocatable": {"count": -1}}]))),
            [
                r#"spec.drivers[0]: Duplicate value: "k""#,
                "spec.drivers[1].nodeID: Required value",
                "spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
                r#"spec.drivers[1].name: Duplicate value: "a""#,
            ]
        );
    }

    #[test]
    fn of_a_driver_only_the_count_changes() {
        let driver = |id: &str, count: i32| {
            node(json!([{"name": "a", "nodeID": id, "allocatable": {"count": count}}]))
        };
        assert_eq!(check_update::<CSINodes>(driver("x", 2), driver("x", 1)), [""; 0]);
        assert_eq!(
            check_update::<CSINodes>(driver("y", 1), driver("x", 1)),
            [
                r#"spec.drivers: Invalid value: {"Name":"a","NodeID":"y","TopologyKeys":null,"Allocatable":null}: field is immutable"#
            ]
        );
    }
}
