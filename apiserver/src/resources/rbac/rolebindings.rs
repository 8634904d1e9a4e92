//! RoleBindings: `rolebindings` of `rbac.authorization.k8s.io/v1`.

use api_types::field::Faults;
use k8s_openapi::api::rbac::v1::RoleBinding;

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        names::path_segment,
        rbac::{binding_faults, changed_role, default_role_ref, default_subjects},
    },
};

/// The strategy of RoleBindings.
pub(crate) struct RoleBindings;

impl Strategy for RoleBindings {
    type Object = RoleBinding;

    const NAMES: Names = Names {
        group: "rbac.authorization.k8s.io",
        version: "v1",
        kind: "RoleBinding",
        plural: "rolebindings",
        singular: "rolebinding",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const CREATE_ON_UPDATE: bool = true;

    fn default(object: &mut RoleBinding) {
        default_role_ref(&mut object.role_ref);
        default_subjects(&mut object.subjects);
    }

    fn name_faults(name: &str, _prefix: bool) -> Vec<String> {
        path_segment(name, false)
    }

    fn validate(_cx: &Context<'_>, object: &RoleBinding) -> Faults {
        binding_faults(&object.role_ref, &["Role", "ClusterRole"], &object.subjects, true)
    }

    fn validate_update(cx: &Context<'_>, object: &RoleBinding, old: &RoleBinding) -> Faults {
        let mut faults = Self::validate(cx, object);
        faults.extend(changed_role(&object.role_ref, &old.role_ref));
        faults
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::RoleBindings;
    use crate::resources::shared::testing::{check_create, check_update};

    fn binding(role: &str, subject: Value) -> Value {
        json!({"roleRef": {"kind": "Role", "name": role}, "subjects": [subject]})
    }

    #[test]
    fn subjects_are_of_their_kinds_group() {
        for (subject, faults) in [
            (json!({"kind": "User", "name": "a"}), vec![]),
            (json!({"kind": "ServiceAccount", "name": "a"}), vec![]),
            (
                json!({"kind": "ServiceAccount", "name": "", "apiGroup": "x"}),
                vec![
                    "subjects[0].name: Required value",
                    r#"subjects[0].apiGroup: Unsupported value: "x": supported values: """#,
                ],
            ),
            (
                json!({"kind": "Pod", "name": "a"}),
                vec![
                    r#"subjects[0].kind: Unsupported value: "Pod": supported values: "ServiceAccount", "User", "Group""#,
                ],
            ),
        ] {
            assert_eq!(check_create::<RoleBindings>(binding("r", subject)), faults);
        }
    }

    #[test]
    fn a_binding_refers_to_a_role_for_good() {
        assert_eq!(
            check_create::<RoleBindings>(json!({"roleRef": {"apiGroup": "x", "kind": "y", "name": ""}})),
            [
                r#"roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io""#,
                r#"roleRef.kind: Unsupported value: "y": supported values: "Role", "ClusterRole""#,
                "roleRef.name: Required value",
            ]
        );
        let user = json!({"kind": "User", "name": "a"});
        assert_eq!(
            check_update::<RoleBindings>(binding("b", user.clone()), binding("a", user)),
            [
                r#"roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"b"}: cannot change roleRef"#
            ]
        );
    }
}
