//! Goal: claims get what they ask for, if and only if it is there. Method: tables for each way to ask; and for small clusters
//! of devices an allocator that tries every set of devices for every request.

use client::Change;
use proptest::prelude::*;

use super::*;

const DRIVER: &str = "gpu.example.com";

/// What there is, and what is asked for.
#[derive(Clone, Debug, Default)]
struct World {
    slices: Vec<Value>,
    classes: Vec<Value>,
    given: Vec<Value>,
}

fn slice(name: &str, devices: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"driver": DRIVER, "nodeName": "n", "devices": devices,
        "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}}})
}

fn class(name: &str, expression: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"selectors": [{"cel": {"expression": expression}}]}})
}

fn claim(name: &str, requests: Value, more: Value) -> Value {
    let mut devices = json!({"requests": requests});
    for (key, value) in more.as_object().into_iter().flatten() {
        devices[key] = value.clone();
    }
    json!({"metadata": {"namespace": "ns", "name": name, "uid": name}, "spec": {"devices": devices}})
}

fn exactly(name: &str, more: Value) -> Value {
    let mut ask = json!({"deviceClassName": "any", "allocationMode": "ExactCount", "count": 1});
    for (key, value) in more.as_object().into_iter().flatten() {
        ask[key] = value.clone();
    }
    json!({"name": name, "exactly": ask})
}

impl World {
    fn of(slices: Vec<Value>) -> Self {
        let classes = vec![json!({"metadata": {"name": "any"}})];
        Self { slices, classes, given: Vec::new() }
    }

    fn taking(mut self, results: Value) -> Self {
        let uid = format!("taken-{}", self.given.len());
        self.given.push(json!({"metadata": {"namespace": "ns", "name": uid, "uid": uid},
            "status": {"allocation": {"devices": {"results": results}}}}));
        self
    }

    fn devices(&self) -> Devices {
        let mut devices = Devices::default();
        for value in &self.slices {
            devices.take_slice(&Change::Added(Arc::new(serde_json::from_value(value.clone()).unwrap())));
        }
        for value in &self.classes {
            devices.take_class(&Change::Added(Arc::new(serde_json::from_value(value.clone()).unwrap())));
        }
        for value in &self.given {
            devices.take_claim(&Change::Added(Arc::new(serde_json::from_value(value.clone()).unwrap())));
        }
        devices
    }

    fn allocate(&self, claims: &[Value], steps_max: Option<u64>) -> Result<Option<Vec<Plan>>, Failure> {
        let devices = self.devices();
        let selectors = Selectors::default();
        let claims: Vec<ResourceClaim> =
            claims.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect();
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"zone": "1"}}})).unwrap();
        let claims: Vec<&ResourceClaim> = claims.iter().collect();
        Allocator::new(&devices, &selectors, steps_max).allocate(&node, &claims)
    }

    /// The devices of each request, claim by claim; `none`; or what is wrong.
    fn check(&self, claims: &[Value]) -> String {
        match self.allocate(claims, Some(100_000)) {
            Ok(Some(plans)) => {
                let shown = plans.iter().map(|plan| {
                    let given = plan.allocation.results.iter().map(|given| {
                        let consumed = given.consumed.values().map(|amount| format!("[{amount}]"));
                        format!("{}={}{}", given.request, given.id.device, consumed.collect::<String>())
                    });
                    given.collect::<Vec<_>>().join(" ")
                });
                shown.collect::<Vec<_>>().join(" | ")
            }
            Ok(None) => "none".to_owned(),
            Err(Failure::Error(why)) => format!("error: {why}"),
            Err(Failure::Here(why)) => format!("here: {why}"),
        }
    }
}

fn taken(device: &str) -> Value {
    json!([{"request": "r", "driver": DRIVER, "pool": "s", "device": device}])
}

