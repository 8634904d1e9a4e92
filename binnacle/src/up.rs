//! `binnacle up`: the whole control plane in one process, and nodes to try it on.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use apiserver::{flags::Flags, launch::Launched, server::Server, tls::pki::Pki};
use clap::Args;
use client::controller::{Manager, Records};
use controller_manager::{certificates::Signer, launch, tokens::Maker};
use runtime::Runtime;
use simulator::{
    hollow::{self, stages::Stages},
    in_process,
};

use crate::why;

/// How long everything may take to finish what it has in hand.
const DRAIN: Duration = Duration::from_secs(10);

/// The longest that a certificate is valid that somebody asked for, as upstream has it.
const SIGNED_FOR: Duration = Duration::from_secs(8760 * 3600);

/// The flags of `binnacle up`.
#[derive(Args, Debug)]
#[group(id = "up")]
pub(crate) struct Arguments {
    #[command(flatten)]
    apiserver: Flags,
    /// How many hollow nodes there are
    #[arg(long, default_value_t = 3, value_name = "N")]
    nodes: u16,
    /// Which controllers to run: '*' for all, 'NAME' for one, '-NAME' for all but one
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "*",
        allow_hyphen_values = true
    )]
    controllers: Vec<String>,
    /// A YAML file that says what Pods do on the hollow nodes
    #[arg(long, value_name = "FILE")]
    stages: Option<PathBuf>,
    /// Where the administrator's kubeconfig is written
    #[arg(long, value_name = "FILE")]
    write_kubeconfig: Option<PathBuf>,
}

/// With what the controllers sign: certificates as the cluster's authority, tokens as its ServiceAccounts' issuer.
struct Identity {
    signer: Arc<Signer>,
    token_maker: Arc<Maker>,
}

impl Identity {
    fn of(pki: &Pki, flags: &Flags) -> anyhow::Result<Self> {
        let read = |file: &Path| {
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
        };
        let signer = Signer::from_pem(pki.authority().pem(), &read(&pki.path("ca.key"))?, SIGNED_FOR);
        let maker = Maker::from_pem(&match &flags.service_account_signing_key_file {
            Some(file) => read(file)?,
            None => pki.service_account_key()?,
        });
        Ok(Self {
            signer: Arc::new(signer.map_err(anyhow::Error::msg)?),
            token_maker: Arc::new(maker.map_err(anyhow::Error::msg)?),
        })
    }
}

/// A cluster's nodes are kept to what is theirs, unless somebody wants it otherwise.
fn restrict_nodes(flags: &mut Flags) {
    const PLUGIN: &str = "NodeRestriction";
    let is_named = |names: &[String]| names.iter().any(|name| name == PLUGIN);
    if !is_named(&flags.disable_admission_plugins) && !is_named(&flags.enable_admission_plugins) {
        flags.enable_admission_plugins.push(PLUGIN.to_owned());
    }
}

/// What runs in the API server's process, besides a scheduler.
#[derive(Debug)]
pub(crate) struct Beside {
    /// Which controllers, as `--controllers` names them; `None` for no controller manager.
    pub(crate) controllers: Option<Vec<String>>,
    /// Which nodes, if any.
    pub(crate) nodes: hollow::Options,
}

/// Runs until it is interrupted.
pub(crate) async fn run(mut arguments: Arguments) -> anyhow::Result<()> {
    let begun = tokio::time::Instant::now();
    let stages = arguments.stages.as_deref().map(Stages::read).transpose()?.unwrap_or_default();
    let wanted = launch::known(std::mem::take(&mut arguments.controllers)).map_err(anyhow::Error::msg)?;
    let runtime = Runtime::system();
    restrict_nodes(&mut arguments.apiserver);
    let launched = apiserver::launch::launch(&arguments.apiserver, &runtime).await?;
    let now = runtime.clock.now();
    let kubeconfig = launched.write_kubeconfigs(&arguments.apiserver, arguments.write_kubeconfig, now)?;
    let url = launched.url();
    let beside = Beside {
        controllers: Some(wanted),
        nodes: hollow::Options { nodes: arguments.nodes, stages, ..Default::default() },
    };
    let server = start(launched, &arguments.apiserver, &runtime, Some(beside))?;
    install_default_class(&server).await?;
    greet(&url, &kubeconfig, arguments.nodes, begun.elapsed())?;
    until_interrupted(&server, &runtime, arguments.apiserver.shutdown_delay_duration).await;
    Ok(())
}

