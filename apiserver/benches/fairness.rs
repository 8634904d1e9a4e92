//! What it costs a request to have its turn at once: to be classified, to get its seats, to give them back.
//! `cargo bench -p apiserver --bench fairness`.

#![expect(missing_docs, reason = "the macro makes a function that has none")]

use std::{hint::black_box, time::Duration};

use apiserver::{
    authn::user::User,
    fairness::{
        Gate,
        dispatcher::Fairness,
        queues::{Arrival, Discipline, QueueSet},
        shuffle,
        turn::Asking,
        work::{Collection, Estimate, Facts},
    },
    http::{info, query::Query},
    launch,
};
use criterion::{Criterion, criterion_group, criterion_main};
use http::{Method, Uri};
use tokio::time::Instant;

struct Nothing;

impl Facts for Nothing {
    fn collection(&self) -> Option<Collection> {
        None
    }

    fn watchers(&self) -> u32 {
        0
    }
}

fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fairness");
    group.bench_function("the queues of a level, nobody waiting", |bench| {
        let discipline = Discipline::Queue { queues: 128, hand: 6, length: 50 };
        let mut set = QueueSet::new(Duration::ZERO, discipline, 100);
        let (mut now, mut flow) = (Duration::ZERO, 7_u64);
        bench.iter(|| {
            now += Duration::from_micros(10);
            flow = flow.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if let Arrival::Served(ticket) = set.arrive(now, Estimate::seats(1), flow, ()) {
                set.finish(now + Duration::from_micros(5), ticket);
            }
        });
    });
    group.bench_function("the queues of a level, 300 waiting", |bench| {
        let discipline = Discipline::Queue { queues: 128, hand: 6, length: 50 };
        let mut set = QueueSet::new(Duration::ZERO, discipline, 10);
        let mut now = Duration::ZERO;
        let mut running = std::collections::VecDeque::new();
        for flow in 0..310_u64 {
            let flow = shuffle::flow("schema", &flow.to_string());
            if let Arrival::Served(ticket) = set.arrive(now, Estimate::seats(1), flow, ()) {
                running.push_back(ticket);
            }
        }
        let mut flow = 7_u64;
        bench.iter(|| {
            now += Duration::from_micros(10);
            flow = flow.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if let Some(ticket) = running.pop_front() {
                set.finish(now, ticket);
            }
            running.extend(set.turns());
            black_box(set.arrive(now, Estimate::seats(1), flow, ()));
        });
    });

    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let server = tokio
        .block_on(launch::in_memory(&runtime::Runtime::system()))
        .expect("a server on a store in memory");
    let Gate::Fair(fairness) = &server.gate else { return };
    for (name, user, url) in [
        (
            "an administrator's",
            User::new("admin", &["system:masters", "system:authenticated"]),
            "/api/v1/pods",
        ),
        ("a user's", User::new("alice", &["system:authenticated"]), "/api/v1/namespaces/default/pods/x"),
    ] {
        let uri: Uri = url.parse().expect("a path");
        let query = Query::default();
        let info = info::resolve(&Method::GET, uri.path(), &query).expect("a request");
        let asking = Asking {
            info: &info,
            query: &query,
            user: &user,
            method: &Method::GET,
            uri: &uri,
            until: Instant::now() + Duration::from_secs(15),
        };
        group.bench_function(format!("{name} request is classified"), |bench| {
            bench.iter(|| black_box(fairness.classify(&info, &user)));
        });
        group.bench_function(format!("{name} request has its turn"), |bench| {
            bench.iter(|| turn(fairness, &asking));
        });
    }
    group.finish();
}

fn turn(fairness: &std::sync::Arc<Fairness>, asking: &Asking<'_>) {
    if let Some(schema) = fairness.classify(asking.info, asking.user) {
        drop(black_box(fairness.ask(&schema, asking, &Nothing)));
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
