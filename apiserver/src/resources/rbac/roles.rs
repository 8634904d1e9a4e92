//! Roles: `roles` of `rbac.authorization.k8s.io/v1`.

use k8s_openapi::api::rbac::v1::Role;

use crate::registry::strategy::{Names, Strategy};

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
}
