//! ClusterRoleBindings: `clusterrolebindings` of `rbac.authorization.k8s.io/v1`.

use api_types::field::Faults;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        names::path_segment,
        rbac::{binding_faults, changed_role, default_role_ref, default_subjects},
    },
};

/// The strategy of ClusterRoleBindings.
pub(crate) struct ClusterRoleBindings;

impl Strategy for ClusterRoleBindings {
    type Object = ClusterRoleBinding;

    const NAMES: Names = Names {
        group: "rbac.authorization.k8s.io",
        version: "v1",
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const CREATE_ON_UPDATE: bool = true;

    fn default(object: &mut ClusterRoleBinding) {
        default_role_ref(&mut object.role_ref);
        default_subjects(&mut object.subjects);
    }

    fn name_faults(name: &str, _prefix: bool) -> Vec<String> {
        path_segment(name, false)
    }

    fn validate(_cx: &Context<'_>, object: &ClusterRoleBinding) -> Faults {
        binding_faults(&object.role_ref, &["ClusterRole"], &object.subjects, false)
    }

    fn validate_update(cx: &Context<'_>, object: &ClusterRoleBinding, old: &ClusterRoleBinding) -> Faults {
        let mut faults = Self::validate(cx, object);
        faults.extend(changed_role(&object.role_ref, &old.role_ref));
        faults
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ClusterRoleBindings;
    use crate::resources::shared::testing::check_create;

    #[test]
    fn accounts_bound_everywhere_say_where_they_are_from() {
        assert_eq!(
            check_create::<ClusterRoleBindings>(json!({
                "roleRef": {"kind": "Role", "name": "a"},
                "subjects": [{"kind": "ServiceAccount", "name": "a"}],
            })),
            [
                r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#,
                "subjects[0].namespace: Required value",
            ]
        );
    }
}
