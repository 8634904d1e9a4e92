//! ServiceCIDR: a range of Service addresses is ready as soon as it is there, and stays for as long as addresses of it are
//! in use that no other range covers (KEP-1880).

use std::{sync::Arc, time::Duration};

use client::{
    Caches, Controller, Key, Kind, Plan, Triggers,
    controller::{OnFailure, Patch, Request},
    resource::SERVICE_CIDRS,
};
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    conditions::{self, Condition},
    kinds::{IpAddress, ServiceCidr},
    protection,
};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const TERMINATING: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
/// An address may just have been granted by a server that had not seen that the range is to go.
const GRACE: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// Keeps ServiceCIDRs.
#[derive(Debug)]
pub struct ServiceCidrs;

/// All that matters to a range.
#[derive(Debug)]
pub struct Observed {
    range: Arc<ServiceCidr>,
    /// An address of it that no other range covers.
    in_use: Option<Arc<str>>,
}

impl Controller for ServiceCidrs {
    type Root = ServiceCidr;
    type Observed = Observed;
    const NAME: &'static str = "service-cidr-controller";

    fn triggers(&self, on: &mut Triggers<ServiceCidr>) {
        // A range that comes or goes may cover another one.
        on.changes::<ServiceCidr>(|change, caches| {
            let mut keys = going(caches, |_| true);
            keys.push(change.object().key());
            keys
        });
        on.changes::<IpAddress>(|change, caches| {
            let name: Option<std::net::IpAddr> = change.object().metadata.name.parse().ok();
            going(caches, |range| name.is_some_and(|ip| range.ranges().any(|it| it.contains(&ip))))
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let range = caches.read::<ServiceCidr>().get(root)?;
        let in_use = range.metadata.is_terminating().then(|| in_use(&range, caches)).flatten();
        Some(Observed { range, in_use })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let Observed { range, in_use } = observed;
        let meta = &range.metadata;
        if !meta.is_terminating() {
            let mut plan = Plan::because("the range is ready");
            if !meta.has_finalizer(FINALIZER) {
                plan = protection::protect(&**range, FINALIZER, None);
            }
            return tell(plan, range, "True", "", "Kubernetes Service CIDR is ready", now);
        }
        if !meta.has_finalizer(FINALIZER) {
            return Plan::because("the range is on its way out");
        }
        if let Some(address) = in_use {
            let plan = Plan::because(format!("the range is to go, and {address} of it is in use"));
            return tell(plan, range, "False", "Terminating", TERMINATING, now);
        }
        let due = meta.deletion_timestamp.and_then(|at| at.checked_add(GRACE).ok()).unwrap_or(now);
        if now < due {
            return Plan::because("the range is to go; an address of it may just have been granted")
                .look_again(Duration::try_from(due.duration_since(now)).unwrap_or_default());
        }
        Plan::because("the range is to go, and no address of it is in use").then(protection::without(
            &SERVICE_CIDRS,
            meta,
            FINALIZER,
        ))
    }
}

/// The ranges that are to go and concerned.
fn going(caches: &Caches, concerned: impl Fn(&ServiceCidr) -> bool) -> Vec<Key> {
    let ranges = caches.read::<ServiceCidr>().list();
    let going = ranges.iter().filter(|it| it.metadata.is_terminating() && concerned(it));
    going.map(|it| it.key()).collect()
}

/// An address of a range that no other range covers.
fn in_use(range: &ServiceCidr, caches: &Caches) -> Option<Arc<str>> {
    let others = caches.read::<ServiceCidr>().list();
    let others: Vec<IpNet> = others
        .iter()
        .filter(|it| it.metadata.uid != range.metadata.uid && !it.metadata.is_terminating())
        .flat_map(|it| it.ranges().collect::<Vec<_>>())
        .collect();
    let uncovered: Vec<IpNet> =
        range.ranges().filter(|it| !others.iter().any(|other| other.contains(it))).collect();
    if uncovered.is_empty() {
        return None;
    }
    let addresses = caches.read::<IpAddress>().list();
    let held = |address: &&Arc<IpAddress>| {
        let Ok(ip) = address.metadata.name.parse::<std::net::IpAddr>() else { return false };
        uncovered.iter().any(|it| it.contains(&ip)) && !others.iter().any(|it| it.contains(&ip))
    };
    addresses.iter().find(held).map(|address| Arc::clone(&address.metadata.name))
}

/// And whether the range is ready, unless it says so.
fn tell(
    plan: Plan,
    range: &ServiceCidr,
    status: &'static str,
    reason: &'static str,
    message: &'static str,
    now: Timestamp,
) -> Plan {
    let told = conditions::find(&range.status.conditions, "Ready");
    if told.is_some_and(|it| it.status == status) {
        return plan;
    }
    let mut all = range.status.conditions.clone();
    conditions::set(&mut all, Condition::new("Ready", status, reason, message, now));
    let mut all = conditions::to_value(&all);
    // This kind demands a reason, be it empty.
    for condition in all.as_array_mut().into_iter().flatten() {
        if condition["reason"].is_null() {
            condition["reason"] = Value::from("");
        }
    }
    let patch = Patch::merge(json!({"status": {"conditions": all}}));
    let request = Request::patch(SERVICE_CIDRS, range.key(), patch).on("status").if_same(&range.metadata.uid);
    plan.then(request.on_failure(OnFailure::GoOn))
}

#[cfg(test)]
mod tests {
    use client::testing::Filled;

    use super::*;

    #[test]
    fn a_range_is_ready_and_stays_while_it_is_used() {
        let range = |name: &str, cidr: &str, change: &Value| {
            let mut range = json!({"metadata": {"name": name, "uid": name, "finalizers": [FINALIZER]}, "spec": {"cidrs": [cidr]},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
            for (part, fields) in change.as_object().unwrap() {
                for (field, value) in fields.as_object().unwrap() {
                    range[part][field] = value.clone();
                }
            }
            range
        };
        let going = || json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let address = || vec![json!({"metadata": {"name": "10.1.0.7"}})];
        for (name, ranges, addresses, later, writes, why) in [
            (
                "new",
                vec![range(
                    "a",
                    "10.1.0.0/24",
                    &json!({"metadata": {"finalizers": []}, "status": {"conditions": []}}),
                )],
                vec![],
                60,
                2,
                "it is not protected yet",
            ),
            ("ready", vec![range("a", "10.1.0.0/24", &json!({}))], address(), 60, 0, "the range is ready"),
            (
                "used",
                vec![range("a", "10.1.0.0/24", &going())],
                address(),
                60,
                1,
                "the range is to go, and 10.1.0.7 of it is in use",
            ),
            (
                "covered",
                vec![range("a", "10.1.0.0/24", &going()), range("b", "10.1.0.0/16", &json!({}))],
                address(),
                60,
                1,
                "the range is to go, and no address of it is in use",
            ),
            (
                "unused, just now",
                vec![range("a", "10.1.0.0/24", &going())],
                vec![],
                9,
                0,
                "the range is to go; an address of it may just have been granted",
            ),
            (
                "unused",
                vec![range("a", "10.1.0.0/24", &going())],
                vec![],
                10,
                1,
                "the range is to go, and no address of it is in use",
            ),
        ] {
            let caches = Filled::new().with::<ServiceCidr>(ranges).with::<IpAddress>(addresses).caches();
            let observed = ServiceCidrs.observe(&Key::cluster("a"), &caches).unwrap();
            let now =
                "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(later);
            let plan = ServiceCidrs.reconcile(&observed, now);
            assert_eq!((plan.writes.len(), plan.why.to_string().as_str()), (writes, why), "{name}");
        }
    }
}
