//! Goal: the same question has the same answer, and the answers are upstream's. Method: small clusters, whole profiles.

use serde_json::{Value, json};

use super::*;
use crate::plugins::tests::{pod, snapshot};

fn machine(name: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110"}}})
}

fn machines(count: usize) -> Snapshot {
    snapshot((0..count).map(|number| machine(&format!("n{number}"))), [])
}

fn ask(pod: &Pod, snapshot: &Snapshot, start: usize, lot: u64) -> Decision {
    let profile = Profile::default();
    decide(&Question {
        pod,
        snapshot,
        profile: &profile,
        nominated: None,
        percentage_of_nodes_to_score: 0,
        start,
        lot,
    })
}

fn message(spec: Value, snapshot: &Snapshot) -> String {
    let decision = ask(&pod(json!({"spec": spec})), snapshot, 0, 0);
    decision.outcome.unwrap_err().message(snapshot.len())
}

/// What is said when displacing Pods would help nowhere.
fn hopeless(nodes: usize) -> String {
    format!(
        "no new claims to deallocate, preemption: 0/{nodes} nodes are available: {nodes} Preemption is not helpful for \
         scheduling."
    )
}

fn asks(cpu: &str) -> Value {
    json!({"containers": [{"resources": {"requests": {"cpu": cpu}}}]})
}