/// Four devices of two models on two boards.
fn four() -> World {
    let device = |name: &str, model: &str, board: i64| {
        json!({"name": name, "attributes": {"model": {"string": model}, "board": {"int": board}},
            "capacity": {"memory": {"value": "40Gi"}}})
    };
    let mut world = World::of(vec![slice(
        "s",
        json!([device("a", "x", 0), device("b", "y", 0), device("c", "x", 1), device("d", "y", 1)]),
    )]);
    for model in ["x", "y"] {
        let expression = format!("device.attributes['{DRIVER}'].model == '{model}'");
        world.classes.push(class(model, &expression));
    }
    world
}

#[test]
fn requests_get_the_first_devices_that_fit() {
    let one = || json!([exactly("r", json!({}))]);
    let count = |count: i64| json!([exactly("r", json!({"count": count}))]);
    let selecting =
        |expression: &str| json!([exactly("r", json!({"selectors": [{"cel": {"expression": expression}}]}))]);
    let none = || json!({});
    for (world, claims, expected) in [
        (four(), vec![claim("c", one(), none())], "r=a"),
        (four(), vec![claim("c", count(3), none())], "r=a r=b r=c"),
        (four(), vec![claim("c", count(5), none())], "none"),
        (four(), vec![claim("c", one(), none()), claim("e", count(2), none())], "r=a | r=b r=c"),
        (four().taking(taken("a")), vec![claim("c", one(), none())], "r=b"),
        (
            four(),
            vec![claim("c", json!([exactly("r", json!({"deviceClassName": "y", "count": 2}))]), none())],
            "r=b r=d",
        ),
        (
            four(),
            vec![claim("c", selecting("device.attributes['gpu.example.com'].board == 1"), none())],
            "r=c",
        ),
        (four(), vec![claim("c", selecting("device.driver == 'other'"), none())], "none"),
        // The first request must leave the second what it needs.
        (
            four(),
            vec![claim(
                "c",
                json!([exactly("r", json!({"count": 3})), exactly("s", json!({"deviceClassName": "x"}))]),
                none(),
            )],
            "r=a r=b r=d s=c",
        ),
        (four(), vec![claim("c", json!([]), none())], ""),
        (four(), vec![], ""),
    ] {
        let shown = format!("{claims:?}");
        assert_eq!(world.check(&claims), expected, "{shown}");
    }
}

#[test]
fn all_devices_are_all_or_nothing() {
    let all = |class: &str| json!([exactly("r", json!({"allocationMode": "All", "deviceClassName": class}))]);
    for (world, claims, expected) in [
        (four(), vec![claim("c", all("any"), json!({}))], "r=a r=b r=c r=d"),
        (four(), vec![claim("c", all("x"), json!({})), claim("e", all("y"), json!({}))], "r=a r=c | r=b r=d"),
        (four().taking(taken("c")), vec![claim("c", all("x"), json!({}))], "none"),
        (four().taking(taken("c")), vec![claim("c", all("y"), json!({}))], "r=b r=d"),
        (World::of(vec![]), vec![claim("c", all("any"), json!({}))], "none"),
    ] {
        let shown = format!("{claims:?}");
        assert_eq!(world.check(&claims), expected, "{shown}");
    }
    let mut half = four();
    half.slices[0]["spec"]["pool"]["resourceSliceCount"] = json!(2);
    assert_eq!(
        half.check(&[claim("c", all("any"), json!({}))]),
        "error: claim ns/c, request r: asks for all devices, but resource pool gpu.example.com/s is currently being updated"
    );
    assert_eq!(half.check(&[claim("c", json!([exactly("r", json!({}))]), json!({}))]), "none");
}

#[test]
fn the_first_alternative_that_can_be_had_is_taken() {
    let either = |first: Value, second: Value| json!([{"name": "r", "firstAvailable": [first, second]}]);
    let ask = |name: &str, class: &str, count: i64| json!({"name": name, "deviceClassName": class, "allocationMode": "ExactCount", "count": count});
    for (world, claims, expected) in [
        (
            four(),
            vec![claim("c", either(ask("big", "x", 2), ask("small", "y", 1)), json!({}))],
            "r/big=a r/big=c",
        ),
        (
            four().taking(taken("a")),
            vec![claim("c", either(ask("big", "x", 2), ask("small", "y", 1)), json!({}))],
            "r/small=b",
        ),
        (four(), vec![claim("c", either(ask("big", "x", 3), ask("small", "x", 4)), json!({}))], "none"),
        // What one claim takes first may be given up for another.
        (
            four(),
            vec![
                claim("c", either(ask("big", "x", 2), ask("small", "y", 1)), json!({})),
                claim("e", json!([exactly("r", json!({"deviceClassName": "x"}))]), json!({})),
            ],
            "r/small=b | r=a",
        ),
        // An alternative that needs too many for a claim is passed over.
        (four(), vec![claim("c", either(ask("big", "x", 40), ask("small", "y", 1)), json!({}))], "r/small=b"),
    ] {
        let shown = format!("{claims:?}");
        assert_eq!(world.check(&claims), expected, "{shown}");
    }
}

