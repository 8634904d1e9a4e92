//! What decisions cost on five thousand nodes, in the cases of upstream's `scheduler_perf`, without the API: snapshot, decision,
//! assumption. `cargo bench -p scheduler --bench perf`; with a word, such as `-- Preemption`, only the cases it is part of.
//!
//! Upstream's thresholds are for a whole scheduler with its API server; the figures here say what the cycle leaves of a core.

#![expect(clippy::print_stdout, reason = "figures are for whoever runs it")]
#![expect(clippy::cast_precision_loss, reason = "figures")]

use std::{sync::Arc, time::Duration};

use scheduler::{
    cycle::{Memory, Question, decide_with},
    plugin::Relief,
    pod::Pod,
    profile::Profile,
    snapshot::Cluster,
};
use serde_json::{Value, json};
use tokio::time::Instant;

const NODES: usize = 5000;
const ZONES: usize = 3;

/// A case, upstream's threshold for it in Pods a second, and what there is to do.
struct Case {
    name: &'static str,
    threshold: f64,
    there: usize,
    pods: usize,
    old: fn(usize) -> Value,
    new: fn(usize) -> Value,
}

const CASES: &[Case] = &[
    Case {
        name: "SchedulingBasic/5000Nodes_10000Pods",
        threshold: 680.0,
        there: 1000,
        pods: 10_000,
        old: plain,
        new: plain,
    },
    Case {
        name: "SchedulingBasic/5000Nodes_50000Pods",
        threshold: 680.0,
        there: 5000,
        pods: 50_000,
        old: plain,
        new: plain,
    },
    Case {
        name: "TopologySpreading/5000Nodes_5000Pods",
        threshold: 460.0,
        there: 5000,
        pods: 5000,
        old: plain,
        new: spread,
    },
    Case {
        name: "SchedulingNodeAffinity/5000Nodes_10000Pods",
        threshold: 540.0,
        there: 5000,
        pods: 10_000,
        old: in_zone,
        new: in_zone,
    },
    Case {
        name: "SchedulingPodAffinity/5000Nodes_5000Pods",
        threshold: 35.0,
        there: 5000,
        pods: 5000,
        old: together,
        new: together,
    },
    Case {
        name: "SchedulingPodAntiAffinity/5000Nodes_2000Pods",
        threshold: 60.0,
        there: 1000,
        pods: 2000,
        old: apart,
        new: apart,
    },
    Case {
        name: "PreemptionBasic/5000Nodes_5000Pods",
        threshold: 220.0,
        there: 20_000,
        pods: 5000,
        old: lesser,
        new: greater,
    },
    Case {
        name: "Unschedulable/5000Nodes_200UnschedulablePods",
        threshold: 590.0,
        there: 0,
        pods: 10_000,
        old: plain,
        new: some_too_large,
    },
];

fn node(number: usize) -> Value {
    json!({
        "metadata": {"name": format!("node-{number:04}"), "labels": {
            "kubernetes.io/hostname": format!("node-{number:04}"),
            "topology.kubernetes.io/zone": format!("zone{}", number % ZONES),
        }},
        "status": {"allocatable": {"cpu": "4", "memory": "32Gi", "pods": "110"}},
    })
}

fn pod(number: usize, cpu: &str, labels: Value, more: Value) -> Value {
    let mut spec = json!({"priority": 0, "containers": [
        {"name": "pause", "image": "registry.k8s.io/pause:3.10", "resources": {"requests": {"cpu": cpu, "memory": "500Mi"}}}]});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    json!({"metadata": {"namespace": "default", "name": format!("pod-{number}"), "uid": format!("uid-{number}"),
        "labels": labels}, "spec": spec})
}

fn plain(number: usize) -> Value {
    pod(number, "100m", json!({}), json!({}))
}

fn spread(number: usize) -> Value {
    let constraint = json!({"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"color": "blue"}}});
    pod(number, "100m", json!({"color": "blue"}), json!({"topologySpreadConstraints": [constraint]}))
}

fn in_zone(number: usize) -> Value {
    let expression =
        json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["zone0", "zone1"]});
    pod(
        number,
        "100m",
        json!({}),
        json!({"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}}),
    )
}

fn terms(kind: &str, color: &str, key: &str) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"color": color}}, "topologyKey": key}]}}})
}

fn together(number: usize) -> Value {
    let terms = terms("podAffinity", "blue", "topology.kubernetes.io/zone");
    pod(number, "10m", json!({"color": "blue"}), terms)
}

fn apart(number: usize) -> Value {
    pod(
        number,
        "100m",
        json!({"color": "green"}),
        terms("podAntiAffinity", "green", "kubernetes.io/hostname"),
    )
}

fn lesser(number: usize) -> Value {
    pod(number, "900m", json!({}), json!({}))
}

fn greater(number: usize) -> Value {
    pod(number, "3", json!({}), json!({"priority": 10}))
}

fn some_too_large(number: usize) -> Value {
    if number.is_multiple_of(50) { pod(number, "64", json!({}), json!({})) } else { plain(number) }
}

fn read(value: Value) -> Arc<Pod> {
    match serde_json::from_value(value) {
        Ok(pod) => Arc::new(pod),
        Err(error) => unreachable!("a Pod of ours: {error}"),
    }
}

fn run(case: &Case) -> (Duration, Vec<Duration>, usize) {
    let mut cluster = Cluster::default();
    for number in 0..NODES {
        if let Ok(node) = serde_json::from_value(node(number)) {
            cluster.set_node(&Arc::new(node));
        }
    }
    for number in 0..case.there {
        cluster.assume(&read((case.old)(1_000_000 + number)), &format!("node-{:04}", number % NODES));
    }
    let profile = Profile::default();
    let pods: Vec<Arc<Pod>> = (0..case.pods).map(|number| read((case.new)(number))).collect();
    let (mut start, mut placed) = (0, 0);
    let mut memory = Memory::default();
    let mut latencies = Vec::with_capacity(pods.len());
    let began = Instant::now();
    for (lot, pod) in (0_u64..).zip(&pods) {
        let one = Instant::now();
        let snapshot = cluster.snapshot();
        let question = Question {
            pod,
            snapshot: &snapshot,
            profile: &profile,
            nominated: None,
            percentage_of_nodes_to_score: 0,
            start,
            lot: lot.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7,
        };
        let decision = decide_with(&question, &mut memory);
        drop(snapshot);
        start = decision.next_start;
        match (&decision.outcome, &decision.relief) {
            (Ok(chosen), _) => {
                cluster.assume(pod, &chosen.node);
                placed += 1;
            }
            (Err(_), Some(Relief::Room(eviction))) => {
                for victim in &eviction.victims {
                    cluster.remove(victim.uid());
                }
                cluster.assume(pod, &eviction.node);
                placed += 1;
            }
            (Err(_), _) => {}
        }
        latencies.push(one.elapsed());
    }
    let took = began.elapsed();
    latencies.sort_unstable();
    (took, latencies, placed)
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    println!("{:<48} {:>8} {:>9} {:>9} {:>9} {:>7}", "case", "placed", "pods/s", "p50 µs", "p99 µs", "times");
    for case in
        CASES.iter().filter(|case| wanted.is_empty() || wanted.iter().any(|word| case.name.contains(&**word)))
    {
        let (took, latencies, placed) = run(case);
        let rate = latencies.len() as f64 / took.as_secs_f64();
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
        println!(
            "{:<48} {placed:>8} {rate:>9.0} {:>9} {:>9} {:>7.1}",
            case.name,
            at(50).as_micros(),
            at(99).as_micros(),
            rate / case.threshold
        );
    }
}
