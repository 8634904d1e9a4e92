//! Starts the controllers of the table that are wanted, each as its own user.
//!
//! Invariant: nothing is decided about the cluster here.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use client::{
    Api,
    controller::{Manager, Options as Workers},
};
use runtime::Runtime;

use crate::{certificates::Signer, controllers, inventory::Inventory, tokens::Maker};

/// What the server notes as the manager of the fields a controller writes.
const USER_AGENT: &str = concat!("kube-controller-manager/", env!("CARGO_PKG_VERSION"));

/// What upstream calls the queue of a controller, which is what its metrics go by. Those that are not here have several
/// queues, or none upstream, and go by their own names.
const QUEUES: &[(&str, &str)] = &[
    ("clusterrole-aggregation-controller", "ClusterRoleAggregator"),
    ("cronjob-controller", "cronjob"),
    ("daemonset-controller", "daemonset"),
    ("deployment-controller", "deployment"),
    ("disruption-controller", "disruption"),
    ("endpoints-controller", "endpoint"),
    ("endpointslice-controller", "endpoint_slice"),
    ("endpointslice-mirroring-controller", "endpoint_slice_mirroring"),
    ("ephemeral-volume-controller", "ephemeral_volume"),
    ("job-controller", "job"),
    ("persistentvolume-protection-controller", "pvprotection"),
    ("persistentvolumeclaim-protection-controller", "pvcprotection"),
    ("replicaset-controller", "replicaset"),
    ("replicationcontroller-controller", "replicationmanager"),
    ("root-ca-certificate-publisher-controller", "root_ca_cert_publisher"),
    ("serviceaccount-controller", "serviceaccount"),
    ("statefulset-controller", "statefulset"),
    ("ttl-after-finished-controller", "ttl_jobs_to_delete"),
    ("ttl-controller", "ttlcontroller"),
    ("volumeattributesclass-protection-controller", "vacprotection"),
];

/// Who a controller is to the server, by the name of its service account, such as `replicaset-controller`.
pub type ApiFor = Arc<dyn Fn(&str) -> Api + Send + Sync>;

/// Which controllers to start and how.
#[derive(Clone, Default)]
pub struct Options {
    /// Gives each controller its own identity; all are the component itself if `None`.
    pub api_for: Option<ApiFor>,
    /// Which controllers, as `--controllers` has it: `*` means all, `name` this one, `-name` not this one. All if empty.
    pub controllers: Vec<String>,
    /// Workers of a controller by its name, where not the table's default.
    pub workers: BTreeMap<String, usize>,
    /// The authority, in PEM, by which Pods shall trust the API server; published in every namespace unless empty.
    pub root_ca: Arc<str>,
    /// The ranges of addresses that nodes get parts of for their Pods; nodes get none if there are none.
    pub pod_ranges: Vec<controllers::node_ipam::Pool>,
    /// Who signs the certificates that are asked for; nobody if `None`.
    pub signer: Option<Arc<Signer>>,
    /// What makes tokens for Secrets; they get none if `None`.
    pub token_maker: Option<Arc<Maker>>,
    /// A token of a ServiceAccount that the system once made is cleaned up after it was not used for so long; a year if
    /// `None`.
    pub legacy_token_clean_up_period: Option<Duration>,
    /// Whether volumes of the class of `kubernetes.io/host-path` are made: for trying things on.
    pub hostpath_provisioner: bool,
    /// The metadata of everything, which several controllers share.
    pub inventory: Inventory,
}

// === impl Options ===

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("own_identities", &self.api_for.is_some())
            .field("controllers", &self.controllers)
            .field("workers", &self.workers)
            .finish()
    }
}

impl Options {
    /// Whether a controller is wanted. Naming it counts more than `*`, whatever the order; `*` means those that are
    /// `on_by_default`.
    pub fn wants(&self, name: &str, alias: &str, on_by_default: bool) -> bool {
        let mut all = self.controllers.is_empty();
        for wanted in &self.controllers {
            match wanted.strip_prefix('-') {
                Some(unwanted) if unwanted == name || unwanted == alias => return false,
                None if wanted == name || wanted == alias => return true,
                _ => all |= wanted == "*",
            }
        }
        all && on_by_default
    }
}

/// The names as `--controllers` has them, if all of them are names. Those of controllers that have nothing to do here may be
/// left out, and cannot be asked for.
///
/// # Errors
/// The first that is none, in upstream's words.
pub fn known(names: Vec<String>) -> Result<Vec<String>, String> {
    let entries = controllers::all();
    for name in &names {
        let bare = name.strip_prefix('-').unwrap_or(name);
        if name == "*" || entries.iter().any(|entry| entry.name == bare || entry.alias == bare) {
            continue;
        }
        if !controllers::ELSEWHERE.iter().any(|(name, alias)| *name == bare || *alias == bare) {
            return Err(format!("\"{bare}\" is not in the list of known controllers"));
        }
        if name == bare {
            return Err(format!("\"{bare}\" is no controller of this component"));
        }
    }
    Ok(names)
}

/// Starts the controllers; they run until the runtime's tasks are told to stop. `api` is the component itself: through it
/// the caches are kept.
pub fn start(runtime: &Runtime, api: Api, options: &Options) -> Manager {
    let manager = Manager::new(runtime, api.named(USER_AGENT));
    for entry in controllers::all() {
        if !options.wants(entry.name, entry.alias, entry.is_on_by_default()) {
            continue;
        }
        let workers = Workers {
            workers: options.workers.get(entry.name).copied().unwrap_or(entry.workers),
            api: options.api_for.as_ref().map(|api_for| api_for(entry.account).named(USER_AGENT)),
            queue: QUEUES.iter().find(|(name, _)| *name == entry.name).map(|(_, queue)| *queue),
        };
        (entry.start)(&manager, workers, options);
        tracing::debug!(controller = entry.name, "started");
    }
    manager
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_named_of_controllers_there_are() {
        for (name, _) in QUEUES {
            assert!(controllers::all().iter().any(|entry| entry.name == *name), "{name} is no controller");
        }
    }

    #[test]
    fn only_names_of_controllers_are_taken() {
        for (name, fits) in [
            ("nonsense", false),
            ("-nonsense", false),
            ("-job", true),
            ("bootstrapsigner", true),
            ("-service-lb-controller", true),
            ("service-lb-controller", false),
        ] {
            assert_eq!(known(vec![name.to_owned()]).is_ok(), fits, "{name}");
        }
    }

    #[test]
    fn controllers_are_wanted_by_name_alias_or_star() {
        for (list, wanted) in [
            (vec![], true),
            (vec!["*"], true),
            (vec!["deployment"], true),
            (vec!["deployment-controller"], true),
            (vec!["-deployment"], false),
            (vec!["*", "-deployment-controller"], false),
            (vec!["*", "-job"], true),
            (vec!["job"], false),
        ] {
            let options =
                Options { controllers: list.iter().map(|&it| it.to_owned()).collect(), ..Options::default() };
            assert_eq!(options.wants("deployment-controller", "deployment", true), wanted, "{list:?}");
            let by_name = wanted && list.contains(&"deployment") || list.contains(&"deployment-controller");
            assert_eq!(options.wants("deployment-controller", "deployment", false), by_name, "{list:?}");
        }
    }
}
