//! The controllers alone, for clusters whose other parts run elsewhere.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use clap::{ArgAction, Parser};
use client::{
    Api, Key,
    controller::Manager,
    events::Recorder,
    lease::{self, Election, Ended, Settings},
    serving::{self, Site},
    transport::{kubeconfig::Remote, measured, service_account::ServiceAccounts},
};
use controller_manager::{
    Options,
    certificates::Signer,
    controllers::node_ipam::Pool,
    launch::{self, ApiFor},
    tokens::Maker,
};
use ipnet::IpNet;
use runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long everything may take to finish what it has in hand.
const DRAIN: Duration = Duration::from_secs(10);

/// The Kubernetes controllers of Binnacle
#[derive(Parser, Debug)]
#[command(name = "controller-manager", version)]
struct Arguments {
    /// How to reach the API server, and who to be there; without it the environment says
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Which controllers to run: '*' for all, 'NAME' for one, '-NAME' for all but one
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "*",
        allow_hyphen_values = true
    )]
    controllers: Vec<String>,
    /// By which authority Pods shall trust the API server: published in every namespace, if given
    #[arg(long, value_name = "FILE")]
    root_ca_file: Option<PathBuf>,
    /// Which authority signs the certificates that are asked for, if any
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    cluster_signing_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    cluster_signing_key_file: Option<PathBuf>,
    /// The longest that such a certificate is valid
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration)]
    cluster_signing_duration: Duration,
    /// The key that signs the tokens of ServiceAccounts in Secrets; they get none without it
    #[arg(long, value_name = "FILE")]
    service_account_private_key_file: Option<PathBuf>,
    /// A token that was once made for a ServiceAccount is cleaned up after nobody has used it for so long
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration)]
    legacy_service_account_token_clean_up_period: Duration,
    /// Give each controller the identity of its service account in kube-system, so that it may do what its role says
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    use_service_account_credentials: bool,
    /// Make volumes of directories of nodes for classes of the provisioner kubernetes.io/host-path: to try things on only
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    enable_hostpath_provisioner: bool,
    #[command(flatten)]
    node_ranges: NodeRangeFlags,
    #[command(flatten)]
    election: ElectionFlags,
    #[command(flatten)]
    workers: WorkerFlags,
    #[command(flatten)]
    serving: serving::Flags,
}

/// Which addresses the Pods of a node have.
#[derive(clap::Args, Debug)]
struct NodeRangeFlags {
    /// Give each node a part of the cluster's range for its Pods
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    allocate_node_cidrs: bool,
    /// The cluster's range; two, of both families, separated by a comma
    #[arg(long, value_name = "CIDRS", value_delimiter = ',')]
    cluster_cidr: Vec<IpNet>,
    /// The length of the prefix of a node's part: 24 for IPv4, 64 for IPv6 if nothing is said
    #[arg(long, value_name = "N")]
    node_cidr_mask_size: Option<u8>,
    /// The same, for IPv4
    #[arg(long, value_name = "N")]
    node_cidr_mask_size_ipv4: Option<u8>,
    /// The same, for IPv6
    #[arg(long, value_name = "N")]
    node_cidr_mask_size_ipv6: Option<u8>,
}

#[derive(clap::Args, Debug)]
struct ElectionFlags {
    /// Work only while leading; of several copies one does
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    leader_elect: bool,
    /// How long a lead lasts from its last renewal
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    leader_elect_lease_duration: Duration,
    /// A leader that cannot renew for so long stops
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    leader_elect_renew_deadline: Duration,
    /// How often to try to lead or to renew
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    leader_elect_retry_period: Duration,
    /// What to lock; only leases can be
    #[arg(long, value_name = "KIND", default_value = "leases", value_parser = ["leases"])]
    leader_elect_resource_lock: String,
    /// The lock's name
    #[arg(long, value_name = "NAME", default_value = "kube-controller-manager")]
    leader_elect_resource_name: String,
    /// The lock's namespace
    #[arg(long, value_name = "NAME", default_value = "kube-system")]
    leader_elect_resource_namespace: String,
}

