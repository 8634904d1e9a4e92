//! Goal: whoever can be scheduled is, whatever happens when. Method: a toy world in which a Pod needs one thing, and the
//! only plugin knows exactly what helps; random histories, then time passes and nothing more happens.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::node::Node;

const NEED: &str = "Need";

#[derive(Debug)]
struct Toy;

fn need(pod: &Pod) -> &str {
    pod.metadata.labels.get("need").unwrap_or_default()
}

impl Rules for Toy {
    fn gate(&self, pod: &Pod, _others: &Others) -> Option<&'static str> {
        (!pod.gates.is_empty()).then_some("Gate")
    }

    fn urgency(&self, pod: &Pod) -> i64 {
        pod.priority.into()
    }

    fn may_help(&self, _plugin: &str, pod: &Pod, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(node) => node.name() == need(pod),
            ClusterEvent::OwnUpdate { old, new } => need(old) != need(new),
            _ => false,
        }
    }
}

fn pod(number: u8, need: u8, priority: i32, gated: bool) -> Arc<Pod> {
    let gates = if gated { json!([{"name": "g"}]) } else { json!([]) };
    let pod = json!({
        "metadata": {"name": format!("p{number}"), "uid": format!("u{number}"), "labels": {"need": need.to_string()}},
        "spec": {"priority": priority, "schedulingGates": gates},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn node(name: u8) -> Arc<Node> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name.to_string()}})).unwrap())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn none() -> Others {
    Others::default()
}

fn queue() -> Queue<Toy> {
    Queue::new(Toy, Waits::default())
}

fn names(queue: &mut Queue<Toy>, now: Duration) -> String {
    let mut names = Vec::new();
    while let Some(turn) = queue.pop(now, &none()) {
        names.push(turn.pod.metadata.name.to_string());
        queue.done(turn.pod.uid());
    }
    names.join(" ")
}

#[test]
fn the_more_urgent_goes_first_then_who_came_first() {
    let mut queue = queue();
    for (number, priority, at) in [(1, 0, 0), (2, 5, 1), (3, 0, 2), (4, 5, 3)] {
        queue.set(&pod(number, 0, priority, false), seconds(at), &none());
    }
    // p1 becomes urgent while it waits.
    queue.set(&pod(1, 0, 9, false), seconds(4), &none());
    assert_eq!(names(&mut queue, seconds(5)), "p1 p2 p4 p3");
}

#[test]
fn a_gated_pod_waits_for_its_gates_alone() {
    let mut queue = queue();
    queue.set(&pod(1, 0, 0, true), seconds(0), &none());
    queue.happened(&ClusterEvent::NodeAdded(node(0)), seconds(1), &none());
    assert_eq!((names(&mut queue, seconds(1000)), queue.counts().gated), (String::new(), 1));
    queue.set(&pod(1, 0, 0, false), seconds(1001), &none());
    assert_eq!((names(&mut queue, seconds(1001)), queue.counts().gated), ("p1".to_owned(), 0));
}

#[test]
fn a_rejected_pod_waits_for_what_may_help_and_no_less_than_its_backoff() {
    let mut queue = queue();
    queue.set(&pod(1, 7, 0, false), seconds(0), &none());
    let turn = queue.pop(seconds(0), &none()).unwrap();
    queue.give_back(turn, BTreeSet::from([NEED]), seconds(10), &none());
    assert_eq!(queue.happened(&ClusterEvent::NodeAdded(node(6)), seconds(10), &none()), 0);
    assert_eq!((queue.counts().unschedulable, queue.next_at()), (1, Some(seconds(310))));
    assert_eq!(queue.happened(&ClusterEvent::NodeAdded(node(7)), seconds(10), &none()), 1);
    assert_eq!(queue.counts(), Counts { backoff: 1, ..Counts::default() });
    // Somebody who is ready goes first, but nobody waits for nothing.
    queue.set(&pod(2, 0, -5, false), seconds(10), &none());
    assert_eq!(names(&mut queue, seconds(10)), "p2 p1");
}

