//! The project's own tasks: `cargo xtask ci` is what the README calls the test command and what CI runs.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use e2e::{facts, golden, tables, tools};

#[derive(Parser, Debug)]
#[command(name = "cargo xtask", about = "The project's own tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Everything that must hold: format, lints, all tests, kubectl and crashes against the release build, the recorded
    /// exchanges where they are at hand
    Ci,
    /// Only the recorded exchanges, against the release build
    Golden {
        /// Only these topics
        topics: Vec<String>,
        /// Write the exchanges that fail now into the list
        #[arg(long)]
        update: bool,
    },
    /// Reads what the protobuf table must agree with off the sources of Kubernetes
    Facts {
        /// The root of those sources
        #[arg(long)]
        kubernetes: PathBuf,
        /// Only say whether the text in the workspace is what would be written
        #[arg(long)]
        check: bool,
    },
    /// Reads the tables of types off the sources of Kubernetes
    Tables {
        /// The root of those sources
        #[arg(long)]
        kubernetes: PathBuf,
        /// Only say whether the tables in the workspace are what would be written
        #[arg(long)]
        check: bool,
    },
    /// Looks for hostile input that breaks a promise; see fuzz/src/targets.rs
    Fuzz {
        /// What to try; without it, all targets one after the other
        target: Option<String>,
        /// How long, for each target
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// What all choices come from
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Ci => ci(),
        Task::Golden { topics, update } => golden_only(&topics, update),
        Task::Facts { kubernetes, check } => write_facts(&kubernetes, check),
        Task::Tables { kubernetes, check } => write_tables(&kubernetes, check),
        Task::Fuzz { target, seconds, seed } => fuzz(target.as_deref(), seconds, seed),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn ci() -> anyhow::Result<()> {
    step("format", "cargo", &["fmt", "--all", "--check"])?;
    step("lints", "cargo", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    let nextest = tools::on_path("cargo-nextest").is_some();
    let others = ["--workspace", "--exclude", "e2e"];
    if nextest {
        step("tests", "cargo", &[&["nextest", "run", "--profile", "ci"], &others[..]].concat())?;
    } else {
        step("tests", "cargo", &[&["test", "--lib", "--bins", "--tests"], &others[..]].concat())?;
    }
    step("examples in the documentation", "cargo", &["test", "--doc", "--workspace", "--quiet"])?;
    let programs = ["--workspace", "--bins", "--exclude", "e2e", "--exclude", "fuzz"];
    step("release build", "cargo", &[&["build", "--release"], &programs[..]].concat())?;
    if nextest {
        step("kubectl, crashes", "cargo", &["nextest", "run", "--profile", "ci", "-p", "e2e"])?;
    } else {
        step("kubectl, crashes", "cargo", &["test", "-p", "e2e"])?;
    }
    replay(golden::TOPICS, false)
}

fn golden_only(topics: &[String], update: bool) -> anyhow::Result<()> {
    step("release build", "cargo", &["build", "--release", "-p", "apiserver"])?;
    let named: Vec<&str> = topics.iter().map(String::as_str).collect();
    replay(if named.is_empty() { golden::TOPICS } else { &named }, update)
}

fn write_facts(kubernetes: &Path, check: bool) -> anyhow::Result<()> {
    let (facts, file) = (facts::read(kubernetes)?, facts::file());
    if check {
        let there = std::fs::read_to_string(&file).context("cannot read the facts")?;
        anyhow::ensure!(there == facts, "{} is not what these sources say", file.display());
        return Ok(());
    }
    std::fs::write(&file, facts).with_context(|| format!("cannot write {}", file.display()))
}

fn write_tables(kubernetes: &Path, check: bool) -> anyhow::Result<()> {
    let (made, there) = (tables::read(kubernetes)?, tables::there()?);
    if check {
        let names = made.keys().chain(there.keys());
        let differing: BTreeSet<&String> = names.filter(|name| made.get(*name) != there.get(*name)).collect();
        anyhow::ensure!(differing.is_empty(), "not what these sources say: {differing:?}");
        return Ok(());
    }
    for (name, text) in &made {
        std::fs::write(tables::folder().join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

fn fuzz(target: Option<&str>, seconds: u64, seed: u64) -> anyhow::Result<()> {
    let (seconds, seed) = (seconds.to_string(), seed.to_string());
    let mut arguments = vec!["run", "--quiet", "--profile", "fuzz", "-p", "fuzz", "--"];
    arguments.extend(target);
    arguments.extend(["--seconds", &seconds, "--seed", &seed]);
    step("hostile input", "cargo", &arguments)
}

/// Replays, and compares with what is known to fail.
fn replay(topics: &[&str], update: bool) -> anyhow::Result<()> {
    let Some(folder) = golden::folder() else {
        tell("== recorded exchanges: not at hand, skipped");
        return Ok(());
    };
    let mut known = golden::known()?;
    let mut wrong = Vec::new();
    for (store, jobs) in [("memory", 8), ("embedded", 8), ("etcd", 8)] {
        if store == "etcd" && tools::on_path("etcd").is_none() {
            tell("== recorded exchanges: etcd is not installed, skipped");
            continue;
        }
        tell(&format!("== recorded exchanges: {store} store, {jobs} at once"));
        let replayed = golden::replay(&folder, store, topics, jobs)?;
        tell(&format!("{} passed, {} failed", replayed.passed, replayed.failed));
        let new: Vec<&String> = replayed.failing.difference(&known).collect();
        if update {
            if store == "memory" {
                known.retain(|it| !topics.iter().any(|topic| it.starts_with(&format!("{topic} / "))));
            }
            known.extend(replayed.failing.iter().cloned());
            let lines: Vec<&str> = known.iter().map(String::as_str).collect();
            let text = format!("{}\n{}\n", HEAD, lines.join("\n"));
            std::fs::write(golden::list(), text).context("cannot write the list")?;
            continue;
        }
        wrong.extend(new.iter().map(|it| format!("{store}: {it} fails and passed before")));
        if store == "memory" {
            let of_topics =
                known.iter().filter(|it| topics.iter().any(|topic| it.starts_with(&format!("{topic} / "))));
            for passes in of_topics.filter(|it| !replayed.failing.contains(*it)) {
                tell(&format!("passes now, take it off the list: {passes}"));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{}", wrong.join("\n"))
}

const HEAD: &str = "# Recorded exchanges that do not pass yet; see e2e/src/golden.rs. The list only shrinks.";

fn step(what: &str, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    tell(&format!("== {what}: {program} {}", arguments.join(" ")));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(tools::workspace())
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if status.success() { Ok(()) } else { bail!("{what} failed") }
}

#[expect(clippy::print_stdout, reason = "a task tells what it does")]
fn tell(text: &str) {
    println!("{text}");
}
