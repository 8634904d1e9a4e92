//! From flags to a server that answers: the store is opened, the keys are made or found, the port is taken, the cluster's
//! own objects are there.
//!
//! The order matters to people: what they can have got wrong (a port that is taken, a directory that is in use, a flag
//! that makes no sense) is found before anything is written.

mod in_memory;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context as _;
use jiff::Timestamp;
use runtime::Runtime;
use tokio::net::TcpListener;

use crate::{
    admission::Selection,
    authn::{
        keys::{PublicKeys, SigningKey},
        token_file::TokenFile,
        x509::ClientAuthorities,
    },
    authz::mode,
    bootstrap,
    flags::Flags,
    http::serve,
    identity,
    server::{Config, Server},
    tls::{
        files,
        pki::{Hosts, Pki, hostname},
        serving::{self, MinVersion, ServingCertificate},
    },
};

#[cfg(test)]
pub(crate) use in_memory::in_memory_with;
pub use in_memory::{in_memory, over};

/// A server that is ready, and what belongs to it.
#[derive(Debug)]
pub struct Launched {
    /// The server; in the same process it can be called directly.
    pub server: Arc<Server>,
    /// The cluster's keys.
    pub pki: Pki,
    /// Where it listens.
    pub address: SocketAddr,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
}

/// Opens everything and makes the server ready; nothing is served yet.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub async fn launch(flags: &Flags, runtime: &Runtime) -> anyhow::Result<Launched> {
    std::thread::spawn(serving::warm_up);
    let modes = mode::parse(&flags.authorization_mode).context("--authorization-mode")?;
    let admission = Selection::new(&flags.enable_admission_plugins, &flags.disable_admission_plugins)
        .and_then(|selection| match &flags.admission_control_config_file {
            Some(file) => selection.configured(file),
            None => Ok(selection),
        })
        .and_then(|selection| selection.check().map(|()| selection))
        .map_err(anyhow::Error::msg)?;
    let listener = serve::bind(flags.listen()).await?;
    let address = listener.local_addr().context("the port that was taken cannot be told")?;
    let now = runtime.clock.now();

    std::fs::create_dir_all(&flags.data_dir)
        .with_context(|| format!("cannot make the data directory {}", flags.data_dir.display()))?;
    let backend = flags.storage.open(&flags.data_dir, runtime).await?;
    let pki = Pki::open(&flags.data_dir.join("pki"), now)?;
    let advertise = SocketAddr::new(advertised(flags)?, address.port());
    let certificate = match (&flags.tls_cert_file, &flags.tls_private_key_file) {
        (Some(certificate), Some(key)) => ServingCertificate::from_files(certificate, key)?,
        _ => {
            let hosts = Hosts {
                hostname: &hostname(),
                addresses: &[flags.bind_address, advertise.ip()],
                names: &[],
                dns_domain: "cluster.local",
                service_ip: flags.service_cluster_ip_range.first().copied().and_then(bootstrap::service_ip),
            };
            ServingCertificate::new(pki.serving(&hosts, now)?)?
        }
    };
    let identity = identity(flags, &pki)?;
    let authorities: Vec<_> =
        identity.client_authorities.iter().flat_map(|them| them.certificates().to_vec()).collect();
    let min_version = match flags.tls_min_version.as_str() {
        "VersionTLS13" => MinVersion::Tls13,
        _ => MinVersion::Tls12,
    };
    let certificate = Arc::new(certificate);
    let tls = serving::config(Arc::clone(&certificate), &authorities, min_version)?;
    runtime.tasks.spawn("serving certificate", serving::keep_up(certificate));
    let config = Config {
        modes,
        service_cidrs: flags.service_cluster_ip_range.clone(),
        node_ports: flags.service_node_port_range.clone(),
        advertise,
        allow_privileged: flags.allow_privileged,
        admission,
    };
    let server = Server::new(config, identity, backend, runtime.clone());
    server.start().await.map_err(|status| anyhow::anyhow!("the server cannot start: {status}"))?;
    Ok(Launched { server, pki, address, listener, tls: Arc::new(tls) })
}

/// The address others reach the server at: the one that is given, the one it listens on, or, if that is all of them, the
/// one this machine has in its default network, as upstream chooses it.
fn advertised(flags: &Flags) -> anyhow::Result<IpAddr> {
    let given = flags.advertise_address.filter(|it| !it.is_unspecified()).unwrap_or(flags.bind_address);
    if !given.is_unspecified() {
        return Ok(given);
    }
    // No packet is sent: connecting a socket only makes the kernel look up the route. The peers are documentation's.
    let route = |from: IpAddr, to: IpAddr| -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect((to, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    let v4 = || route(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into());
    let v6 = || route(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into());
    v4().or_else(|_no_route| v6()).with_context(|| {
        format!(
            "there is no default route to tell the address behind {given}; give one with --advertise-address"
        )
    })
}

/// What the flags say about identities; the cluster's own authority and key are always among them.
fn identity(flags: &Flags, pki: &Pki) -> anyhow::Result<identity::Config> {
    let mut authorities = vec![pki.authority().certificate().clone()];
    if let Some(file) = &flags.client_ca_file {
        authorities.extend(files::certificates(file)?);
    }
    let signing_key = match &flags.service_account_signing_key_file {
        Some(file) => SigningKey::from_file(file)?,
        None => SigningKey::from_pem("sa.key", pki.service_account_key()?.as_bytes())?,
    };
    let mut public_keys =
        PublicKeys::from_files(flags.service_account_key_file.iter().map(PathBuf::as_path))?;
    public_keys.add(signing_key.public().clone());
    let audiences = if flags.api_audiences.is_empty() {
        flags.service_account_issuer.clone()
    } else {
        flags.api_audiences.clone()
    };
    Ok(identity::Config {
        client_authorities: Some(Arc::new(ClientAuthorities::new(authorities)?)),
        token_file: flags.token_auth_file.as_deref().map(TokenFile::read).transpose()?,
        signing_key: Arc::new(signing_key),
        public_keys,
        issuers: flags.service_account_issuer.clone(),
        audiences,
        anonymous: flags.anonymous_auth,
    })
}

// === impl Launched ===

impl Launched {
    /// How clients address the server.
    pub fn url(&self) -> String {
        let ip = match self.address.ip() {
            ip if ip.is_unspecified() => std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        format!("https://{}", SocketAddr::new(ip, self.address.port()))
    }

    /// Writes kubeconfigs into the data directory, unless they are there and still good: the administrator's, which may
    /// be wanted elsewhere, and those of the components that run beside the server.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_kubeconfigs(
        &self,
        flags: &Flags,
        admin: Option<PathBuf>,
        now: Timestamp,
    ) -> anyhow::Result<PathBuf> {
        let url = self.url();
        let admin = admin.unwrap_or_else(|| flags.data_dir.join("admin.kubeconfig"));
        self.pki.admin(&admin, &url, now)?;
        for (name, user) in [
            ("scheduler.kubeconfig", "system:kube-scheduler"),
            ("controller-manager.kubeconfig", "system:kube-controller-manager"),
        ] {
            self.pki.component(&flags.data_dir.join(name), &url, user, now)?;
        }
        Ok(admin)
    }

    /// Serves until the runtime's tasks are told to stop.
    pub async fn serve(self) {
        serve::run(self.server, self.listener, self.tls).await;
    }
}
