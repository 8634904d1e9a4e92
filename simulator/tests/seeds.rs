//! Faults from seeds: nothing unsafe after any change, and rest once the faults stop.
//!
//! `SEEDS=10000` plays so many instead of the two hundred of CI, `SEED=17` that one alone; `TRACE=job-7` then prints what
//! became of everything with that in its name, and what the controllers said of it.

#![expect(clippy::print_stdout, reason = "figures and traces are for whoever runs it")]

use std::time::Duration;

use client::controller::Record;
use simulator::{
    cluster::{COMPONENTS, Cluster, Options, play},
    steps, workloads,
};

/// So many steps has a script; fewer where every run plays it.
const STEPS: usize = 24;
const STEPS_FEW: usize = 12;
/// So many seeds are played unless somebody wants more.
const SEEDS: u64 = 200;
/// They are played by so many tests, which can run side by side.
const PARTS: u64 = 8;
/// A cluster at rest must stay there for so long; that of every twentieth seed for an hour.
const REST: Duration = Duration::from_secs(120);
const LONG_REST: Duration = Duration::from_secs(3600);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn play_seed(seed: u64) -> Result<(), String> {
    let long = number("SEEDS").is_some() || number("SEED").is_some();
    let script = steps::script(seed, if long { STEPS } else { STEPS_FEW });
    let rest = if seed.is_multiple_of(20) { LONG_REST } else { REST };
    let options = Options { stages: workloads::stages(), ..Options::seed(seed) };
    let played = play(options, async |cluster| {
        let followed = steps::follow(cluster, &script, rest).await;
        if let Ok(name) = std::env::var("TRACE") {
            trace(cluster, &name);
        }
        followed
    });
    played.map(drop).map_err(|error| {
        let script: Vec<String> = script.iter().map(|step| format!("  {step:?}")).collect();
        format!("seed {seed}: {error:#}\nscript:\n{}", script.join("\n"))
    })
}

fn trace(cluster: &Cluster, name: &str) {
    for line in cluster.log_since(0, |line| line.contains(name) && !line.contains(" Event ")) {
        println!("{line}");
    }
    for component in COMPONENTS {
        let of_name = |record: &Record| record.key.to_string().contains(name);
        for record in cluster.records(component).map(|all| all.find(of_name)).unwrap_or_default() {
            println!("{}", serde_json::to_string(&*record).unwrap_or_default());
        }
    }
}

fn part(part: u64) {
    let seeds: Vec<u64> = match number("SEED") {
        Some(seed) => Vec::from_iter((seed % PARTS == part).then_some(seed)),
        None => (1..=number("SEEDS").unwrap_or(SEEDS)).filter(|seed| seed % PARTS == part).collect(),
    };
    let mut failures = Vec::new();
    for failure in seeds.into_iter().filter_map(|seed| play_seed(seed).err()) {
        // A long run is told of at once, with `--no-capture`.
        println!("{failure}");
        failures.push(failure);
    }
    assert!(failures.is_empty(), "{} seeds failed\n{}", failures.len(), failures.join("\n\n"));
}

macro_rules! parts {
    ($($name:ident = $number:literal;)*) => {
        $(
            #[test]
            fn $name() {
                part($number);
            }
        )*
    };
}

parts! {
    whatever_fails_nothing_unsafe_happens_and_the_cluster_comes_to_rest_0 = 0;
    whatever_fails_nothing_unsafe_happens_and_the_cluster_comes_to_rest_1 = 1;
    whatever_fails_nothing_unsafe_happens_and_the_cluster_comes_to_rest_2 = 2;
    whatever_fails_nothing_unsafe_happens_and_the_cluster_comes_to_rest_3 = 3;
    whatever_fails_nothing_unsafe_happens_and_the_cluster_comes_to_rest_4 = 4;
    whatever_fails_nothing_unsafe_happens_and_the_cluster_comes_to_rest_5 = 5;
    whatever_fails_nothing_unsafe_happens_and_the_cluster_comes_to_rest_6 = 6;
    whatever_fails_nothing_unsafe_happens_and_the_cluster_comes_to_rest_7 = 7;
}
