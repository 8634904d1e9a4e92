//! Faults from seeds: nothing unsafe after any change, and rest once the faults stop.
//!
//! `SEEDS=500` plays more of them, `SEED=17` that one alone.

use simulator::{
    cluster::{Options, play},
    steps,
};

const STEPS: usize = 24;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

#[test]
fn whatever_fails_nothing_unsafe_happens_and_the_cluster_comes_to_rest() {
    let seeds = match number("SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("SEEDS").unwrap_or(10),
    };
    let mut failures = Vec::new();
    for seed in seeds {
        let script = steps::script(seed, STEPS);
        let played = play(Options::seed(seed), async |cluster| steps::follow(cluster, &script).await);
        if let Err(error) = played {
            let script: Vec<String> = script.iter().map(|step| format!("  {step:?}")).collect();
            failures.push(format!("seed {seed}: {error:#}\nscript:\n{}", script.join("\n")));
        }
    }
    assert!(failures.is_empty(), "{} seeds failed\n{}", failures.len(), failures.join("\n\n"));
}
