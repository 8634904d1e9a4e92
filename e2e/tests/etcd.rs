//! The cluster on a real etcd: everything works as on a store of its own, what upstream stored is served, and what goes wrong
//! with etcd, or with one of several API servers, neither loses a write nor shows an old state for a new one.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use e2e::{
    Cluster,
    api::{self, Watch, ask, revision},
    etcd::Etcd,
    eventually,
    history::History,
    tools,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// How long etcd is gone; longer by the environment.
fn away() -> Duration {
    let seconds = std::env::var("ETCD_AWAY_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6))
}

fn tokens(home: &TempDir) -> PathBuf {
    api::token_file(home.path()).unwrap()
}

/// API servers over one etcd, with their data in one place.
struct Servers {
    home: TempDir,
    etcd: String,
}

impl Servers {
    /// Over the etcd at these URLs.
    fn over(etcd: &str) -> Self {
        Self { home: tempfile::tempdir().unwrap(), etcd: etcd.to_owned() }
    }

    /// One with its data under this name, and where it listens.
    fn start(&self, name: &str) -> (Cluster, String) {
        let tokens = tokens(&self.home);
        let flags = ["--etcd-servers", &self.etcd, "--token-auth-file", tokens.to_str().unwrap()];
        let data = self.home.path().join(name);
        let cluster = Cluster::start("apiserver", &tools::kubectl().unwrap(), &data, &flags).unwrap();
        let url = cluster.url().unwrap();
        (cluster, url)
    }
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"test": "etcd"}}, "data": {"name": name}})
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn the_all_in_one_runs_on_etcd_and_outlives_kill_9() {
    let Some(etcd) = Etcd::start().unwrap() else { return };
    let kubectl = tools::kubectl().unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let url = etcd.url();
    // The servers alone say which store is meant.
    let flags = ["--etcd-servers", &url];
    let mut cluster = Cluster::start("binnacle", &kubectl, &data, &flags).unwrap();
    cluster.kubectl("create deployment web --image=nginx --replicas=3");
    cluster.kubectl("rollout status deployment web --timeout=60s");
    cluster.kill();
    let cluster = Cluster::start("binnacle", &kubectl, &data, &flags).unwrap();
    cluster.kubectl("rollout status deployment web --timeout=60s");
    cluster.kubectl("scale deployment web --replicas=5");
    cluster.kubectl("rollout status deployment web --timeout=60s");
    // Under upstream's keys, as JSON.
    let said = etcd.control(&["get", "/registry/deployments/default/web", "--print-value-only"], "").unwrap();
    let stored: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(stored["apiVersion"], "apps/v1");
    assert!(stored.pointer("/metadata/resourceVersion").is_none(), "{stored}");
}