/// How many objects of a kind are looked at in parallel.
#[derive(clap::Args, Debug)]
struct WorkerFlags {
    #[arg(long, value_name = "N")]
    concurrent_cron_job_syncs: Option<usize>,
    #[arg(long, value_name = "N")]
    concurrent_deployment_syncs: Option<usize>,
    #[arg(long, value_name = "N")]
    concurrent_endpoint_syncs: Option<usize>,
    #[arg(long, value_name = "N")]
    concurrent_gc_syncs: Option<usize>,
    #[arg(long, value_name = "N")]
    concurrent_job_syncs: Option<usize>,
    #[arg(long, value_name = "N")]
    concurrent_namespace_syncs: Option<usize>,
    #[arg(long, value_name = "N")]
    concurrent_rc_syncs: Option<usize>,
    #[arg(long, value_name = "N")]
    concurrent_replicaset_syncs: Option<usize>,
    #[arg(long, value_name = "N")]
    concurrent_service_endpoint_syncs: Option<usize>,
    #[arg(long, value_name = "N")]
    concurrent_serviceaccount_token_syncs: Option<usize>,
    #[arg(long, value_name = "N")]
    concurrent_statefulset_syncs: Option<usize>,
    #[arg(long, value_name = "N")]
    concurrent_ttl_after_finished_syncs: Option<usize>,
    #[arg(long, value_name = "N")]
    concurrent_validating_admission_policy_status_syncs: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    runtime::logging::start();
    runtime::process::run(run(arguments))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        kubeconfig,
        controllers,
        root_ca_file,
        cluster_signing_cert_file,
        cluster_signing_key_file,
        cluster_signing_duration,
        service_account_private_key_file,
        legacy_service_account_token_clean_up_period,
        enable_hostpath_provisioner,
        node_ranges,
        use_service_account_credentials,
        election,
        workers,
        serving,
    } = arguments;
    let runtime = Runtime::system();
    let site = Site::new(&runtime);
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let signer = match (cluster_signing_cert_file, cluster_signing_key_file) {
        (Some(certificate), Some(key)) => {
            let signer = Signer::from_pem(&read(&certificate)?, &read(&key)?, cluster_signing_duration);
            Some(Arc::new(signer.map_err(anyhow::Error::msg)?))
        }
        _ => None,
    };
    let token_maker = service_account_private_key_file
        .map(|path| Maker::from_pem(&read(&path)?).map(Arc::new).map_err(anyhow::Error::msg))
        .transpose()?;
    let root_ca = root_ca_file
        .map(|path| std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display())))
        .transpose()?
        .unwrap_or_default()
        .into();
    let transport = Remote::connect(kubeconfig.as_deref()).await?;
    let anonymous = Remote::connect_as_nobody(kubeconfig.as_deref()).await?;
    let requests = measured::Metrics::new();
    site.metrics().register(Box::new(requests.clone()))?;
    let host = transport.host().to_owned();
    let transport = requests.measure(Arc::new(transport), &host);
    let api = Api::new(Arc::new(transport), "kube-controller-manager");
    let api_for = use_service_account_credentials.then(|| -> ApiFor {
        let accounts = ServiceAccounts::new(anonymous, api.clone(), Arc::clone(&runtime.clock));
        Arc::new(move |account| accounts.api(account))
    });
    let options = Options {
        api_for,
        controllers: launch::known(controllers).map_err(anyhow::Error::msg)?,
        workers: workers.by_name(),
        root_ca,
        signer,
        token_maker,
        legacy_token_clean_up_period: Some(legacy_service_account_token_clean_up_period),
        hostpath_provisioner: enable_hostpath_provisioner,
        pod_ranges: node_ranges.pools()?,
        ..Options::default()
    };
    let tasks = runtime.tasks.clone();
    site.serve(&serving, serving::CONTROLLER_MANAGER_PORT, &runtime).await?;
    if !election.leader_elect {
        show(&site, &controller_manager::start(&runtime, api, &options));
        runtime::process::interrupted().await;
        tracing::info!("draining");
        tasks.drain(DRAIN).await;
        return Ok(());
    }
    let candidate = election.candidate(&runtime, &api, &site)?;
    let (tell, told) = tokio::sync::oneshot::channel();
    tasks.spawn_draining("leader-election", async move {
        let ended = candidate.run(|led| show(&site, &controller_manager::start(&led, api, &options))).await;
        if tell.send(ended).is_err() {
            tracing::debug!("the process is stopping already");
        }
    });
    tokio::select! {
        biased;
        () = runtime::process::interrupted() => {
            tracing::info!("draining");
            tasks.drain(DRAIN).await;
            Ok(())
        }
        ended = told => match ended {
            Ok(Ended::Stopped) => Ok(()),
            // Another one may lead by now: start anew, with empty hands.
            Ok(Ended::Lost) | Err(_) => bail!("the lead is lost"),
        }
    }
}

