//! Roles: `roles` of `rbac.authorization.k8s.io/v1`.

use api_types::field::Faults;
use k8s_openapi::api::rbac::v1::Role;

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{names::path_segment, rbac::rules_faults},
};

/// The strategy of Roles.
pub(crate) struct Roles;

impl Strategy for Roles {
    type Object = Role;

    const NAMES: Names = Names {
        group: "rbac.authorization.k8s.io",
        version: "v1",
        kind: "Role",
        plural: "roles",
        singular: "role",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const CREATE_ON_UPDATE: bool = true;

    fn name_faults(name: &str, _prefix: bool) -> Vec<String> {
        path_segment(name, false)
    }

    fn validate(_cx: &Context<'_>, object: &Role) -> Faults {
        rules_faults(&object.rules, true)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Roles;
    use crate::resources::shared::testing::check_create;

    #[test]
    fn a_rule_of_a_role_is_about_resources() {
        for (rule, faults) in [
            (json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), vec![]),
            (
                json!({}),
                vec![
                    "rules[0].verbs: Required value: verbs must contain at least one value",
                    "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                    "rules[0].resources: Required value: resource rules must supply at least one resource",
                ],
            ),
            (
                json!({"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]}),
                vec![
                    r#"rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs"#,
                    r#"rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<Roles>(json!({"rules": [rule]})), faults);
        }
    }
}
