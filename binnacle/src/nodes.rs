//! `binnacle nodes`: hollow nodes for a cluster whose control plane runs elsewhere.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use client::{Api, transport::kubeconfig::Remote};
use runtime::Runtime;
use simulator::hollow::{self, stages::Stages};

/// How long the nodes may take to finish what they have in hand.
const DRAIN: Duration = Duration::from_secs(10);

/// The flags of `binnacle nodes`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// How to reach the API server, and who to be there; without it the environment says
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How many hollow nodes there are
    #[arg(long, default_value_t = 3, value_name = "N")]
    nodes: u16,
    /// A YAML file that says what Pods do on the hollow nodes
    #[arg(long, value_name = "FILE")]
    stages: Option<PathBuf>,
}

/// Runs until it is interrupted.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stages = arguments.stages.as_deref().map(Stages::read).transpose()?.unwrap_or_default();
    let runtime = Runtime::system();
    let transport = Remote::connect(arguments.kubeconfig.as_deref()).await?;
    let api = Api::new(Arc::new(transport), concat!("binnacle-nodes/", env!("CARGO_PKG_VERSION")));
    let nodes = hollow::Options { nodes: arguments.nodes, stages, ..Default::default() };
    hollow::start(&runtime, api, nodes);
    tracing::info!(nodes = arguments.nodes, "hollow nodes run");
    runtime::process::interrupted().await;
    runtime.tasks.drain(DRAIN).await;
    Ok(())
}