#[test]
fn what_upstream_stored_is_served_as_upstream_serves_it() {
    let sample = sample();
    let Some(etcd) = Etcd::start().unwrap() else { return };
    for stored in &sample {
        etcd.put(stored["key"].as_str().unwrap(), &decode(stored["value"].as_str().unwrap())).unwrap();
    }
    let servers = Servers::over(&etcd.url());
    let (cluster, url) = servers.start("data");
    let mut wrong = Vec::new();
    for stored in &sample {
        for expected in stored["objects"].as_array().into_iter().flatten() {
            let path = path(&cluster, expected);
            let (status, mut found) = ask(&url, "GET", &path, None);
            let mut expected = expected.clone();
            // They were put into another etcd, and some the server keeps up to date itself.
            for object in [&mut expected, &mut found] {
                if let Some(meta) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
                    meta.remove("resourceVersion");
                }
            }
            if status != 200 || found != expected {
                wrong.push(format!("{path}: {status}\n  found    {found}\n  expected {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), sample.len(), wrong.join("\n"));
    // And it can be written.
    cluster.kubectl("label pod lone --namespace shop seen=yes");
    cluster.kubectl("delete deployment web --namespace shop");
    cluster.kubectl("create service nodeport more --namespace shop --tcp=80:80");
}

/// The values upstream stored, with the objects it served.
fn sample() -> Vec<Value> {
    let file = tools::workspace().join("apiserver/src/storage/tests/upstream-1.36.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// Where an object is served.
fn path(cluster: &Cluster, object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind) = (text("/apiVersion"), text("/kind"));
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let (_, list) = ask(&cluster.url().unwrap(), "GET", &root, None);
    let plural = list["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|resource| resource["kind"] == kind.as_str())
        .filter_map(|resource| resource["name"].as_str())
        .find(|name| !name.contains('/'))
        .unwrap_or_default()
        .to_owned();
    let namespace = match text("/metadata/namespace") {
        namespace if namespace.is_empty() => String::new(),
        namespace => format!("/namespaces/{namespace}"),
    };
    format!("{root}{namespace}/{plural}/{}", text("/metadata/name"))
}

fn decode(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter_map(|byte| {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        Some(u32::from(value))
    });
    let digits: Vec<u32> = digits.collect();
    digits
        .chunks(4)
        .flat_map(|chunk| {
            let word = (0..4).fold(0, |word, n| word << 6 | chunk.get(n).copied().unwrap_or_default());
            word.to_be_bytes()[1..chunk.len()].to_vec()
        })
        .collect()
}

#[test]
fn an_etcd_that_goes_away_comes_back_to_a_server_that_waited() {
    let Some(mut etcd) = Etcd::start().unwrap() else { return };
    let servers = Servers::over(&etcd.url());
    let (cluster, url) = servers.start("data");
    let mut watch = Watch::open(&url, &format!("{CONFIG_MAPS}?watch=1&labelSelector=test=etcd")).unwrap();
    assert_eq!(ask(&url, "POST", CONFIG_MAPS, Some(&config_map("before"))).0, 201);
    // So that the watch has begun.
    let mut seen = until(&mut watch, "before");
    etcd.kill();
    let (status, told) = ask(&url, "POST", CONFIG_MAPS, Some(&config_map("during")));
    assert_eq!(status, 503, "{told}");
    assert!(told["message"].as_str().unwrap().contains("etcd"), "{told}");
    eventually("the server says that it is not ready", PATIENCE, || {
        let (status, _) = ask(&url, "GET", "/readyz", None);
        if status == 200 { Err("it is".to_owned()) } else { Ok(()) }
    });
    thread::sleep(away());
    etcd.resume().unwrap();
    eventually("writes go on", PATIENCE, || {
        let (status, told) = ask(&url, "POST", CONFIG_MAPS, Some(&config_map("after")));
        if status == 201 || status == 409 { Ok(()) } else { Err(format!("{status} {told}")) }
    });
    eventually("the server is ready", PATIENCE, || {
        let (status, _) = ask(&url, "GET", "/readyz", None);
        if status == 200 { Ok(()) } else { Err(status.to_string()) }
    });
    // The watch went through all of it.
    seen.extend(until(&mut watch, "after"));
    assert_eq!(seen.first().map(String::as_str), Some("before"), "{seen:?}");
    assert_eq!(seen.iter().filter(|name| *name == "after").count(), 1, "{seen:?}");
    let warnings = cluster.log().lines().filter(|line| line.contains("the watch of etcd broke")).count();
    assert_eq!(warnings, 1, "one line, not one for each attempt: {}", cluster.log());
}

#[test]
fn an_etcd_compacted_behind_our_back_costs_a_new_list_and_nothing_else() {
    let Some(mut etcd) = Etcd::start().unwrap() else { return };
    let servers = Servers::over(&etcd.url());
    let (_cluster, url) = servers.start("data");
    for n in 0..5 {
        assert_eq!(ask(&url, "POST", CONFIG_MAPS, Some(&config_map(&format!("c-{n}")))).0, 201);
    }
    // Where the server listens is taken away from it by ending etcd; while it is alone again, it is compacted at once.
    etcd.kill();
    etcd.resume().unwrap();
    for n in 0..50 {
        etcd.put("/registry/other", n.to_string().as_bytes()).unwrap();
    }
    let now = etcd.revision().unwrap();
    let said = etcd.control(&["compact", &now.to_string()], "").unwrap();
    assert!(said.status.success(), "{}", said.whole());
    eventually("reads and writes go on", PATIENCE, || {
        let (status, told) = ask(&url, "POST", CONFIG_MAPS, Some(&config_map("later")));
        if status == 201 || status == 409 { Ok(()) } else { Err(format!("{status} {told}")) }
    });
    let (_, list) = ask(&url, "GET", &format!("{CONFIG_MAPS}?labelSelector=test=etcd"), None);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(6), "{list}");
    let (status, told) =
        ask(&url, "GET", &format!("{CONFIG_MAPS}?resourceVersion=2&resourceVersionMatch=Exact"), None);
    assert_eq!((status, told["reason"].as_str()), (410, Some("Expired")), "{told}");
}

#[test]
fn two_servers_on_one_etcd_agree_while_they_are_restarted_in_turn() {
    let Some(etcd) = Etcd::start().unwrap() else { return };
    let home = Servers::over(&etcd.url());
    let start = |n: usize| home.start(&n.to_string()).0;
    let mut servers = vec![start(0), start(1)];
    let urls = Arc::new(Mutex::new(servers.iter().map(|server| server.url().unwrap()).collect::<Vec<_>>()));
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let (urls, over) = (Arc::clone(&urls), Arc::clone(&over));
            thread::spawn(move || write_here_read_there(writer, &urls, &over))
        })
        .collect();
    for round in 0..2 {
        for (n, server) in servers.iter_mut().enumerate() {
            thread::sleep(Duration::from_secs(2));
            if round == 0 {
                server.interrupt().unwrap();
            } else {
                server.kill();
            }
            *server = start(n);
            urls.lock()[n] = server.url().unwrap();
        }
    }
    thread::sleep(Duration::from_secs(1));
    over.store(true, Ordering::Relaxed);
    let written: Vec<String> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    assert!(written.len() > 40, "too few writes to mean anything: {}", written.len());
    for server in &servers {
        let (_, list) =
            ask(&server.url().unwrap(), "GET", &format!("{CONFIG_MAPS}?labelSelector=test=etcd"), None);
        let names: Vec<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|item| item["metadata"]["name"].as_str())
            .collect();
        let lost: Vec<_> = written.iter().filter(|name| !names.contains(&name.as_str())).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

/// Writes through one server and reads through the other, in turn; the names that were acknowledged.
fn write_here_read_there(writer: usize, urls: &Mutex<Vec<String>>, over: &AtomicBool) -> Vec<String> {
    let mut written = Vec::new();
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let urls = urls.lock().clone();
        let (here, there) = (&urls[n % 2], &urls[(n + 1) % 2]);
        let name = format!("w-{writer}-{n}");
        let (status, made) = ask(here, "POST", CONFIG_MAPS, Some(&config_map(&name)));
        if status != 201 {
            // A server that is down, or on its way down.
            assert!(matches!(status, 0 | 403 | 429 | 500..), "{status} {made}");
            continue;
        }
        written.push(name.clone());
        let at = revision(&made);
        let mine = format!("{CONFIG_MAPS}/{name}");
        let (status, found) = ask(there, "GET", &format!("{mine}?resourceVersion={at}"), None);
        assert!(
            unreachable(status) || revision(&found) >= at,
            "not older than my own write: {status} {found}"
        );
        let (status, found) = ask(there, "GET", &mine, None);
        assert!(unreachable(status) || revision(&found) >= at, "a fresh read is fresh: {status} {found}");
        let (status, list) = ask(there, "GET", &format!("{CONFIG_MAPS}?labelSelector=test=etcd"), None);
        let has = |list: &Value| {
            list["items"]
                .as_array()
                .is_some_and(|items| items.iter().any(|item| item["metadata"]["name"] == name.as_str()))
        };
        assert!(
            unreachable(status) || (revision(&list) >= at && has(&list)),
            "a fresh list is fresh: {name}"
        );
    }
    written
}

/// A server that is down or not ready says nothing about the data.
fn unreachable(status: u16) -> bool {
    matches!(status, 0 | 403 | 429 | 500..)
}

#[test]
fn an_etcd_that_is_not_there_is_told_in_one_line() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(e2e::binaries().join("apiserver"))
        .arg("--data-dir")
        .arg(home.path().join("data"))
        .args(["--secure-port", "0", "--store", "etcd"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--store etcd needs --etcd-servers"), "{said}");
}

#[test]
fn a_cluster_moves_from_the_embedded_store_to_etcd_and_back() {
    let Some(etcd) = Etcd::start().unwrap() else { return };
    let kubectl = tools::kubectl().unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut cluster = Cluster::start("apiserver", &kubectl, &data, &[]).unwrap();
    for n in 0..20 {
        cluster.kubectl(&format!("create configmap c-{n} --from-literal=n={n}"));
    }
    let versions = |cluster: &Cluster| {
        cluster.kubectl(
            "get configmaps -o jsonpath={range.items[*]}{.metadata.name}={.metadata.resourceVersion},{end}",
        )
    };
    let before = versions(&cluster);
    let from = data.to_str().unwrap();
    binnacle(&["store", "verify", from]);
    let backup = home.path().join("backup");
    // While the server runs.
    binnacle(&["store", "backup", "--data-dir", from, backup.to_str().unwrap()]);
    cluster.interrupt().unwrap();
    binnacle(&["store", "copy", "--from", from, "--to", &etcd.url()]);
    let said = binnacle(&["store", "copy", "--from", from, "--to", &etcd.url()]);
    assert!(said.contains("copied 0 of"), "again, there is nothing to do: {said}");
    let etcd_url = etcd.url();
    let mut on_etcd = Cluster::start("apiserver", &kubectl, &data, &["--etcd-servers", &etcd_url]).unwrap();
    assert_eq!(versions(&on_etcd), before, "with the same resource versions");
    on_etcd.kubectl("create configmap on-etcd --from-literal=a=b");
    let after = versions(&on_etcd);
    on_etcd.interrupt().unwrap();
    let back = home.path().join("back");
    binnacle(&["store", "copy", "--from", &etcd_url, "--to", back.to_str().unwrap()]);
    binnacle(&["store", "verify", back.to_str().unwrap()]);
    let back = Cluster::start("apiserver", &kubectl, &back, &[]).unwrap();
    assert_eq!(versions(&back), after);
    // And the backup is what was there then.
    let restored = home.path().join("restored");
    binnacle(&["store", "restore", "--data-dir", restored.to_str().unwrap(), backup.to_str().unwrap()]);
    let restored = Cluster::start("apiserver", &kubectl, &restored, &[]).unwrap();
    assert_eq!(versions(&restored), before);
}

/// What `binnacle` says when all goes well.
fn binnacle(arguments: &[&str]) -> String {
    let output = Command::new(e2e::binaries().join("binnacle")).args(arguments).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "binnacle {arguments:?}: {err}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The names of the objects that events of a watch came of, up to this one.
fn until(watch: &mut Watch, name: &str) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != name) {
        let event = watch.next(PATIENCE).unwrap().unwrap_or_else(|| panic!("after {seen:?} nothing came"));
        assert_ne!(event["type"], "ERROR", "{event}");
        seen.extend(event.pointer("/object/metadata/name").and_then(Value::as_str).map(str::to_owned));
    }
    seen
}

/// Goal: that members of etcd can be restarted one after the other, in peace or not, and nobody notices more than a failed
/// request. Method: two servers, writers and watchers at both; each member ends twice.
#[test]
fn members_of_etcd_are_restarted_in_turn_and_nothing_is_lost_or_missed() {
    let Some(mut members) = Etcd::start_members(3).unwrap() else { return };
    let urls: Vec<String> = members.iter().map(Etcd::url).collect();
    let home = Servers::over(&urls.join(","));
    let (servers, urls): (Vec<Cluster>, Vec<String>) = (0..2).map(|n| home.start(&n.to_string())).unzip();
    let history = History::begin(&urls);
    for round in 0..2 {
        for member in &mut members {
            let before = history.acknowledged();
            eventually("writes are acknowledged", PATIENCE, || {
                if history.acknowledged() > before + 50 { Ok(()) } else { Err(before.to_string()) }
            });
            if round == 0 {
                member.terminate().unwrap();
            } else {
                member.kill();
            }
            // With two of three it goes on.
            let before = history.acknowledged();
            eventually("writes are acknowledged with a member away", PATIENCE, || {
                if history.acknowledged() > before + 20 { Ok(()) } else { Err(before.to_string()) }
            });
            member.resume().unwrap();
        }
    }
    let summary = history.end();
    assert!(summary.acknowledged > 6 * 70, "{summary:?}");
    for server in &servers {
        let ready = ask(&server.url().unwrap(), "GET", "/readyz", None);
        assert_eq!(ready.0, 200, "{ready:?}");
    }
}

#[test]
fn an_etcd_with_certificates_users_and_a_dead_endpoint_serves_as_any_other() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name).display().to_string();
    for (name, text) in certificates() {
        std::fs::write(file(name), text).unwrap();
    }
    let [authority, certificate, key] = ["ca.pem", "etcd.pem", "etcd.key"].map(file);
    let flags = [["--trusted-ca-file", &authority], ["--cert-file", &certificate], ["--key-file", &key]];
    let control = [["--cacert", &authority], ["--cert", &certificate], ["--key", &key]];
    let flags = [&flags.concat()[..], &["--client-cert-auth"]].concat();
    let Some(etcd) = Etcd::start_with(&flags, &control.concat()).unwrap() else { return };
    let said: &[&[&str]] = &[
        &["user", "add", "root:deep"],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "ours:secret"],
        &["role", "add", "ours"],
        &["role", "grant-permission", "ours", "readwrite", "--prefix=true", "/"],
        &["role", "grant-permission", "ours", "readwrite", "compact_rev_key"],
        // All keys may be watched, which an older etcd needs.
        &["role", "grant-permission", "ours", "read", "--from-key=true", ""],
        &["user", "grant-role", "ours", "ours"],
        &["auth", "enable"],
    ];
    for words in said {
        let said = etcd.control(words, "").unwrap();
        assert!(said.status.success(), "{}", said.whole());
    }
    let kubectl = tools::kubectl().unwrap();
    let (tokens, data) = (tokens(&home), home.path().join("data"));
    let servers = format!("https://127.0.0.1:1,{}", etcd.url());
    let secret = file("user");
    let flags = [
        ["--etcd-servers", &servers],
        ["--etcd-cafile", &authority],
        ["--etcd-certfile", &certificate],
        ["--etcd-keyfile", &key],
        ["--etcd-user-file", &secret],
        ["--token-auth-file", tokens.to_str().unwrap()],
    ]
    .concat();
    std::fs::write(&secret, "ours:secret\n").unwrap();
    let cluster = Cluster::start("apiserver", &kubectl, &data, &flags).unwrap();
    let url = cluster.url().unwrap();
    let mut watch = Watch::open(&url, &format!("{CONFIG_MAPS}?watch=1&labelSelector=test=etcd")).unwrap();
    assert_eq!(ask(&url, "POST", CONFIG_MAPS, Some(&config_map("one"))).0, 201);
    let one = format!("{CONFIG_MAPS}/one");
    assert_eq!(ask(&url, "GET", &one, None).0, 200);
    assert_eq!(until(&mut watch, "one"), ["one"]);
    drop(cluster);
    // Who has the wrong password is told so, and by whom.
    std::fs::write(&secret, "ours:wrong\n").unwrap();
    let output = Command::new(e2e::binaries().join("apiserver"))
        .args(["--secure-port", "0", "--data-dir"])
        .arg(&data)
        .args(&flags)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("authentication failed"), "{said}");
}

