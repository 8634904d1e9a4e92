//! `binnacle simulate`: a day of a cluster's life in one thread, from one seed.

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Args;
use simulator::{
    cluster::{self, Figures, Options},
    scenarios,
};

/// The flags of `binnacle simulate`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// How many hours pass in the cluster; a Deployment is updated in each
    #[arg(long, default_value_t = 24, value_name = "N")]
    hours: u32,
    /// Where all uids, names and delays come from
    #[arg(long, default_value_t = 7, value_name = "N")]
    seed: u64,
    /// How many hollow nodes there are
    #[arg(long, default_value_t = 3, value_name = "N")]
    nodes: u16,
    /// Play it twice and compare
    #[arg(long)]
    twice: bool,
    /// Write every change of the cluster's objects to this file, one a line
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// What one play came to.
struct Played {
    figures: Figures,
    log: Vec<String>,
    took: Duration,
}

/// Plays, and prints the figures. It takes no other thread than this one.
#[expect(clippy::print_stderr, reason = "the last word of a program that cannot go on")]
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match simulate(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(arguments: &Arguments) -> anyhow::Result<()> {
    let first = play(arguments)?;
    report(&first)?;
    if let Some(path) = &arguments.log {
        std::fs::write(path, first.log.join("\n") + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if arguments.twice {
        let second = play(arguments)?;
        report(&second)?;
        compare(&first, &second)?;
        writeln!(std::io::stdout(), "both runs wrote the same log")?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "how long the computer took is no part of the simulation")]
fn play(arguments: &Arguments) -> anyhow::Result<Played> {
    let started = std::time::Instant::now();
    let options = Options { nodes: arguments.nodes, ..Options::seed(arguments.seed) };
    let (figures, log) = cluster::play(options, async |cluster| {
        let figures = scenarios::rolling_update_every_hour(cluster, arguments.hours).await?;
        Ok((figures, cluster.log()))
    })
    .with_context(|| format!("seed {}", arguments.seed))?;
    Ok(Played { figures, log, took: started.elapsed() })
}

fn report(Played { figures, took, .. }: &Played) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "simulated time  {:.1} h", figures.simulated.as_secs_f64() / 3600.0)?;
    writeln!(out, "real time       {:.2} s", took.as_secs_f64())?;
    writeln!(out, "requests        {}", figures.requests)?;
    writeln!(out, "events          {}", figures.events)?;
    writeln!(out, "log             sha256:{}", figures.digest)?;
    Ok(())
}

fn compare(first: &Played, second: &Played) -> anyhow::Result<()> {
    for (one, two) in first.log.iter().zip(&second.log) {
        anyhow::ensure!(one == two, "the runs differ, first here:\n  {one}\n  {two}");
    }
    anyhow::ensure!(
        first.figures == second.figures,
        "the runs differ in bytes that the log's lines do not show"
    );
    Ok(())
}
