//! A server with nothing around it: a store in memory, no socket, no files. Callers are who their requests say
//! ([`InProcess`](crate::server::InProcess)), or show a token this server signed itself.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use runtime::Runtime;
use store::{Backend, Memory};

use crate::{
    admission::Selection,
    audit,
    authn::{
        authenticator::Outside,
        keys::{PublicKeys, SigningKey},
    },
    authz::mode,
    fairness, identity,
    server::{Config, Server},
    tls::authority::Authority,
};

/// A ready server with the flags' defaults.
///
/// # Errors
/// None that a caller could do something about.
pub async fn in_memory(runtime: &Runtime) -> anyhow::Result<Arc<Server>> {
    over(Arc::new(Memory::new(&runtime.tasks)), runtime).await
}

/// The same over a store that may hold something already.
///
/// # Errors
/// Trouble with the store.
pub async fn over(backend: Arc<dyn Backend>, runtime: &Runtime) -> anyhow::Result<Arc<Server>> {
    start(backend, runtime, Selection::default(), None, fairness::Config::default()).await
}

/// As [`in_memory`], with these admission plugins.
#[cfg(test)]
pub(crate) async fn in_memory_with(runtime: &Runtime, admission: Selection) -> anyhow::Result<Arc<Server>> {
    let backend = Arc::new(Memory::new(&runtime.tasks));
    start(backend, runtime, admission, None, fairness::Config::default()).await
}

/// As [`in_memory`], with requests put on record.
#[cfg(test)]
pub(crate) async fn in_memory_audited(
    runtime: &Runtime,
    audit: Option<audit::Setup>,
) -> anyhow::Result<Arc<Server>> {
    let backend = Arc::new(Memory::new(&runtime.tasks));
    start(backend, runtime, Selection::default(), audit, fairness::Config::default()).await
}

/// As [`in_memory`], with these limits.
#[cfg(test)]
pub(crate) async fn in_memory_limited(
    runtime: &Runtime,
    limits: fairness::Config,
) -> anyhow::Result<Arc<Server>> {
    start(Arc::new(Memory::new(&runtime.tasks)), runtime, Selection::default(), None, limits).await
}

async fn start(
    backend: Arc<dyn Backend>,
    runtime: &Runtime,
    admission: Selection,
    audit: Option<audit::Setup>,
    fairness: fairness::Config,
) -> anyhow::Result<Arc<Server>> {
    let config = Config {
        modes: mode::parse("Node,RBAC")?,
        service_cidrs: vec!["10.0.0.0/24".parse()?],
        node_ports: 30000..=32767,
        advertise: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6443),
        allow_privileged: true,
        admission,
        audit,
        fairness,
        request_timeout: Duration::from_secs(60),
        watch_timeout: Duration::from_secs(1800),
        livez_grace: Duration::ZERO,
        encryption: None,
        aggregation: crate::aggregation::Config::default(),
        kubelets: crate::kubelet::Config::default(),
    };
    let server = Server::new(config, identity(runtime)?, backend, runtime.clone());
    server.start().await.map_err(|status| anyhow::anyhow!("the server cannot start: {status}"))?;
    Ok(server)
}

fn identity(runtime: &Runtime) -> anyhow::Result<identity::Config> {
    let (_, issued) = Authority::generate("in-memory", runtime.clock.now())?;
    let signing_key = SigningKey::from_pem("the key in memory", issued.key.as_bytes())?;
    let mut public_keys = PublicKeys::from_files([])?;
    public_keys.add(signing_key.public().clone());
    let issuer = "https://kubernetes.default.svc".to_owned();
    Ok(identity::Config {
        client_authorities: None,
        token_file: None,
        signing_key: Arc::new(signing_key),
        public_keys,
        issuers: vec![issuer.clone()],
        audiences: vec![issuer],
        outside: Outside::default(),
        anonymous: true.into(),
    })
}
