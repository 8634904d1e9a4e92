//! Which store keeps the objects, by flags: upstream's where upstream has them; and what is told of it to Prometheus.

pub mod encryption;
mod figures;
mod forgetting;
mod measured;
mod whose;

use std::{path::Path, path::PathBuf, sync::Arc, time::Duration};

use anyhow::bail;
use clap::{Args, ValueEnum};
use runtime::Runtime;
use store::{
    Backend,
    backend::{
        embedded::{self, Embedded},
        memory::Memory,
    },
};

use crate::registry::describe;

pub use self::figures::Figures;
pub(crate) use self::measured::Measured;

/// How often a store in memory is told to forget what is over.
const FORGET_PERIOD: Duration = Duration::from_secs(10);

/// What keeps the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// In memory: gone when the process ends.
    Memory,
    /// A durable store in the data directory.
    Embedded,
    /// An etcd, shared with others or not.
    Etcd,
}

/// The flags that say where objects are kept.
#[derive(Args, Clone, Debug)]
pub struct StorageFlags {
    /// What keeps the objects; embedded if not given, and etcd if --etcd-servers is
    #[arg(long, value_enum)]
    pub store: Option<StoreKind>,
    #[command(flatten)]
    /// How etcd is reached.
    pub etcd: EtcdFlags,
    /// Where an embedded store is, if not in the data directory. No flag: whoever puts servers together says so.
    #[arg(skip)]
    pub place: Option<Place>,
}

/// A place for an embedded store.
#[derive(Clone, Debug)]
pub struct Place {
    /// A directory of its own; made if it is not there.
    pub directory: PathBuf,
    /// Whether writes wait for the disk. Without that they survive the end of the process but not that of the machine.
    pub fsync: bool,
}

/// How etcd is reached and used.
#[derive(Args, Clone, Debug)]
pub struct EtcdFlags {
    /// The URLs of etcd's members, such as `https://10.0.0.1:2379`
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    pub etcd_servers: Vec<String>,
    /// What all keys in etcd begin with
    #[arg(long, default_value = "/registry", value_name = "PREFIX")]
    pub etcd_prefix: String,
    /// The authority of etcd's certificates
    #[arg(long, value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate that etcd is shown
    #[arg(long, requires = "etcd_keyfile", value_name = "FILE")]
    pub etcd_certfile: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, requires = "etcd_certfile", value_name = "FILE")]
    pub etcd_keyfile: Option<PathBuf>,
    /// A file with `name:password` in its first line, for an etcd that wants those
    #[arg(long, value_name = "FILE")]
    pub etcd_user_file: Option<PathBuf>,
    /// How often etcd forgets what was overwritten before the last such period; 0 leaves that to others
    #[arg(long, default_value = "5m0s", value_parser = duration, value_name = "DURATION")]
    pub etcd_compaction_interval: Duration,
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| format!("{text:?} is no duration such as 5m0s"))
}

// === impl StorageFlags ===

impl StorageFlags {
    /// Which store is meant.
    ///
    /// # Errors
    /// When the flags contradict each other.
    pub fn kind(&self) -> anyhow::Result<StoreKind> {
        let servers = !self.etcd.etcd_servers.is_empty();
        match self.store {
            None if servers => Ok(StoreKind::Etcd),
            None => Ok(StoreKind::Embedded),
            Some(StoreKind::Etcd) if !servers => bail!("--store etcd needs --etcd-servers"),
            Some(StoreKind::Memory | StoreKind::Embedded) if servers => {
                bail!("--etcd-servers goes with --store etcd only")
            }
            Some(kind) => Ok(kind),
        }
    }

    /// Opens the store. What is kept in files is kept in the data directory.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub async fn open(&self, data_dir: &Path, runtime: &Runtime) -> anyhow::Result<Arc<dyn Backend>> {
        Ok(match self.kind()? {
            StoreKind::Memory => {
                let backend: Arc<dyn Backend> = Arc::new(Memory::new(&runtime.tasks));
                // The other stores see to it themselves.
                let bounds = embedded::Options::default();
                let memory = forgetting::Memory {
                    age_max: bounds.history_age_max,
                    revisions_max: bounds.history_events_max as u64,
                    period: FORGET_PERIOD,
                };
                runtime.tasks.spawn("compaction", forgetting::keep(Arc::clone(&backend), memory));
                backend
            }
            StoreKind::Embedded => {
                let place = self.place.clone();
                let place = place.unwrap_or_else(|| Place { directory: data_dir.join("store"), fsync: true });
                let options = embedded::Options {
                    // So that the watch cache needs no bytes of its own.
                    stamp: Some(describe::stamp),
                    fsync: place.fsync,
                    ..embedded::Options::default()
                };
                Arc::new(Embedded::open(place.directory, options, Arc::clone(&runtime.clock))?)
            }
            StoreKind::Etcd => self.etcd.open(runtime).await?,
        })
    }
}

// === impl EtcdFlags ===

impl EtcdFlags {
    /// What keys begin with in etcd, as upstream reads the flag: with one slash before it and one after it.
    pub fn prefix_there(&self) -> String {
        match self.etcd_prefix.trim_matches('/') {
            "" => "/".to_owned(),
            prefix => format!("/{prefix}/"),
        }
    }
}

impl EtcdFlags {
    /// Connects to etcd.
    ///
    /// # Errors
    /// One line that says what is wrong.
    #[cfg(feature = "etcd")]
    pub async fn open(&self, runtime: &Runtime) -> anyhow::Result<Arc<dyn Backend>> {
        Ok(Arc::new(store::backend::etcd::Etcd::connect(self.options()?, &runtime.tasks).await?))
    }

    /// Refuses: this program has no etcd.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "etcd"))]
    pub async fn open(&self, _runtime: &Runtime) -> anyhow::Result<Arc<dyn Backend>> {
        std::future::ready(()).await;
        bail!("this program was built without etcd; build it with --features etcd")
    }

    /// The flags as the store wants them.
    ///
    /// # Errors
    /// A file that cannot be read.
    #[cfg(feature = "etcd")]
    pub fn options(&self) -> anyhow::Result<store::backend::etcd::Options> {
        use anyhow::Context as _;

        let user = match &self.etcd_user_file {
            None => None,
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("--etcd-user-file {}", file.display()))?;
                let line = text.lines().next().unwrap_or_default().trim();
                let (name, password) = line
                    .split_once(':')
                    .with_context(|| format!("--etcd-user-file {}: no name:password", file.display()))?;
                Some((name.to_owned(), password.to_owned()))
            }
        };
        Ok(store::backend::etcd::Options {
            endpoints: self.etcd_servers.clone(),
            ca_file: self.etcd_cafile.clone(),
            cert_file: self.etcd_certfile.clone(),
            key_file: self.etcd_keyfile.clone(),
            user,
            prefix_there: self.prefix_there(),
            compaction_period: self.etcd_compaction_interval,
            ..store::backend::etcd::Options::default()
        })
    }
}

#[cfg(test)]
mod tests;
