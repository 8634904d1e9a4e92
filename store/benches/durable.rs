//! Durable writes: the embedded store beside an etcd, on the same disk, in one run.
//!
//! `cargo bench -p store --features etcd --bench durable [directory]` starts the etcd that is on the path, with its files and
//! the store's in the directory (a temporary one if not given), and lets both take turns, so that what else the machine does
//! meets both. Values have 2 KiB; each writer waits for its write before the next one. Both wait for the disk before they
//! answer. The etcd is used as the API server uses it: over gRPC, one transaction a write.

use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use runtime::{SystemClock, Tasks};
use store::{
    Backend, Embedded, Options,
    backend::etcd::{self, Etcd},
};
use tokio::time::Instant;

const VALUE_BYTES: usize = 2048;
const WRITERS: [usize; 3] = [1, 8, 64];
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(2);

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn say(line: &str) {
    println!("{line}");
}

/// An etcd, ended with the program.
struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Server {
    /// None where etcd is not installed.
    fn start(directory: &Path) -> Option<Self> {
        let port = || Some(TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port());
        let (client, peer) = (port()?, port()?);
        let (url, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(directory)
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(["--quota-backend-bytes", "8589934592"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let server = Self { child, url };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", client)).is_ok() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }
}

/// What was measured of one store with so many writers.
#[derive(Default)]
struct Figures {
    seconds: f64,
    latencies: Vec<Duration>,
}

impl Figures {
    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    fn percentile(&mut self, percent: usize) -> f64 {
        self.latencies.sort_unstable();
        let at = self.latencies.len() * percent / 100;
        self.latencies.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3
    }
}

/// Writes for a while with so many at once.
async fn round(store: &Arc<dyn Backend>, name: &str, writers: usize, figures: &mut Figures) {
    let start = Instant::now();
    let end = start + ROUND;
    let each = (0..writers).map(|writer| {
        let store = Arc::clone(store);
        let name = name.to_owned();
        let tasks = Tasks::new();
        async move {
            let (tell, told) = tokio::sync::oneshot::channel();
            tasks.spawn("writer", async move {
                let mut latencies = Vec::new();
                let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
                let mut revisions = [None; 50];
                for n in 0.. {
                    let slot = n % revisions.len();
                    let key = format!("/registry/{name}/{writer}-{slot}");
                    let begun = Instant::now();
                    if begun >= end {
                        break;
                    }
                    let written = match revisions.get(slot).copied().flatten() {
                        None => store.create(&key, value.clone(), None).await,
                        Some(at) => store.update(&key, at, value.clone(), None).await,
                    };
                    latencies.push(begun.elapsed());
                    if let Some(revision) = revisions.get_mut(slot) {
                        *revision = Some(written.expect("the write succeeds"));
                    }
                }
                let _ = tell.send(latencies);
            });
            told.await.unwrap_or_default()
        }
    });
    let latencies = join_all(each).await;
    figures.seconds += start.elapsed().as_secs_f64();
    figures.latencies.extend(latencies.into_iter().flatten());
}

async fn compare(directory: &Path) {
    let embedded = Embedded::open(directory.join("embedded"), Options::default(), Arc::new(SystemClock));
    let embedded: Arc<dyn Backend> = Arc::new(embedded.expect("the store opens"));
    let Some(server) = Server::start(&directory.join("etcd")) else {
        return say("there is no etcd on the path to compare with (Debian: apt-get install etcd-server)");
    };
    let tasks = Tasks::new();
    let options = etcd::Options { endpoints: vec![server.url.clone()], ..etcd::Options::default() };
    let etcd: Arc<dyn Backend> = Arc::new(Etcd::connect(options, &tasks).await.expect("etcd answers"));
    say("writers | embedded/s  p50 ms  p99 ms |     etcd/s  p50 ms  p99 ms | embedded : etcd");
    for writers in WRITERS {
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        for n in 0..ROUNDS {
            round(&embedded, &format!("{writers}-{n}"), writers, &mut ours).await;
            round(&etcd, &format!("{writers}-{n}"), writers, &mut theirs).await;
        }
        say(&format!(
            "{writers:>7} | {:>10.0} {:>7.2} {:>7.2} | {:>10.0} {:>7.2} {:>7.2} | {:.1}",
            ours.rate(),
            ours.percentile(50),
            ours.percentile(99),
            theirs.rate(),
            theirs.percentile(50),
            theirs.percentile(99),
            ours.rate() / theirs.rate(),
        ));
    }
    tasks.drain(Duration::from_secs(5)).await;
}

fn main() {
    // cargo says `--bench` to every benchmark.
    let given = std::env::args().skip(1).find(|word| !word.starts_with("--")).map(PathBuf::from);
    let temporary = tempfile::tempdir().expect("a directory");
    let directory = given.unwrap_or_else(|| temporary.path().to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare(&directory));
}
