//! Logs: one line an event on standard error, filtered by `RUST_LOG`, as JSON if `BINNACLE_LOG_FORMAT=json`.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging for the process; a second call changes nothing.
pub fn start() {
    // A component of this machine is asked without a look at its certificate, on purpose.
    let usual = || EnvFilter::new("info,kube_client::client::tls=error");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| usual());
    let registry = tracing_subscriber::registry().with(filter);
    let json = std::env::var("BINNACLE_LOG_FORMAT").is_ok_and(|format| format == "json");
    let started = if json {
        registry.with(fmt::layer().json().with_writer(io::stderr)).try_init()
    } else {
        registry
            .with(
                fmt::layer().with_target(false).with_ansi(io::stderr().is_terminal()).with_writer(io::stderr),
            )
            .try_init()
    };
    // Somebody started it before us: theirs stays.
    drop(started);
}
