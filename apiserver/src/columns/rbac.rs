//! Role bindings. Roles have no columns of their own.

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use serde_json::Value;

use super::{
    TableDef,
    column::{AGE, NAME, of, says, text, wide},
    read::{self, ObjectExt as _, age, list},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    Some(match resource {
        "clusterrolebindings" => &CLUSTER_ROLE_BINDINGS,
        "rolebindings" => &ROLE_BINDINGS,
        _ => return None,
    })
}

static ROLE_BINDINGS: TableDef = TableDef::new(
    &[
        NAME,
        text("Role", of::<RoleBinding>("roleRef")),
        AGE,
        wide("Users", says("Users in the roleBinding")),
        wide("Groups", says("Groups in the roleBinding")),
        wide("ServiceAccounts", says("ServiceAccounts in the roleBinding")),
    ],
    cells,
);

static CLUSTER_ROLE_BINDINGS: TableDef = TableDef::new(
    &[
        NAME,
        text("Role", of::<ClusterRoleBinding>("roleRef")),
        AGE,
        wide("Users", says("Users in the clusterRoleBinding")),
        wide("Groups", says("Groups in the clusterRoleBinding")),
        wide("ServiceAccounts", says("ServiceAccounts in the clusterRoleBinding")),
    ],
    cells,
);

fn cells(binding: &Value, now: Timestamp) -> Vec<Value> {
    let role = format!("{}/{}", read::text(binding, "roleRef.kind"), read::text(binding, "roleRef.name"));
    let subjects = |kind: &str| -> Value {
        list(binding, "subjects")
            .iter()
            .filter(|subject| read::text(subject, "kind") == kind)
            .map(|subject| match kind {
                "ServiceAccount" => {
                    format!("{}/{}", read::text(subject, "namespace"), read::text(subject, "name"))
                }
                _ => read::text(subject, "name").to_owned(),
            })
            .collect::<Vec<_>>()
            .join(", ")
            .into()
    };
    vec![
        binding.name().into(),
        role.into(),
        age(binding, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}
