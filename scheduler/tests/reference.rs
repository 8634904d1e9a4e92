//! Goal: the cycle, with its columns, crowds and numbered values, decides what the rules say. Method: random clusters, on which
//! the rules are also followed literally: every node against every Pod, with nothing remembered. The same nodes must do, with
//! the same scores; and whoever is displaced makes room.
//!
//! `CASES=100000` plays so many instead of the two thousand of CI, `CASE=17` that one alone.

#![expect(clippy::unwrap_used, reason = "a case of ours that cannot be made is a test that fails")]
#![expect(clippy::cast_possible_truncation, reason = "scores are whole numbers up to 100")]

use std::{collections::BTreeMap, sync::Arc};

use runtime::Random;
use scheduler::{
    cycle::{Decision, Question, decide},
    plugin::Relief,
    pod::Pod,
    profile::Profile,
    snapshot::{Cluster, Snapshot},
};
use serde_json::{Value, json};

const CASES: u64 = 2000;
const MI: i64 = 1 << 20;

/// A node.
#[derive(Clone, Debug)]
struct Machine {
    name: String,
    zone: Option<u64>,
    disk: u64,
    cpu: i64,
    memory: i64,
    pods: i64,
    taint: Option<&'static str>,
    cordoned: bool,
}

/// A term about Pods of an app, by a label; with a weight if it is only a wish.
#[derive(Clone, Debug)]
struct Term {
    app: u64,
    key: &'static str,
    weight: Option<i64>,
}

#[derive(Clone, Debug)]
struct Constraint {
    key: &'static str,
    hard: bool,
    skew: i64,
}

#[derive(Clone, Debug)]
struct Guest {
    name: String,
    namespace: u64,
    app: u64,
    node: Option<usize>,
    priority: i32,
    cpu: i64,
    memory: i64,
    tolerates: bool,
    disk: Option<u64>,
    prefers_disk: Option<i64>,
    port: Option<u64>,
    spread: Vec<Constraint>,
    near: Vec<Term>,
    far: Vec<Term>,
    leaving: bool,
}

#[derive(Debug)]
struct Case {
    machines: Vec<Machine>,
    guests: Vec<Guest>,
    incoming: Guest,
}

struct Draw(Random);

impl Draw {
    fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn one_in(&self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn of<T: Copy>(&self, all: &[T]) -> T {
        all[usize::try_from(self.below(u64::try_from(all.len()).unwrap())).unwrap()]
    }

    fn maybe<T>(&self, chances: u64, value: impl FnOnce() -> T) -> Option<T> {
        self.one_in(chances).then(value)
    }

    fn machine(&self, number: u64) -> Machine {
        Machine {
            name: format!("n{number}"),
            zone: (!self.one_in(5)).then(|| self.below(3)),
            disk: self.below(2),
            cpu: self.of(&[1000, 2000, 4000]),
            memory: self.of(&[512, 1024, 4096]) * MI,
            pods: self.of(&[2, 4, 110]),
            taint: self.maybe(4, || self.of(&["NoSchedule", "PreferNoSchedule"])),
            cordoned: self.one_in(12),
        }
    }

    fn key(&self) -> &'static str {
        self.of(&["host", "zone", "zone", "nowhere"])
    }

    fn terms(&self) -> Vec<Term> {
        let count = if self.one_in(3) { 1 + self.below(2) } else { 0 };
        (0..count)
            .map(|_| Term {
                app: self.below(3),
                key: self.key(),
                weight: self.maybe(2, || 1 + i64::try_from(self.below(100)).unwrap()),
            })
            .collect()
    }

    fn constraints(&self) -> Vec<Constraint> {
        let mut all = Vec::new();
        for key in ["host", "zone"] {
            for hard in [true, false] {
                if self.one_in(5) {
                    all.push(Constraint { key, hard, skew: 1 + i64::try_from(self.below(2)).unwrap() });
                }
            }
        }
        all
    }

