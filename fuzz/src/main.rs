//! Looks for inputs that break a promise: `fuzz TARGET --seconds N`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use fuzz::{run, targets};

#[derive(Parser, Debug)]
#[command(name = "fuzz", about = "Looks for inputs that break a promise")]
struct Arguments {
    /// What to try; without it, all targets one after the other
    target: Option<String>,
    /// How long, for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What all choices come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where inputs are written that break a promise
    #[arg(long, default_value = "target/fuzz")]
    found: PathBuf,
    /// Play this one input and nothing else
    #[arg(long)]
    input: Option<PathBuf>,
}

fn main() -> ExitCode {
    match all(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("fuzz: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn all(arguments: &Arguments) -> anyhow::Result<bool> {
    let known: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
    if let Some(name) = &arguments.target {
        anyhow::ensure!(known.contains(&name.as_str()), "no target {name}; there are {}", known.join(", "));
    }
    let mut sound = true;
    for target in targets::ALL {
        if arguments.target.as_ref().is_none_or(|name| name == target.name) {
            sound &= one(target, arguments)?;
        }
    }
    Ok(sound)
}

fn one(target: &targets::Entry, arguments: &Arguments) -> anyhow::Result<bool> {
    if let Some(path) = &arguments.input {
        let input = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        tell(&format!("{}: {}", target.name, (target.make)().play(&input)));
        return Ok(true);
    }
    let report = run::run(&target.make, arguments.seed, Duration::from_secs(arguments.seconds));
    tell(&format!(
        "{}: {} cases in {} s, {} outcomes, at most {:.1} MiB and {:.3} s a case, {} broken promises",
        target.name,
        report.cases,
        arguments.seconds,
        report.outcomes,
        // Whole MiB would say nothing of most cases.
        f64::from(u32::try_from(report.peak / 1024).unwrap_or(u32::MAX)) / 1024.0,
        report.longest.as_secs_f64(),
        report.faults.len(),
    ));
    let mut counts: Vec<_> = report.counts.iter().collect();
    counts.sort_by(|a, b| b.1.cmp(a.1));
    for (kind, count) in counts.iter().take(24) {
        tell(&format!("  {count:>9} {kind}"));
    }
    std::fs::create_dir_all(&arguments.found)?;
    for (at, (input, why)) in report.faults.iter().enumerate() {
        let path = arguments.found.join(format!("{}-{}-{at}", target.name, arguments.seed));
        std::fs::write(&path, input).with_context(|| format!("cannot write {}", path.display()))?;
        tell(&format!("  broken: {why}\n    {} ({} bytes)", path.display(), input.len()));
    }
    Ok(report.faults.is_empty())
}

#[expect(clippy::print_stdout, reason = "a task tells what it does")]
fn tell(text: &str) {
    println!("{text}");
}
