//! ServiceAccount: a `default` one in every namespace that is not on its way out.

use client::{
    Caches, Change, Controller, Key, Kind, Plan, Triggers, controller::Request, resource::SERVICE_ACCOUNTS,
};
use jiff::Timestamp;
use serde_json::json;

use crate::kinds::{Namespace, ServiceAccount};

const DEFAULT: &str = "default";

/// Keeps the default ServiceAccounts.
#[derive(Debug)]
pub struct ServiceAccounts;

/// All that matters to a namespace's default ServiceAccount.
#[derive(Debug)]
pub struct Observed {
    namespace: Key,
    active: bool,
    there: bool,
}

// === impl ServiceAccounts ===

impl Controller for ServiceAccounts {
    type Root = Namespace;
    type Observed = Observed;
    const NAME: &'static str = "serviceaccount-controller";

    fn triggers(&self, on: &mut Triggers<Namespace>) {
        on.root().changes::<ServiceAccount>(|change, _| match change {
            Change::Deleted { last, .. } => vec![Key::cluster(&last.metadata.namespace)],
            Change::Added(_) | Change::Modified { .. } => Vec::new(),
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let namespace = caches.read::<Namespace>().get(root)?;
        let account = Key::new(&root.name, DEFAULT);
        Some(Observed {
            namespace: namespace.key(),
            active: namespace.is_active(),
            there: caches.read::<ServiceAccount>().get(&account).is_some(),
        })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { namespace, active, there } = observed;
        if !active {
            return Plan::because("the namespace is on its way out");
        }
        if *there {
            return Plan::because("the default ServiceAccount is there");
        }
        let account = json!({"metadata": {"name": DEFAULT, "namespace": &*namespace.name}});
        Plan::because("the default ServiceAccount is missing")
            .then(Request::create(SERVICE_ACCOUNTS, &namespace.name, account).conflict_is_fine())
    }
}

#[cfg(test)]
mod tests {
    use client::testing::Filled;

    use super::*;

    #[test]
    fn an_active_namespace_without_a_default_account_gets_one() {
        for (phase, accounts, why, writes) in [
            ("Active", vec!["other"], "the default ServiceAccount is missing", 1),
            ("Active", vec!["default"], "the default ServiceAccount is there", 0),
            ("Terminating", vec![], "the namespace is on its way out", 0),
        ] {
            let caches = Filled::new()
                .with::<Namespace>([json!({"metadata": {"name": "a"}, "status": {"phase": phase}})])
                .with::<ServiceAccount>(
                    accounts.iter().map(|name| json!({"metadata": {"namespace": "a", "name": name}})),
                )
                .caches();
            let observed = ServiceAccounts.observe(&Key::cluster("a"), &caches).unwrap();
            let plan = ServiceAccounts.reconcile(&observed, Timestamp::UNIX_EPOCH);
            assert_eq!((plan.why.to_string().as_str(), plan.writes.len()), (why, writes));
        }
    }
}