#[test]
fn constraints_hold_of_devices_of_their_requests() {
    let two = |class: &str| {
        json!([
            exactly("r", json!({"deviceClassName": class})),
            exactly("s", json!({"deviceClassName": "y"}))
        ])
    };
    let board = |rule: &str, requests: Value| json!({"constraints": [{rule: "gpu.example.com/board", "requests": requests}]});
    for (world, claims, expected) in [
        (four(), vec![claim("c", two("x"), board("matchAttribute", json!([])))], "r=a s=b"),
        (
            four().taking(taken("b")),
            vec![claim("c", two("x"), board("matchAttribute", json!([])))],
            "r=c s=d",
        ),
        (four(), vec![claim("c", two("x"), board("distinctAttribute", json!([])))], "r=a s=d"),
        (four(), vec![claim("c", two("x"), board("distinctAttribute", json!(["r"])))], "r=a s=b"),
        (
            four(),
            vec![claim("c", json!([exactly("r", json!({"count": 3}))]), board("matchAttribute", json!([])))],
            "none",
        ),
        (
            four(),
            vec![claim(
                "c",
                json!([exactly("r", json!({}))]),
                json!({"constraints": [{"matchAttribute": "gpu.example.com/none"}]}),
            )],
            "none",
        ),
        (
            four(),
            vec![claim(
                "c",
                json!([exactly("r", json!({"allocationMode": "All"}))]),
                board("matchAttribute", json!([])),
            )],
            "error: claim ns/c, request r: cannot add device gpu.example.com/s/c because a claim constraint would not be satisfied",
        ),
        (
            four(),
            vec![claim("c", json!([exactly("r", json!({}))]), json!({"constraints": [{"requests": []}]}))],
            "error: claim ns/c, constraint #0: empty constraint (unsupported constraint type?)",
        ),
    ] {
        let shown = format!("{claims:?}");
        assert_eq!(world.check(&claims), expected, "{shown}");
    }
}

#[test]
fn who_looks_after_devices_has_them_beside_others() {
    let admin = |more: Value| {
        let mut ask = json!({"adminAccess": true});
        for (key, value) in more.as_object().into_iter().flatten() {
            ask[key] = value.clone();
        }
        exactly("r", ask)
    };
    let world = four().taking(taken("a"));
    for (claims, expected) in [
        (vec![claim("c", json!([admin(json!({}))]), json!({}))], "r=a"),
        (vec![claim("c", json!([admin(json!({"allocationMode": "All"}))]), json!({}))], "r=a r=b r=c r=d"),
        (vec![claim("c", json!([admin(json!({"count": 5}))]), json!({}))], "none"),
    ] {
        assert_eq!(world.check(&claims), expected);
    }
}

