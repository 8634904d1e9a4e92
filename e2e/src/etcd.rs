//! A real etcd for a test: on ports and in a directory of its own, ended with the test.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::{Said, say, tools};

/// A running etcd.
#[derive(Debug)]
pub struct Etcd {
    child: Option<Child>,
    home: TempDir,
    program: PathBuf,
    port: u16,
    peer_port: u16,
}

// === impl Etcd ===

impl Etcd {
    /// One that is ready; none, with the reason printed, where etcd is not installed.
    ///
    /// # Errors
    /// When it does not start.
    #[expect(clippy::print_stdout, reason = "a test that does nothing says so")]
    pub fn start() -> anyhow::Result<Option<Self>> {
        let (Some(program), Some(_)) = (tools::on_path("etcd"), tools::on_path("etcdctl")) else {
            println!(
                "skipped: no etcd and etcdctl on the path (Debian: apt-get install etcd-server etcd-client)"
            );
            return Ok(None);
        };
        let home = tempfile::tempdir()?;
        let mut etcd = Self { child: None, home, program, port: free_port()?, peer_port: free_port()? };
        etcd.resume()?;
        Ok(Some(etcd))
    }

    /// Starts it again on the same data.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer_port));
        let child = Command::new(&self.program)
            .arg("--data-dir")
            .arg(self.home.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("etcd does not listen")
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it the hard way.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _gone = child.kill();
            let _status = child.wait();
        }
    }

    /// What etcdctl says.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn control(&self, arguments: &[&str], input: &str) -> anyhow::Result<Said> {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url()]).args(arguments);
        say(command, input)
    }

    /// Writes bytes under a key.
    ///
    /// # Errors
    /// When etcd does not take them.
    pub fn put(&self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let file = self.home.path().join("value");
        std::fs::write(&file, value)?;
        let status = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.url(), "put", key])
            .stdin(std::fs::File::open(&file)?)
            .stdout(Stdio::null())
            .status()?;
        if status.success() { Ok(()) } else { bail!("etcd does not take {key}") }
    }

    /// The revision it is at.
    ///
    /// # Errors
    /// When it does not say.
    pub fn revision(&self) -> anyhow::Result<u64> {
        let said = self.control(&["get", "none", "--write-out", "json"], "")?;
        let value: serde_json::Value = serde_json::from_str(&said.out).with_context(|| said.whole())?;
        value.pointer("/header/revision").and_then(serde_json::Value::as_u64).context("no revision")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
