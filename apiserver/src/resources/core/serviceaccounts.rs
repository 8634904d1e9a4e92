//! ServiceAccounts: `serviceaccounts` of `v1`.

use k8s_openapi::api::core::v1::{ObjectReference, ServiceAccount};

use crate::registry::strategy::{Context, Names, Strategy};

/// The annotation that lets pods of the account mount only the secrets it names.
const ENFORCE_MOUNTABLE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";

/// The strategy of ServiceAccounts.
pub(crate) struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    type Object = ServiceAccount;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short: &["sa"],
        categories: &[],
        namespaced: true,
    };
    const RETURNS_DELETED: bool = true;

    fn prepare_for_create(_cx: &Context<'_>, object: &mut ServiceAccount) {
        keep_names_of_secrets(object);
    }

    fn prepare_for_update(_cx: &Context<'_>, object: &mut ServiceAccount, _old: &ServiceAccount) {
        keep_names_of_secrets(object);
    }

    fn warnings(_cx: &Context<'_>, object: &ServiceAccount, old: Option<&ServiceAccount>) -> Vec<String> {
        let enforces = |it: &ServiceAccount| {
            it.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(ENFORCE_MOUNTABLE_SECRETS))
        };
        if !enforces(object) || old.is_some_and(enforces) {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{ENFORCE_MOUNTABLE_SECRETS}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        )]
    }
}

/// Secrets are those of the account's namespace: of a reference only the name means something.
fn keep_names_of_secrets(object: &mut ServiceAccount) {
    for secret in object.secrets.iter_mut().flatten() {
        *secret = ObjectReference { name: secret.name.take(), ..ObjectReference::default() };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ServiceAccounts;
    use crate::resources::shared::testing::{created, warnings};

    #[test]
    fn of_a_secret_only_the_name_is_kept() {
        let object =
            created::<ServiceAccounts>(json!({"secrets": [{"name": "a", "namespace": "x", "kind": "Y"}]}));
        assert_eq!(object.get("secrets"), Some(&json!([{"name": "a"}])));
    }

    #[test]
    fn the_enforcing_annotation_is_deprecated() {
        let annotated =
            json!({"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}});
        assert_eq!(
            warnings::<ServiceAccounts>(annotated),
            [
                "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
            ]
        );
        assert_eq!(warnings::<ServiceAccounts>(json!({})), [""; 0]);
    }
}
