//! Whole servers under load: who is let in, who waits, what they are told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::body::Body;
use futures::future::join_all;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use runtime::Runtime;
use serde_json::{Value, json};

use super::{
    turn::{Asking, Outcome},
    *,
};
use crate::{
    authn::user::{AUTHENTICATED, MASTERS, UNAUTHENTICATED},
    http::info,
    launch,
    server::InProcess,
};

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

struct Nothing;

impl Facts for Nothing {
    fn collection(&self) -> Option<Collection> {
        None
    }

    fn watchers(&self) -> u32 {
        0
    }
}

async fn limited(reading_max: u32, writing_max: u32) -> Arc<Server> {
    let limits = Config { reading_max, writing_max, ..Config::default() };
    let server = launch::in_memory_limited(&Runtime::system(), limits).await.unwrap();
    // What is stored is read once more when it is watched, and seats are dealt anew then.
    tokio::time::sleep(Duration::from_millis(100)).await;
    server
}

fn admin() -> User {
    User::new("admin", &[MASTERS, AUTHENTICATED])
}

async fn send(
    server: &Arc<Server>,
    user: &User,
    method: &str,
    path: &str,
    body: Value,
) -> (u16, HeaderMap, String) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let mut request = request.body(Body::from(body.to_string())).unwrap();
    request.extensions_mut().insert(InProcess(user.clone()));
    let answer = Box::pin(server.serve(request)).await;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&body).into_owned())
}

async fn get(server: &Arc<Server>, path: &str) -> (u16, HeaderMap, String) {
    send(server, &admin(), "GET", path, Value::Null).await
}

fn fair(server: &Server) -> &Arc<Fairness> {
    match &server.gate {
        Gate::Fair(fairness) => fairness,
        Gate::Plain(_) => panic!("fairness is off"),
    }
}

/// Takes a turn as a request of `user` for `url` would.
fn ask(server: &Server, user: &User, method: &Method, url: &str) -> Outcome {
    let uri: Uri = url.parse().unwrap();
    let query = Query::parse(uri.query().unwrap_or_default());
    let info = info::resolve(method, uri.path(), &query).unwrap();
    let fairness = fair(server);
    let schema = fairness.classify(&info, user).unwrap();
    let until = Instant::now() + Duration::from_secs(15);
    let asking = Asking { info: &info, query: &query, user, method, uri: &uri, until };
    fairness.ask(&schema, &asking, &Nothing)
}

/// Takes all the seats that there are for requests of `user`; the next one waits.
fn fill(server: &Server, user: &User, url: &str) -> Vec<Turn> {
    let mut turns = Vec::new();
    while let Outcome::Now(turn) = ask(server, user, &Method::GET, url) {
        turns.push(turn);
    }
    assert!(!turns.is_empty(), "no seat is free");
    turns
}

#[tokio::test]
async fn requests_of_a_fresh_cluster_go_where_upstream_sends_them() {
    let server = limited(400, 200).await;
    let fairness = fair(&server);
    let account = |namespace: &str, name: &str| {
        User::new(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), AUTHENTICATED],
        )
    };
    let node = || User::new("system:node:n1", &["system:nodes", AUTHENTICATED]);
    let user = |name: &str| User::new(name, &[AUTHENTICATED]);
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x";
    for (user, method, url, schema, level) in [
        (admin(), Method::GET, "/api/v1/pods", "exempt", "exempt"),
        (User::anonymous(), Method::GET, "/healthz", "probes", "exempt"),
        (User::anonymous(), Method::GET, "/livez/etcd", "probes", "exempt"),
        (User::anonymous(), Method::GET, "/version", "global-default", "global-default"),
        (user("alice"), Method::GET, "/api/v1/pods", "global-default", "global-default"),
        (user("system:kube-scheduler"), Method::PUT, lease, "system-leader-election", "leader-election"),
        (
            user("system:kube-scheduler"),
            Method::GET,
            "/api/v1/pods?watch=1",
            "kube-scheduler",
            "workload-high",
        ),
        (
            user("system:kube-controller-manager"),
            Method::POST,
            "/api/v1/namespaces/a/pods",
            "kube-controller-manager",
            "workload-high",
        ),
        (
            account("kube-system", "job-controller"),
            Method::PUT,
            lease,
            "system-leader-election",
            "leader-election",
        ),
        (
            account("kube-system", "job-controller"),
            Method::GET,
            "/api/v1/pods",
            "kube-system-service-accounts",
            "workload-high",
        ),
        (account("default", "app"), Method::GET, "/api/v1/pods", "service-accounts", "workload-low"),
        (node(), Method::PATCH, "/api/v1/nodes/n1/status", "system-node-high", "node-high"),
        (
            node(),
            Method::PUT,
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1",
            "system-node-high",
            "node-high",
        ),
        (node(), Method::GET, "/api/v1/pods", "system-nodes", "system"),
        (User::new("odd", &[]), Method::GET, "/api/v1/pods", "catch-all", "catch-all"),
        (User::new("odd", &[UNAUTHENTICATED]), Method::GET, "/api", "global-default", "global-default"),
    ] {
        let uri: Uri = url.parse().unwrap();
        let info =
            info::resolve(&method, uri.path(), &Query::parse(uri.query().unwrap_or_default())).unwrap();
        let found = fairness.classify(&info, &user).unwrap();
        assert_eq!((found.name.as_str(), found.level.name.as_str()), (schema, level), "{} {url}", user.name);
    }
}