#[test]
fn a_pod_that_fits_nowhere_is_told_why() {
    let mut tainted = machine("t");
    tainted["spec"] = json!({"taints": [{"key": "k", "effect": "NoSchedule"}], "unschedulable": false});
    let mut cordoned = machine("c");
    cordoned["spec"] = json!({"unschedulable": true});
    let nodes = snapshot([tainted, cordoned, machine("a"), machine("b")], []);
    assert_eq!(
        message(asks("3"), &nodes),
        format!(
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 \
                 Insufficient cpu. {}",
            hopeless(4)
        )
    );
    assert_eq!(message(asks("1"), &snapshot([], [])), "no nodes available to schedule pods");
    let required = |terms: Value| {
        json!({"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    };
    let named = |name: &str| json!({"key": "metadata.name", "operator": "In", "values": [name]});
    assert_eq!(
        message(required(json!([{"matchFields": [named("a"), named("b")]}])), &nodes),
        "0/4 nodes are available: pod affinity terms conflict. not found"
    );
    assert_eq!(
        message(required(json!([{"matchFields": [named("t")]}])), &nodes),
        format!(
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 node(s) didn't satisfy plugin(s) \
                 [NodeAffinity]. {}",
            hopeless(4)
        )
    );
}

#[test]
fn counts_are_ordered_as_texts() {
    let cordoned = |number: usize| {
        let mut node = machine(&format!("c{number}"));
        node["spec"] = json!({"unschedulable": true});
        node
    };
    let nodes = snapshot((0..10).map(cordoned).chain([machine("a"), machine("b")]), []);
    assert_eq!(
        message(asks("3"), &nodes),
        format!(
            "0/12 nodes are available: 10 node(s) were unschedulable, 2 Insufficient cpu. {}",
            hopeless(12)
        )
    );
}

#[test]
fn the_same_question_has_the_same_answer_and_the_lot_picks_among_the_best() {
    let nodes = machines(3);
    let plain = pod(json!({"spec": asks("1")}));
    let node = |lot: u64| ask(&plain, &nodes, 0, lot).outcome.unwrap().node.to_string();
    assert_eq!([node(0), node(1), node(2), node(3)], ["n0", "n1", "n2", "n0"]);
    assert_eq!(format!("{:?}", ask(&plain, &nodes, 1, 5)), format!("{:?}", ask(&plain, &nodes, 1, 5)));
}

#[test]
fn the_better_node_wins_whatever_the_lot() {
    let taken = json!({"metadata": {"uid": "u"}, "spec": {"nodeName": "n0", "containers": [
        {"resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}]}});
    let nodes = snapshot([machine("n0"), machine("n1")], [taken]);
    for lot in 0..4 {
        let decision = ask(&pod(json!({"spec": asks("500m")})), &nodes, 0, lot);
        assert_eq!(&*decision.outcome.unwrap().node, "n1");
        assert_eq!(
            decision.scores.plugins.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["TaintToleration", "NodeResourcesFit", "NodeResourcesBalancedAllocation", "ImageLocality"]
        );
    }
}

#[test]
fn a_large_cluster_is_looked_at_in_part_and_in_turn() {
    for (percentage, nodes, expected) in [
        (0, 0, 0),
        (0, 99, 99),
        (0, 100, 100),
        (0, 1000, 420),
        (0, 5000, 500),
        (0, 6000, 300),
        (40, 1000, 400),
        (1, 1000, 100),
        (100, 1000, 1000),
    ] {
        assert_eq!(enough(percentage, nodes), expected, "{percentage}% of {nodes}");
    }
    let nodes = machines(250);
    let plain = pod(json!({"spec": asks("1")}));
    let mut start = 0;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let decision = ask(&plain, &nodes, start, 0);
        assert_eq!(decision.feasible, 120);
        start = decision.next_start;
        seen.extend(decision.scores.nodes);
    }
    assert_eq!(seen.len(), 250);
    assert_eq!(start, 360 % 250);
}

mod with_a_memory {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::Cluster;

    #[derive(Clone, Debug)]
    enum Step {
        Node {
            number: u8,
            cpu: u8,
            tainted: bool,
        },
        NodeGone(u8),
        Pod {
            number: u8,
            cpu: u8,
            priority: u8,
            node: u8,
            port: bool,
        },
        PodGone(u8),
        Nominate {
            number: u8,
            priority: u8,
            node: u8,
        },
        Budget {
            allowed: u8,
        },
        Ask {
            cpu: u8,
            priority: u8,
            port: bool,
            tolerant: bool,
            spread: bool,
            lot: u8,
            nominated: Option<u8>,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        let ask = (1..4u8, 0..3u8, any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), 0..9u8)
            .prop_flat_map(|it| (Just(it), proptest::option::weighted(0.1, 0..4u8)))
            .prop_map(|((cpu, priority, port, tolerant, spread, lot), nominated)| Step::Ask {
                cpu,
                priority,
                port,
                tolerant,
                spread,
                lot,
                nominated,
            });
        prop_oneof![
            2 => (0..4u8, 1..5u8, any::<bool>()).prop_map(|(number, cpu, tainted)| Step::Node { number, cpu, tainted }),
            1 => (0..4u8).prop_map(Step::NodeGone),
            4 => (0..9u8, 1..3u8, 0..3u8, 0..4u8, any::<bool>())
                .prop_map(|(number, cpu, priority, node, port)| Step::Pod { number, cpu, priority, node, port }),
            2 => (0..9u8).prop_map(Step::PodGone),
            1 => (0..9u8, 0..3u8, 0..5u8).prop_map(|(number, priority, node)| Step::Nominate { number, priority, node }),
            1 => (0..3u8).prop_map(|allowed| Step::Budget { allowed }),
            9 => ask,
        ]
    }

    fn placed(name: &str, cpu: u8, priority: u8, node: &str, port: bool) -> Value {
        let ports = if port { json!([{"hostPort": 80}]) } else { json!([]) };
        json!({
            "metadata": {"namespace": "ns", "name": name, "uid": name, "labels": {"app": "x"}},
            "spec": {"nodeName": node, "priority": priority, "schedulerName": "default-scheduler", "containers": [
                {"resources": {"requests": {"cpu": cpu.to_string()}}, "ports": ports}]},
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_cycle_decides_as_one_without(steps in prop::collection::vec(step(), 0..80)) {
            let mut cluster = Cluster::default();
            let mut memory = Memory::default();
            let profile = Profile::default();
            for (at, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Node { number, cpu, tainted } => {
                        let mut node = machine(&format!("n{number}"));
                        node["status"]["allocatable"]["cpu"] = json!(cpu.to_string());
                        if tainted {
                            node["spec"] = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
                        }
                        cluster.set_node(&Arc::new(serde_json::from_value(node).unwrap()));
                    }
                    Step::NodeGone(number) => cluster.remove_node(&format!("n{number}")),
                    Step::Pod { number, cpu, priority, node, port } => {
                        let value = placed(&format!("p{number}"), cpu, priority, &format!("n{node}"), port);
                        cluster.place(&Arc::new(pod(value)));
                    }
                    Step::PodGone(number) => {
                        cluster.remove(&format!("p{number}"));
                    }
                    Step::Nominate { number, priority, node } => {
                        let waiting = Arc::new(pod(placed(&format!("w{number}"), 1, priority, "", false)));
                        let node = if node == 4 { String::new() } else { format!("n{node}") };
                        cluster.nominate(&waiting, &node);
                    }
                    Step::Budget { allowed } => {
                        let budget = json!({"metadata": {"namespace": "ns", "name": "b", "uid": "b"},
                            "spec": {"selector": {"matchLabels": {"app": "x"}}},
                            "status": {"disruptionsAllowed": allowed}});
                        cluster.others_mut().budgets.set(Arc::new(serde_json::from_value(budget).unwrap()));
                    }
                    Step::Ask { cpu, priority, port, tolerant, spread, lot, nominated } => {
                        let mut value = placed(&format!("a{at}"), cpu, priority, "", port);
                        if tolerant {
                            value["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
                        }
                        if spread {
                            value["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1,
                                "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                                "labelSelector": {"matchLabels": {"app": "x"}}}]);
                        }
                        let asking = pod(value);
                        let snapshot = cluster.snapshot();
                        let nominated = nominated.map(|number| format!("n{number}"));
                        let question = Question {
                            pod: &asking,
                            snapshot: &snapshot,
                            profile: &profile,
                            nominated: nominated.as_deref(),
                            percentage_of_nodes_to_score: 0,
                            start: usize::from(lot),
                            lot: lot.into(),
                        };
                        let (fresh, remembering) = (decide(&question), decide_with(&question, &mut memory));
                        prop_assert_eq!(format!("{fresh:?}"), format!("{remembering:?}"));
                    }
                }
            }
        }
    }
}
