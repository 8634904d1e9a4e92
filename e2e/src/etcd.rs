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

/// A running etcd, or one member of one.
#[derive(Debug)]
pub struct Etcd {
    child: Option<Child>,
    home: TempDir,
    program: PathBuf,
    name: String,
    port: u16,
    peer_port: u16,
    /// All members, as etcd wants them said.
    members: String,
    flags: Vec<String>,
    /// What etcdctl must know to be let in.
    control: Vec<String>,
}

// === impl Etcd ===

impl Etcd {
    /// One that is ready; none, with the reason printed, where etcd is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> anyhow::Result<Option<Self>> {
        Self::start_with(&[], &[])
    }

    /// The same with more flags, and what etcdctl must know then.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(flags: &[&str], control: &[&str]) -> anyhow::Result<Option<Self>> {
        let Some(mut etcd) = Self::cluster(1, flags, control)? else { return Ok(None) };
        Ok(etcd.pop())
    }

    /// So many members that are one etcd.
    ///
    /// # Errors
    /// When they do not start.
    pub fn start_members(count: usize) -> anyhow::Result<Option<Vec<Self>>> {
        Self::cluster(count, &[], &[])
    }

    #[expect(clippy::print_stdout, reason = "a test that does nothing says so")]
    fn cluster(count: usize, flags: &[&str], control: &[&str]) -> anyhow::Result<Option<Vec<Self>>> {
        let (Some(program), Some(_)) = (tools::on_path("etcd"), tools::on_path("etcdctl")) else {
            println!(
                "skipped: no etcd and etcdctl on the path (Debian: apt-get install etcd-server etcd-client)"
            );
            return Ok(None);
        };
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let mut etcds = Vec::new();
        for n in 0..count {
            etcds.push(Self {
                child: None,
                home: tempfile::tempdir()?,
                program: program.clone(),
                name: format!("m{n}"),
                port: free_port()?,
                peer_port: free_port()?,
                members: String::new(),
                flags: owned(flags),
                control: owned(control),
            });
        }
        let members: Vec<String> =
            etcds.iter().map(|etcd| format!("{}={}", etcd.name, etcd.peer())).collect();
        let members = members.join(",");
        for etcd in &mut etcds {
            etcd.members.clone_from(&members);
            etcd.spawn()?;
        }
        for etcd in &etcds {
            etcd.wait()?;
        }
        Ok(Some(etcds))
    }

    fn peer(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let (client, peer) = (self.url(), self.peer());
        let child = Command::new(&self.program)
            .args(["--name", &self.name, "--data-dir"])
            .arg(self.home.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.members])
            .args(&self.flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    fn wait(&self) -> anyhow::Result<()> {
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("etcd does not listen")
    }

    /// Starts it again on the same data.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.wait()
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let secure = self.flags.iter().any(|flag| flag == "--cert-file");
        format!("{}://127.0.0.1:{}", if secure { "https" } else { "http" }, self.port)
    }

    /// Its process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.as_ref().map(Child::id).context("this etcd does not run")
    }

    /// Ends it the hard way.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _gone = child.kill();
            let _status = child.wait();
        }
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal("-TERM")?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    /// It stands still, and its connections stay open.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal("-STOP")
    }

    /// It goes on.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn proceed(&self) -> anyhow::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let pid = self.child.as_ref().context("it does not run")?.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status()?;
        if status.success() { Ok(()) } else { bail!("cannot send {signal}") }
    }

    /// What etcdctl says.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn control(&self, arguments: &[&str], input: &str) -> anyhow::Result<Said> {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.url()])
            .args(&self.control)
            .args(arguments);
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