#[test]
fn errors_back_off_ever_longer_and_are_not_tried_early() {
    let mut queue = queue();
    queue.set(&pod(1, 7, 0, false), seconds(0), &none());
    let mut now = seconds(0);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let turn = queue.pop(now, &none()).unwrap();
        queue.give_back(turn, BTreeSet::new(), now, &none());
        assert!(queue.pop(now, &none()).is_none());
        let next = queue.next_at().unwrap();
        waits.push((next - now).as_secs());
        now = next;
    }
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
}

#[test]
fn what_happens_during_a_decision_is_not_missed() {
    let mut queue = queue();
    queue.set(&pod(1, 7, 0, false), seconds(0), &none());
    queue.set(&pod(2, 8, 0, false), seconds(0), &none());
    let one = queue.pop(seconds(0), &none()).unwrap();
    queue.happened(&ClusterEvent::NodeAdded(node(7)), seconds(0), &none());
    let two = queue.pop(seconds(0), &none()).unwrap();
    // What happened before p2 was popped, it has seen.
    queue.give_back(two, BTreeSet::from([NEED]), seconds(0), &none());
    queue.give_back(one, BTreeSet::from([NEED]), seconds(0), &none());
    assert_eq!(queue.counts(), Counts { backoff: 1, unschedulable: 1, ..Counts::default() });
    assert!(queue.events.is_empty(), "nobody needs them any more");
}

#[test]
fn a_pod_that_goes_during_its_decision_does_not_come_back() {
    let mut queue = queue();
    queue.set(&pod(1, 7, 0, false), seconds(0), &none());
    let turn = queue.pop(seconds(0), &none()).unwrap();
    queue.remove("u1");
    assert!(queue.give_back(turn, BTreeSet::from([NEED]), seconds(0), &none()).is_none());
    assert_eq!(queue.counts(), Counts::default());
}

#[test]
fn a_pod_that_is_held_back_waits_though_something_helped_it() {
    let mut queue = queue();
    for (number, need) in [(1, 7), (2, 8), (3, 9)] {
        queue.set(&pod(number, need, 0, false), seconds(0), &none());
        let turn = queue.pop(seconds(0), &none()).unwrap();
        queue.hold_back(turn.pod.uid(), "Held");
        queue.give_back(turn, BTreeSet::from([NEED]), seconds(0), &none());
    }
    queue.happened(&ClusterEvent::NodeAdded(node(7)), seconds(5), &none());
    assert_eq!(queue.counts(), Counts { gated: 1, unschedulable: 2, ..Counts::default() });
    assert!(queue.pop(seconds(5), &none()).is_none());
    queue.let_go("u1", false, seconds(5), &none());
    assert_eq!(names(&mut queue, seconds(5)), "p1", "what had helped is not forgotten");
    queue.let_go("u2", false, seconds(5), &none());
    assert_eq!(queue.counts().unschedulable, 2, "nothing has helped yet");
    queue.let_go("u3", true, seconds(5), &none());
    assert_eq!(names(&mut queue, seconds(5)), "p3");
    queue.happened(&ClusterEvent::NodeAdded(node(8)), seconds(6), &none());
    assert_eq!(names(&mut queue, seconds(6)), "p2");
}

