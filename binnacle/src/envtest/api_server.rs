//! The `kube-apiserver` of envtest: the API server with upstream's flags, and, if somebody wants them, the controllers, the
//! scheduler and hollow nodes in the same process.
//!
//! It asks its etcd whether it is our stand-in, and if so keeps its objects in the embedded store where that says; any
//! other etcd is used as upstream uses it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use apiserver::{
    flags::Flags,
    storage::{Place, StoreKind},
};
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, parser::ValueSource};
use controller_manager::launch;
use runtime::Runtime;
use simulator::hollow::{self, stages::Stages};

use super::etcd;
use crate::up::{self, Beside};

/// What the program is called.
pub(crate) const NAME: &str = "kube-apiserver";
/// Which controllers run if no flag says so.
const CONTROLLERS: &str = "BINNACLE_ENVTEST_CONTROLLERS";
/// How many hollow nodes there are if no flag says so.
const NODES: &str = "BINNACLE_ENVTEST_NODES";

/// The Kubernetes API server of Binnacle under envtest, alone or with controllers and hollow nodes
#[derive(Parser, Debug)]
#[command(name = NAME, version)]
struct Arguments {
    #[command(flatten)]
    apiserver: Flags,
    /// Which controllers to run, with a scheduler: '*' for all, 'NAME' for one, '-NAME' for all but one; none if neither
    /// this nor BINNACLE_ENVTEST_CONTROLLERS is given
    #[arg(long, value_name = "NAMES", value_delimiter = ',', allow_hyphen_values = true)]
    controllers: Vec<String>,
    /// How many hollow nodes there are, with a scheduler; none if neither this nor BINNACLE_ENVTEST_NODES is given
    #[arg(long, value_name = "N")]
    nodes: Option<u16>,
    /// A YAML file that says what Pods do on the hollow nodes
    #[arg(long, value_name = "FILE")]
    stages: Option<PathBuf>,
}

/// Runs as `kube-apiserver`.
pub(crate) fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = match read(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    runtime::logging::start();
    runtime::process::run(run(arguments))
}

/// What is made goes where the certificates are, which whoever runs tests removes with them.
fn read(matches: &ArgMatches) -> Result<Arguments, clap::Error> {
    let mut arguments = Arguments::from_arg_matches(matches)?;
    if let Some(folder) = &arguments.apiserver.cert_dir
        && matches.value_source("data_dir") == Some(ValueSource::DefaultValue)
    {
        arguments.apiserver.data_dir.clone_from(folder);
    }
    Ok(arguments)
}

async fn run(mut arguments: Arguments) -> anyhow::Result<()> {
    let beside = beside(&mut arguments, |name| std::env::var(name).ok())?;
    let mut flags = arguments.apiserver;
    if let [url] = flags.storage.etcd.etcd_servers.as_slice()
        && let Some(place) = etcd::place_at(url).await?
    {
        tracing::info!(directory = %place.directory.display(), "the etcd is a stand-in; objects are kept where it says");
        flags.storage.store = Some(StoreKind::Embedded);
        flags.storage.etcd.etcd_servers.clear();
        flags.storage.place = Some(Place { directory: place.directory, fsync: place.fsync });
    }
    let runtime = Runtime::system();
    let launched = apiserver::launch::launch(&flags, &runtime).await?;
    tracing::info!(url = launched.url(), "serving");
    let server = up::start(launched, &flags, &runtime, beside)?;
    up::until_interrupted(&server, &runtime, flags.shutdown_delay_duration).await;
    Ok(())
}

/// What runs beside the server, by flags or else by the environment.
fn beside(
    arguments: &mut Arguments,
    environment: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<Beside>> {
    let said = |name: &str| environment(name).map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
    let mut controllers = std::mem::take(&mut arguments.controllers);
    if controllers.is_empty() {
        let names = said(CONTROLLERS).unwrap_or_default();
        controllers =
            names.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
    }
    let nodes = match (arguments.nodes, said(NODES)) {
        (Some(nodes), _) => nodes,
        (None, Some(nodes)) => {
            nodes.parse().with_context(|| format!("{NODES}={nodes} is no number of nodes"))?
        }
        (None, None) => 0,
    };
    if controllers.is_empty() && nodes == 0 {
        return Ok(None);
    }
    let controllers = match controllers.is_empty() {
        true => None,
        false => Some(launch::known(controllers).map_err(anyhow::Error::msg)?),
    };
    let stages = arguments.stages.as_deref().map(Stages::read).transpose()?.unwrap_or_default();
    Ok(Some(Beside { controllers, nodes: hollow::Options { nodes, stages, ..Default::default() } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &str) -> Arguments {
        let matches = Arguments::command()
            .try_get_matches_from([NAME].into_iter().chain(words.split_whitespace()))
            .unwrap();
        read(&matches).unwrap()
    }

    #[test]
    fn what_envtest_passes_is_understood() {
        let given = arguments(
            "--allow-privileged=true --authorization-mode=RBAC --bind-address=127.0.0.1 --cert-dir=/tmp/k8s \
             --client-ca-file=/tmp/k8s/client-cert-auth-ca.crt --disable-admission-plugins=ServiceAccount \
             --etcd-servers=http://127.0.0.1:41003 --secure-port=41005 \
             --service-account-issuer=https://127.0.0.1:41005/ --service-account-key-file=/tmp/k8s/sa-signer.crt \
             --service-account-signing-key-file=/tmp/k8s/sa-signer.key --service-cluster-ip-range=10.0.0.0/24",
        );
        assert_eq!(given.apiserver.data_dir, PathBuf::from("/tmp/k8s"));
        assert_eq!(given.apiserver.secure_port, 41005);
        let elsewhere = arguments("--cert-dir /tmp/k8s --data-dir /tmp/data");
        assert_eq!(elsewhere.apiserver.data_dir, PathBuf::from("/tmp/data"));
    }

    #[test]
    fn flags_say_who_runs_beside_and_else_the_environment() {
        let check = |words: &str, controllers: &str, nodes: &str| {
            let beside = beside(&mut arguments(words), |name| {
                Some(if name == CONTROLLERS { controllers } else { nodes }.to_owned())
            });
            match beside {
                Err(error) => error.to_string(),
                Ok(None) => "alone".to_owned(),
                Ok(Some(it)) => format!("{:?} {}", it.controllers.unwrap_or_default(), it.nodes.nodes),
            }
        };
        assert_eq!(check("", "", ""), "alone");
        assert_eq!(check("", "*", " 2 "), r#"["*"] 2"#);
        assert_eq!(check("", "namespace-controller, *", ""), r#"["namespace-controller", "*"] 0"#);
        assert_eq!(check("--nodes 1", "", "7"), "[] 1");
        assert_eq!(check("--nodes 0", "", "7"), "alone");
        assert_eq!(
            check("--controllers=-job-controller,*", "namespace-controller", ""),
            r#"["-job-controller", "*"] 0"#
        );
        assert_eq!(check("", "", "many"), "BINNACLE_ENVTEST_NODES=many is no number of nodes");
        assert_eq!(check("", "nonsense", ""), "\"nonsense\" is not in the list of known controllers");
    }
}
