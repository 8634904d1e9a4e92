//! IPAddresses: `ipaddresses` of `networking.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::networking::v1::{IPAddress, ParentReference};

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        addresses,
        internal::printed,
        metadata::invalid_each,
        names::{dns1123_subdomain, path_segment},
        optional::Text,
    },
};

/// The strategy of IPAddresses.
pub(crate) struct IPAddresses;

impl Strategy for IPAddresses {
    type Object = IPAddress;

    const NAMES: Names = Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "IPAddress",
        plural: "ipaddresses",
        singular: "ipaddress",
        short: &["ip"],
        categories: &[],
        namespaced: false,
    };
    const CHANGE_COMES_LAST: bool = true;

    // The name is the address, in canonical form. It cannot be generated, so that there is nothing to a prefix.
    fn name_faults(name: &str, _prefix: bool) -> Vec<String> {
        addresses::ip(&Path::root(), name).into_iter().map(|fault| fault.detail).collect()
    }

    fn validate(_cx: &Context<'_>, object: &IPAddress) -> Faults {
        let parent = &object.spec.parent_ref;
        let path = Path::new("spec.parentRef");
        if *parent == ParentReference::default() {
            return vec![Fault::required(&path, "")];
        }
        let mut faults = Vec::new();
        let (group, namespace) = (parent.group.text(), parent.namespace.text());
        if !group.is_empty() {
            faults.extend(invalid_each(&path.child("group"), group, dns1123_subdomain(group)));
        }
        for (field, value) in [("resource", &parent.resource), ("name", &parent.name)] {
            let path = path.child(field);
            if value.is_empty() {
                faults.push(Fault::required(&path, ""));
            }
            faults.extend(invalid_each(&path, value, path_segment(value, false)));
        }
        faults.extend(invalid_each(&path.child("namespace"), namespace, path_segment(namespace, false)));
        faults
    }

    fn validate_change(object: &IPAddress, old: &IPAddress) -> Faults {
        let mut faults = Vec::new();
        let (parent, was) = (&object.spec.parent_ref, &old.spec.parent_ref);
        if parent != was {
            let printed = printed("networking.ParentReference", parent);
            let path = Path::new("spec.parentRef");
            faults.push(Fault::invalid(&path, printed, "field is immutable"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::IPAddresses;
    use crate::{
        registry::strategy::Strategy,
        resources::shared::testing::{check_create, check_update},
    };

    #[test]
    fn the_name_is_an_address_in_canonical_form() {
        for (name, wrong) in [
            ("10.0.0.1", vec![]),
            ("2001:db8::1", vec![]),
            ("2001:DB8::1", vec![r#"must be in canonical form ("2001:db8::1")"#]),
            ("010.0.0.1", vec!["must not have leading 0s"]),
            ("a", vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]),
        ] {
            assert_eq!(IPAddresses::name_faults(name, false), wrong);
        }
    }

    #[test]
    fn an_address_belongs_to_one_object_for_good() {
        let parent =
            |resource: &str, name: &str| json!({"spec": {"parentRef": {"resource": resource, "name": name}}});
        assert_eq!(check_create::<IPAddresses>(parent("services", "a")), [""; 0]);
        assert_eq!(check_create::<IPAddresses>(json!({"spec": {}})), ["spec.parentRef: Required value"]);
        assert_eq!(
            check_create::<IPAddresses>(parent("a/b", "")),
            [
                r#"spec.parentRef.resource: Invalid value: "a/b": may not contain '/'"#,
                "spec.parentRef.name: Required value",
            ]
        );
        assert_eq!(
            check_update::<IPAddresses>(parent("services", "b"), parent("services", "a")),
            [
                r#"spec.parentRef: Invalid value: {"Group":"","Resource":"services","Namespace":"","Name":"b"}: field is immutable"#
            ]
        );
    }
}
