//! ClusterRoles: `clusterroles` of `rbac.authorization.k8s.io/v1`.

use k8s_openapi::api::rbac::v1::ClusterRole;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of ClusterRoles.
pub(crate) struct ClusterRoles;

impl Strategy for ClusterRoles {
    type Object = ClusterRole;

    const NAMES: Names = Names {
        group: "rbac.authorization.k8s.io",
        version: "v1",
        kind: "ClusterRole",
        plural: "clusterroles",
        singular: "clusterrole",
        short: &[],
        categories: &[],
        namespaced: false,
    };
}
