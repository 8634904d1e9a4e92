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
    time::Duration,
};

use anyhow::Context as _;
use api_types::field::aggregate;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use runtime::Runtime;
use tokio::net::TcpListener;

use crate::{
    admission::Selection,
    aggregation,
    authn::{
        authenticator::{Anonymous, Outside},
        front_proxy::{FrontProxy, Headers},
        keys::{PublicKeys, SigningKey},
        oidc::{
            Issuers,
            configuration::AuthenticationConfiguration,
            issuer::Issuer,
            keys::ALGORITHMS,
            reload::{Followed, ReloadMetrics},
        },
        token_file::TokenFile,
        token_webhook::TokenWebhook,
        x509::ClientAuthorities,
    },
    authz::{
        abac::Policies,
        mode::{self, Mode},
        webhook::{self, Webhook},
    },
    bootstrap, fairness,
    flags::{AuthenticationFlags, Flags},
    http::serve,
    identity, kubelet,
    server::{Config, Server},
    storage::StoreKind,
    tls::{
        self, files,
        pki::{self, Hosts, Pki, hostname},
        serving::{self, MinVersion, ServingCertificate, Versions},
        sni::{Certificates, NamedPair},
    },
};

pub use in_memory::{in_memory, over};
#[cfg(test)]
pub(crate) use in_memory::{in_memory_audited, in_memory_limited, in_memory_with};

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
    tls: Arc<ArcSwap<rustls::ServerConfig>>,
    limits: serve::Limits,
}

/// Opens everything and makes the server ready; nothing is served yet.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub async fn launch(flags: &Flags, runtime: &Runtime) -> anyhow::Result<Launched> {
    std::thread::spawn(serving::warm_up);
    let modes = mode::parse(&flags.authorization_mode).context("--authorization-mode")?;
    let authorizers = authorizers(flags, &modes, runtime)?;
    let admission = Selection::new(&flags.enable_admission_plugins, &flags.disable_admission_plugins)
        .and_then(|selection| match &flags.admission_control_config_file {
            Some(file) => selection.configured(file),
            None => Ok(selection),
        })
        .and_then(|selection| selection.check().map(|()| selection))
        .map_err(anyhow::Error::msg)?;
    let audit = flags.audit.setup()?;
    let listener = serve::bind(flags.listen()).await?;
    let address = listener.local_addr().context("the port that was taken cannot be told")?;
    let now = runtime.clock.now();

    std::fs::create_dir_all(&flags.data_dir)
        .with_context(|| format!("cannot make the data directory {}", flags.data_dir.display()))?;
    let backend = flags.storage.open(&flags.data_dir, runtime).await?;
    let prefix = match flags.storage.kind()? {
        StoreKind::Etcd => flags.storage.etcd.prefix_there(),
        StoreKind::Memory | StoreKind::Embedded => "/registry/".to_owned(),
    };
    let (backend, encryption) = flags.encryption.over(backend, &prefix, runtime).await?;
    let pki = Pki::open(&flags.data_dir.join("pki"), now)?;
    let advertise = SocketAddr::new(advertised(flags)?, address.port());
    let certificate = serving_certificate(flags, &pki, advertise.ip(), now)?;
    let (identity, followed) = identity(flags, &pki, runtime)?;
    let believed: Vec<Arc<ClientAuthorities>> = identity
        .client_authorities
        .iter()
        .chain(identity.outside.front_proxy.iter().map(|proxy| &proxy.authorities))
        .cloned()
        .collect();
    let min = match flags.tls_min_version.as_str() {
        "VersionTLS13" => MinVersion::Tls13,
        _ => MinVersion::Tls12,
    };
    let named = flags.tls_sni_cert_key.iter().map(NamedPair::open).collect::<Result<Vec<_>, _>>()?;
    let certificate = Arc::new(certificate);
    let certificates = Arc::new(Certificates::new(Arc::clone(&certificate), named));
    for named in certificates.named() {
        runtime.tasks.spawn("serving certificate", serving::keep_up(named));
    }
    let configure = {
        let suites = flags.tls_cipher_suites.clone();
        move |believed: &[Arc<ClientAuthorities>]| {
            let authorities: Vec<_> = believed.iter().flat_map(|them| them.certificates()).collect();
            let spoken = Versions { min, suites: &suites };
            serving::config(Arc::clone(&certificates) as _, &authorities, spoken).map(Arc::new)
        }
    };
    let tls = Arc::new(ArcSwap::new(configure(&believed)?));
    runtime.tasks.spawn("client authorities", keep_up(believed, Arc::clone(&tls), configure));
    runtime.tasks.spawn("serving certificate", serving::keep_up(certificate));
    let config = Config {
        modes,
        service_cidrs: flags.service_cluster_ip_range.clone(),
        node_ports: flags.service_node_port_range.clone(),
        advertise,
        allow_privileged: flags.allow_privileged,
        fairness: fairness::Config {
            enabled: flags.enable_priority_and_fairness,
            reading_max: flags.max_requests_inflight,
            writing_max: flags.max_mutating_requests_inflight,
        },
        request_timeout: if flags.request_timeout.is_zero() {
            Duration::from_secs(60)
        } else {
            flags.request_timeout
        },
        watch_timeout: Duration::from_secs(flags.min_request_timeout),
        livez_grace: flags.livez_grace_period,
        admission,
        audit,
        encryption,
        aggregation: aggregation::Config {
            client_certificate: Some(proxy_certificate(flags, &pki, now)?),
            routes_to_endpoints: flags.enable_aggregator_routing,
            passes_redirects: !flags.aggregator_reject_forwarding_redirect,
        },
        kubelets: kubelets(flags)?,
    };
    let server = Server::new(config, identity, backend, runtime.clone());
    server.authorizer.replace(mode::chain(&server.config.modes, &server.nodes, &server.rbac, &authorizers));
    if let Some(followed) = followed {
        server.metrics.show(followed.metrics.collectors());
        runtime.tasks.spawn(
            "authentication configuration",
            followed.follow(runtime.tasks.clone(), Arc::clone(&runtime.clock)),
        );
    }
    server.start().await.map_err(|status| anyhow::anyhow!("the server cannot start: {status}"))?;
    let streams_max = flags.http2_max_streams_per_connection;
    let limits = serve::Limits {
        // Upstream's word for its library's own number, which is 100.
        streams_max: if streams_max == 0 { 100 } else { streams_max },
        goaway_chance: flags.goaway_chance,
    };
    Ok(Launched { server, pki, address, listener, tls, limits })
}

