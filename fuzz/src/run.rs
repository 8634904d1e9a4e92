//! Plays cases of one target until the time is over.
//!
//! An outcome that was not seen before earns its input a place among those that later inputs are made from. That is poorer
//! than an engine that sees the covered code, but answers of an API are telling.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{
    mutate::{Mutation, Pool, babble},
    targets::Target,
};

/// How many inputs are kept to make others from.
const KEPT_MAX: usize = 4000;
/// How many broken promises end a run.
const FAULTS_MAX: usize = 20;
/// How much memory one case may take at its peak, beyond what was held before it.
pub const CASE_BYTES_MAX: u64 = 512 << 20;
/// How long one case may take.
const CASE_MAX: Duration = Duration::from_secs(5);

/// What a run found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many cases were played.
    pub cases: u64,
    /// How many outcomes could be told apart.
    pub outcomes: usize,
    /// The most memory a case took, if the system tells.
    pub peak: u64,
    /// The longest case.
    pub longest: Duration,
    /// Inputs for which a promise was broken, each with what was said.
    pub faults: Vec<(Vec<u8>, String)>,
    /// How often each kind of outcome was seen.
    pub counts: BTreeMap<String, u64>,
}

/// Plays a target.
pub fn run(make: &dyn Fn() -> Box<dyn Target>, seed: u64, time: Duration) -> Report {
    let mut random = StdRng::seed_from_u64(seed);
    let mut target = make();
    let mut inputs = target.seeds();
    let words = target.words();
    let mut seen = BTreeSet::new();
    let mut said = BTreeSet::new();
    let mut report = Report::default();
    let mut queue: Vec<Vec<u8>> = inputs.clone();
    let start = now();
    while start.elapsed() < time && report.faults.len() < FAULTS_MAX {
        let input = queue.pop().unwrap_or_else(|| next(&mut random, &inputs, &words));
        let before = memory::reset();
        let began = now();
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| target.play(&input)));
        let took = began.elapsed();
        let grown = memory::peak().saturating_sub(before);
        report.cases += 1;
        report.peak = report.peak.max(grown);
        report.longest = report.longest.max(took);
        let fault = match outcome {
            Err(panic) => {
                // Whatever the target held may be in disorder.
                target = make();
                Some(message(panic.as_ref()))
            }
            Ok(_) if grown > CASE_BYTES_MAX => Some(format!("took {grown} bytes")),
            Ok(_) if took > CASE_MAX => Some(format!("took {took:?}")),
            Ok(outcome) => {
                let kind = outcome.split('\u{1f}').next().unwrap_or_default().to_owned();
                *report.counts.entry(kind).or_default() += 1;
                if seen.len() < KEPT_MAX && seen.insert(outcome) && !inputs.contains(&input) {
                    inputs.push(input.clone());
                }
                None
            }
        };
        if let Some(why) = fault
            && said.insert(why.chars().take(60).collect::<String>())
        {
            report.faults.push((input, why));
        }
    }
    report.outcomes = seen.len();
    report
}

fn next(random: &mut StdRng, inputs: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    if inputs.is_empty() || random.random_ratio(1, 16) {
        return babble(random, words);
    }
    let mut input = inputs.get(random.random_range(0..inputs.len())).cloned().unwrap_or_default();
    for _ in 0..=random.random_range(0..6) {
        Mutation::any(random).apply(&mut input, Pool { inputs, words });
    }
    input
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time of the world in the cases stands still; a run lasts real seconds"
)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// The memory of this process, as Linux tells it; elsewhere nothing is measured.
mod memory {
    use std::fs;

    /// Forgets the peak so far, and says what is held now.
    pub(super) fn reset() -> u64 {
        // Where it cannot be reset the growth of the peak is seen once, and then not again.
        let _unsupported = fs::write("/proc/self/clear_refs", "5");
        peak()
    }

    /// The most that was held since.
    pub(super) fn peak() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        line.split_ascii_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default()
            * 1024
    }
}
