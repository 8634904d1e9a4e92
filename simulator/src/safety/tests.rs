use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;

/// Something in a history.
enum Happens {
    /// An object is written.
    Put(Value),
    /// An object is gone.
    Gone(Value),
    /// Somebody asks that a Pod go.
    Asks(&'static str, &'static str),
    /// Minutes pass.
    Minutes(u64),
}

use Happens::{Asks, Gone, Minutes, Put};

/// Lets things happen one after the other, and says what was wrong.
fn history(happens: Vec<Happens>) -> Vec<String> {
    let mut safety = Safety::default();
    let mut at = Duration::ZERO;
    for (revision, it) in (2..).zip(happens) {
        let (object, deleted) = match it {
            Asks(who, pod) => {
                safety.world.wishes.ask(who, "pods", "", pod);
                continue;
            }
            Minutes(minutes) => {
                at += Duration::from_secs(60 * minutes);
                continue;
            }
            Put(object) => (object, false),
            Gone(object) => (object, true),
        };
        let object = Arc::new(Object::read(object.to_string().as_bytes()));
        let plural = object.kind.to_lowercase() + "s";
        safety.observe(&Change {
            key: format!("/registry/{plural}/{}", object.full_name()),
            revision,
            at,
            created: false,
            deleted,
            object,
            bytes: Bytes::new(),
        });
    }
    safety.violations().to_vec()
}

#[track_caller]
fn check(name: &str, happens: Vec<Happens>, wrong: Option<&str>) {
    let violations = history(happens);
    match wrong {
        None => assert!(violations.is_empty(), "{name}: {violations:?}"),
        Some(wrong) => assert!(violations.iter().any(|it| it.contains(wrong)), "{name}: {violations:?}"),
    }
}

fn merge(mut object: Value, rest: Value) -> Value {
    json_patch_of(&mut object, rest);
    object
}

/// Objects are merged, all else is replaced.
fn json_patch_of(object: &mut Value, rest: Value) {
    match (object, rest) {
        (Value::Object(fields), Value::Object(rest)) => {
            for (field, value) in rest {
                json_patch_of(fields.entry(field).or_insert(Value::Null), value);
            }
        }
        (object, rest) => *object = rest,
    }
}

fn owned(kind: &str, name: &str, owner: &str) -> Value {
    json!({
        "kind": kind,
        "metadata": {"name": name, "uid": name, "ownerReferences": [{"name": owner, "uid": owner, "controller": true}]},
    })
}

fn root(kind: &str, name: &str, rest: Value) -> Happens {
    Put(merge(json!({"kind": kind, "metadata": {"name": name, "uid": name}}), rest))
}

fn pod_of(owner: &str, name: &str, ready: &str) -> Value {
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    merge(owned("Pod", name, owner), status)
}

fn pod(name: &str, ready: &str) -> Happens {
    Put(pod_of("set", name, ready))
}

fn going(pod: Value) -> Happens {
    Put(merge(pod, json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})))
}

fn set(replicas: i64) -> Happens {
    Put(merge(owned("ReplicaSet", "set", "web"), json!({"spec": {"replicas": replicas}})))
}

fn deployment(replicas: i64) -> Happens {
    let strategy = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}});
    root("Deployment", "web", json!({"spec": {"replicas": replicas, "strategy": strategy}}))
}

#[test]
fn a_deployment_is_held_to_its_bounds() {
    let knows = |replicas: i64, ready: i64| {
        let status = json!({"spec": {"replicas": replicas}, "status": {"readyReplicas": ready}});
        Put(merge(owned("ReplicaSet", "set", "web"), status))
    };
    let whole = || vec![deployment(2), set(2), pod("a", "True"), pod("b", "True"), knows(2, 2)];
    let with = |more: Vec<Happens>| whole().into_iter().chain(more).collect::<Vec<_>>();
    let gone = |name| going(pod_of("set", name, "True"));
    check("all is well", with(vec![gone("a")]), None);
    check("too many planned", vec![deployment(2), set(4)], Some("plans 4 pods, more than 3"));
    check("too few", with(vec![gone("a"), gone("b")]), Some("serves with 0 pods, fewer than 1"));
    let others = with(vec![Asks("somebody", "a"), gone("a"), Asks("somebody", "b"), gone("b")]);
    check("somebody else took them", others, None);
    let three = vec![deployment(3), set(3), pod("a", "True"), pod("b", "True"), pod("c", "True")];
    let shrinks = vec![deployment(2), Asks("somebody", "c"), gone("c"), knows(2, 3), gone("a"), gone("b")];
    let unheard = three.into_iter().chain(shrinks).collect();
    check("the controller has not heard of the one somebody took", unheard, None);
    check("a node is lost", with(vec![pod("a", "False"), pod("b", "False")]), None);
}

