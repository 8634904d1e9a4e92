//! How kubelets are reached: where a node says that its kubelet listens, over connections with our client certificate.
//!
//! See "Communication between Nodes and the Control Plane".

use std::{path::PathBuf, sync::Arc, time::Duration};

use api_types::status::Status;
use arc_swap::ArcSwap;
use serde_json::Value;

use crate::{
    proxy::transport::{ClientCertificate, Transport, Trust},
    server::Server,
    tls::{self, files},
};

/// Where a kubelet listens that does not say.
const PORT: u16 = 10250;
/// How often the files of the certificates are read again.
const PERIOD: Duration = Duration::from_secs(60);
/// What the runtime of a simulated node is called begins with this: there is nothing to reach.
const SIMULATED: &str = "hollow://";

/// What the flags say about kubelets.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--kubelet-certificate-authority`: who vouches for kubelets. Without it any of their certificates is believed, as
    /// upstream does.
    pub authority: Option<PathBuf>,
    /// `--kubelet-client-certificate` and `--kubelet-client-key`: what kubelets are shown.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// `--kubelet-preferred-address-types`: by which of its addresses a node is reached, the best first.
    pub address_types: Vec<String>,
}

/// The ways to kubelets, and to what runs on their nodes.
#[derive(Debug)]
pub struct Kubelets {
    config: Config,
    ways: ArcSwap<Ways>,
    /// To Pods and Services, and to other ports of nodes: whoever is there, without a certificate of ours.
    pub(crate) others: Result<Transport, String>,
}

#[derive(Debug)]
pub(crate) struct Ways {
    /// The bytes of the files that this was made of.
    of: Vec<Vec<u8>>,
    pub(crate) verified: Result<Transport, String>,
    /// For callers who do not mind who answers.
    pub(crate) unverified: Result<Transport, String>,
}

/// Where the kubelet of a node is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Default for Config {
    fn default() -> Self {
        let types = ["Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"];
        Self { authority: None, client_certificate: None, address_types: types.map(str::to_owned).to_vec() }
    }
}

// === impl Kubelets ===

impl Kubelets {
    /// As the flags say. What is wrong with the files is told when a kubelet is to be reached; [`Config::check`] tells before.
    pub fn new(config: Config) -> Self {
        let ways = ArcSwap::from_pointee(config.ways());
        Self { config, ways, others: Transport::new(Trust::Anybody, None, None) }
    }

    pub(crate) fn ways(&self) -> Arc<Ways> {
        self.ways.load_full()
    }

    /// Where the kubelet of a node is.
    ///
    /// # Errors
    /// 500 if the node has no address of a kind that is preferred, in upstream's words; 501 if it is simulated.
    pub(crate) fn place(&self, node: &Value) -> Result<Place, Status> {
        let addresses = node.pointer("/status/addresses").and_then(Value::as_array);
        let addresses = addresses.map(Vec::as_slice).unwrap_or_default();
        let text =
            |of: &Value, field: &str| of.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let of_type = |wanted: &String| addresses.iter().find(|it| text(it, "type") == *wanted);
        let Some(address) = self.config.address_types.iter().find_map(of_type) else {
            let shown = crate::verbs::go_print(&Value::Array(addresses.to_vec()));
            return Err(Status::failure(
                500,
                "",
                format!("no preferred addresses found; known addresses: {shown}"),
            ));
        };
        let runtime = node.pointer("/status/nodeInfo/containerRuntimeVersion").and_then(Value::as_str);
        if runtime.is_some_and(|runtime| runtime.starts_with(SIMULATED)) {
            let name = node.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let message = format!("node {name} is simulated: it cannot be reached, and runs nothing");
            return Err(Status::failure(501, "NotImplemented", message));
        }
        let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
        let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        Ok(Place { host: text(address, "address"), port: port.unwrap_or(PORT) })
    }
}

/// Keeps up with files that change.
pub(crate) fn start(server: &Arc<Server>) {
    if server.kubelets.config.files().is_empty() {
        return;
    }
    let weak = Arc::downgrade(server);
    server.runtime.tasks.spawn("kubelet client certificate", async move {
        loop {
            tokio::time::sleep(PERIOD).await;
            let Some(server) = weak.upgrade() else { return };
            let kubelets = &server.kubelets;
            if kubelets.config.read().is_some_and(|read| read != kubelets.ways.load().of) {
                kubelets.ways.store(Arc::new(kubelets.config.ways()));
            }
        }
    });
}

// === impl Config ===

impl Config {
    /// Finds that the files can be used.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn check(&self) -> Result<(), tls::Error> {
        if let Some(authority) = &self.authority {
            files::certificates(authority)?;
        }
        if let Some((certificate, key)) = &self.client_certificate {
            files::pair(certificate, key)?;
        }
        Ok(())
    }

    fn files(&self) -> Vec<&PathBuf> {
        let pair = self.client_certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.authority.iter().chain(pair).collect()
    }

    /// `None` if one of the files cannot be read now.
    fn read(&self) -> Option<Vec<Vec<u8>>> {
        self.files().into_iter().map(|file| files::read(file).ok()).collect()
    }

    fn ways(&self) -> Ways {
        let certificate = self.client_certificate.as_ref();
        let certificate = certificate.map(|(certificate, key)| ClientCertificate::read(certificate, key));
        let certificate = certificate.transpose().map_err(|error| error.to_string());
        let authority = self.authority.as_ref().map(|file| files::read(file)).transpose();
        let with = |trust| Transport::new(trust, certificate.as_ref().map_err(Clone::clone)?.as_ref(), None);
        let verified = match &authority {
            Ok(Some(bundle)) => with(Trust::Authorities(bundle)),
            Ok(None) => with(Trust::Anybody),
            Err(error) => Err(error.to_string()),
        };
        Ways { of: self.read().unwrap_or_default(), verified, unverified: with(Trust::Anybody) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kubelet_is_where_its_node_says() {
        let kubelets = Kubelets::new(Config::default());
        let node = |status: Value| kubelets.place(&json!({"metadata": {"name": "n"}, "status": status}));
        let addresses =
            json!([{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "n"}]);
        let place = |host: &str, port| Place { host: host.to_owned(), port };
        assert_eq!(node(json!({"addresses": addresses})).unwrap(), place("n", 10250));
        let endpoint =
            json!({"addresses": [addresses[0]], "daemonEndpoints": {"kubeletEndpoint": {"Port": 1234}}});
        assert_eq!(node(endpoint).unwrap(), place("10.0.0.1", 1234));
        let without = node(json!({"addresses": [{"type": "Pigeon", "address": "x"}]})).unwrap_err();
        assert!(without.message.starts_with("no preferred addresses found; known addresses: "), "{without}");
        let hollow =
            json!({"addresses": addresses, "nodeInfo": {"containerRuntimeVersion": "hollow://1.0.0"}});
        assert_eq!(node(hollow).unwrap_err().code, 501);
    }
}
