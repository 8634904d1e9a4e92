//! The cluster as its users meet it: the release binary, real kubectl, real TLS.
//!
//! [`Cluster`] brings one up in a directory of its own on a port of its own, and ends it with the test. Nothing here
//! links the control plane; the command line is the only way in.

pub mod api;
pub mod disk;
pub mod etcd;
pub mod facts;
pub mod golden;
pub mod history;
pub mod tables;
pub mod tools;

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// How long a cluster may take to come up, also on a busy machine.
const UP: Duration = Duration::from_secs(60);

/// A running `binnacle up` (or another server binary), killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    child: Child,
    data: PathBuf,
    kubeconfig: PathBuf,
    log: PathBuf,
    kubectl: PathBuf,
    _home: Option<TempDir>,
}

/// What a command printed, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// What was run, for messages.
    pub command: String,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// How it ended.
    pub status: ExitStatus,
}

/// The directory of the binaries under test: those of the release build.
pub fn binaries() -> PathBuf {
    std::env::var_os("BINNACLE_BINARIES")
        .map_or_else(|| tools::workspace().join("target/release"), PathBuf::from)
}

// === impl Cluster ===

impl Cluster {
    /// A fresh cluster in memory with these flags.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(kubectl: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let mut cluster = Self::start("binnacle", kubectl, &home.path().join("data"), flags)?;
        cluster._home = Some(home);
        Ok(cluster)
    }

    /// A cluster on this data directory.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(binary: &str, kubectl: &Path, data: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(binary, kubectl, data, flags, &[])
    }

    /// The same with variables in its environment.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_in(
        binary: &str,
        kubectl: &Path,
        data: &Path,
        flags: &[&str],
        environment: &[(&str, &OsStr)],
    ) -> anyhow::Result<Self> {
        let program = binaries().join(binary);
        ensure!(program.exists(), "{} is not built: cargo build --release", program.display());
        std::fs::create_dir_all(data)?;
        let log = data.with_extension("log");
        let kubeconfig = data.join("admin.kubeconfig");
        let mut child = Command::new(&program)
            .args(["--secure-port", "0", "--data-dir"])
            .arg(data)
            .arg("--write-kubeconfig")
            .arg(&kubeconfig)
            .args(flags)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (tell, told) = mpsc::channel();
        // Read to the end, so that the program never waits for a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    // The test has what it wanted; the rest is swallowed.
                }
            }
        });
        let mut cluster =
            Self { child, data: data.to_owned(), kubeconfig, log, kubectl: kubectl.to_owned(), _home: None };
        let deadline = Instant::real_now() + UP;
        loop {
            // The all-in-one greets; the others only log.
            match told.recv_timeout(Duration::from_millis(20)) {
                Ok(line) if line.contains("is up") => return Ok(cluster),
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::real_now() < deadline => {
                    if cluster.log().contains(" serving") {
                        return Ok(cluster);
                    }
                }
                Err(_) => {
                    let log = cluster.log();
                    cluster.kill();
                    bail!("{binary} did not come up; its log:\n{log}");
                }
            }
        }
    }

    /// What kubectl says to these words (split at blanks).
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn try_kubectl(&self, words: &str) -> anyhow::Result<Said> {
        self.try_kubectl_with(&words.split_whitespace().collect::<Vec<_>>(), "")
    }

    /// The same, with arguments as they are and something on standard input.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn try_kubectl_with(&self, arguments: &[&str], input: &str) -> anyhow::Result<Said> {
        let mut command = Command::new(&self.kubectl);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.data.parent().unwrap_or(&self.data))
            .args(arguments);
        say(command, input)
    }

    /// What kubectl says when all goes well.
    ///
    /// # Panics
    /// When kubectl fails: then with all that it said.
    #[track_caller]
    pub fn kubectl(&self, words: &str) -> String {
        match self.try_kubectl(words) {
            Ok(said) if said.status.success() => said.out,
            Ok(said) => panic!("{}\nthe server's log:\n{}", said.whole(), self.log()),
            Err(error) => panic!("kubectl {words}: {error:#}"),
        }
    }

    /// The object or list that `kubectl get ... -o json` gives.
    ///
    /// # Panics
    /// When kubectl fails or prints something else.
    #[track_caller]
    pub fn get(&self, words: &str) -> Value {
        let text = self.kubectl(&format!("get {words} -o json"));
        match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(error) => panic!("kubectl get {words} -o json: {error}\n{text}"),
        }
    }

    /// The kubectl this cluster is tried with.
    pub fn kubectl_program(&self) -> &Path {
        &self.kubectl
    }

    /// Where the administrator's kubeconfig is.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it the hard way, as a power cut would as far as the process is concerned.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }

    /// Asks it to end, as Ctrl-C does, and waits.
    ///
    /// # Errors
    /// When it does not end within ten seconds.
    pub fn interrupt(&mut self) -> anyhow::Result<ExitStatus> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status()?;
        for _ in 0..200 {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("it does not end")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

// === impl Said ===

impl Said {
    /// All of it, for messages.
    pub fn whole(&self) -> String {
        format!("$ {}\n{}{}({})", self.command, self.out, self.err, self.status)
    }
}

/// Runs a command to its end with something on its standard input.
///
/// # Errors
/// When it cannot be run.
pub fn say(mut command: Command, input: &str) -> anyhow::Result<Said> {
    use std::io::Write as _;

    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {shown}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input may close it early.
        let _closed = stdin.write_all(input.as_bytes());
    }
    let mut stderr = child.stderr.take().context("no standard error")?;
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _read = stderr.read_to_end(&mut text);
        text
    });
    let output = child.wait_with_output()?;
    let err = errors.join().unwrap_or_default();
    Ok(Said {
        command: shown,
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&err).into_owned(),
        status: output.status,
    })
}

/// Tries until it works or the time is over.
///
/// # Panics
/// When the time is over, with the last thing that was wrong.
#[track_caller]
pub fn eventually<T>(what: &str, patience: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::real_now() + patience;
    loop {
        match attempt() {
            Ok(found) => return found,
            Err(why) if Instant::real_now() >= deadline => panic!("{what}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// The real clock: these tests watch other processes, which no test can pause.
trait RealClock {
    fn real_now() -> Instant;
}

impl RealClock for Instant {
    #[expect(clippy::disallowed_methods, reason = "waits for other processes, whose clock is the real one")]
    fn real_now() -> Self {
        Self::now()
    }
}
