//! Binnacle: a Kubernetes control plane in one process, and the operator's tools.

mod in_process;
mod up;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A Kubernetes control plane in one process
#[derive(Parser, Debug)]
#[command(name = "binnacle", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    up: up::Arguments,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Bring up a cluster: apiserver, scheduler, controllers and hollow nodes (the default)
    Up(Box<up::Arguments>),
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    runtime::logging::start();
    let up = match arguments.command {
        Some(Command::Up(up)) => *up,
        None => arguments.up,
    };
    runtime::process::run(up::run(up))
}