#[test]
fn nobody_has_more_pods_than_it_was_told_to_keep() {
    check("one too many", vec![set(1), pod("a", "True"), pod("b", "True")], Some("told to keep more than 1"));
    let smaller = |seen: i64| {
        let status = json!({"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": {"observedGeneration": seen}});
        vec![
            set(2),
            pod("a", "True"),
            Put(merge(owned("ReplicaSet", "set", "web"), status)),
            pod("b", "True"),
        ]
    };
    check("it has not seen that it is to be smaller", smaller(1), None);
    check("it has", smaller(2), Some("told to keep more than 1"));
}

#[test]
fn a_pod_is_bound_once_to_a_node_that_existed() {
    let bound =
        |node: &str| Put(json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": node}}));
    let node = |name: &str| Put(json!({"kind": "Node", "metadata": {"name": name, "uid": name}}));
    check("no such node", vec![bound("n")], Some("never existed"));
    check("a node", vec![node("n"), bound("n")], None);
    check("two nodes", vec![node("n"), node("m"), bound("n"), bound("m")], Some("bound again"));
}

fn db(replicas: i64) -> Happens {
    root("StatefulSet", "db", json!({"spec": {"replicas": replicas}}))
}

#[test]
fn a_stateful_set_keeps_its_order() {
    let member = |number: i64, ready: &str| pod_of("db", &format!("db-{number}"), ready);
    let put = |number, ready| Put(member(number, ready));
    check("in order", vec![db(2), put(0, "False"), put(0, "True"), put(1, "False")], None);
    check("too soon", vec![db(2), put(0, "False"), put(1, "False")], Some("makes 1 before all before it"));
    check("never wanted", vec![db(1), put(0, "True"), put(1, "True")], Some("never wanted a number 1"));
    let late = vec![db(2), put(0, "True"), put(0, "False"), Minutes(2), put(1, "False")];
    check("long not ready", late, Some("makes 1 before all before it"));
    let own = "statefulset-controller";
    let three = || vec![db(3), put(0, "True"), put(1, "True"), put(2, "True")];
    let with = |more: Vec<Happens>| three().into_iter().chain(more).collect::<Vec<_>>();
    let takes = |number: i64, name| vec![Asks(own, name), going(member(number, "True"))];
    check("one is updated", with(takes(2, "db-2")), None);
    let two = takes(2, "db-2").into_iter().chain(takes(1, "db-1")).collect();
    check("two are updated", with(two), Some("updates 2 pods at once"));
    let shrinks = std::iter::once(db(1)).chain(takes(1, "db-1")).collect();
    check("taken from the middle", with(shrinks), Some("takes 1 while 2 is there"));
}

#[test]
fn a_daemon_set_has_one_pod_on_a_node() {
    let status = json!({"status": {"desiredNumberScheduled": 2, "numberUnavailable": 0}});
    let agent = || root("DaemonSet", "agent", merge(status.clone(), json!({"spec": {}})));
    let node = |name: &str| Put(json!({"kind": "Node", "metadata": {"name": name, "uid": name}}));
    let on =
        |name: &str, node: &str| merge(pod_of("agent", name, "True"), json!({"spec": {"nodeName": node}}));
    let start = || vec![node("n"), node("m"), agent()];
    let with = |more: Vec<Happens>| start().into_iter().chain(more).collect::<Vec<_>>();
    check("one each", with(vec![Put(on("a", "n")), Put(on("b", "m"))]), None);
    check("two on one", with(vec![Put(on("a", "n")), Put(on("b", "n"))]), Some("has 2 pods for n"));
    let own = "daemon-set-controller";
    let both = vec![
        Put(on("a", "n")),
        Put(on("b", "m")),
        agent(),
        Asks(own, "a"),
        going(on("a", "n")),
        Asks(own, "b"),
        going(on("b", "m")),
    ];
    let leaving = vec![
        Put(on("a", "n")),
        going(on("a", "n")),
        Put(on("b", "m")),
        agent(),
        Asks(own, "b"),
        going(on("b", "m")),
    ];
    check("one was leaving when it was counted", with(leaving), None);
    check("both updated at once", with(both), Some("updates 2 pods at once, more than 1"));
}

#[test]
fn a_job_counts_each_pod_once() {
    let job = |status: Value| root("Job", "job", json!({"spec": {"completions": 1}, "status": status}));
    let done = || merge(owned("Pod", "p", "job"), json!({"status": {"phase": "Succeeded"}}));
    let held = || merge(done(), json!({"metadata": {"finalizers": [job::TRACKING]}}));
    let complete = json!({"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]});
    let noted = json!({"uncountedTerminatedPods": {"succeeded": ["p"]}});
    let right = vec![
        job(json!({})),
        Put(held()),
        job(noted.clone()),
        Put(done()),
        job(json!({"succeeded": 1})),
        job(complete.clone()),
    ];
    check("as it should be", right, None);
    let twice = vec![job(json!({})), Put(held()), job(json!({"succeeded": 2}))];
    check("counted twice", twice, Some("counts 2 pods that succeeded, and 1 did"));
    check("let go too soon", vec![job(json!({})), Put(held()), Put(done())], Some("that it has not counted"));
    let holding = vec![job(json!({})), Put(held()), job(noted), job(complete.clone())];
    check("holds a pod for ever", holding, Some("holds pods by its finalizer"));
    let again = vec![job(json!({})), Put(held()), job(complete), job(json!({"succeeded": 1}))];
    check("begins again", again, Some("was Complete and is not"));
}

#[test]
fn a_cron_job_that_forbids_it_has_one_job_at_a_time() {
    let cron = |policy: &str| root("CronJob", "cron", json!({"spec": {"concurrencyPolicy": policy}}));
    let job = |name: &str| Put(owned("Job", name, "cron"));
    check("forbidden", vec![cron("Forbid"), job("a"), job("b")], Some("starts a Job while 1 run"));
    check("allowed", vec![cron("Allow"), job("a"), job("b")], None);
    let over = json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}});
    let over = Put(merge(owned("Job", "a", "cron"), over));
    check("the first is over", vec![cron("Forbid"), job("a"), over, job("b")], None);
}

