//! An etcd for a test.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

pub(super) struct Server {
    child: Option<Child>,
    directory: TempDir,
    port: u16,
    peer_port: u16,
    flags: Vec<String>,
    tls: bool,
    program: PathBuf,
}

/// A made-up authority with a server's and a client's certificate.
pub(super) struct Certificates {
    directory: TempDir,
}

/// Whether there is an etcd to test with.
pub(super) fn installed() -> bool {
    let found =
        Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: there is no etcd on the path (Debian: apt-get install etcd-server)");
    }
    found
}

/// An etcd that answers requests for progress: the one on the path, or the one that `.ci/newer-etcd` brings.
pub(super) fn newer() -> Option<PathBuf> {
    let brought = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/etcd-newer/usr/bin/etcd");
    let found = ["etcd", brought].map(PathBuf::from).into_iter().find(|program| {
        let Ok(output) = Command::new(program).arg("--version").output() else { return false };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("etcd Version: "));
        super::feed::answers_progress(line.unwrap_or_default().trim())
    });
    if found.is_none() {
        println!(
            "skipped: no etcd that tells reliably how far a watch is (3.4.31, 3.5.13, newer); run .ci/newer-etcd"
        );
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// One that takes the largest values the tests have.
    pub(super) async fn start() -> Self {
        Self::start_with(&["--max-request-bytes", "10485760"]).await
    }

    pub(super) async fn start_with(flags: &[&str]) -> Self {
        Self::launch("etcd".into(), flags.iter().map(|&flag| flag.to_owned()).collect(), false).await
    }

    /// One of another version.
    pub(super) async fn start_program(program: PathBuf) -> Self {
        let flags = ["--max-request-bytes", "10485760"].map(str::to_owned);
        Self::launch(program, flags.into(), false).await
    }

    pub(super) async fn start_with_tls(certificates: &Certificates) -> Self {
        let flags =
            [("--trusted-ca-file", "ca.pem"), ("--cert-file", "server.pem"), ("--key-file", "server.key")]
                .into_iter()
                .flat_map(|(flag, file)| [flag.to_owned(), certificates.path(file).display().to_string()])
                .chain(["--client-cert-auth".to_owned()]);
        Self::launch("etcd".into(), flags.collect(), true).await
    }

    async fn launch(program: PathBuf, flags: Vec<String>, tls: bool) -> Self {
        let (port, peer_port) = (free_port(), free_port());
        let mut server =
            Self { child: None, directory: TempDir::new().unwrap(), port, peer_port, flags, tls, program };
        server.resume().await;
        server
    }

    pub(super) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.port)
    }

    /// Starts it, or starts it again on the same data, and waits until it listens.
    pub(super) async fn resume(&mut self) {
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer_port));
        let child = Command::new(&self.program)
            .arg("--data-dir")
            .arg(self.directory.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            // So that times to live of one second are possible.
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(&self.flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("etcd does not listen");
    }

    /// Ends it the hard way.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Runs etcdctl with each of these arguments. False, with the reason printed, if there is none.
    pub(super) async fn control(&self, said: &[&[&str]]) -> bool {
        for arguments in said {
            let mut tries = 0;
            loop {
                let output = Command::new("etcdctl")
                    .env("ETCDCTL_API", "3")
                    .args(["--endpoints", &self.url()])
                    .args(*arguments)
                    .output();
                let Ok(output) = output else {
                    println!(
                        "skipped: there is no etcdctl on the path (Debian: apt-get install etcd-client)"
                    );
                    return false;
                };
                if output.status.success() {
                    break;
                }
                tries += 1;
                assert!(tries < 50, "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Certificates {
    pub(super) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let write = |name: &str, text: String| std::fs::write(directory.path().join(name), text).unwrap();
        let authority = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let certificate = params.self_signed(&key).unwrap();
            (certificate.pem(), rcgen::Issuer::new(params, key))
        };
        let (pem, issuer) = authority("etcd");
        write("ca.pem", pem);
        write("other.pem", authority("another").0);
        for name in ["server", "client"] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params =
                rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.extended_key_usages =
                vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            write(&format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { directory }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