/// What this server shows to clients: by flags, from the folder of certificates, or of the cluster's own authority.
fn serving_certificate(
    flags: &Flags,
    pki: &Pki,
    advertise: IpAddr,
    now: Timestamp,
) -> anyhow::Result<ServingCertificate> {
    if let (Some(certificate), Some(key)) = (&flags.tls_cert_file, &flags.tls_private_key_file) {
        return Ok(ServingCertificate::from_files(certificate, key)?);
    }
    let own = || {
        let hosts = Hosts {
            hostname: &hostname(),
            addresses: &[flags.bind_address, advertise],
            names: &[],
            dns_domain: "cluster.local",
            service_ip: flags.service_cluster_ip_range.first().copied().and_then(bootstrap::service_ip),
        };
        pki.serving(&hosts, now)
    };
    let Some(folder) = &flags.cert_dir else { return Ok(ServingCertificate::new(own()?)?) };
    let (certificate, key) = (folder.join("apiserver.crt"), folder.join("apiserver.key"));
    // One without the other is somebody's mistake, and is told as that.
    if !certificate.exists() && !key.exists() {
        own()?;
        files::make_folder(folder)?;
        for (name, to, access) in [
            ("apiserver.key", &key, files::Access::Owner),
            ("apiserver.crt", &certificate, files::Access::Everybody),
        ] {
            let text = files::read(&pki.path(name))?;
            files::write(to, &String::from_utf8_lossy(&text), access)?;
        }
    }
    Ok(ServingCertificate::from_files(&certificate, &key)?)
}

/// How often the files of client authorities are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Believes the authorities that their files hold as they change, and names them to clients.
async fn keep_up(
    believed: Vec<Arc<ClientAuthorities>>,
    tls: Arc<ArcSwap<rustls::ServerConfig>>,
    configure: impl Fn(&[Arc<ClientAuthorities>]) -> Result<Arc<rustls::ServerConfig>, tls::Error>,
) {
    while believed.iter().any(|them| them.may_change()) {
        tokio::time::sleep(LOOK_AGAIN).await;
        let looked = believed.clone();
        // A file or two, but files may lie on a network.
        let looked =
            tokio::task::spawn_blocking(move || looked.iter().map(|them| them.reload()).collect::<Vec<_>>());
        let mut is_new = false;
        for outcome in looked.await.unwrap_or_default() {
            match outcome {
                Ok(changed) => is_new |= changed,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the authorities of clients again, the old ones stay");
                }
            }
        }
        if is_new {
            match configure(&believed) {
                Ok(config) => tls.store(config),
                Err(error) => tracing::warn!(%error, "cannot name the new authorities to clients"),
            }
            tracing::info!("the authorities of clients are new ones");
        }
    }
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