/// Serves, with whatever runs beside the server.
///
/// # Errors
/// Keys that cannot be used.
pub(crate) fn start(
    launched: Launched,
    flags: &Flags,
    runtime: &Runtime,
    beside: Option<Beside>,
) -> anyhow::Result<Arc<Server>> {
    let server = Arc::clone(&launched.server);
    let root_ca = Arc::from(launched.pki.authority().pem());
    let identity = beside.is_some().then(|| Identity::of(&launched.pki, flags)).transpose()?;
    runtime.tasks.spawn_draining("serve", launched.serve());
    let (Some(beside), Some(identity)) = (beside, identity) else { return Ok(server) };
    let metrics = server.metrics.registry();
    let mut records = Vec::new();
    if let Some(wanted) = beside.controllers {
        let controllers = start_controllers(&server, runtime, wanted, root_ca, identity);
        metrics.register(Box::new(controllers.metrics.clone()))?;
        records.push(controllers.records);
        runs_here(&server, runtime, "controller-manager");
    }
    let (scheduler, hollow) = start_components(&server, runtime, beside.nodes);
    scheduler.metrics().register(metrics)?;
    runs_here(&server, runtime, "scheduler");
    records.extend(hollow);
    why::install(&server, records, scheduler.records());
    Ok(server)
}

/// A component is in this process, and is well for as long as the process is.
fn runs_here(server: &Server, runtime: &Runtime, name: &'static str) {
    let tasks = runtime.tasks.clone();
    server.components.runs_here(name, move || {
        if tasks.is_stopping() { Err("process is shutting down".to_owned()) } else { Ok(()) }
    });
}

/// Waits until somebody wants it to end, and lets everybody finish what they have in hand.
pub(crate) async fn until_interrupted(server: &Server, runtime: &Runtime, serve_on: Duration) {
    runtime::process::interrupted().await;
    tracing::info!("draining; interrupt again to stop at once");
    server.leave();
    let leaving = async {
        tokio::time::sleep(serve_on).await;
        let _drained = runtime.tasks.drain(DRAIN).await;
    };
    tokio::select! {
        biased;
        () = leaving => {}
        () = runtime::process::interrupted() => {}
    }
}

/// The controllers, each as its own service account, which may do what upstream's role for it allows.
fn start_controllers(
    server: &Arc<Server>,
    runtime: &Runtime,
    controllers: Vec<String>,
    root_ca: Arc<str>,
    identity: Identity,
) -> Manager {
    let api = in_process::api(server, "system:kube-controller-manager", &[]);
    let accounts = Arc::clone(server);
    let api_for: controller_manager::launch::ApiFor = Arc::new(move |account| {
        let user = format!("system:serviceaccount:kube-system:{account}");
        let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
        in_process::api(&accounts, &user, &groups)
    });
    let options = controller_manager::Options {
        api_for: Some(api_for),
        controllers,
        root_ca,
        hostpath_provisioner: true,
        signer: Some(identity.signer),
        token_maker: Some(identity.token_maker),
        ..Default::default()
    };
    controller_manager::start(runtime, api, &options)
}

/// Claims that name no class get a directory of a node, so that what needs volumes works out of the box. Where there is a
/// class already, whoever made it has seen to that.
async fn install_default_class(server: &Arc<Server>) -> anyhow::Result<()> {
    let api = in_process::api(server, "system:apiserver", &["system:masters"]);
    let (all, first) = (client::api::Selection::all(), client::api::Page { limit: 1, ..Default::default() });
    let there = api.list::<serde_json::Value>(&client::resource::STORAGE_CLASSES, &all, &first).await?;
    if !there.items.is_empty() {
        return Ok(());
    }
    let class = serde_json::json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/host-path",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    });
    match api.create::<serde_json::Value>(&client::resource::STORAGE_CLASSES, "", &class).await {
        Err(error) if !error.is_already_exists() => Err(error.into()),
        _ => Ok(()),
    }
}

fn start_components(
    server: &Arc<Server>,
    runtime: &Runtime,
    nodes: hollow::Options,
) -> (scheduler::Handle, Option<Records>) {
    let api = in_process::api(server, "system:kube-scheduler", &[]);
    let scheduler = scheduler::start(runtime, api, scheduler::Options::default());
    let hollow = (nodes.nodes > 0).then(|| {
        let api = in_process::api(server, "system:hollow-nodes", &["system:masters"]);
        hollow::start(runtime, api, nodes).manager.records
    });
    (scheduler, hollow)
}

fn greet(url: &str, kubeconfig: &std::path::Path, nodes: u16, took: Duration) -> anyhow::Result<()> {
    let kubeconfig = std::fs::canonicalize(kubeconfig).unwrap_or_else(|_| kubeconfig.to_owned());
    let mut out = std::io::stdout().lock();
    writeln!(out, "Binnacle is up after {} ms: Kubernetes v1.36 at {url}", took.as_millis())?;
    writeln!(out, "  running     apiserver, scheduler, controller-manager, {nodes} hollow nodes")?;
    writeln!(out, "  kubeconfig  {}", kubeconfig.display())?;
    writeln!(out)?;
    writeln!(out, "In another shell:")?;
    writeln!(out, "  export KUBECONFIG={}", kubeconfig.display())?;
    writeln!(out, "  kubectl get nodes")?;
    writeln!(out, "  kubectl create deployment web --image=nginx --replicas=3")?;
    writeln!(out, "  kubectl get pods -o wide --watch")?;
    writeln!(out)?;
    writeln!(out, "Ctrl-C stops it; the next start on the same data directory resumes.")?;
    Ok(())
}