#[test]
fn evictions_leave_what_a_budget_wants() {
    let budget = || {
        let spec = json!({"spec": {"selector": {"matchLabels": {"app": "g"}}}, "status": {"expectedPods": 2, "desiredHealthy": 1}});
        root("PodDisruptionBudget", "g", spec)
    };
    let guarded =
        |name: &str| merge(pod_of("set", name, "True"), json!({"metadata": {"labels": {"app": "g"}}}));
    let evict = |name: &'static str| vec![Asks(disruption::EVICTOR, name), going(guarded(name))];
    let start = || vec![Put(guarded("a")), Put(guarded("b")), budget()];
    let one: Vec<_> = start().into_iter().chain(evict("a")).collect();
    check("one may go", one, None);
    let two: Vec<_> = start().into_iter().chain(evict("a")).chain(evict("b")).collect();
    check("two may not", two, Some("evictions leave 0 healthy pods"));
}

#[test]
fn what_has_an_owner_is_not_collected() {
    let collector = "generic-garbage-collector";
    let taken = |owner: Option<Happens>| {
        owner
            .into_iter()
            .chain([pod("a", "True"), Asks(collector, "a"), Gone(pod_of("set", "a", "True"))])
            .collect()
    };
    check("its owner is gone", taken(None), None);
    check("its owner is there", taken(Some(set(1))), Some("is collected although ReplicaSet set is there"));
}

#[test]
fn a_node_is_given_no_more_than_it_has() {
    let node = || root("Node", "n", json!({"status": {"allocatable": {"cpu": "2", "pods": "3"}}}));
    let guest = |name: &str, cpu: &str, port: i64| {
        let container = json!({"resources": {"requests": {"cpu": cpu}}, "ports": [{"hostPort": port}]});
        let spec =
            json!({"spec": {"nodeName": "n", "containers": [container]}, "status": {"phase": "Running"}});
        merge(json!({"kind": "Pod", "metadata": {"name": name, "uid": name}}), spec)
    };
    let put = |name: &str, cpu: &str, port: i64| Put(guest(name, cpu, port));
    check("room for both", vec![node(), put("a", "1500m", 0), put("b", "500m", 0)], None);
    check(
        "too many cores",
        vec![node(), put("a", "1500m", 0), put("b", "501m", 0)],
        Some("2000 thousandths of cpu"),
    );
    check("one port twice", vec![node(), put("a", "0", 80), put("b", "0", 80)], Some("away twice"));
    let many = ["a", "b", "c", "d"].map(|name| put(name, "0", 0));
    check("too many pods", std::iter::once(node()).chain(many).collect(), Some("3000 thousandths of pods"));
    let gone = vec![node(), put("a", "2", 0), Gone(guest("a", "2", 0)), put("b", "2", 0)];
    check("the first is gone", gone, None);
    let over = merge(guest("a", "2", 0), json!({"status": {"phase": "Succeeded"}}));
    check("the first is over", vec![node(), put("a", "2", 0), Put(over), put("b", "2", 0)], None);
}
