//! Some cases of every target, the same ones every time; and bodies that are as bad as they are large.

use fuzz::{
    mutate::{Mutation, Pool},
    targets,
    world::World,
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// What a test plays of a target: seeds as they are, then seeds that were changed.
fn play(name: &str, cases: u32) {
    let entry =
        targets::ALL.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target {name}"));
    let target = std::cell::RefCell::new((entry.make)());
    let seeds = target.borrow().seeds();
    let words = target.borrow().words();
    for seed in &seeds {
        target.borrow_mut().play(seed);
    }
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let change = (any::<u8>(), any::<u32>(), any::<u16>(), any::<u32>());
    let changes = (any::<prop::sample::Index>(), prop::collection::vec(change, 0..6));
    let outcome = runner.run(&changes, |(seed, changes)| {
        let mut input = seed.get(&seeds).clone();
        for (how, at, len, with) in changes {
            Mutation { how, at, len, with }.apply(&mut input, Pool { inputs: &seeds, words: &words });
        }
        target.borrow_mut().play(&input);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn requests_are_answered_and_the_server_goes_on() {
    play("requests", 400);
}

#[test]
fn selectors_print_as_what_they_are() {
    play("selectors", 2000);
}

#[test]
fn patches_end_and_are_bounded() {
    play("patches", 500);
}

#[test]
fn an_apply_twice_is_an_apply_once() {
    play("apply", 300);
}

#[test]
fn continue_tokens_lead_nowhere_else() {
    play("continue-tokens", 500);
}

#[test]
fn protobuf_bodies_read_as_they_were_written() {
    play("protobuf", 1000);
}

#[test]
fn json_bodies_read_as_they_were_written() {
    play("json", 1000);
}

#[test]
fn yaml_bodies_read_as_they_were_written() {
    play("yaml", 1000);
}

#[test]
fn paths_find_what_is_there() {
    play("json-path", 2000);
}

#[test]
fn the_next_time_of_a_schedule_is_later() {
    play("cron", 500);
}

#[test]
fn quantities_keep_their_value() {
    play("quantities", 2000);
}

#[test]
fn expressions_end_within_their_costs() {
    play("expressions", 500);
}

#[test]
fn every_target_is_played_here() {
    let text = include_str!("bounded.rs");
    for target in targets::ALL {
        assert!(text.contains(&format!("play(\"{}\", ", target.name)), "{} is not played", target.name);
    }
}

/// Large bodies that mean nothing, and a few that mean too much: each costs a refusal and nothing else.
#[test]
fn bodies_of_three_mebibytes_of_brackets_are_refused() {
    const SIZE: usize = 3 << 20;
    let world = World::new(1);
    let exists = world.ask(
        "POST",
        "/api/v1/namespaces/default/configmaps",
        "application/json",
        r#"{"metadata":{"name":"a"},"data":{"a":"b"}}"#,
    );
    assert_eq!(exists.code, 201);
    let fill = |piece: &str| piece.repeat(SIZE / piece.len());
    let bodies = [
        fill("["),
        fill("{"),
        fill("[]"),
        fill("{\"a\":"),
        fill("[{\"a\":"),
        format!("[{}]", fill("[],").trim_end_matches(',')),
        format!("{{\"data\":{}", fill("[")),
        fill("- "),
        fill("? "),
        fill("\n-"),
        fill("k8s\0"),
        fill("\u{12}"),
    ];
    let kinds = [
        ("POST", "/api/v1/namespaces/default/configmaps", "application/json"),
        ("POST", "/api/v1/namespaces/default/pods", "application/json"),
        ("POST", "/api/v1/namespaces/default/configmaps", "application/yaml"),
        ("POST", "/api/v1/namespaces/default/configmaps", "application/vnd.kubernetes.protobuf"),
        ("PATCH", "/api/v1/namespaces/default/configmaps/a", "application/json-patch+json"),
        ("PATCH", "/api/v1/namespaces/default/configmaps/a", "application/merge-patch+json"),
        ("PATCH", "/api/v1/namespaces/default/configmaps/a", "application/strategic-merge-patch+json"),
        ("PATCH", "/api/v1/namespaces/default/configmaps/a?fieldManager=f", "application/apply-patch+yaml"),
        ("DELETE", "/api/v1/namespaces/default/configmaps/a", "application/json"),
    ];
    for body in &bodies {
        let body = bytes::Bytes::from(body.clone().into_bytes());
        for (method, path, content_type) in kinds {
            let start: String = body.iter().take(8).map(|byte| char::from(*byte)).collect();
            let answer = world.ask(method, path, content_type, body.clone());
            assert!((400..500).contains(&answer.code), "{method} {content_type} {start:?}: {}", answer.code);
            assert!(answer.body.len() < 64 << 10, "{method} {content_type} {start:?}: {}", answer.body.len());
        }
    }
    assert_eq!(world.ask("GET", "/api/v1/namespaces/default/configmaps/a", "", "").code, 200);
}
