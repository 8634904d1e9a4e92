//! The scheduler alone, for clusters whose other parts run elsewhere.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::bail;
use clap::{ArgAction, Parser};
use client::{
    Api, Key,
    events::Recorder,
    lease::{self, Election, Ended, Settings},
    serving::{self, Site},
    transport::{kubeconfig::Remote, measured},
};
use runtime::Runtime;
use scheduler::{
    Options,
    config::{Configuration, go_duration},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long everything may take to finish what it has in hand.
const DRAIN: Duration = Duration::from_secs(10);

/// The Kubernetes scheduler of Binnacle
#[derive(Parser, Debug)]
#[command(name = "scheduler", version)]
struct Arguments {
    /// How to reach the API server; the environment says if not given
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A KubeSchedulerConfiguration; it takes precedence over other flags
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Work only while leading
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    leader_elect: bool,
    /// A lease that is not renewed for so long may be taken over
    #[arg(long, default_value = "15s", value_parser = go_duration, value_name = "DURATION")]
    leader_elect_lease_duration: Duration,
    /// A leader that cannot renew for so long stops
    #[arg(long, default_value = "10s", value_parser = go_duration, value_name = "DURATION")]
    leader_elect_renew_deadline: Duration,
    /// How often to try to lead
    #[arg(long, default_value = "2s", value_parser = go_duration, value_name = "DURATION")]
    leader_elect_retry_period: Duration,
    /// What the lock is: only leases
    #[arg(long, default_value = "leases", value_name = "KIND")]
    leader_elect_resource_lock: String,
    /// The lock's name
    #[arg(long, default_value = "kube-scheduler", value_name = "NAME")]
    leader_elect_resource_name: String,
    /// The lock's namespace
    #[arg(long, default_value = "kube-system", value_name = "NAMESPACE")]
    leader_elect_resource_namespace: String,
    #[command(flatten)]
    serving: serving::Flags,
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    runtime::logging::start();
    runtime::process::run(run(arguments))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let configuration = match &arguments.config {
        Some(path) => Configuration::read(path)?,
        None => Configuration::default(),
    };
    let runtime = Runtime::system();
    let host = host_name();
    let site = Site::new(&runtime);
    let api = connect(&arguments, &configuration, &site).await?;
    let options = Options {
        profiles: configuration.profiles.clone(),
        percentage_of_nodes_to_score: configuration.percentage_of_nodes_to_score,
        waits: configuration.waits,
        instance: host.clone(),
    };
    let tasks = runtime.tasks.clone();
    site.serve(&arguments.serving, serving::SCHEDULER_PORT, &runtime).await?;
    let lost = match election(&arguments, &configuration, &host, &runtime, &api, &site)? {
        None => {
            show(&site, &scheduler::start(&runtime, api, options));
            runtime::process::interrupted().await;
            false
        }
        Some(election) => {
            let (tell, ended) = tokio::sync::oneshot::channel();
            tasks.spawn_draining("leader-election", async move {
                let ended = election.run(move |led| show(&site, &scheduler::start(&led, api, options))).await;
                // Nobody listens if the process stops by itself.
                let _ = tell.send(ended);
            });
            tokio::select! {
                biased;
                () = runtime::process::interrupted() => false,
                ended = ended => ended == Ok(Ended::Lost),
            }
        }
    };
    tracing::info!("draining");
    tasks.drain(DRAIN).await;
    if lost {
        bail!("leaderelection lost");
    }
    Ok(())
}

/// Lets a scheduler be looked at.
fn show(site: &Site, scheduler: &scheduler::Handle) {
    if let Err(error) = scheduler.metrics().register(site.metrics()) {
        tracing::warn!(%error, "no metrics of scheduling");
    }
    let records = scheduler.records();
    site.told_by(Box::new(move |_, namespace, name| {
        let asked = Key::new(namespace, name);
        let decisions: Vec<_> = records.list().iter().map(|it| it.brief(&asked)).collect();
        serde_json::json!({"decisions": decisions})
    }));
}

async fn connect(arguments: &Arguments, configuration: &Configuration, site: &Site) -> anyhow::Result<Api> {
    let said = Some(PathBuf::from(&configuration.kubeconfig)).filter(|path| !path.as_os_str().is_empty());
    let remote = Remote::connect(said.or_else(|| arguments.kubeconfig.clone()).as_deref()).await?;
    let requests = measured::Metrics::new();
    site.metrics().register(Box::new(requests.clone()))?;
    let host = remote.host().to_owned();
    let measured = requests.measure(Arc::new(remote), &host);
    Ok(Api::new(Arc::new(measured), concat!("kube-scheduler/", env!("CARGO_PKG_VERSION"))))
}

fn election(
    arguments: &Arguments,
    configuration: &Configuration,
    host: &str,
    runtime: &Runtime,
    api: &Api,
    site: &Site,
) -> anyhow::Result<Option<Election>> {
    let said = &configuration.leader_election;
    if !said.leader_elect.unwrap_or(arguments.leader_elect) {
        return Ok(None);
    }
    let lock = said.resource_lock.as_ref().unwrap_or(&arguments.leader_elect_resource_lock);
    if lock != "leases" {
        bail!("--leader-elect-resource-lock {lock:?} is not supported: only \"leases\" is");
    }
    let namespace = said.resource_namespace.as_ref().unwrap_or(&arguments.leader_elect_resource_namespace);
    let name = said.resource_name.as_ref().unwrap_or(&arguments.leader_elect_resource_name);
    let settings = Settings {
        lease: Key::new(namespace, name),
        identity: format!("{host}_{}", runtime.random.uuid()),
        lease_duration: said.lease_duration.unwrap_or(arguments.leader_elect_lease_duration),
        renew_deadline: said.renew_deadline.unwrap_or(arguments.leader_elect_renew_deadline),
        retry_period: said.retry_period.unwrap_or(arguments.leader_elect_retry_period),
    };
    if settings.lease_duration <= settings.renew_deadline {
        bail!("leaseDuration must be greater than renewDeadline");
    }
    let events = Recorder::start(runtime, api.clone(), "default-scheduler");
    let leads = lease::Metrics::new();
    site.metrics().register(Box::new(leads.clone()))?;
    Ok(Some(Election::new(api.clone(), runtime, settings).telling(events).measured(&leads)))
}

/// The name of this machine, for people.
fn host_name() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let name = std::env::var("HOSTNAME").ok().or_else(|| read("/proc/sys/kernel/hostname"));
    name.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}