/// How kubelets are reached.
fn kubelets(flags: &Flags) -> anyhow::Result<kubelet::Config> {
    let config = kubelet::Config {
        authority: flags.kubelet_certificate_authority.clone(),
        client_certificate: flags.kubelet_client_certificate.clone().zip(flags.kubelet_client_key.clone()),
        address_types: flags.kubelet_preferred_address_types.clone(),
    };
    config.check()?;
    Ok(config)
}

/// What this server shows to servers of other groups: by flags, or of an authority of the cluster's own.
fn proxy_certificate(flags: &Flags, pki: &Pki, now: Timestamp) -> anyhow::Result<(PathBuf, PathBuf)> {
    if let (Some(certificate), Some(key)) = (&flags.proxy_client_cert_file, &flags.proxy_client_key_file) {
        files::pair(certificate, key)?;
        return Ok((certificate.clone(), key.clone()));
    }
    let own = pki.front_proxy(now)?;
    Ok((own.certificate, own.key))
}

/// The proxies that servers of other groups are told to believe, if this server shows them a certificate of the cluster's own
/// authority: whoever has that may speak for others here too, as with kubeadm's files.
fn own_front_proxy(flags: &Flags, pki: &Pki, now: Timestamp) -> anyhow::Result<Option<FrontProxy>> {
    if flags.proxy_client_cert_file.is_some() {
        return Ok(None);
    }
    let authority = pki.front_proxy(now)?.authority;
    let name = |it: &str| vec![it.to_owned()];
    Ok(Some(FrontProxy {
        authorities: Arc::new(ClientAuthorities::new(vec![authority])?),
        allowed_names: name(pki::FRONT_PROXY),
        headers: Headers {
            username: name("X-Remote-User"),
            uid: name("X-Remote-Uid"),
            group: name("X-Remote-Group"),
            extra_prefix: name("X-Remote-Extra-"),
        },
    }))
}

/// What the flags say about identities; the cluster's own authority and key are always among them.
fn identity(
    flags: &Flags,
    pki: &Pki,
    runtime: &Runtime,
) -> anyhow::Result<(identity::Config, Option<Followed>)> {
    let faults = flags.authentication.faults();
    anyhow::ensure!(faults.is_empty(), "{}", aggregate(faults));
    let own = vec![pki.authority().certificate().clone()];
    let client_authorities = match &flags.client_ca_file {
        Some(file) => ClientAuthorities::from_file(file, own)?,
        None => ClientAuthorities::new(own)?,
    };
    let front_proxy = match front_proxy(&flags.authentication, &client_authorities)? {
        None => own_front_proxy(flags, pki, runtime.clock.now())?,
        given => given,
    };
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
    let (issuers, anonymous, followed) = issuers(flags, runtime)?;
    let config = identity::Config {
        client_authorities: Some(Arc::new(client_authorities)),
        token_file: flags.token_auth_file.as_deref().map(TokenFile::read).transpose()?,
        signing_key: Arc::new(signing_key),
        public_keys,
        issuers: flags.service_account_issuer.clone(),
        audiences,
        outside: Outside {
            front_proxy: front_proxy.map(Arc::new),
            issuers: Some(issuers),
            webhook: token_webhook(flags, runtime)?,
        },
        anonymous,
    };
    Ok((config, followed))
}