    fn guest(&self, name: String, node: Option<usize>) -> Guest {
        Guest {
            name,
            namespace: self.of(&[0, 0, 0, 1]),
            app: self.below(3),
            node,
            priority: self.of(&[-1, 0, 5]),
            cpu: self.of(&[0, 0, 250, 500, 1000]),
            memory: self.of(&[0, 0, 100, 300]) * MI,
            tolerates: self.one_in(3),
            disk: self.maybe(5, || self.below(2)),
            prefers_disk: self.maybe(4, || 1 + i64::try_from(self.below(100)).unwrap()),
            port: self.maybe(6, || 80 + self.below(2)),
            spread: self.constraints(),
            near: self.terms(),
            far: self.terms(),
            leaving: node.is_some() && self.one_in(10),
        }
    }

    fn case(&self) -> Case {
        let machines: Vec<Machine> = (0..1 + self.below(7)).map(|number| self.machine(number)).collect();
        let count = u64::try_from(machines.len()).unwrap();
        let guests = (0..self.below(12))
            .map(|number| self.guest(format!("g{number}"), usize::try_from(self.below(count)).ok()))
            .collect();
        Case { machines, guests, incoming: self.guest("new".to_owned(), None) }
    }
}

// === as the API has it ===

impl Machine {
    fn labels(&self) -> BTreeMap<&'static str, String> {
        let mut labels = BTreeMap::from([("host", self.name.clone()), ("disk", self.disk.to_string())]);
        labels.extend(self.zone.map(|zone| ("zone", zone.to_string())));
        labels
    }

    fn object(&self) -> Value {
        let taints: Vec<Value> =
            self.taint.iter().map(|effect| json!({"key": "k", "effect": effect})).collect();
        json!({
            "metadata": {"name": self.name, "labels": self.labels()},
            "spec": {"taints": taints, "unschedulable": self.cordoned},
            "status": {"allocatable": {"cpu": format!("{}m", self.cpu), "memory": self.memory.to_string(),
                "pods": self.pods.to_string()}},
        })
    }
}

impl Term {
    fn object(&self) -> Value {
        let term =
            json!({"topologyKey": self.key, "labelSelector": {"matchLabels": {"app": self.app.to_string()}}});
        match self.weight {
            Some(weight) => json!({"weight": weight, "podAffinityTerm": term}),
            None => term,
        }
    }
}

fn terms_object(terms: &[Term]) -> Value {
    let of =
        |hard: bool| terms.iter().filter(|term| term.weight.is_none() == hard).map(Term::object).collect();
    let (hard, soft): (Vec<Value>, Vec<Value>) = (of(true), of(false));
    json!({"requiredDuringSchedulingIgnoredDuringExecution": hard,
        "preferredDuringSchedulingIgnoredDuringExecution": soft})
}

