//! Binnacle: a Kubernetes control plane in one process, and the operator's tools.

mod envtest;
mod nodes;
mod simulate;
mod store;
mod up;
mod why;

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
    /// Run hollow nodes for a cluster whose control plane runs elsewhere
    Nodes(nodes::Arguments),
    /// Play a cluster in one thread from a seed, as fast as it can be computed
    Simulate(simulate::Arguments),
    /// Tell why an object is as it is: from a client's write to the last Pod's readiness
    Why(why::Arguments),
    /// Back up, restore, check or move the objects of a cluster
    Store(store::Arguments),
    /// Fill a folder that envtest of controller-runtime can use: export KUBEBUILDER_ASSETS=$(binnacle envtest DIR)
    Envtest(envtest::Arguments),
}

fn main() -> std::process::ExitCode {
    if let Some(run) = std::env::args_os().next().as_deref().and_then(envtest::called_as) {
        return run();
    }
    let arguments = Arguments::parse();
    runtime::logging::start();
    let up = match arguments.command {
        Some(Command::Up(up)) => *up,
        Some(Command::Nodes(nodes)) => return runtime::process::run(nodes::run(nodes)),
        Some(Command::Simulate(it)) => return simulate::run(&it),
        Some(Command::Why(it)) => return runtime::process::run(why::run(it)),
        Some(Command::Store(it)) => return runtime::process::run(store::run(it)),
        Some(Command::Envtest(it)) => {
            return runtime::process::run(async move { envtest::run(&it) });
        }
        None => arguments.up,
    };
    runtime::process::run(up::run(up))
}
