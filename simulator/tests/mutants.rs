//! A controller that is broken on purpose is caught: in each world one decision of one controller is not what it should be,
//! and what is looked at after every change, or what must be once the faults stop, tells it.
//!
//! Method: the controller is left out of the controllers, and the same one runs instead, with its plan changed on the way
//! out. A plain script shows it, without any fault: the invariants must not need luck.

use std::{sync::Arc, time::Duration};

use api_types::object::ObjectExt;
use client::{
    Caches, Controller, Key, Plan, Triggers, Write,
    controller::{Manager, Options as Workers, Patch, Request, Verb},
    resource,
};
use controller_manager::controllers::{
    cron_job::CronJobs, daemon_set::DaemonSets, deployment::Deployments, disruption::Disruption, job::Jobs,
    replica_set::ReplicaSets, stateful_set::StatefulSets,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use simulator::{
    cluster::{Also, Options, play},
    steps::{self, Step, Workload},
    workloads,
};

/// A controller whose plan is changed.
struct Mutant<C> {
    controller: C,
    mutate: fn(Plan) -> Plan,
}

impl<C: Controller> Controller for Mutant<C> {
    type Root = C::Root;
    type Observed = C::Observed;
    const NAME: &'static str = C::NAME;

    fn triggers(&self, on: &mut Triggers<C::Root>) {
        self.controller.triggers(on);
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<C::Observed> {
        self.controller.observe(root, caches)
    }

    fn reconcile(&self, observed: &C::Observed, now: Timestamp) -> Plan {
        (self.mutate)(self.controller.reconcile(observed, now))
    }
}

/// Every request of a plan, whether alone or among others.
fn each(plan: &mut Plan, mut change: impl FnMut(&mut Request)) {
    for write in &mut plan.writes {
        match write {
            Write::Request(request) => change(request),
            Write::Batch { requests, .. } => requests.iter_mut().for_each(&mut change),
            Write::Event { .. } => {}
        }
    }
}

/// The Pods that a plan makes, once more.
fn twice(mut plan: Plan) -> Plan {
    let mut more = Vec::new();
    each(&mut plan, |request| {
        if matches!(request.verb, Verb::Create(_)) && request.resource == resource::PODS {
            more.push(request.clone());
        }
    });
    plan.writes.extend(more.into_iter().map(Write::from));
    plan
}

/// A change to the object that a request writes.
fn rewrite(request: &mut Request, change: impl FnOnce(&mut Value)) {
    match &mut request.verb {
        Verb::Create(object) | Verb::Update(object) | Verb::Merge(object) => change(Arc::make_mut(object)),
        Verb::Patch(Patch::Merge(object) | Patch::Strategic(object)) => change(Arc::make_mut(object)),
        Verb::Patch(_) | Verb::Delete(_) => {}
    }
}

fn add(object: &mut Value, path: &str, more: i64) {
    if let Some(number) = object.pointer_mut(path)
        && let Some(is) = number.as_i64()
    {
        *number = (is + more).into();
    }
}

/// Starts a mutant in the place of a controller.
fn instead<C: Controller>(
    account: &'static str,
    make: impl Fn(&Manager) -> C + Send + Sync + 'static,
    mutate: fn(Plan) -> Plan,
) -> Also {
    Arc::new(move |manager: &Manager, workers: &dyn Fn(&str) -> Workers| {
        manager.start(Mutant { controller: make(manager), mutate }, workers(account));
    })
}

/// Everything a client may do, and a while for a CronJob to come around twice.
fn script() -> Vec<Step> {
    vec![
        Step::RunJob(4),
        Step::RunJob(5),
        Step::Update(Workload::Web, 1),
        Step::Update(Workload::Agent, 1),
        Step::Update(Workload::Db, 1),
        Step::Evict(0),
        Step::Evict(1),
        Step::Evict(2),
        Step::TimePasses(Duration::from_secs(30)),
        Step::Scale(Workload::Web, 2),
        Step::Scale(Workload::Db, 1),
        Step::TimePasses(Duration::from_secs(180)),
    ]
}

fn outcome(left_out: &str, also: Option<Also>) -> Result<(), String> {
    let controllers =
        if left_out.is_empty() { Vec::new() } else { vec!["*".to_owned(), format!("-{left_out}")] };
    let options = Options { stages: workloads::stages(), controllers, also, ..Options::seed(1) };
    let rest = Duration::from_secs(60);
    let played = play(options, async |cluster| steps::follow(cluster, &script(), rest).await);
    played.map(drop).map_err(|error| format!("{error:#}"))
}

#[track_caller]
fn is_caught(left_out: &str, mutant: Also, by: &str) {
    let told = outcome(left_out, Some(mutant)).expect_err("the mutant was not caught");
    assert!(told.contains(by), "caught, but not by {by:?}: {told}");
}

#[test]
fn the_same_script_is_followed_without_a_mutant() {
    outcome("", None).unwrap();
}

#[test]
fn a_controller_that_only_stands_in_for_another_is_not_blamed() {
    let stand_in = instead("deployment-controller", |_| Deployments, |plan| plan);
    outcome("deployment-controller", Some(stand_in)).unwrap();
}

#[test]
fn a_replica_set_that_makes_its_pods_twice_is_caught() {
    let mutant = instead("replicaset-controller", |_| ReplicaSets::default(), twice);
    is_caught("replicaset-controller", mutant, "was not told to keep more than");
}

#[test]
fn a_deployment_that_surges_too_much_is_caught() {
    let mutant = instead(
        "deployment-controller",
        |_| Deployments,
        |mut plan| {
            each(&mut plan, |request| rewrite(request, |object| add(object, "/spec/replicas", 2)));
            plan
        },
    );
    is_caught("deployment-controller", mutant, "pods, more than");
}

#[test]
fn a_stateful_set_that_does_not_wait_for_the_one_before_is_caught() {
    let mutant = instead(
        "statefulset-controller",
        |_| StatefulSets,
        |mut plan| {
            let mut more = Vec::new();
            each(&mut plan, |request| {
                if matches!(request.verb, Verb::Create(_)) && &*request.key.name == "db-0" {
                    let mut next = request.clone();
                    rewrite(&mut next, |object| object.set_meta("name", "db-1"));
                    next.key = Key::new(&request.key.namespace, "db-1");
                    more.push(next);
                }
            });
            plan.writes.extend(more.into_iter().map(Write::from));
            plan
        },
    );
    is_caught("statefulset-controller", mutant, "makes 1 before all before it are ready");
}

#[test]
fn a_daemon_set_with_two_pods_on_a_node_is_caught() {
    let make = |manager: &Manager| DaemonSets::new(Arc::clone(&manager.runtime.clock));
    let mutant = instead("daemon-set-controller", make, twice);
    is_caught("daemonset-controller", mutant, "has 2 pods for node-");
}

#[test]
fn a_job_that_counts_twice_is_caught() {
    let mutant = instead(
        "job-controller",
        |_| Jobs,
        |mut plan| {
            each(&mut plan, |request| rewrite(request, |object| add(object, "/status/succeeded", 1)));
            plan
        },
    );
    is_caught("job-controller", mutant, "pods that succeeded");
}

#[test]
fn a_job_that_lets_pods_go_before_they_are_counted_is_caught() {
    // The finalizers first, the books afterwards.
    let mutant = instead(
        "job-controller",
        |_| Jobs,
        |mut plan| {
            plan.writes.reverse();
            plan
        },
    );
    is_caught("job-controller", mutant, "lets a pod go that it has not counted");
}

#[test]
fn a_cron_job_that_does_not_forbid_what_it_should_is_caught() {
    // What is active is forgotten as soon as it is noted.
    let mutant = instead(
        "cronjob-controller",
        |_| CronJobs,
        |mut plan| {
            let mut more = Vec::new();
            each(&mut plan, |request| {
                if matches!(request.verb, Verb::Create(_)) && request.resource == resource::JOBS {
                    let mut next = request.clone();
                    let name = format!("{}-again", request.key.name);
                    rewrite(&mut next, |object| object.set_meta("name", json!(name)));
                    next.key = Key::new(&request.key.namespace, &name);
                    more.push(next);
                }
            });
            plan.writes.extend(more.into_iter().map(Write::from));
            plan
        },
    );
    is_caught("cronjob-controller", mutant, "CronJob default/tick starts");
}

#[test]
fn a_budget_that_allows_one_eviction_more_is_caught() {
    let mutant = instead(
        "disruption-controller",
        |_| Disruption::default(),
        |mut plan| {
            each(&mut plan, |request| {
                rewrite(request, |object| add(object, "/status/disruptionsAllowed", 2))
            });
            plan
        },
    );
    is_caught("disruption-controller", mutant, "evictions leave");
}

#[test]
fn a_garbage_collector_that_does_nothing_is_caught() {
    let mutant: Also = Arc::new(|_: &Manager, _: &dyn Fn(&str) -> Workers| {});
    // What a Job leaves when it goes is nobody's.
    is_caught("garbage-collector-controller", mutant, "is an orphan");
}