#[test]
fn tainted_devices_are_for_those_who_put_up_with_it() {
    let world = World::of(vec![slice(
        "s",
        json!([
            {"name": "a", "taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]},
            {"name": "b", "taints": [{"key": "k", "effect": "None"}]},
        ]),
    )]);
    let asking = |tolerations: Value| {
        vec![claim("c", json!([exactly("r", json!({"tolerations": tolerations}))]), json!({}))]
    };
    for (tolerations, expected) in [
        (json!([]), "r=b"),
        (json!([{"key": "k", "operator": "Exists"}]), "r=a"),
        (json!([{"key": "k", "value": "v"}]), "r=a"),
        (json!([{"key": "k", "value": "other"}]), "r=b"),
        (json!([{"key": "k", "operator": "Exists", "effect": "NoExecute"}]), "r=b"),
        (json!([{"operator": "Exists"}]), "r=a"),
    ] {
        let shown = tolerations.to_string();
        assert_eq!(world.check(&asking(tolerations)), expected, "{shown}");
    }
}

#[test]
fn parts_of_devices_share_what_they_need_of_the_pool() {
    let part = |name: &str, memory: &str| json!({"name": name, "consumesCounters": [{"counterSet": "card", "counters": {"memory": {"value": memory}}}]});
    let mut devices = slice(
        "s",
        json!([part("whole", "40Gi"), part("half-0", "20Gi"), part("half-1", "20Gi"), part("rest", "5Gi")]),
    );
    devices["spec"]["pool"]["resourceSliceCount"] = json!(2);
    let counters = json!({"metadata": {"name": "t"}, "spec": {"driver": DRIVER, "nodeName": "n",
        "pool": {"name": "s", "generation": 1, "resourceSliceCount": 2},
        "sharedCounters": [{"name": "card", "counters": {"memory": {"value": "40Gi"}}}]}});
    let world = World::of(vec![devices, counters]);
    let count = |count: i64| vec![claim("c", json!([exactly("r", json!({"count": count}))]), json!({}))];
    assert_eq!(world.check(&count(1)), "r=whole");
    assert_eq!(world.check(&count(2)), "r=half-0 r=half-1");
    assert_eq!(world.check(&count(3)), "none");
    assert_eq!(world.clone().taking(taken("half-0")).check(&count(1)), "r=half-1");
    assert_eq!(world.clone().taking(taken("half-0")).check(&count(2)), "none");
    assert_eq!(world.taking(taken("whole")).check(&count(1)), "none");
}

#[test]
fn a_device_may_be_had_in_parts() {
    let world = World::of(vec![slice(
        "s",
        json!([{"name": "a", "allowMultipleAllocations": true,
        "capacity": {"memory": {"value": "10Gi", "requestPolicy": {"default": "1Gi", "validRange": {"min": "1Gi"}}}}}]),
    )]);
    let asking = |name: &str, memory: Value| {
        let capacity =
            if memory.is_null() { json!({}) } else { json!({"capacity": {"requests": {"memory": memory}}}) };
        claim(name, json!([exactly("r", capacity)]), json!({}))
    };
    let share = json!([{"request": "r", "driver": DRIVER, "pool": "s", "device": "a", "shareID": "x",
        "consumedCapacity": {"memory": "8Gi"}}]);
    assert_eq!(world.check(&[asking("c", json!("4Gi")), asking("e", Value::Null)]), "r=a[4Gi] | r=a[1Gi]");
    assert_eq!(world.check(&[asking("c", json!("4Gi")), asking("e", json!("7Gi"))]), "none");
    assert_eq!(world.check(&[asking("c", json!("11Gi"))]), "none");
    assert_eq!(world.clone().taking(share.clone()).check(&[asking("c", json!("2Gi"))]), "r=a[2Gi]");
    assert_eq!(world.taking(share).check(&[asking("c", json!("3Gi"))]), "none");
}

#[test]
fn what_is_wrong_with_a_claim_is_an_error() {
    let mut broken = four();
    broken.classes.push(class("broken", "device.attributes['gpu.example.com'].none == 1"));
    for (requests, expected) in [
        (
            json!([exactly("r", json!({"deviceClassName": "gone"}))]),
            "error: claim ns/c, request r: could not retrieve device class gone: deviceclass.resource.k8s.io \"gone\" not found",
        ),
        (
            json!([exactly("r", json!({"deviceClassName": ""}))]),
            "error: claim ns/c, request r: missing device class name (unsupported request type?)",
        ),
        (
            json!([exactly("r", json!({"deviceClassName": "broken"}))]),
            "error: class broken: selector #0: CEL runtime error: no such key: none",
        ),
        (
            json!([exactly("r", json!({"selectors": [{"cel": {"expression": "1 +"}}]}))]),
            "error: claim ns/c: selector #0: CEL compile error: compilation failed: ",
        ),
        (
            json!([exactly("r", json!({"selectors": [{}]}))]),
            "error: claim ns/c, request r, selector #0: CEL expression empty (unsupported selector type?)",
        ),
        (
            json!([exactly("r", json!({"allocationMode": "Some"}))]),
            "error: claim ns/c, request r: unsupported count mode Some",
        ),
        (
            json!([exactly("r", json!({"count": 33}))]),
            "error: claim ns/c: number of requested devices 33 exceeds the claim limit of 32",
        ),
    ] {
        let found = broken.check(&[claim("c", requests, json!({}))]);
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    let mut twice = four();
    twice.slices.push(slice("t", json!([{"name": "e"}, {"name": "e"}])));
    assert_eq!(
        twice.check(&[claim("c", json!([exactly("r", json!({"count": 5}))]), json!({}))]),
        "here: invalid resource pools were encountered"
    );
}

#[test]
fn a_search_ends_after_so_many_steps() {
    // Twelve devices, no two on one board but two on the last: to find that no three are alike takes all pairs.
    let devices: Vec<Value> =
        (0..30).map(|n| json!({"name": format!("d{n:02}"), "attributes": {"board": {"int": n}}})).collect();
    let world = World::of(vec![slice("s", devices.into())]);
    let ask = |name: &str| exactly(name, json!({"count": 4}));
    let claims = [claim(
        "c",
        json!([ask("p"), ask("q"), ask("r"), ask("s"), exactly("t", json!({"count": 2}))]),
        json!({"constraints": [{"matchAttribute": "gpu.example.com/board", "requests": ["t"]}]}),
    )];
    assert_eq!(
        world.allocate(&claims, Some(10_000)),
        Err(Failure::Error("timed out trying to allocate devices".to_owned()))
    );
}

#[test]
fn a_plan_is_written_as_the_api_has_it() {
    let mut world = four();
    world.classes[0]["spec"] = json!({"config": [{"opaque": {"driver": DRIVER, "parameters": {"a": 1}}}]});
    let requests =
        json!([exactly("r", json!({"tolerations": [{"operator": "Exists"}]})), exactly("s", json!({}))]);
    let config =
        json!({"config": [{"requests": ["s"], "opaque": {"driver": DRIVER, "parameters": {"b": 1}}}]});
    let plans = world.allocate(&[claim("c", requests, config)], None).unwrap().unwrap();
    let written = plans[0].written(|| "share".to_owned(), "2026-01-01T00:00:00Z".parse().unwrap());
    let result = |request: &str, device: &str| json!({"request": request, "driver": DRIVER, "pool": "s", "device": device});
    let mut first = result("r", "a");
    first["tolerations"] = json!([{"operator": "Exists"}]);
    assert_eq!(
        written,
        json!({
            "allocationTimestamp": "2026-01-01T00:00:00Z",
            "devices": {
                "results": [first, result("s", "b")],
                "config": [
                    {"source": "FromClass", "opaque": {"driver": DRIVER, "parameters": {"a": 1}}},
                    {"source": "FromClaim", "requests": ["s"], "opaque": {"driver": DRIVER, "parameters": {"b": 1}}},
                ],
            },
            "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["n"]}]}]},
        })
    );
}

#[test]
fn an_allocation_says_which_nodes_reach_its_devices() {
    let zone = || json!({"key": "zone", "operator": "In", "values": ["1"]});
    let network = |name: &str, more: Value| {
        let mut slice = slice(name, json!([{"name": name}]));
        let spec = slice["spec"].as_object_mut().unwrap();
        spec.remove("nodeName");
        spec.extend(more.as_object().unwrap().clone());
        slice
    };
    let selecting = || json!({"nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [zone()]}]}});
    let only = json!({"nodeSelectorTerms": [{"matchFields": [
        {"key": "metadata.name", "operator": "In", "values": ["n"]}]}]});
    let mut bound = network("a", json!({"allNodes": true}));
    bound["spec"]["devices"][0]["bindsToNode"] = json!(true);
    for (slices, expected) in [
        (vec![network("a", json!({"allNodes": true}))], Value::Null),
        (vec![network("a", selecting())], json!({"nodeSelectorTerms": [{"matchExpressions": [zone()]}]})),
        (
            vec![network("a", selecting()), network("b", selecting())],
            json!({"nodeSelectorTerms": [{"matchExpressions": [zone()]}]}),
        ),
        (vec![network("a", selecting()), slice("b", json!([{"name": "b"}]))], only.clone()),
        (vec![bound], only),
    ] {
        let count = slices.len();
        let claims = [claim("c", json!([exactly("r", json!({"count": count}))]), json!({}))];
        let plans = World::of(slices).allocate(&claims, None).unwrap().unwrap();
        let nodes = plans[0].allocation.nodes.as_ref().map_or(Value::Null, |nodes| (*nodes.written).clone());
        assert_eq!(nodes, expected);
    }
}

// What follows knows nothing of how the allocator goes about it.

/// A device, as the simple allocator sees it.
#[derive(Clone, Copy, Debug)]
struct Simple {
    model: u8,
    board: u8,
    is_taken: bool,
}

/// A request: so many of a model, or, if there are none, so many of another.
#[derive(Clone, Copy, Debug)]
struct Wish {
    first: (u8, usize),
    second: Option<(u8, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Bond {
    None,
    Alike,
    Distinct,
}

fn wish() -> impl Strategy<Value = Wish> {
    let ask = || (0..2u8, 1..3usize);
    (ask(), proptest::option::of(ask())).prop_map(|(first, second)| Wish { first, second })
}

fn simple() -> impl Strategy<Value = Simple> {
    (0..2u8, 0..3u8, prop::bool::weighted(0.2)).prop_map(|(model, board, is_taken)| Simple {
        model,
        board,
        is_taken,
    })
}

/// The alternatives that can be had, the earliest first: all sets of devices for all requests are tried.
fn by_force(devices: &[Simple], claims: &[(Vec<Wish>, Bond)]) -> Option<Vec<usize>> {
    let wishes: Vec<Wish> = claims.iter().flat_map(|(wishes, _)| wishes.clone()).collect();
    let choices = wishes.iter().map(|wish| 1 + usize::from(wish.second.is_some()));
    let mut picks: Vec<Vec<usize>> = vec![Vec::new()];
    for choice in choices {
        picks = picks
            .into_iter()
            .flat_map(|pick| (0..choice).map(move |next| [pick.clone(), vec![next]].concat()))
            .collect();
    }
    picks.into_iter().find(|pick| {
        let asks: Vec<(u8, usize)> = wishes
            .iter()
            .zip(pick)
            .map(|(wish, pick)| if *pick == 0 { wish.first } else { wish.second.unwrap() })
            .collect();
        assignments(devices, &asks).iter().any(|owner| holds(devices, claims, owner))
    })
}

/// For each way to give devices to requests: whose each device is.
fn assignments(devices: &[Simple], asks: &[(u8, usize)]) -> Vec<Vec<Option<usize>>> {
    let mut all: Vec<Vec<Option<usize>>> = vec![Vec::new()];
    for device in devices {
        let fits = |ask: &(u8, usize)| ask.0 == device.model && !device.is_taken;
        let owners: Vec<Option<usize>> = std::iter::once(None)
            .chain(asks.iter().enumerate().filter(|(_, ask)| fits(ask)).map(|(at, _)| Some(at)))
            .collect();
        all = all
            .into_iter()
            .flat_map(|so_far| {
                owners.iter().map(move |owner| [so_far.clone(), vec![*owner]].concat()).collect::<Vec<_>>()
            })
            .collect();
    }
    all.retain(|owners| {
        asks.iter()
            .enumerate()
            .all(|(at, ask)| owners.iter().filter(|owner| **owner == Some(at)).count() == ask.1)
    });
    all
}

fn holds(devices: &[Simple], claims: &[(Vec<Wish>, Bond)], owners: &[Option<usize>]) -> bool {
    let mut first = 0;
    claims.iter().all(|(wishes, bond)| {
        let mine = first..first + wishes.len();
        first += wishes.len();
        let boards: Vec<u8> = devices
            .iter()
            .zip(owners)
            .filter(|(_, owner)| owner.is_some_and(|owner| mine.contains(&owner)))
            .map(|(device, _)| device.board)
            .collect();
        match bond {
            Bond::None => true,
            Bond::Alike => boards.iter().all(|board| *board == boards[0]),
            Bond::Distinct => boards.iter().collect::<std::collections::BTreeSet<_>>().len() == boards.len(),
        }
    })
}

fn world(devices: &[Simple]) -> World {
    let listed: Vec<Value> = devices
        .iter()
        .enumerate()
        .map(|(at, device)| {
            json!({"name": format!("d{at}"), "attributes": {
                "model": {"int": device.model}, "board": {"int": device.board}}})
        })
        .collect();
    let mut world = World::of(vec![slice("s", listed.into())]);
    for model in 0..2 {
        let expression = format!("device.attributes['{DRIVER}'].model == {model}");
        world.classes.push(class(&format!("m{model}"), &expression));
    }
    for (at, _) in devices.iter().enumerate().filter(|(_, device)| device.is_taken) {
        world = world.taking(taken(&format!("d{at}")));
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn claims_get_what_they_can_get(
        devices in prop::collection::vec(simple(), 0..6),
        claims in prop::collection::vec(
            (prop::collection::vec(wish(), 1..3), prop_oneof![Just(Bond::None), Just(Bond::Alike), Just(Bond::Distinct)]),
            1..3,
        ),
    ) {
        let ask = |name: String, (model, count): (u8, usize)| {
            json!({"name": name, "deviceClassName": format!("m{model}"), "allocationMode": "ExactCount", "count": count})
        };
        let asked: Vec<Value> = claims
            .iter()
            .enumerate()
            .map(|(at, (wishes, bond))| {
                let requests = wishes.iter().enumerate().map(|(number, wish)| {
                    let alternatives: Vec<Value> = std::iter::once(wish.first)
                        .chain(wish.second)
                        .enumerate()
                        .map(|(at, it)| ask(format!("a{at}"), it))
                        .collect();
                    json!({"name": format!("r{number}"), "firstAvailable": alternatives})
                });
                let constraints = match bond {
                    Bond::None => json!([]),
                    Bond::Alike => json!([{"matchAttribute": "gpu.example.com/board"}]),
                    Bond::Distinct => json!([{"distinctAttribute": "gpu.example.com/board"}]),
                };
                claim(&format!("c{at}"), requests.collect(), json!({"constraints": constraints}))
            })
            .collect();
        let found = world(&devices).allocate(&asked, None).unwrap();
        let expected = by_force(&devices, &claims);
        prop_assert_eq!(found.is_some(), expected.is_some());
        let (Some(found), Some(expected)) = (found, expected) else { return Ok(()) };
        // What was given is an assignment that holds. The first request has the earliest alternative that leaves enough for
        // the rest; later ones may have had an earlier one with other devices for the first, which nobody looks for.
        let mut owners: Vec<Option<usize>> = vec![None; devices.len()];
        let (mut first, mut picks) = (0, Vec::new());
        for (plan, (wishes, _)) in found.iter().zip(&claims) {
            for (number, wish) in wishes.iter().enumerate() {
                let of_request: Vec<&Given> =
                    plan.allocation.results.iter().filter(|given| given.request.starts_with(&format!("r{number}/"))).collect();
                let pick = usize::from(of_request[0].request.ends_with("a1"));
                let (model, count) = if pick == 0 { wish.first } else { wish.second.unwrap() };
                prop_assert_eq!(of_request.len(), count);
                for given in of_request {
                    let at: usize = given.id.device[1..].parse().unwrap();
                    prop_assert!(owners[at].is_none() && !devices[at].is_taken && devices[at].model == model);
                    owners[at] = Some(first + number);
                }
                picks.push(pick);
            }
            first += wishes.len();
        }
        prop_assert!(holds(&devices, &claims, &owners));
        prop_assert_eq!(picks.first(), expected.first());
    }
}
