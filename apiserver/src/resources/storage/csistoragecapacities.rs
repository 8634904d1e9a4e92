//! CSIStorageCapacities: `csistoragecapacities` of `storage.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::storage::v1::CSIStorageCapacity;

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        internal::printed,
        metadata::invalid_each,
        names::dns_subdomain,
        optional::{Entries, Items, immutable, same},
        pod_spec::warnings::old_node_label,
        quantities::amount,
        selectors::{self, Leniency},
    },
};

/// The strategy of CSIStorageCapacities.
pub(crate) struct CSIStorageCapacities;

impl Strategy for CSIStorageCapacities {
    type Object = CSIStorageCapacity;

    const NAMES: Names = Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "CSIStorageCapacity",
        plural: "csistoragecapacities",
        singular: "csistoragecapacity",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const REJUDGES_METADATA: bool = false;
    const UNCONDITIONAL_UPDATE: bool = false;

    fn validate(_cx: &Context<'_>, object: &CSIStorageCapacity) -> Faults {
        faults(object, Leniency::default())
    }

    fn validate_update(_cx: &Context<'_>, object: &CSIStorageCapacity, old: &CSIStorageCapacity) -> Faults {
        let topology = old.node_topology.as_ref();
        let old_is_bad = !selectors::validate(topology, Leniency::default(), &Path::root()).is_empty();
        let mut faults = faults(object, Leniency { invalid_values: old_is_bad, ..Leniency::default() });
        if !same(&object.node_topology, &old.node_topology) {
            let value = printed("*meta.LabelSelector", &object.node_topology);
            faults.push(Fault::invalid(&Path::new("nodeTopology"), value, "field is immutable"));
        }
        faults.extend(immutable(
            &Path::new("storageClassName"),
            &object.storage_class_name,
            &old.storage_class_name,
        ));
        faults
    }

    fn warnings(
        _cx: &Context<'_>,
        object: &CSIStorageCapacity,
        _old: Option<&CSIStorageCapacity>,
    ) -> Vec<String> {
        let Some(topology) = &object.node_topology else { return Vec::new() };
        let path = Path::new("nodeTopology");
        let expressions = topology.match_expressions.items().iter().enumerate();
        let of_expressions = expressions.filter_map(|(index, expression)| {
            let what = old_node_label(&expression.key)?;
            let path = path.child("matchExpressions").index(index).child("key");
            Some(format!("{path}: {} is {what}", expression.key))
        });
        let of_labels = topology.match_labels.entries().filter_map(|(label, _)| {
            let what = old_node_label(label)?;
            Some(format!("{}: {what}", path.child("matchLabels").child(label)))
        });
        of_expressions.chain(of_labels).collect()
    }
}

fn faults(object: &CSIStorageCapacity, leniency: Leniency) -> Faults {
    let path = Path::new("nodeTopology");
    let mut faults = selectors::validate(object.node_topology.as_ref(), leniency, &path);
    let class = &object.storage_class_name;
    faults.extend(invalid_each(&Path::new("storageClassName"), class, dns_subdomain(class, false)));
    if let Some(capacity) = object.capacity.as_ref().map(amount).filter(|capacity| capacity.sign() < 0) {
        faults.push(Fault::invalid(
            &Path::new("capacity"),
            capacity.to_string(),
            "must be greater than or equal to 0",
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::CSIStorageCapacities;
    use crate::resources::shared::testing::{check_create, check_update};

    #[test]
    fn capacity_is_of_a_class_and_not_negative() {
        assert_eq!(
            check_create::<CSIStorageCapacities>(json!({"storageClassName": "a", "capacity": "-1"})),
            [r#"capacity: Invalid value: "-1": must be greater than or equal to 0"#]
        );
    }

    #[test]
    fn what_the_driver_was_asked_is_fixed() {
        assert_eq!(
            check_update::<CSIStorageCapacities>(
                json!({"storageClassName": "b", "nodeTopology": {"matchLabels": {"a": "b"}}}),
                json!({"storageClassName": "a"})
            ),
            [
                r#"nodeTopology: Invalid value: {"matchLabels":{"a":"b"}}: field is immutable"#,
                r#"storageClassName: Invalid value: "b": field is immutable"#,
            ]
        );
    }
}