/// An authority with a certificate for this machine, as server and as client.
fn certificates() -> [(&'static str, String); 3] {
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&authority).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages =
        vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    [("ca.pem", ca), ("etcd.pem", certificate), ("etcd.key", key.serialize_pem())]
}

#[test]
fn an_etcd_that_stands_still_costs_errors_and_no_restart() {
    let Some(etcd) = Etcd::start().unwrap() else { return };
    let servers = Servers::over(&etcd.url());
    let (_cluster, url) = servers.start("data");
    let mut watch = Watch::open(&url, &format!("{CONFIG_MAPS}?watch=1&labelSelector=test=etcd")).unwrap();
    assert_eq!(ask(&url, "POST", CONFIG_MAPS, Some(&config_map("before"))).0, 201);
    let mut seen = until(&mut watch, "before");
    etcd.pause().unwrap();
    let (status, told) = ask(&url, "POST", CONFIG_MAPS, Some(&config_map("during")));
    assert!(matches!(status, 503 | 504), "{status} {told}");
    assert!(told["message"].as_str().unwrap().contains("etcd"), "{told}");
    // What need not be fresh is served from the cache all the while.
    let (status, _) = ask(&url, "GET", &format!("{CONFIG_MAPS}/before?resourceVersion=0"), None);
    assert_eq!(status, 200);
    thread::sleep(away());
    etcd.proceed().unwrap();
    eventually("writes go on", PATIENCE, || {
        let (status, told) = ask(&url, "POST", CONFIG_MAPS, Some(&config_map("after")));
        if status == 201 || status == 409 { Ok(()) } else { Err(format!("{status} {told}")) }
    });
    seen.extend(until(&mut watch, "after"));
    // Whether the write without an answer happened is not known; twice it did not.
    assert!(matches!(&seen[..], [before, .., _] if before == "before") && seen.len() <= 3, "{seen:?}");
    let (status, found) = ask(&url, "GET", &format!("{CONFIG_MAPS}/during"), None);
    assert_eq!(status == 200, seen.len() == 3, "{seen:?} {found}");
}