impl Guest {
    fn object(&self, machines: &[Machine]) -> Value {
        let mut requests = serde_json::Map::new();
        if self.cpu > 0 {
            requests.insert("cpu".to_owned(), json!(format!("{}m", self.cpu)));
        }
        if self.memory > 0 {
            requests.insert("memory".to_owned(), json!(self.memory.to_string()));
        }
        let spread: Vec<Value> = self
            .spread
            .iter()
            .map(|it| {
                json!({"maxSkew": it.skew, "topologyKey": if it.key == "host" {"kubernetes.io/hostname"} else {it.key},
                    "whenUnsatisfiable": if it.hard {"DoNotSchedule"} else {"ScheduleAnyway"},
                    "labelSelector": {"matchLabels": {"app": self.app.to_string()}}})
            })
            .collect();
        let mut node_affinity = json!({});
        if let Some(weight) = self.prefers_disk {
            node_affinity = json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight,
                "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["1"]}]}}]});
        }
        let mut object = json!({
            "metadata": {"namespace": format!("ns{}", self.namespace), "name": self.name, "uid": self.name,
                "labels": {"app": self.app.to_string()}},
            "spec": {
                "nodeName": self.node.map(|node| machines[node].name.clone()),
                "priority": self.priority,
                "containers": [{"name": "c", "resources": {"requests": requests},
                    "ports": self.port.map(|port| json!([{"hostPort": port}]))}],
                "tolerations": if self.tolerates {json!([{"key": "k", "operator": "Exists"}])} else {json!([])},
                "nodeSelector": self.disk.map(|disk| json!({"disk": disk.to_string()})),
                "topologySpreadConstraints": spread,
                "affinity": {"nodeAffinity": node_affinity, "podAffinity": terms_object(&self.near),
                    "podAntiAffinity": terms_object(&self.far)},
            },
        });
        if self.leaving {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        object
    }
}

impl Case {
    fn snapshot(&self, turn: usize) -> Snapshot {
        let mut cluster = Cluster::default();
        let nodes: Vec<_> = self.machines.iter().map(Machine::object).collect();
        let pods: Vec<_> = self.guests.iter().map(|guest| guest.object(&self.machines)).collect();
        let set = |cluster: &mut Cluster| {
            for node in &nodes {
                let mut node = node.clone();
                // The rule knows hosts by this label.
                node["metadata"]["labels"]["kubernetes.io/hostname"] = node["metadata"]["name"].clone();
                cluster.set_node(&Arc::new(serde_json::from_value(node).unwrap()));
            }
        };
        // In whatever order news comes.
        if turn == 0 {
            set(&mut cluster);
        }
        for pod in pods {
            cluster.place(&Arc::new(serde_json::from_value(pod).unwrap()));
        }
        if turn != 0 {
            set(&mut cluster);
        }
        cluster.snapshot()
    }
}

// === the rules, literally ===

fn value(machine: &Machine, key: &str) -> Option<String> {
    machine.labels().get(key).cloned()
}

fn is_meant(term: &Term, by: &Guest, other: &Guest) -> bool {
    by.namespace == other.namespace && term.app == other.app
}

impl Case {
    fn on(&self, node: usize) -> impl Iterator<Item = &Guest> {
        self.guests.iter().filter(move |guest| guest.node == Some(node))
    }

    fn there(&self, guest: &Guest) -> &Machine {
        &self.machines[guest.node.unwrap()]
    }

    /// Whether two nodes have the same value of a label.
    fn same(&self, one: &Machine, other: &Machine, key: &str) -> bool {
        value(one, key).is_some() && value(one, key) == value(other, key)
    }

    fn is_eligible(&self, machine: &Machine) -> bool {
        self.incoming.disk.is_none_or(|disk| machine.disk == disk)
    }

    fn counted(&self, node: usize) -> i64 {
        let like = |guest: &&Guest| {
            guest.namespace == self.incoming.namespace && guest.app == self.incoming.app && !guest.leaving
        };
        i64::try_from(self.on(node).filter(like).count()).unwrap()
    }

    fn fits(&self, node: usize) -> bool {
        let (new, machine) = (&self.incoming, &self.machines[node]);
        let sum = |of: &dyn Fn(&Guest) -> i64| self.on(node).map(of).sum::<i64>();
        let count = i64::try_from(self.on(node).count()).unwrap();
        count < machine.pods
            && (new.cpu == 0 || sum(&|guest| guest.cpu) + new.cpu <= machine.cpu)
            && (new.memory == 0 || sum(&|guest| guest.memory) + new.memory <= machine.memory)
    }