#[derive(Clone, Debug)]
enum Step {
    Set {
        pod: u8,
        need: u8,
        priority: i32,
        gated: bool,
    },
    Remove(u8),
    Node(u8),
    NodeGone(u8),
    Pop,
    /// The decision of the nth Pod in flight, on the world as it was when it was popped.
    Decide(u8),
    /// The decision fails for a passing reason.
    Fail(u8),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..5u8, 0..4u8, -1..2i32, any::<bool>())
            .prop_map(|(pod, need, priority, gated)| Step::Set { pod, need, priority, gated }),
        1 => (0..5u8).prop_map(Step::Remove),
        2 => (0..4u8).prop_map(Step::Node),
        1 => (0..4u8).prop_map(Step::NodeGone),
        4 => Just(Step::Pop),
        4 => any::<u8>().prop_map(Step::Decide),
        1 => any::<u8>().prop_map(Step::Fail),
        1 => (0..20u8).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whoever_can_be_scheduled_is(steps in prop::collection::vec(step(), 0..120)) {
        // Only what happens helps: time alone must not hide a lost wake-up.
        let mut queue = Queue::new(Toy, Waits { unschedulable_max: seconds(1_000_000), ..Waits::default() });
        let mut now = seconds(0);
        let mut nodes = BTreeSet::new();
        let mut pods: BTreeMap<u8, Arc<Pod>> = BTreeMap::new();
        let mut flights: Vec<(Turn, BTreeSet<String>)> = Vec::new();

        let decide = |queue: &mut Queue<Toy>, pods: &mut BTreeMap<u8, Arc<Pod>>, flight: (Turn, BTreeSet<String>), now| {
            let (turn, seen) = flight;
            let uid = turn.pod.uid().to_owned();
            if seen.contains(need(&turn.pod)) {
                queue.done(&uid);
                pods.retain(|_, pod| pod.uid() != uid);
            } else {
                queue.give_back(turn, BTreeSet::from([NEED]), now, &none());
            }
        };

        for step in steps {
            match step {
                Step::Set { pod: number, need, priority, gated } => {
                    // Gates only go.
                    let gated = gated && pods.get(&number).is_none_or(|pod| !pod.gates.is_empty());
                    pods.insert(number, pod(number, need, priority, gated));
                    queue.set(&pods[&number], now, &none());
                }
                Step::Remove(number) => {
                    pods.remove(&number);
                    let uid = format!("u{number}");
                    queue.remove(&uid);
                    // A decision on a Pod that is gone comes to nothing.
                    flights.retain(|(turn, _)| turn.pod.uid() != uid);
                }
                Step::Node(name) => {
                    nodes.insert(name.to_string());
                    queue.happened(&ClusterEvent::NodeAdded(node(name)), now, &none());
                }
                Step::NodeGone(name) => {
                    nodes.remove(&name.to_string());
                    queue.happened(&ClusterEvent::NodeDeleted(node(name)), now, &none());
                }
                Step::Pop => {
                    if let Some(turn) = queue.pop(now, &none()) {
                        prop_assert!(turn.pod.gates.is_empty());
                        flights.push((turn, nodes.clone()));
                    }
                }
                Step::Decide(which) => {
                    if !flights.is_empty() {
                        let flight = flights.remove(usize::from(which) % flights.len());
                        decide(&mut queue, &mut pods, flight, now);
                    }
                }
                Step::Fail(which) => {
                    if !flights.is_empty() {
                        let (turn, _) = flights.remove(usize::from(which) % flights.len());
                        queue.give_back(turn, BTreeSet::new(), now, &none());
                    }
                }
                Step::Wait(passed) => now += seconds(passed.into()),
            }
            let counts = queue.counts();
            let places = counts.active + counts.backoff + counts.unschedulable + counts.gated + counts.in_flight;
            prop_assert_eq!(places, pods.len(), "every Pod is in one place");
        }

        for flight in flights {
            decide(&mut queue, &mut pods, flight, now);
        }
        for _ in 0..1000 {
            now += seconds(1);
            if let Some(turn) = queue.pop(now, &none()) {
                decide(&mut queue, &mut pods, (turn, nodes.clone()), now);
            }
        }
        let could: Vec<&str> = pods
            .values()
            .filter(|pod| pod.gates.is_empty() && nodes.contains(need(pod)))
            .map(|pod| &*pod.metadata.name)
            .collect();
        prop_assert_eq!(could, Vec::<&str>::new());
        prop_assert!(queue.events.is_empty());
    }
}
