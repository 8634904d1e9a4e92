//! ClusterRoleBindings: `clusterrolebindings` of `rbac.authorization.k8s.io/v1`.

use k8s_openapi::api::rbac::v1::ClusterRoleBinding;

use crate::registry::strategy::{Names, Strategy};

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
}
