//! The apiserver alone, for clusters whose other parts run elsewhere.

use std::time::Duration;

use apiserver::{flags::Flags, launch, observe::journal};
use clap::Parser;
use runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The Kubernetes API server of Binnacle
#[derive(Parser, Debug)]
#[command(name = "apiserver", version)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Where an administrator's kubeconfig is written
    #[arg(long, value_name = "FILE")]
    write_kubeconfig: Option<std::path::PathBuf>,
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    runtime::logging::start();
    runtime::process::run(async move {
        let runtime = Runtime::system();
        let launched = launch::launch(&arguments.flags, &runtime).await?;
        let now = runtime.clock.now();
        let kubeconfig = launched.write_kubeconfigs(&arguments.flags, arguments.write_kubeconfig, now)?;
        tracing::info!(url = launched.url(), kubeconfig = %kubeconfig.display(), "serving");
        // For `binnacle why`.
        launched.server.registry.journal.keep(journal::CAPACITY);
        let (tasks, server) = (runtime.tasks.clone(), std::sync::Arc::clone(&launched.server));
        tasks.spawn_draining("serve", launched.serve());
        runtime::process::interrupted().await;
        server.leave();
        tokio::time::sleep(arguments.flags.shutdown_delay_duration).await;
        tracing::info!("draining");
        tasks.drain(Duration::from_secs(10)).await;
        Ok(())
    })
}
