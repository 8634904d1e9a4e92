//! RoleBindings: `rolebindings` of `rbac.authorization.k8s.io/v1`.

use k8s_openapi::api::rbac::v1::RoleBinding;

use crate::registry::strategy::{Names, Strategy};

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
}
