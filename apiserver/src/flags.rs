//! The flags of an apiserver: upstream's where upstream has them.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::Args;

use crate::storage::StorageFlags;

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
    /// The serving certificate, instead of one from the cluster's own authority
    #[arg(long, requires = "tls_private_key_file", value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// The key of the serving certificate
    #[arg(long, requires = "tls_cert_file", value_name = "FILE")]
    pub tls_private_key_file: Option<PathBuf>,
    /// The oldest TLS version to speak
    #[arg(long, default_value = "VersionTLS12", value_parser = ["VersionTLS12", "VersionTLS13"])]
    pub tls_min_version: String,
    /// Who decides what callers may do, in this order
    #[arg(long, default_value = "Node,RBAC", value_name = "MODES")]
    pub authorization_mode: String,
    /// Whether callers without credentials are let through to the authorizer
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub anonymous_auth: bool,
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
    /// Whether containers may be privileged
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub allow_privileged: bool,
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