#[tokio::test]
async fn answers_say_by_uid_what_the_request_was_taken_for() {
    let server = limited(400, 200).await;
    let uid = async |path: String| {
        let (_, _, body) = get(&server, &path).await;
        serde_json::from_str::<Value>(&body).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let schema = uid(format!("{GROUP}/flowschemas/global-default")).await;
    let level = uid(format!("{GROUP}/prioritylevelconfigurations/global-default")).await;
    let alice = User::new("alice", &[AUTHENTICATED]);
    for path in ["/api", "/api/v1/secrets", "/nothing"] {
        let (_, headers, _) = send(&server, &alice, "GET", path, Value::Null).await;
        assert_eq!(headers["x-kubernetes-pf-flowschema-uid"], schema.as_str(), "{path}");
        assert_eq!(headers["x-kubernetes-pf-prioritylevel-uid"], level.as_str(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_requests_wait_then_are_sent_away_with_upstreams_words() {
    let server = limited(40, 20).await;
    let alice = User::new("alice", &[AUTHENTICATED]);
    let turns = fill(&server, &alice, "/api");
    // It waits a quarter of the time it gives itself.
    for _ in 0..2 {
        let begun = tokio::time::Instant::now();
        let (code, headers, body) = send(&server, &alice, "GET", "/api?timeout=4s", Value::Null).await;
        assert_eq!((code, body.as_str()), (429, "Too many requests, please try again later.\n"));
        assert_eq!(headers["retry-after"], "1");
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(headers.contains_key("x-kubernetes-pf-flowschema-uid"));
        assert_eq!(begun.elapsed().as_secs(), 1);
    }
    // Others are of other levels.
    assert_eq!(get(&server, "/api").await.0, 200);
    let robot = User::new("system:serviceaccount:a:b", &["system:serviceaccounts", AUTHENTICATED]);
    assert_eq!(send(&server, &robot, "GET", "/api", Value::Null).await.0, 200);
    drop(turns);
    assert_eq!(send(&server, &alice, "GET", "/api", Value::Null).await.0, 200);
    let (_, _, metrics) = get(&server, "/metrics").await;
    let labels = r#"flow_schema="global-default",priority_level="global-default""#;
    for line in [
        format!("apiserver_flowcontrol_rejected_requests_total{{{},reason=\"time-out\"}} 3", labels),
        format!("apiserver_flowcontrol_current_executing_requests{{{labels}}} 0"),
        format!("apiserver_flowcontrol_current_inqueue_requests{{{labels}}} 0"),
        r#"apiserver_flowcontrol_nominal_limit_seats{priority_level="global-default"} 5"#.to_owned(),
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_user_does_not_keep_another_from_its_turn() {
    let server = limited(40, 20).await;
    let (loud, quiet) = (User::new("loud", &[AUTHENTICATED]), User::new("quiet", &[AUTHENTICATED]));
    // Who served when: 64 clients of one user, each with the next request as soon as the last one is through.
    let served = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let clients = (0..64).map(|_| {
        let (server, loud, served) = (Arc::clone(&server), loud.clone(), Arc::clone(&served));
        async move {
            for _ in 0..40 {
                let turn = match ask(&server, &loud, &Method::GET, "/api") {
                    Outcome::Now(turn) => turn,
                    Outcome::Later(waiting) => waiting.wait().await.unwrap(),
                    Outcome::Never(_) => continue,
                };
                served.lock().push("loud");
                tokio::time::sleep(Duration::from_millis(3)).await;
                drop(turn);
            }
        }
    });
    let quiet = async {
        let mut most = 0;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let before = served.lock().len();
            let turn = match ask(&server, &quiet, &Method::GET, "/api") {
                Outcome::Now(turn) => turn,
                Outcome::Later(waiting) => waiting.wait().await.unwrap(),
                Outcome::Never(_) => panic!("the quiet one is sent away"),
            };
            most = most.max(served.lock().len() - before);
            tokio::time::sleep(Duration::from_millis(3)).await;
            drop(turn);
        }
        most
    };
    let (_, most) = tokio::join!(join_all(clients), quiet);
    assert!(served.lock().len() > 1000);
    // Never more before it than a hand of queues has, and who was being served.
    assert!(most <= 12, "{most} went before it");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_gives_its_place_and_its_seats_back() {
    let server = limited(40, 20).await;
    let alice = User::new("alice", &[AUTHENTICATED]);
    let mut turns = fill(&server, &alice, "/api");
    let served = u32::try_from(turns.len()).unwrap();
    let gone = send(&server, &alice, "GET", "/api", Value::Null);
    assert!(tokio::time::timeout(Duration::from_millis(1), gone).await.is_err());
    let state = fair(&server).levels().into_iter().find(|it| it.level.name == "global-default").unwrap();
    let waiting_and = |count: fn(&super::queues::QueueSet<super::level::Entry>) -> u32| {
        let set = state.level.look();
        (set.waiting(), count(&set))
    };
    assert_eq!(waiting_and(|set| set.executing()), (0, served));
    // One that has its turn when it goes: dropped between the waking and the next look.
    let Outcome::Later(waiting) = ask(&server, &alice, &Method::GET, "/api") else {
        panic!("a seat is free")
    };
    turns.pop();
    assert_eq!(state.level.look().executing(), served);
    drop(waiting);
    drop(turns);
    assert_eq!(waiting_and(|set| set.seats_in_use()), (0, 0));
}

#[tokio::test]
async fn flow_schemas_are_followed_and_told_whether_their_level_is_there() {
    let server = limited(400, 200).await;
    let level = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "mine"}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 10,
            "limitResponse": {"type": "Queue", "queuing": {"queues": 4, "handSize": 2, "queueLengthLimit": 3}}}}});
    let schema = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
        "metadata": {"name": "mine"}, "spec": {"matchingPrecedence": 50, "priorityLevelConfiguration": {"name": "mine"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "alice"}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    let alice = User::new("alice", &[AUTHENTICATED]);
    let is_of = async |name: &str| {
        for _ in 0..500 {
            let uri: Uri = "/api".parse().unwrap();
            let info = info::resolve(&Method::GET, uri.path(), &Query::default()).unwrap();
            if fair(&server).classify(&info, &alice).unwrap().level.name == name {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    };
    let condition = async |reason: &str| {
        for _ in 0..500 {
            let (_, _, body) = get(&server, &format!("{GROUP}/flowschemas/mine")).await;
            let schema: Value = serde_json::from_str(&body).unwrap();
            if schema["status"]["conditions"][0]["reason"] == reason {
                return schema;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it is never told {reason}");
    };
    assert_eq!(send(&server, &admin(), "POST", &format!("{GROUP}/flowschemas"), schema).await.0, 201);
    let told = condition("NotFound").await;
    let found = &told["status"]["conditions"][0];
    assert_eq!((found["type"].as_str(), found["status"].as_str()), (Some("Dangling"), Some("True")));
    assert_eq!(
        found["message"],
        r#"This FlowSchema references the PriorityLevelConfiguration object named "mine" but there is no such object"#
    );
    let managers = told["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|it| it["manager"] == "api-priority-and-fairness-config-consumer-v1"));
    assert!(is_of("global-default").await);
    let path = format!("{GROUP}/prioritylevelconfigurations");
    assert_eq!(send(&server, &admin(), "POST", &path, level).await.0, 201);
    assert_eq!(condition("Found").await["status"]["conditions"][0]["status"], "False");
    assert!(is_of("mine").await);
    // Whoever holds a turn keeps a level until it is through.
    let Outcome::Now(turn) = ask(&server, &alice, &Method::GET, "/api") else { panic!("no seat is free") };
    assert_eq!(send(&server, &admin(), "DELETE", &format!("{path}/mine"), Value::Null).await.0, 200);
    assert!(is_of("global-default").await);
    let named = || fair(&server).levels().into_iter().find(|it| it.level.name == "mine");
    assert!(named().is_some_and(|state| state.quiescing));
    drop(turn);
    fair(&server).rebalance();
    assert!(named().is_none());
}

#[tokio::test(start_paused = true)]
async fn operators_see_who_is_served_and_who_waits_if_they_may() {
    let server = limited(40, 20).await;
    let alice = User::new("alice", &[AUTHENTICATED]);
    let path = "/api/v1/namespaces/a/pods/x";
    let turns = fill(&server, &alice, path);
    let served = turns.len().to_string();
    let Outcome::Later(_place) = ask(&server, &alice, &Method::GET, path) else { panic!("a seat is free") };
    let (code, headers, levels) = get(&server, "/debug/api_priority_and_fairness/dump_priority_levels").await;
    assert_eq!(
        (code, &headers["content-type"]),
        (200, &HeaderValue::from_static("text/plain; charset=utf-8"))
    );
    let line = levels.lines().find(|line| line.starts_with("global-default,")).unwrap();
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    assert_eq!(cells, ["global-default", "1", "false", "false", "1", &served, &served, "1", "0", "1"]);
    let (_, _, queues) = get(&server, "/debug/api_priority_and_fairness/dump_queues").await;
    assert_eq!(queues.lines().filter(|line| line.starts_with("global-default,")).count(), 128);
    let (_, _, requests) =
        get(&server, "/debug/api_priority_and_fairness/dump_requests?includeRequestDetails=1").await;
    let of = |place: &str| {
        let rows = requests.lines().map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
        rows.filter(|row| row[0] == "global-default" && row[3] == place).collect::<Vec<_>>()
    };
    let [waiting] = of("0").try_into().unwrap();
    assert_eq!(waiting[4], "alice");
    assert_eq!(&waiting[9..], ["0001-01-01T00:00:00Z", "alice", "get", path, "a", "x", "v1", "pods", ""]);
    assert_eq!(of("-1").len(), turns.len());
    for name in ["dump_priority_levels", "dump_queues", "dump_requests"] {
        let path = format!("/debug/api_priority_and_fairness/{name}");
        let robot = User::new("system:serviceaccount:a:b", &["system:serviceaccounts", AUTHENTICATED]);
        assert_eq!(send(&server, &robot, "GET", &path, Value::Null).await.0, 403);
    }
    assert_eq!(get(&server, "/debug/api_priority_and_fairness/other").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_watch_takes_seats_until_it_has_told_what_was_there() {
    let server = limited(400, 200).await;
    let seats = || -> u32 { fair(&server).levels().iter().map(|it| it.level.look().seats_in_use()).sum() };
    let mut request = Request::get("/api/v1/namespaces?watch=1").body(Body::empty()).unwrap();
    request.extensions_mut().insert(InProcess(User::new("system:kube-scheduler", &[MASTERS, AUTHENTICATED])));
    let answer = Box::pin(server.serve(request)).await;
    assert_eq!((answer.status().as_u16(), seats()), (200, 1));
    let mut body = answer.into_body();
    let mut seen = BTreeMap::new();
    while seen.len() < 4 {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        for event in serde_json::Deserializer::from_slice(&frame).into_iter::<Value>() {
            let name = event.unwrap()["object"]["metadata"]["name"].to_string();
            *seen.entry(name).or_insert(0) += 1;
        }
    }
    // The next look finds the end of what was there.
    let next = tokio::time::timeout(Duration::from_millis(100), body.frame()).await;
    assert!(next.is_err() || seats() == 0);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(seats(), 0);
    let nodes = info::resolve(&Method::PUT, "/api/v1/namespaces/x", &Query::default()).unwrap();
    assert_eq!(fair(&server).watches.interested(&nodes), 1);
    drop(body);
    assert_eq!(fair(&server).watches.interested(&nodes), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_nobody_reads_gives_its_seats_back_in_time() {
    let server = limited(400, 200).await;
    let seats = || -> u32 { fair(&server).levels().iter().map(|it| it.level.look().seats_in_use()).sum() };
    let mut request = Request::get("/api/v1/namespaces?watch=1").body(Body::empty()).unwrap();
    request.extensions_mut().insert(InProcess(admin()));
    let _answer = Box::pin(server.serve(request)).await;
    assert_eq!(seats(), 1);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(seats(), 0);
}

#[tokio::test]
async fn without_fairness_there_is_a_plain_limit() {
    let limits = Config { enabled: false, reading_max: 1, writing_max: 1 };
    let server = launch::in_memory_limited(&Runtime::system(), limits).await.unwrap();
    let alice = User::new("alice", &[AUTHENTICATED]);
    let Gate::Plain(limit) = &server.gate else { panic!("fairness is on") };
    let info = info::resolve(&Method::GET, "/api", &Query::default()).unwrap();
    let place = limit.enter(&info, &alice);
    let (code, headers, body) = send(&server, &alice, "GET", "/api", Value::Null).await;
    assert_eq!((code, body.as_str()), (429, "Too many requests, please try again later.\n"));
    assert_eq!(headers["retry-after"], "1");
    assert!(!headers.contains_key("x-kubernetes-pf-flowschema-uid"));
    assert_eq!(get(&server, "/api").await.0, 200);
    drop(place);
    assert_eq!(send(&server, &alice, "GET", "/api", Value::Null).await.0, 200);
    assert_eq!(get(&server, "/debug/api_priority_and_fairness/dump_queues").await.0, 404);
}
