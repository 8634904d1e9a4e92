//! Goal: a test suite written for controller-runtime's envtest takes Binnacle for kube-apiserver and etcd.
//!
//! Method: what envtest does, step by step. It asks both programs for their help, starts `etcd` and then `kube-apiserver` with
//! the flags and the certificates that it makes itself, and waits for `/health` and `/healthz`; then kubectl is the test suite.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use e2e::{Said, binaries, etcd::Etcd, eventually, say, tools};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

const WIDGETS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.test.example.com}
spec:
  group: test.example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
";
const WIDGET: &str = "
apiVersion: test.example.com/v1
kind: Widget
metadata: {name: w}
spec: {size: 3}
";

/// An authority as envtest makes one: all of them have the same name, and RSA keys.
struct TinyCa {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    certificate: String,
    key: String,
}

impl TinyCa {
    fn new() -> Self {
        let key = rsa();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = named("envtest-environment", "envtest");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyEncipherment,
            rcgen::KeyUsagePurpose::DigitalSignature,
            rcgen::KeyUsagePurpose::KeyCertSign,
        ];
        let (certificate, text) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        Self { issuer: rcgen::Issuer::new(params, key), certificate, key: text }
    }

    /// Certificate and key.
    fn issue(
        &self,
        (name, organization): (&str, &str),
        hosts: &[&str],
        usage: rcgen::ExtendedKeyUsagePurpose,
    ) -> (String, String) {
        let key = rsa();
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(hosts).unwrap();
        params.distinguished_name = named(name, organization);
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn rsa() -> rcgen::KeyPair {
    rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap()
}

fn named(name: &str, organization: &str) -> rcgen::DistinguishedName {
    let mut it = rcgen::DistinguishedName::new();
    it.push(rcgen::DnType::OrganizationName, organization);
    it.push(rcgen::DnType::CommonName, name);
    it
}

/// A program that envtest has started.
struct Program(Child, PathBuf);

impl Program {
    fn start(program: &Path, arguments: &[String], environment: &[(&str, &str)], log: &Path) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            // Nothing may be left where the tests run.
            .current_dir(log.parent().unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log).unwrap())
            .spawn()
            .unwrap();
        Self(child, log.to_owned())
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.1).unwrap()
    }

    /// As envtest stops it.
    fn stop(&mut self) -> ExitStatus {
        Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        eventually("it ends", Duration::from_secs(20), || {
            self.0.try_wait().unwrap().ok_or_else(|| "it still runs".to_owned())
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A test environment: what envtest keeps in its temporary directories.
struct Environment {
    home: TempDir,
    assets: PathBuf,
    etcd_url: String,
    serving: TinyCa,
    clients: TinyCa,
    url: String,
    api_server: Option<Program>,
    etcd: Option<Program>,
}

impl Environment {
    /// Folder and certificates; nothing runs yet.
    fn prepare() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut lay_out = Command::new(binaries().join("binnacle"));
        lay_out
            .arg("envtest")
            .arg(home.path().join("assets"))
            .arg("--kubectl")
            .arg(tools::kubectl().unwrap());
        let said = say(lay_out, "").unwrap();
        assert!(said.status.success(), "{}", said.whole());
        let assets = PathBuf::from(said.out.trim_end());
        let certificates = home.path().join("certificates");
        fs::create_dir(&certificates).unwrap();
        let (serving, accounts, clients) = (TinyCa::new(), TinyCa::new(), TinyCa::new());
        let (certificate, key) = serving.issue(
            ("localhost", "envtest"),
            &["localhost", "127.0.0.1"],
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        );
        for (file, text) in [
            ("apiserver.crt", &certificate),
            ("apiserver.key", &key),
            // The public half is handed over as a certificate.
            ("sa-signer.crt", &accounts.certificate),
            ("sa-signer.key", &accounts.key),
            ("client-cert-auth-ca.crt", &clients.certificate),
        ] {
            fs::write(certificates.join(file), text).unwrap();
        }
        let url = format!("https://127.0.0.1:{}", free_port());
        Self { home, assets, etcd_url: String::new(), serving, clients, url, api_server: None, etcd: None }
    }

    /// Everything, as `envtest.Environment.Start` has it.
    fn start(environment: &[(&str, &str)]) -> Self {
        let mut it = Self::prepare();
        it.start_etcd();
        it.start_api_server(environment);
        it
    }

    fn start_etcd(&mut self) {
        let program = self.assets.join("etcd");
        let url = format!("http://127.0.0.1:{}", free_port());
        let mut arguments = vec![
            format!("--advertise-client-urls={url}"),
            format!("--data-dir={}", self.home.path().join("etcd").display()),
            format!("--listen-client-urls={url}"),
            format!("--listen-peer-urls=http://127.0.0.1:{}", free_port()),
        ];
        if knows_flag(&program, "unsafe-no-fsync") {
            arguments.push("--unsafe-no-fsync=true".to_owned());
        }
        let etcd = Program::start(&program, &arguments, &[], &self.home.path().join("etcd.log"));
        healthy(&format!("{url}/health"), &etcd);
        (self.etcd, self.etcd_url) = (Some(etcd), url);
    }

    fn start_api_server(&mut self, environment: &[(&str, &str)]) {
        let it = self.run_api_server(environment);
        healthy(&format!("{}/healthz", self.url), &it);
        healthy(&format!("{}/readyz", self.url), &it);
        self.api_server = Some(it);
        self.write_kubeconfig();
    }

    fn run_api_server(&self, environment: &[(&str, &str)]) -> Program {
        let program = self.assets.join("kube-apiserver");
        assert!(!knows_flag(&program, "insecure-port"), "it would have to be told not to use that");
        let folder = self.home.path().join("certificates");
        let (certificates, url) = (folder.display(), &self.url);
        let port = url.rsplit(':').next().unwrap();
        let arguments = [
            "--advertise-address=127.0.0.1".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={certificates}"),
            format!("--client-ca-file={certificates}/client-cert-auth-ca.crt"),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            format!("--etcd-servers={}", self.etcd_url),
            format!("--secure-port={port}"),
            format!("--service-account-issuer={url}/"),
            format!("--service-account-key-file={certificates}/sa-signer.crt"),
            format!("--service-account-signing-key-file={certificates}/sa-signer.key"),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        ];
        Program::start(&program, &arguments, environment, &self.home.path().join("apiserver.log"))
    }

    /// The user that envtest makes for every suite.
    fn write_kubeconfig(&self) {
        let (certificate, key) = self.clients.issue(
            ("default", "system:masters"),
            &[],
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        );
        let file = |name: &str, text: &str| {
            let path = self.home.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "envtest",
            "contexts": [{"name": "envtest", "context": {"cluster": "envtest", "user": "envtest"}}],
            "clusters": [{"name": "envtest", "cluster": {
                "server": self.url, "certificate-authority": file("ca.crt", &self.serving.certificate),
            }}],
            "users": [{"name": "envtest", "user": {
                "client-certificate": file("user.crt", &certificate), "client-key": file("user.key", &key),
            }}],
        });
        file("kubeconfig", &config.to_string());
    }

    fn try_kubectl(&self, words: &str, input: &str) -> Said {
        let mut kubectl = Command::new(self.assets.join("kubectl"));
        kubectl
            .env("KUBECONFIG", self.home.path().join("kubeconfig"))
            .env("HOME", self.home.path())
            .args(words.split_whitespace());
        say(kubectl, input).unwrap()
    }

    #[track_caller]
    fn kubectl(&self, words: &str, input: &str) -> String {
        let said = self.try_kubectl(words, input);
        let log = self.api_server.as_ref().map(Program::log).unwrap_or_default();
        assert!(said.status.success(), "{}\n{log}", said.whole());
        said.out
    }

    fn stop(&mut self) {
        let stopped = self.api_server.take().map(|mut it| it.stop());
        assert!(stopped.is_none_or(|status| status.success()));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// How envtest finds out which flags a version has: it looks at the beginnings of the lines of its help.
fn knows_flag(program: &Path, flag: &str) -> bool {
    let mut help = Command::new(program);
    help.arg("--help");
    let said = say(help, "").unwrap();
    assert!(said.status.success(), "{}", said.whole());
    said.out.lines().any(|line| {
        let rest = line.trim_start().strip_prefix("--").and_then(|line| line.strip_prefix(flag));
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
    })
}

#[track_caller]
fn healthy(url: &str, program: &Program) {
    eventually(&format!("{url} answers 200"), PATIENCE, || {
        let asked = Command::new("curl")
            .args(["--silent", "--insecure", "--output", "/dev/null", "--write-out", "%{http_code}", url])
            .output();
        match asked {
            Ok(answer) if answer.stdout == b"200" => Ok(()),
            Ok(answer) => Err(format!("{}\n{}", String::from_utf8_lossy(&answer.stdout), program.log())),
            Err(error) => Err(error.to_string()),
        }
    });
}

#[test]
fn a_suite_for_envtest_takes_binnacle_for_kube_apiserver_and_etcd() {
    let mut environment = Environment::start(&[]);
    let who: Value = serde_json::from_str(&environment.kubectl("auth whoami -o json", "")).unwrap();
    assert_eq!(who.pointer("/status/userInfo/username").unwrap(), "default");
    environment.kubectl("apply -f -", WIDGETS);
    environment.kubectl("wait --for=condition=established crd/widgets.test.example.com --timeout=30s", "");
    environment.kubectl("apply -f -", WIDGET);
    let token = environment.kubectl("create serviceaccount robot", "")
        + &environment.kubectl("create token robot", "");
    assert!(token.contains("ey"), "a token of the key that envtest made: {token}");
    // As in upstream's envtest nobody runs beside the server unless that is asked for.
    environment.kubectl("create namespace stays", "");
    environment.kubectl("delete namespace stays --wait=false", "");
    assert!(
        environment.kubectl("get namespace stays -o jsonpath={.status.phase}", "").contains("Terminating")
    );

    // Another server finds the place taken, and does not make up a second, empty cluster.
    let first = std::mem::replace(&mut environment.url, format!("https://127.0.0.1:{}", free_port()));
    let mut second = environment.run_api_server(&[]);
    let ended = eventually("the second server ends", PATIENCE, || {
        second.0.try_wait().unwrap().ok_or_else(|| second.log())
    });
    assert!(!ended.success() && second.log().contains("another process"), "{}", second.log());
    drop(second);
    environment.url = first;

    // Objects live as long as the data directory of the etcd.
    environment.stop();
    environment.start_api_server(&[]);
    assert_eq!(environment.kubectl("get widget w -o jsonpath={.spec.size}", ""), "3");
    environment.stop();
    assert!(environment.etcd.take().unwrap().stop().success());
    let left: Vec<_> = fs::read_dir(environment.home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!left.iter().any(|name| name == "binnacle-data"), "{left:?}");
}

#[test]
fn the_stand_in_for_etcd_promises_nothing_to_clients_of_etcd() {
    let Some(control) = tools::on_path("etcdctl") else { return };
    let mut environment = Environment::prepare();
    environment.start_etcd();
    let mut put = Command::new(control);
    put.env("ETCDCTL_API", "3").args(["--endpoints", &environment.etcd_url, "put", "a", "b"]);
    let said = say(put, "").unwrap();
    assert!(!said.status.success() && said.whole().contains("stand-in for etcd"), "{}", said.whole());
}

#[test]
fn controllers_and_nodes_run_if_a_suite_wants_them() {
    let wanted = [("BINNACLE_ENVTEST_CONTROLLERS", "*"), ("BINNACLE_ENVTEST_NODES", "1")];
    let environment = Environment::start(&wanted);
    environment.kubectl("apply -f -", WIDGETS);
    environment.kubectl("wait --for=condition=established crd/widgets.test.example.com --timeout=30s", "");
    environment.kubectl("create namespace goes", "");
    environment.kubectl("apply -n goes -f -", WIDGET);
    environment.kubectl("create deployment web -n goes --image=nginx --replicas=2", "");
    environment.kubectl("rollout status deployment web -n goes --timeout=60s", "");
    environment.kubectl("delete namespace goes --timeout=60s", "");
    assert_eq!(environment.kubectl("get widgets,pods -A -o name", ""), "");
    // What a custom resource owned goes with it.
    environment.kubectl("apply -f -", WIDGET);
    let uid = environment.kubectl("get widget w -o jsonpath={.metadata.uid}", "");
    let owned = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "owned", "ownerReferences": [
            {"apiVersion": "test.example.com/v1", "kind": "Widget", "name": "w", "uid": uid},
        ]},
    });
    environment.kubectl("apply -f -", &owned.to_string());
    environment.kubectl("delete widget w", "");
    eventually("what the widget owned is collected", PATIENCE, || {
        let left = environment.kubectl("get configmap owned --ignore-not-found -o name", "");
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn a_real_etcd_serves_too() {
    let Some(etcd) = Etcd::start().unwrap() else { return };
    let mut environment = Environment::prepare();
    environment.etcd_url = etcd.url();
    environment.start_api_server(&[]);
    environment.kubectl("create configmap c --from-literal=a=b", "");
    let keys =
        etcd.control(&["get", "--prefix", "--keys-only", "/registry/configmaps/default/"], "").unwrap();
    assert!(keys.out.contains("/registry/configmaps/default/c"), "{}", keys.whole());
}