    fn is_spread(&self, node: usize) -> bool {
        let hard: Vec<&Constraint> = self.incoming.spread.iter().filter(|it| it.hard).collect();
        hard.iter().all(|constraint| {
            let Some(here) = value(&self.machines[node], constraint.key) else { return false };
            let mut counts: BTreeMap<String, i64> = BTreeMap::new();
            for (other, machine) in self.machines.iter().enumerate() {
                let has_all = hard.iter().all(|it| value(machine, it.key).is_some());
                if has_all && self.is_eligible(machine) {
                    *counts.entry(value(machine, constraint.key).unwrap()).or_default() +=
                        self.counted(other);
                }
            }
            let least = counts.values().copied().min().unwrap_or(i64::from(i32::MAX));
            counts.get(&here).copied().unwrap_or_default() + 1 - least <= constraint.skew
        })
    }

    fn is_in_good_company(&self, node: usize) -> bool {
        let (new, machine) = (&self.incoming, &self.machines[node]);
        let required = |terms: &'_ [Term]| {
            terms.iter().filter(|term| term.weight.is_none()).cloned().collect::<Vec<_>>()
        };
        let near = required(&new.near);
        if !near.is_empty() {
            let friends: Vec<&Guest> = self
                .guests
                .iter()
                .filter(|guest| near.iter().all(|term| is_meant(term, new, guest)))
                .collect();
            let is_near = near
                .iter()
                .all(|term| friends.iter().any(|friend| self.same(machine, self.there(friend), term.key)));
            let has_keys = near.iter().all(|term| value(machine, term.key).is_some());
            let nobody = !friends
                .iter()
                .any(|friend| near.iter().any(|term| value(self.there(friend), term.key).is_some()));
            let is_first = nobody && near.iter().all(|term| is_meant(term, new, new));
            if !(has_keys && (is_near || is_first)) {
                return false;
            }
        }
        let is_avoided = required(&new.far).iter().any(|term| {
            let mut meant = self.guests.iter().filter(|guest| is_meant(term, new, guest));
            meant.any(|guest| self.same(machine, self.there(guest), term.key))
        });
        let is_unwanted = self.guests.iter().any(|guest| {
            required(&guest.far)
                .iter()
                .any(|term| is_meant(term, guest, new) && self.same(machine, self.there(guest), term.key))
        });
        !is_avoided && !is_unwanted
    }

    fn will_do(&self, node: usize) -> bool {
        let (new, machine) = (&self.incoming, &self.machines[node]);
        !machine.cordoned
            && (machine.taint != Some("NoSchedule") || new.tolerates)
            && self.is_eligible(machine)
            && new.port.is_none_or(|port| self.on(node).all(|guest| guest.port != Some(port)))
            && self.fits(node)
            && self.is_spread(node)
            && self.is_in_good_company(node)
    }

    /// The scores of nodes, by plugin in the order of the default profile.
    fn scores(&self, nodes: &[usize]) -> Vec<i64> {
        let all = [
            (3, upside_down(nodes.iter().map(|node| self.soft_taints(*node)).collect())),
            (2, in_proportion(nodes.iter().map(|node| self.preferred(*node)).collect())),
            (1, nodes.iter().map(|node| self.emptiness(*node)).collect()),
            (2, self.spreading(nodes)),
            (2, between(nodes.iter().map(|node| self.company(*node)).collect())),
            (1, nodes.iter().map(|node| self.balance(*node)).collect()),
        ];
        (0..nodes.len()).map(|at| all.iter().map(|(weight, scores)| weight * scores[at]).sum()).collect()
    }

    fn soft_taints(&self, node: usize) -> i64 {
        i64::from(self.machines[node].taint == Some("PreferNoSchedule") && !self.incoming.tolerates)
    }

    fn preferred(&self, node: usize) -> i64 {
        self.incoming.prefers_disk.filter(|_| self.machines[node].disk == 1).unwrap_or_default()
    }

