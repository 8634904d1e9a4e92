//! What the main function of every binary does: run one future to its end, tell failures in one line.

use std::{future::Future, process::ExitCode};

/// Runs a program on a fresh multi-threaded runtime. A failure is printed in one line, and the exit code is 1.
#[expect(
    clippy::print_stderr,
    reason = "the last word of a program that cannot go on, which must not depend on logging"
)]
pub fn run(program: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(program) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Resolves when the process is asked to end: Ctrl-C, or SIGTERM as units and containers send it.
pub async fn interrupted() {
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        // Without the second signal the first one still works.
        drop(tokio::signal::ctrl_c().await);
        return;
    };
    tokio::select! {
        biased;
        interrupt = tokio::signal::ctrl_c() => drop(interrupt),
        _ = terminate.recv() => {}
    }
}