/// Whose tokens are good, where callers without credentials are let through, and the file that says so, if one does.
fn issuers(flags: &Flags, runtime: &Runtime) -> anyhow::Result<(Arc<Issuers>, Anonymous, Option<Followed>)> {
    let file = flags.authentication.authentication_config.as_ref();
    let text = file.map(|file| files::read(file)).transpose()?;
    let failed = |why: String| {
        let file = file.map(|it| it.display().to_string()).unwrap_or_default();
        anyhow::anyhow!("failed to load authentication configuration from file {file:?}: {why}")
    };
    let mut configuration = match &text {
        Some(text) => AuthenticationConfiguration::read(text).map_err(failed)?,
        None => AuthenticationConfiguration::default(),
    };
    let mut algorithms: Vec<String> = ALGORITHMS.iter().map(|&it| it.to_owned()).collect();
    if let Some((jwt, allowed)) = flags.authentication.oidc()? {
        configuration.jwt = vec![jwt];
        algorithms = allowed;
    }
    anyhow::ensure!(
        configuration.anonymous.is_none() || flags.anonymous_auth.is_none(),
        "anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured in \
         authentication configuration file"
    );
    let anonymous = match &configuration.anonymous {
        None => flags.anonymous_auth.unwrap_or(true).into(),
        Some(it) if it.enabled && !it.conditions.is_empty() => {
            Anonymous::At(it.conditions.iter().map(|it| it.path.clone()).collect())
        }
        Some(it) => it.enabled.into(),
    };
    let disallowed = flags.service_account_issuer.clone();
    let compiled = configuration
        .compile(&disallowed)
        .map_err(|faults| anyhow::anyhow!("invalid authentication configuration: {}", aggregate(faults)))?;
    let start = |it| Issuer::start(it, algorithms.clone(), &runtime.tasks);
    let issuers = Arc::new(Issuers::new(compiled.into_iter().map(start).collect()));
    let followed = match (file, text) {
        (Some(file), Some(text)) => Some(Followed {
            file: file.clone(),
            text,
            anonymous: configuration.anonymous,
            disallowed,
            issuers: Arc::clone(&issuers),
            metrics: ReloadMetrics::new("authentication", &hostname())?,
        }),
        _ => None,
    };
    Ok((issuers, anonymous, followed))
}

/// Who is asked about tokens that nobody here knows.
fn token_webhook(flags: &Flags, runtime: &Runtime) -> anyhow::Result<Option<Arc<TokenWebhook>>> {
    let flags = &flags.authentication;
    let Some(file) = &flags.authentication_token_webhook_config_file else { return Ok(None) };
    let good_for = flags.authentication_token_webhook_cache_ttl;
    let webhook = TokenWebhook::new(file, &flags.authentication_token_webhook_version, good_for, runtime);
    Ok(Some(Arc::new(webhook.map_err(anyhow::Error::msg)?)))
}

/// The authorizers that files make.
fn authorizers(flags: &Flags, modes: &[Mode], runtime: &Runtime) -> anyhow::Result<mode::Files> {
    let flags = &flags.authorization;
    let faults = flags.faults(modes);
    anyhow::ensure!(faults.is_empty(), "{}", aggregate(faults));
    let policies = flags.authorization_policy_file.as_deref().map(Policies::read).transpose();
    let settings = webhook::Settings {
        version: flags.authorization_webhook_version.clone(),
        authorized_ttl: flags.authorization_webhook_cache_authorized_ttl,
        unauthorized_ttl: flags.authorization_webhook_cache_unauthorized_ttl,
        timeout: Duration::from_secs(30),
        deny_on_failure: false,
    };
    let webhook = flags.authorization_webhook_config_file.as_deref();
    let webhook = webhook.map(|file| Webhook::new(file, settings, runtime)).transpose();
    Ok(mode::Files {
        policies: policies.map_err(anyhow::Error::msg)?.map(Arc::new),
        webhook: webhook.map_err(anyhow::Error::msg)?.map(Arc::new),
    })
}

/// Whose headers are believed.
fn front_proxy(
    flags: &AuthenticationFlags,
    client_authorities: &ClientAuthorities,
) -> anyhow::Result<Option<FrontProxy>> {
    let Some(file) = &flags.requestheader_client_ca_file else { return Ok(None) };
    let authorities = ClientAuthorities::from_file(file, Vec::new())?;
    let clients = client_authorities.certificates();
    // Whoever has a certificate of a client could be anybody.
    anyhow::ensure!(
        !flags.requestheader_allowed_names.is_empty()
            || !authorities.certificates().iter().any(|it| clients.contains(it)),
        "--requestheader-client-ca-file and --client-ca-file contain overlapping certificates; \
         --requestheader-allowed-names must be specified to ensure regular client certificates cannot set \
         authenticating proxy headers for arbitrary users"
    );
    let trimmed = |names: &[String]| names.iter().map(|name| name.trim().to_owned()).collect::<Vec<_>>();
    Ok(Some(FrontProxy {
        authorities: Arc::new(authorities),
        allowed_names: flags.requestheader_allowed_names.clone(),
        headers: Headers {
            username: trimmed(&flags.requestheader_username_headers),
            uid: trimmed(&flags.requestheader_uid_headers),
            group: trimmed(&flags.requestheader_group_headers),
            extra_prefix: trimmed(&flags.requestheader_extra_headers_prefix),
        },
    }))
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
        serve::run(self.server, self.listener, self.tls, self.limits).await;
    }
}
