//! The flags of an apiserver: upstream's where upstream has them.

mod authentication;
mod authorization;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;

pub use self::{authentication::AuthenticationFlags, authorization::AuthorizationFlags};

use crate::{
    audit::AuditFlags,
    storage::{StorageFlags, duration, encryption::EncryptionFlags},
    tls::{
        sni::{self, NamedFiles},
        suites,
    },
};

/// The flags that `apiserver` and `binnacle up` share.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// Where keys, certificates and the embedded store are kept
    #[arg(long, default_value = "binnacle-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub bind_address: IpAddr,
    /// The port to listen on; 0 lets the system choose
    #[arg(long, default_value_t = 6443, value_name = "PORT")]
    pub secure_port: u16,
    /// The address others reach the server at; if not given the bind address, or for 0.0.0.0 the one of the default route
    #[arg(long, value_name = "IP")]
    pub advertise_address: Option<IpAddr>,
    /// Where objects are kept.
    #[command(flatten)]
    pub storage: StorageFlags,
    /// A CSV file of bearer tokens: token,user,uid,"group,group"
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Certificates of authorities whose clients are let in, besides the cluster's own
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Who else may say who is asking.
    #[command(flatten)]
    pub authentication: AuthenticationFlags,
    /// The serving certificate, instead of one from the cluster's own authority
    #[arg(long, requires = "tls_private_key_file", value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// The key of the serving certificate
    #[arg(long, requires = "tls_cert_file", value_name = "FILE")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Where the serving certificate is, as apiserver.crt and apiserver.key, unless the flags before this name one; made there
    /// if it is not there
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// The oldest TLS version to speak
    #[arg(long, default_value = "VersionTLS12", value_parser = ["VersionTLS12", "VersionTLS13"])]
    pub tls_min_version: String,
    /// The cipher suites of TLS 1.2 to speak, by their names; those of TLS 1.3 are always spoken
    #[arg(long, value_delimiter = ',', value_parser = suites::named, value_name = "NAMES")]
    pub tls_cipher_suites: Vec<rustls::CipherSuite>,
    /// A certificate and its key for clients that ask for certain names: `a.crt,a.key` or `a.crt,a.key:*.example.com,...`
    #[arg(long, value_parser = sni::parse, value_name = "FILES[:NAMES]")]
    pub tls_sni_cert_key: Vec<NamedFiles>,
    /// How many streams one HTTP/2 connection may have
    #[arg(long, default_value_t = 1000, value_name = "NUMBER")]
    pub http2_max_streams_per_connection: u32,
    /// Which part of HTTP/2 requests shall be the last of its connection, 0.02 at most: for clients of several servers
    #[arg(long, default_value_t = 0.0, value_parser = chance, value_name = "PART")]
    pub goaway_chance: f64,
    /// Who decides what callers may do, in this order
    #[arg(long, default_value = "Node,RBAC", value_name = "MODES")]
    pub authorization_mode: String,
    /// Who decides besides roles.
    #[command(flatten)]
    pub authorization: AuthorizationFlags,
    /// Whether callers without credentials are let through to the authorizer
    /// (true unless --authentication-config says otherwise)
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub anonymous_auth: Option<bool>,
    /// The issuer of service account tokens; the first one signs, all are accepted
    #[arg(long, default_value = "https://kubernetes.default.svc", value_name = "URL")]
    pub service_account_issuer: Vec<String>,
    /// Keys that verify service account tokens, besides the signing key
    #[arg(long, value_name = "FILE")]
    pub service_account_key_file: Vec<PathBuf>,
    /// The key that signs service account tokens, instead of the cluster's own
    #[arg(long, value_name = "FILE")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// For whom tokens are good that do not say; the issuer if not given
    #[arg(long, value_delimiter = ',', value_name = "AUDIENCES")]
    pub api_audiences: Vec<String>,
    /// The certificate that servers of other groups are shown, instead of one from the cluster's own authority of front proxies
    #[arg(long, requires = "proxy_client_key_file", value_name = "FILE")]
    pub proxy_client_cert_file: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, requires = "proxy_client_cert_file", value_name = "FILE")]
    pub proxy_client_key_file: Option<PathBuf>,
    /// Who vouches for the certificates of kubelets; if not given, any of them is believed
    #[arg(long, value_name = "FILE")]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// The certificate that kubelets are shown
    #[arg(long, requires = "kubelet_client_key", value_name = "FILE")]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, requires = "kubelet_client_certificate", value_name = "FILE")]
    pub kubelet_client_key: Option<PathBuf>,
    /// By which of their addresses nodes are reached, the best first
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "TYPES",
        default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP"
    )]
    pub kubelet_preferred_address_types: Vec<String>,
    /// Whether servers of other groups are reached at their Service's endpoints and not at its own address
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub enable_aggregator_routing: bool,
    /// Whether redirects of servers of other groups are refused and not passed on
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub aggregator_reject_forwarding_redirect: bool,
    /// Where Services get their addresses from: one range, or one of each family
    #[arg(long, default_value = "10.0.0.0/24", value_delimiter = ',', value_name = "CIDRS")]
    pub service_cluster_ip_range: Vec<ipnet::IpNet>,
    /// The node ports that may be given out
    #[arg(long, default_value = "30000-32767", value_parser = ports, value_name = "FROM-TO")]
    pub service_node_port_range: std::ops::RangeInclusive<u16>,
    /// Admission plugins that are on besides those that are on by default
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins that are off though they are on by default
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub disable_admission_plugins: Vec<String>,
    /// A file that configures admission plugins
    #[arg(long, value_name = "FILE")]
    pub admission_control_config_file: Option<PathBuf>,
    /// What is encrypted in the store.
    #[command(flatten)]
    pub encryption: EncryptionFlags,
    /// What is put on record, and where.
    #[command(flatten)]
    pub audit: AuditFlags,
    /// Whether requests wait their turn by flow schemas and priority levels, rather than under a plain limit
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub enable_priority_and_fairness: bool,
    /// How many requests that only read are served at once; with the next flag the seats that priority levels share
    #[arg(long, default_value_t = 400, value_name = "NUMBER")]
    pub max_requests_inflight: u32,
    /// How many requests that may write are served at once
    #[arg(long, default_value_t = 200, value_name = "NUMBER")]
    pub max_mutating_requests_inflight: u32,
    /// How long a request may take, other than watches and the like; a quarter of that it may wait for its turn
    #[arg(long, default_value = "1m0s", value_parser = duration, value_name = "DURATION")]
    pub request_timeout: Duration,
    /// After how many seconds at the earliest the server ends a watch by itself; at the latest after twice that
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    pub min_request_timeout: u64,
    /// For how long after the start /livez does not ask whether the start is finished
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "DURATION")]
    pub livez_grace_period: Duration,
    /// For how long requests are served on after the server was told to stop, while /readyz already says no
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "DURATION")]
    pub shutdown_delay_duration: Duration,
    /// Whether containers may be privileged
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub allow_privileged: bool,
}

/// A configuration file's text, YAML or JSON, as a value.
///
/// # Errors
/// It is neither.
pub(crate) fn document(text: &[u8]) -> Result<serde_json::Value, String> {
    api_types::wire::yaml::to_value(text).map(|read| read.value).map_err(|error| error.to_string())
}

fn chance(text: &str) -> Result<f64, String> {
    let wrong = "--goaway-chance can not be less than 0 or greater than 0.02";
    text.parse().ok().filter(|part| (0.0..=0.02).contains(part)).ok_or_else(|| wrong.to_owned())
}

fn ports(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let wrong = || format!("{text} is no range of ports like 30000-32767");
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let (from, to) = (from.trim().parse().ok().ok_or_else(wrong)?, to.trim().parse().ok().ok_or_else(wrong)?);
    if from == 0 || from > to { Err(wrong()) } else { Ok(from..=to) }
}

// === impl Flags ===

impl Flags {
    /// Where to listen.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.secure_port)
    }
}
