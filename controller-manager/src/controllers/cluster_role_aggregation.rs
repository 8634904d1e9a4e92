//! ClusterRole aggregation: a role that is made of others allows what they allow.

use std::sync::Arc;

use client::{
    Caches, Controller, Key, Kind, Plan, Triggers,
    controller::{Patch, Request},
    resource::CLUSTER_ROLES,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::ClusterRole;

/// Who owns the rules.
const MANAGER: &str = "clusterrole-aggregation-controller";

/// Keeps the roles that are made of others.
#[derive(Debug)]
pub struct ClusterRoleAggregation;

/// All that matters to a role that is made of others.
#[derive(Debug)]
pub struct Observed {
    role: Arc<ClusterRole>,
    all: Vec<Arc<ClusterRole>>,
}

// === impl ClusterRoleAggregation ===

impl Controller for ClusterRoleAggregation {
    type Root = ClusterRole;
    type Observed = Observed;
    const NAME: &'static str = MANAGER;

    fn triggers(&self, on: &mut Triggers<ClusterRole>) {
        // Any role may be part of any other.
        on.changes::<ClusterRole>(|_, caches| {
            let all = caches.read::<ClusterRole>().list();
            all.iter().filter(|role| role.aggregation_rule.is_some()).map(|role| role.key()).collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let roles = caches.read::<ClusterRole>();
        let role = roles.get(root).filter(|role| role.aggregation_rule.is_some())?;
        Some(Observed { role, all: roles.list() })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { role, all } = observed;
        let rules = aggregate(role, all);
        if rules == role.rules {
            return Plan::because("the role allows what its parts allow");
        }
        let object = json!({
            "apiVersion": CLUSTER_ROLES.api_version(), "kind": &*CLUSTER_ROLES.kind,
            "metadata": {"name": &*role.metadata.name}, "rules": rules,
        });
        let patch = Patch::Apply { object: Arc::new(object), manager: MANAGER, force: true };
        Plan::because("the role does not allow what its parts allow").then(Request::patch(
            CLUSTER_ROLES,
            role.key(),
            patch,
        ))
    }
}

/// The rules of all parts, each once, in the order of selectors and names.
fn aggregate(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Vec<Value> {
    let selectors = role.aggregation_rule.iter().flat_map(|rule| &rule.cluster_role_selectors);
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors {
        let parts = all.iter().filter(|part| {
            part.metadata.name != role.metadata.name && selector.0.matches(&part.metadata.labels)
        });
        for rule in parts.flat_map(|part| &part.rules) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use client::testing::Filled;

    use super::*;

    #[test]
    fn a_role_has_the_rules_of_its_parts_each_once() {
        let rule = |verb: &str| json!({"apiGroups": [""], "resources": ["pods"], "verbs": [verb]});
        let part = |name: &str, label: &str, verbs: &[&str]| {
            json!({"metadata": {"name": name, "labels": {label: "true"}},
                "rules": verbs.iter().map(|verb| rule(verb)).collect::<Vec<_>>()})
        };
        let whole = |rules: Value| {
            json!({"metadata": {"name": "whole", "labels": {"x": "true"}}, "rules": rules,
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"x": "true"}}, {"matchLabels": {"y": "true"}}]}})
        };
        let look = |rules: Value| {
            let caches = Filled::new()
                .with::<ClusterRole>([
                    whole(rules),
                    part("b", "x", &["get"]),
                    part("a", "y", &["list", "get"]),
                    part("c", "z", &["delete"]),
                ])
                .caches();
            let observed = ClusterRoleAggregation.observe(&Key::cluster("whole"), &caches).unwrap();
            let plan = ClusterRoleAggregation.reconcile(&observed, Timestamp::UNIX_EPOCH);
            (aggregate(&observed.role, &observed.all), plan.writes.len())
        };
        let wanted = vec![rule("get"), rule("list")];
        assert_eq!(look(Value::Null), (wanted.clone(), 1));
        assert_eq!(look(json!(wanted)), (wanted, 0));
    }
}