    fn emptiness(&self, node: usize) -> i64 {
        let machine = &self.machines[node];
        let cpu = |guest: &Guest| if guest.cpu == 0 { 100 } else { guest.cpu };
        let memory = |guest: &Guest| if guest.memory == 0 { 200 * MI } else { guest.memory };
        let of = |has: i64, taken: i64| if taken > has { 0 } else { (has - taken) * 100 / has };
        let cpu = of(machine.cpu, self.on(node).map(cpu).sum::<i64>() + cpu(&self.incoming));
        let memory = of(machine.memory, self.on(node).map(memory).sum::<i64>() + memory(&self.incoming));
        (cpu + memory) / 2
    }

    fn balance(&self, node: usize) -> i64 {
        let (new, machine) = (&self.incoming, &self.machines[node]);
        if new.cpu == 0 && new.memory == 0 {
            return 0;
        }
        let even = |cpu: i64, memory: i64| {
            let part = |taken: i64, has: i64| (taken as f64 / has as f64).min(1.0);
            let apart = (part(cpu, machine.cpu) - part(memory, machine.memory)).abs() / 2.0;
            ((1.0 - apart) * 100.0) as i64
        };
        let cpu: i64 = self.on(node).map(|guest| guest.cpu).sum();
        let memory: i64 = self.on(node).map(|guest| guest.memory).sum();
        50 + (50 + even(cpu + new.cpu, memory + new.memory) - even(cpu, memory)) / 2
    }

    fn spreading(&self, nodes: &[usize]) -> Vec<i64> {
        let soft: Vec<&Constraint> = self.incoming.spread.iter().filter(|it| !it.hard).collect();
        if soft.is_empty() {
            return vec![0; nodes.len()];
        }
        let has_all = |node: usize| soft.iter().all(|it| value(&self.machines[node], it.key).is_some());
        let compared: Vec<usize> = nodes.iter().copied().filter(|node| has_all(*node)).collect();
        let raw = |node: usize| {
            let mut score = 0.0;
            for constraint in &soft {
                let values: std::collections::BTreeSet<String> = compared
                    .iter()
                    .map(|node| value(&self.machines[*node], constraint.key).unwrap())
                    .collect();
                let there: i64 = if constraint.key == "host" {
                    self.counted(node)
                } else {
                    let same = |other: &usize| {
                        self.same(&self.machines[node], &self.machines[*other], constraint.key)
                            && has_all(*other)
                            && self.is_eligible(&self.machines[*other])
                    };
                    (0..self.machines.len()).filter(same).map(|other| self.counted(other)).sum()
                };
                score += there as f64 * (values.len() as f64 + 2.0).ln() + (constraint.skew - 1) as f64;
            }
            score.round() as i64
        };
        let all: Vec<i64> = compared.iter().map(|node| raw(*node)).collect();
        let (least, most) = (all.iter().min().copied(), all.iter().max().copied());
        let of = |node: &usize| match (least, most) {
            _ if !has_all(*node) => 0,
            (Some(_), Some(0)) => 100,
            (Some(least), Some(most)) => 100 * (most + least - raw(*node)) / most,
            _ => 0,
        };
        nodes.iter().map(of).collect()
    }

    fn company(&self, node: usize) -> i64 {
        let (new, machine) = (&self.incoming, &self.machines[node]);
        let mut score = 0;
        for guest in &self.guests {
            let mut add = |terms: &[Term], by: &Guest, other: &Guest, sign: i64| {
                for term in terms {
                    let Some(weight) = term.weight else { continue };
                    if is_meant(term, by, other) && self.same(machine, self.there(guest), term.key) {
                        score += sign * weight;
                    }
                }
            };
            add(&new.near, new, guest, 1);
            add(&new.far, new, guest, -1);
            add(&guest.near, guest, new, 1);
            add(&guest.far, guest, new, -1);
            for term in guest.near.iter().filter(|term| term.weight.is_none()) {
                if is_meant(term, guest, new) && self.same(machine, self.there(guest), term.key) {
                    score += 1;
                }
            }
        }
        score
    }
}