#[test]
fn an_etcd_without_space_says_so_in_its_own_words_until_it_has_some() {
    let Some(etcd) = Etcd::start_with(&["--quota-backend-bytes", "4194304"], &[]).unwrap() else { return };
    let servers = Servers::over(&etcd.url());
    let (_cluster, url) = servers.start("data");
    let mut big = config_map("big");
    big["data"]["filling"] = "x".repeat(100_000).into();
    assert_eq!(ask(&url, "POST", CONFIG_MAPS, Some(&big)).0, 201);
    let one = format!("{CONFIG_MAPS}/big");
    let (status, told) = (0..100)
        .map(|n| {
            big["data"]["n"] = n.to_string().into();
            ask(&url, "PUT", &one, Some(&big))
        })
        .find(|(status, _)| *status != 200)
        .expect("it runs full");
    assert_eq!(
        (status, told["message"].as_str()),
        (500, Some("etcdserver: mvcc: database space exceeded")),
        "{told}"
    );
    assert_eq!(ask(&url, "GET", &one, None).0, 200, "reads go on");
    assert_eq!(ask(&url, "DELETE", &one, None).0, 200, "and deletions, so that there can be room");
    let now = etcd.revision().unwrap().to_string();
    for words in [&["compact", now.as_str()][..], &["defrag"], &["alarm", "disarm"]] {
        let said = etcd.control(words, "").unwrap();
        assert!(said.status.success(), "{}", said.whole());
    }
    eventually("writes go on", PATIENCE, || {
        let (status, told) = ask(&url, "POST", CONFIG_MAPS, Some(&config_map("after")));
        if status == 201 { Ok(()) } else { Err(format!("{status} {told}")) }
    });
}