/// Lets controllers be looked at.
fn show(site: &Site, manager: &Manager) {
    if let Err(error) = site.metrics().register(Box::new(manager.metrics.clone())) {
        tracing::warn!(%error, "no metrics of the queues");
    }
    let records = manager.records.clone();
    site.told_by(Box::new(move |_, _, _| serde_json::json!({"records": records.all()})));
}

/// A duration as Go writes it, such as `15s` or `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from(span).map_err(|error| format!("{error}"))
}

// === impl ElectionFlags ===

impl ElectionFlags {
    fn candidate(&self, runtime: &Runtime, api: &Api, site: &Site) -> anyhow::Result<Election> {
        if self.leader_elect_lease_duration <= self.leader_elect_renew_deadline
            || self.leader_elect_renew_deadline <= self.leader_elect_retry_period
        {
            bail!("a lease must last longer than the renew deadline, and that longer than the retry period");
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let identity = format!("{}_{}", host.trim(), runtime.random.uuid());
        let lease = Key::new(&self.leader_elect_resource_namespace, &self.leader_elect_resource_name);
        let settings = Settings {
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
            ..Settings::new(lease, identity.clone())
        };
        let leads = lease::Metrics::new();
        site.metrics().register(Box::new(leads.clone()))?;
        let events = Recorder::start(runtime, api.clone(), &identity);
        let candidate = Election::new(api.named("kube-controller-manager"), runtime, settings);
        Ok(candidate.telling(events).measured(&leads))
    }
}

// === impl NodeRangeFlags ===

impl NodeRangeFlags {
    fn pools(&self) -> anyhow::Result<Vec<Pool>> {
        if !self.allocate_node_cidrs {
            return Ok(Vec::new());
        }
        if self.cluster_cidr.is_empty() {
            bail!("--allocate-node-cidrs needs a --cluster-cidr");
        }
        let pool = |range: &IpNet| {
            let (own, usual) = match range {
                IpNet::V4(_) => (self.node_cidr_mask_size_ipv4, 24),
                IpNet::V6(_) => (self.node_cidr_mask_size_ipv6, 64),
            };
            let node_prefix = own.or(self.node_cidr_mask_size).unwrap_or(usual);
            if node_prefix < range.prefix_len() || node_prefix > range.max_prefix_len() {
                bail!("a part with a prefix of {node_prefix} does not fit into the cluster's range {range}");
            }
            Ok(Pool { range: *range, node_prefix })
        };
        self.cluster_cidr.iter().map(pool).collect()
    }
}

// === impl WorkerFlags ===

impl WorkerFlags {
    fn by_name(&self) -> BTreeMap<String, usize> {
        [
            ("cronjob-controller", self.concurrent_cron_job_syncs),
            ("deployment-controller", self.concurrent_deployment_syncs),
            ("endpoints-controller", self.concurrent_endpoint_syncs),
            ("garbage-collector-controller", self.concurrent_gc_syncs),
            ("job-controller", self.concurrent_job_syncs),
            ("namespace-controller", self.concurrent_namespace_syncs),
            ("replicationcontroller-controller", self.concurrent_rc_syncs),
            ("replicaset-controller", self.concurrent_replicaset_syncs),
            ("endpointslice-controller", self.concurrent_service_endpoint_syncs),
            ("serviceaccount-token-controller", self.concurrent_serviceaccount_token_syncs),
            ("statefulset-controller", self.concurrent_statefulset_syncs),
            ("ttl-after-finished-controller", self.concurrent_ttl_after_finished_syncs),
            (
                "validatingadmissionpolicy-status-controller",
                self.concurrent_validating_admission_policy_status_syncs,
            ),
        ]
        .into_iter()
        .filter_map(|(name, workers)| Some((name.to_owned(), workers?)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_upstreams_and_unknown_ones_are_refused() {
        let parse = |flags: &[&str]| Arguments::try_parse_from(["controller-manager"].iter().chain(flags));
        let arguments = parse(&[
            "--kubeconfig=/etc/kubernetes/controller-manager.conf",
            "--leader-elect=false",
            "--leader-elect-lease-duration=1m30s",
            "--controllers=*,-job",
            "--concurrent-deployment-syncs=9",
        ])
        .unwrap();
        assert!(!arguments.election.leader_elect);
        assert_eq!(arguments.election.leader_elect_lease_duration, Duration::from_secs(90));
        assert_eq!(arguments.controllers, ["*", "-job"]);
        assert_eq!(arguments.workers.by_name(), BTreeMap::from([("deployment-controller".to_owned(), 9)]));
        assert!(parse(&["--leader-elect"]).unwrap().election.leader_elect);
        assert!(parse(&["--cluster-name=x"]).is_err());
    }
}
