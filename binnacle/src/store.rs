//! `binnacle store`: backups, checks and moves of the data, without a server.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use apiserver::storage::EtcdFlags;
use clap::{Args, Subcommand};
use runtime::Runtime;
use store::{Backend, backend::embedded::offline, transfer};

/// What all objects are stored under.
const ALL: &str = "/registry/";

/// The flags of `binnacle store`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Write everything at one revision to a new directory, also while a server runs on the data
    Backup {
        /// The data directory of a cluster with the embedded store
        #[arg(long, default_value = "binnacle-data", value_name = "DIR")]
        data_dir: PathBuf,
        /// A directory that is empty or not there
        to: PathBuf,
    },
    /// Fill a data directory that has no store yet from a backup
    Restore {
        /// The data directory to fill
        #[arg(long, default_value = "binnacle-data", value_name = "DIR")]
        data_dir: PathBuf,
        /// The backup
        from: PathBuf,
    },
    /// Read and check every byte of a data directory or a backup, also while a server runs on it
    Verify {
        /// The directory
        #[arg(default_value = "binnacle-data")]
        directory: PathBuf,
    },
    /// Copy all objects from one store to another, with their resource versions where possible. A place is a data directory,
    /// or the URLs of an etcd. A copy that was interrupted can be made again
    Copy(Box<Copy>),
}

#[derive(Args, Debug)]
struct Copy {
    /// Where the objects are
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// Where they go: a data directory without a store, or an etcd
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// How many revisions may be used up in an etcd so that objects keep their resource versions
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    fill_revisions_max: u64,
    #[command(flatten)]
    etcd: EtcdFlags,
}

enum Place {
    Directory(PathBuf),
    Etcd(Vec<String>),
}

/// Does what was asked.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Backup { data_dir, to } => {
            let revision = offline::copy(&store_in(&data_dir), &to)?;
            say(&format!("backed up revision {revision} of {} to {}", data_dir.display(), to.display()))
        }
        Command::Restore { data_dir, from } => {
            // A backup that is damaged is found out before anything is written.
            let revision = offline::copy(&store_in(&from), &data_dir.join("store"))?;
            say(&format!("restored revision {revision} from {} to {}", from.display(), data_dir.display()))
        }
        Command::Verify { directory } => verify(&store_in(&directory)),
        Command::Copy(copy) => self::copy(*copy).await,
    }
}

fn verify(directory: &Path) -> anyhow::Result<()> {
    let report = offline::verify(directory)?;
    say(&format!(
        "{} is sound: {} keys of {} bytes at revision {}, history from revision {}",
        directory.display(),
        report.keys,
        report.bytes,
        report.revision,
        report.oldest
    ))?;
    if report.torn {
        say("the log ends in a write that was never acknowledged; the next start cuts it off")?;
    }
    Ok(())
}

async fn copy(copy: Copy) -> anyhow::Result<()> {
    if !copy.etcd.etcd_servers.is_empty() {
        bail!("--etcd-servers is not for copies: say the URLs as --from or --to");
    }
    let runtime = Runtime::system();
    let now = u64::try_from(runtime.clock.now().as_millisecond()).unwrap_or_default();
    let contents = match place(&copy.from) {
        Place::Directory(path) => offline::contents(&path, now)?,
        Place::Etcd(servers) => transfer::read(&*etcd(&copy.etcd, servers, &runtime).await?, ALL).await?,
    };
    let (count, revision) = (contents.entries.len(), contents.revision);
    match place(&copy.to) {
        Place::Directory(path) => {
            let transfer::Contents { entries, times_to_live, .. } = contents;
            let entries = entries.into_iter().map(|entry| {
                let left = times_to_live.get(&entry.key).map(|left| left.as_millis());
                let expires = left.map(|left| now.saturating_add(u64::try_from(left).unwrap_or(u64::MAX)));
                (entry, expires)
            });
            offline::import(&path, revision, entries)?;
            say(&format!("copied {count} keys at revision {revision} to {}", path.display()))?;
        }
        Place::Etcd(servers) => {
            let to = etcd(&copy.etcd, servers, &runtime).await?;
            let report = transfer::write(&*to, ALL, contents, copy.fill_revisions_max).await?;
            say(&format!(
                "copied {} of {count} keys ({} were there, {} were removed) at revision {revision}; etcd is at revision {}",
                report.written, report.unchanged, report.deleted, report.revision
            ))?;
            if report.renumbered > 0 {
                say(&format!("{} of them have new resource versions", report.renumbered))?;
            }
            if report.revision < revision {
                say("etcd counts from less than the source: clients must list again")?;
            }
        }
    }
    runtime.tasks.stop();
    Ok(())
}

fn place(text: &str) -> Place {
    if text.contains("://") {
        Place::Etcd(text.split(',').map(str::to_owned).collect())
    } else {
        Place::Directory(store_in(Path::new(text)))
    }
}

async fn etcd(
    flags: &EtcdFlags,
    servers: Vec<String>,
    runtime: &Runtime,
) -> anyhow::Result<Arc<dyn Backend>> {
    let flags = EtcdFlags {
        etcd_servers: servers,
        // A copy compacts nothing.
        etcd_compaction_interval: std::time::Duration::ZERO,
        ..flags.clone()
    };
    flags.open(runtime).await
}

/// The store of a data directory, or the directory itself if it is a store.
fn store_in(directory: &Path) -> PathBuf {
    let is_store = std::fs::read_dir(directory).is_ok_and(|files| {
        files.flatten().any(|file| {
            let name = file.file_name();
            let name = name.to_string_lossy();
            name.starts_with("log-") || name.starts_with("snapshot-")
        })
    });
    if is_store { directory.to_owned() } else { directory.join("store") }
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}