fn in_proportion(scores: Vec<i64>) -> Vec<i64> {
    let most = scores.iter().copied().max().unwrap_or_default();
    scores.iter().map(|score| if most == 0 { 0 } else { 100 * score / most }).collect()
}

fn upside_down(scores: Vec<i64>) -> Vec<i64> {
    in_proportion(scores).into_iter().map(|score| 100 - score).collect()
}

fn between(scores: Vec<i64>) -> Vec<i64> {
    let (least, most) =
        (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
    let of = |score: &i64| {
        if most > least { (100.0 * ((score - least) as f64 / (most - least) as f64)) as i64 } else { 0 }
    };
    scores.iter().map(of).collect()
}

// === the comparison ===

fn decision(case: &Case, snapshot: &Snapshot, lot: u64) -> Decision {
    let pod: Pod = serde_json::from_value(case.incoming.object(&case.machines)).unwrap();
    let profile = Profile::default();
    decide(&Question {
        pod: &pod,
        snapshot,
        profile: &profile,
        nominated: None,
        percentage_of_nodes_to_score: 100,
        start: usize::try_from(lot % 7).unwrap(),
        lot,
    })
}

fn compare(number: u64) -> Result<(), String> {
    let draw = Draw(Random::from_seed(number));
    let case = draw.case();
    let snapshot = case.snapshot(usize::from(draw.one_in(2)));
    let decision = decision(&case, &snapshot, draw.below(1000));
    let wrong = |what: String| Err(format!("case {number}: {what}\n{case:#?}\n{decision:#?}"));

    let good: Vec<usize> = (0..case.machines.len()).filter(|node| case.will_do(*node)).collect();
    let mut names: Vec<&str> = good.iter().map(|node| case.machines[*node].name.as_str()).collect();
    names.sort_unstable();
    let mut rejected: Vec<&str> = decision.rejected.iter().map(|verdict| &*verdict.node).collect();
    rejected.sort_unstable();
    let mut others: Vec<&str> = case.machines.iter().map(|machine| machine.name.as_str()).collect();
    others.retain(|name| !names.contains(name));
    others.sort_unstable();
    if decision.feasible != good.len() || rejected != others {
        return wrong(format!("{names:?} will do, and no other"));
    }
    if good.len() > 1 {
        let expected: BTreeMap<&str, i64> = good
            .iter()
            .zip(case.scores(&good))
            .map(|(node, score)| (case.machines[*node].name.as_str(), score))
            .collect();
        let found: BTreeMap<&str, i64> = decision
            .scores
            .nodes
            .iter()
            .zip(&decision.scores.totals)
            .map(|(node, score)| (&**node, *score))
            .collect();
        if expected != found {
            return wrong(format!("the scores are {expected:?}"));
        }
    }
    match (&decision.outcome, &decision.relief) {
        (Ok(chosen), _) if !names.contains(&&*chosen.node) => wrong("it goes where it cannot".to_owned()),
        (Err(_), Some(Relief::Room(eviction))) => {
            let mut without = Case {
                machines: case.machines.clone(),
                guests: case.guests.clone(),
                incoming: case.incoming.clone(),
            };
            without
                .guests
                .retain(|guest| !eviction.victims.iter().any(|victim| *victim.metadata.name == *guest.name));
            let gone = case.guests.len() - without.guests.len();
            let node = case.machines.iter().position(|machine| *machine.name == *eviction.node).unwrap();
            let lesser = eviction.victims.iter().all(|victim| victim.priority < case.incoming.priority);
            if gone == 0 || gone != eviction.victims.len() || !lesser || !without.will_do(node) {
                return wrong("who goes makes no room".to_owned());
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn the_cycle_decides_what_the_rules_say() {
    let cases = match number("CASE") {
        Some(case) => case..case + 1,
        None => 0..number("CASES").unwrap_or(CASES),
    };
    for case in cases {
        if let Err(what) = compare(case) {
            panic!("{what}");
        }
    }
}
