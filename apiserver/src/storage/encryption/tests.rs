//! Values as they are stored, by us and by others, and plugins that keep keys.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prost::Message as _;
use runtime::Tasks;
use store::{
    Memory,
    backend::embedded::{self, Embedded},
};

use super::{
    kms::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusResponse},
    local::{Cipher, Key, Seed},
    *,
};

const PLAIN: &[u8] = br#"{"kind":"Secret","apiVersion":"v1"}"#;
const PLACE: &str = "/registry/secrets/default/s";
// The bytes 0 to 31, and 0 to 23; and then 32 others.
const KEY_1: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KEY_24: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const KEY_2: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

// Computed elsewhere (OpenSSL, and NaCl's secretbox checked against NaCl's own test), for the value and the place above.
const GCM: &str = "azhzOmVuYzphZXNnY206djE6a2V5MTpkZWZnaGlqa2xtbm8zObUPF410pBwxOouoAB7fbuBneuI6lgDUuMMm2ZmHPqXLPXtvKSNY5/D5KH5bgHA0NNA=";
const GCM_24: &str = "azhzOmVuYzphZXNnY206djE6a2V5MTpkZWZnaGlqa2xtbm+SStAVPMssAvGCh2KIl++c8Xs/upPfFJ3yKieklFS6Nmt2eszHJSpDxZagqNehsxysSsw=";
const CBC: &str = "azhzOmVuYzphZXNjYmM6djE6a2V5MToyMzQ1Njc4OTo7PD0+P0BB/ieNISXR3F+mXqqEaXYxS8cEib9WW2xm+Qt/eJumDARU7F/0rezkEAE89djPTxnC";
const BOX: &str = "azhzOmVuYzpzZWNyZXRib3g6djE6a2V5MToAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhe4YInIkSM5163QNUCIsIk/Jd1TJqmugCqZb+pdGuo+tX6HJ6/lc1qdZMsI+nf9g5ey+Yg=";
const SEEDED: &str = "yMnKy8zNzs/Q0dLT1NXW19jZ2tvc3d7f4OHi4+Tl5udkZWZnaGlqa2xtbm9Y0qCH6noLcU7KFJb9nDzi5QGqk76/3Lc+4UI3VNmNi8AEs/XquN277gMOK+aibF+/n8I=";

fn bytes(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

fn local(provider: &str, name: &str, secret: &str) -> String {
    format!("{{{provider}: {{keys: [{{name: {name}, secret: {secret}}}]}}}}")
}

fn configuration(resources: &str, providers: &str) -> String {
    format!(
        "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [{resources}]\n  providers: [{providers}]\n"
    )
}

struct World {
    inner: Arc<dyn Backend>,
    store: Arc<dyn Backend>,
    encryption: Arc<Encryption>,
    _tasks: Tasks,
}

async fn over(inner: Arc<dyn Backend>, prefix: &str, configuration: &str) -> Result<World, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("encryption.yaml");
    std::fs::write(&file, configuration).unwrap();
    let flags = EncryptionFlags {
        encryption_provider_config: Some(file),
        encryption_provider_config_automatic_reload: false,
    };
    let runtime = Runtime::system();
    let opened = flags.over(Arc::clone(&inner), prefix, &runtime).await;
    let (store, encryption) = opened.map_err(|error| format!("{error:#}"))?;
    Ok(World { inner, store, encryption: encryption.unwrap(), _tasks: runtime.tasks })
}

type Result<T, E> = std::result::Result<T, E>;

async fn world(resources: &str, providers: &str) -> World {
    let inner = Arc::new(Memory::new(&Tasks::new()));
    over(inner, "/registry/", &configuration(resources, providers)).await.unwrap()
}

impl World {
    async fn again(&self, resources: &str, providers: &str) -> Self {
        over(Arc::clone(&self.inner), "/registry/", &configuration(resources, providers)).await.unwrap()
    }

    async fn stored(&self, key: &str) -> Vec<u8> {
        self.inner.get(key).await.unwrap().unwrap().value.to_vec()
    }

    async fn read(&self, key: &str) -> Result<Vec<u8>, String> {
        match self.store.get(key).await {
            Ok(entry) => Ok(entry.unwrap().value.to_vec()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn write(&self, key: &str) {
        self.store.create(key, Bytes::from_static(PLAIN), None).await.unwrap();
    }
}

#[tokio::test]
async fn what_others_stored_is_read_and_what_is_stored_is_read_again() {
    for (provider, secret, sample) in [
        ("aesgcm", KEY_1, GCM),
        ("aesgcm", KEY_24, GCM_24),
        ("aescbc", KEY_1, CBC),
        ("secretbox", KEY_1, BOX),
    ] {
        let world = world("secrets", &local(provider, "key1", secret)).await;
        world.inner.create(PLACE, bytes(sample).into(), None).await.unwrap();
        assert_eq!(world.read(PLACE).await.unwrap(), PLAIN, "{provider}");
        assert!(!world.store.is_stale(PLACE).await.unwrap(), "{provider}");
        let other = "/registry/secrets/default/other";
        world.write(other).await;
        let stored = world.stored(other).await;
        assert!(stored.starts_with(format!("k8s:enc:{provider}:v1:key1:").as_bytes()));
        assert_eq!(stored.len(), bytes(sample).len(), "{provider}");
        assert!(!stored.windows(6).any(|part| part == b"Secret"), "{provider}");
        assert_eq!(world.read(other).await.unwrap(), PLAIN, "{provider}");
        let page = world.store.range(Range { prefix: "/registry/secrets/".to_owned(), ..Range::default() });
        assert!(page.await.unwrap().entries.iter().all(|entry| entry.value == PLAIN), "{provider}");
    }
    assert_eq!(Seed::new(&bytes(KEY_1)).unwrap().open(&bytes(SEEDED), PLACE.as_bytes()).unwrap(), PLAIN);
}

#[tokio::test]
async fn watchers_and_those_who_come_too_late_see_what_was_written() {
    let world = world("secrets", &local("aesgcm", "key1", KEY_1)).await;
    let first = world.store.create(PLACE, Bytes::from_static(b"one"), None).await.unwrap();
    let mut events = world.store.watch("/registry/secrets/", Revision(first.0 - 1)).await.unwrap();
    let second = world.store.update(PLACE, first, Bytes::from_static(b"two"), None).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        for event in events.next().await.unwrap().unwrap() {
            if let Event::Put { entry, .. } = event {
                seen.push(entry.value);
            }
        }
    }
    assert_eq!(seen, ["one", "two"]);
    for refused in [
        world.store.update(PLACE, first, Bytes::new(), None).await.unwrap_err(),
        world.store.delete(PLACE, first).await.unwrap_err(),
    ] {
        let Error::Conflict(entry) = refused else { panic!("{refused}") };
        assert_eq!((&entry.value[..], entry.revision), (&b"two"[..], second));
    }
}

#[tokio::test]
async fn the_first_key_writes_and_all_read() {
    let old = world("secrets", &local("aescbc", "key1", KEY_1)).await;
    old.write(PLACE).await;
    let keys =
        format!("{{aescbc: {{keys: [{{name: key2, secret: {KEY_2}}}, {{name: key1, secret: {KEY_1}}}]}}}}");
    let new = old.again("secrets", &keys).await;
    assert_eq!(new.read(PLACE).await.unwrap(), PLAIN);
    assert!(new.store.is_stale(PLACE).await.unwrap());
    let revision = new.store.get(PLACE).await.unwrap().unwrap().revision;
    new.store.update(PLACE, revision, Bytes::from_static(PLAIN), None).await.unwrap();
    assert!(!new.store.is_stale(PLACE).await.unwrap());
    assert!(new.stored(PLACE).await.starts_with(b"k8s:enc:aescbc:v1:key2:"));
    // Out of encryption again.
    let plain = new.again("secrets", &format!("{{identity: {{}}}}, {keys}")).await;
    assert_eq!(plain.read(PLACE).await.unwrap(), PLAIN);
    assert!(plain.store.is_stale(PLACE).await.unwrap());
    // And what was there before encryption is read with it.
    plain.write("/registry/secrets/default/old").await;
    let both = plain.again("secrets", &format!("{keys}, {{identity: {{}}}}")).await;
    assert_eq!(both.read("/registry/secrets/default/old").await.unwrap(), PLAIN);
    assert!(both.store.is_stale("/registry/secrets/default/old").await.unwrap());
}

#[tokio::test]
async fn what_cannot_be_read_is_told_in_upstreams_words() {
    let gcm = world("secrets", &local("aesgcm", "key1", KEY_1)).await;
    gcm.write(PLACE).await;
    let failing = [
        (local("aesgcm", "key1", KEY_2), "cipher: message authentication failed"),
        (local("aesgcm", "key2", KEY_1), "no matching key was found for the provided AES transformer"),
        (local("secretbox", "key1", KEY_1), "no matching prefix found"),
        ("{identity: {}}".to_owned(), "no matching prefix found"),
    ];
    for (providers, expected) in failing {
        let error = gcm.again("secrets", &providers).await.read(PLACE).await.unwrap_err();
        assert_eq!(error, format!(r#"unable to transform key "{PLACE}": {expected}"#));
    }
    let nobody = gcm.again("configmaps", "{identity: {}}").await;
    assert_eq!(nobody.read(PLACE).await.unwrap_err(), "identity transformer tried to read encrypted data");
    // What was moved to another place is not what it was.
    let stored = gcm.stored(PLACE).await;
    gcm.inner.create("/registry/secrets/default/moved", stored.into(), None).await.unwrap();
    assert!(gcm.read("/registry/secrets/default/moved").await.is_err());
    for cipher in [Cipher::AesGcm, Cipher::AesCbc, Cipher::Secretbox] {
        let key = Key::new(cipher, &bytes(KEY_1)).unwrap();
        assert_eq!(
            key.open(b"short", b"").unwrap_err(),
            "the stored data was shorter than the required size"
        );
        assert_eq!(key.open(&key.seal(b"", b"").unwrap(), b"").unwrap(), b"");
    }
}

#[tokio::test]
async fn resources_are_named_one_by_one_by_group_or_all() {
    const DEPLOYMENT: &str = "/registry/deployments/default/a";
    const CUSTOM: &str = "/registry/example.com/boats/default/a";
    const RANGE: &str = "/registry/ranges/nodeports";
    for (resources, expected) in [
        ("secrets", [true, false, false, false]),
        ("'*.'", [true, false, false, false]),
        ("'*.apps'", [false, true, false, false]),
        ("deployments.apps", [false, true, false, false]),
        ("'*.example.com'", [false, false, true, false]),
        ("'*.*'", [true, true, true, false]),
    ] {
        let world = world(resources, &local("aesgcm", "key1", KEY_1)).await;
        let mut found = Vec::new();
        for key in [PLACE, DEPLOYMENT, CUSTOM, RANGE] {
            world.write(key).await;
            found.push(world.stored(key).await != PLAIN);
            assert_eq!(world.read(key).await.unwrap(), PLAIN);
        }
        assert_eq!(found, expected, "{resources}");
    }
}

#[tokio::test]
async fn the_place_is_authenticated_as_it_is_in_the_store() {
    let inner = Arc::new(Memory::new(&Tasks::new()));
    let text = configuration("secrets", &local("aesgcm", "key1", KEY_1));
    let elsewhere = over(inner, "/other/", &text).await.unwrap();
    elsewhere.write(PLACE).await;
    let stored = elsewhere.stored(PLACE).await;
    let rest = stored.strip_prefix(b"k8s:enc:aesgcm:v1:key1:").unwrap();
    let key = Key::new(Cipher::AesGcm, &bytes(KEY_1)).unwrap();
    assert!(key.open(rest, PLACE.as_bytes()).is_err());
    assert_eq!(key.open(rest, b"/other/secrets/default/s").unwrap(), PLAIN);
}

#[tokio::test]
async fn a_secrets_value_is_in_no_file_of_the_embedded_store() {
    fn files(folder: &Path) -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
        entries
            .flat_map(|path| if path.is_dir() { files(&path) } else { vec![std::fs::read(path).unwrap()] })
            .collect()
    }
    let folder = tempfile::tempdir().unwrap();
    let text = configuration("secrets", &local("aescbc", "key1", KEY_1));
    let value =
        br#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"data":{"a":"dmVyeS1wcml2YXRl"}}"#;
    for round in 0..2 {
        let options = embedded::Options {
            stamp: Some(crate::registry::describe::stamp),
            ..embedded::Options::default()
        };
        let clock: runtime::SharedClock = Arc::new(runtime::SystemClock);
        let inner = Arc::new(Embedded::open(folder.path().join("store"), options, clock).unwrap());
        let world = over(inner, "/registry/", &text).await.unwrap();
        if round == 0 {
            world.store.create(PLACE, Bytes::from_static(value), None).await.unwrap();
        }
        assert_eq!(world.read(PLACE).await.unwrap(), value);
        let stored = files(folder.path());
        let holds = |part: &[u8]| stored.iter().any(|file| file.windows(part.len()).any(|it| it == part));
        assert!(holds(b"k8s:enc:aescbc:v1:key1:"));
        assert!(!holds(b"dmVyeS1wcml2YXRl"));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_configuration_is_told_in_upstreams_words() {
    let key = local("aescbc", "key1", KEY_1);
    for (resources, providers, expected) in [
        (
            "",
            key.as_str(),
            "resources[0].resources: Required value: at least one resources[0].resources is required",
        ),
        (
            "secrets",
            "",
            "resources[0].providers: Required value: at least one resources[0].providers is required",
        ),
        (
            "Secrets",
            &key,
            r#"resources[0].resources[0]: Invalid value: "Secrets": resource name should not contain capital letters"#,
        ),
        (
            "'*'",
            &key,
            r#"resources[0].resources[0]: Invalid value: "*": use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"#,
        ),
        (
            "'pods.*'",
            &key,
            r#"resources[0].resources[0]: Invalid value: "pods.*": encrypting the same resource across groups is not supported"#,
        ),
        (
            "a, a",
            &key,
            r#"resources[0].resources: Invalid value: ["a","a"]: the same resource cannot be specified multiple times"#,
        ),
        (
            "a, '*.'",
            &key,
            r#"resources[0].resources: Invalid value: ["a","*."]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"#,
        ),
        (
            "a",
            "{aescbc: {}}",
            "resources[0].providers[0].aescbc.keys: Required value: at least one keys is required",
        ),
        (
            "a",
            "{secretbox: {keys: [{name: a, secret: YQ==}]}}",
            r#"resources[0].providers[0].secretbox.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 1, expected one of [32]"#,
        ),
        (
            "a",
            "{aesgcm: {keys: [{name: a, secret: '?'}]}}",
            r#"resources[0].providers[0].aesgcm.keys[0].secret: Invalid value: "REDACTED": secrets must be base64 encoded"#,
        ),
        (
            "a",
            "{kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///x'}}",
            r#"resources[0].providers[0].kms.name: Invalid value: "a:b": invalid KMS provider name a:b, must not contain ':'"#,
        ),
        (
            "a",
            "{kms: {apiVersion: v2, name: a, endpoint: 'http://x'}}",
            r#"resources[0].providers[0].kms.endpoint: Invalid value: "http://x": unsupported scheme "http" for KMS provider, only unix is supported"#,
        ),
        ("a", "{vault: {}}", "unknown field `vault`"),
    ] {
        let error = Configuration::parse(configuration(resources, providers).as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{error}\n{expected}");
        assert!(!error.contains(KEY_1));
    }
    let masked =
        format!("{}- resources: [secrets]\n  providers: [{key}]\n", configuration("'*.*'", "{identity: {}}"));
    let inner = Arc::new(Memory::new(&Tasks::new()));
    let error = over(inner, "/registry/", &masked).await.err().unwrap();
    assert!(error.contains(r#"resource "secrets" is masked by earlier rule "*.*""#), "{error}");
}

/// A plugin whose key is an exclusive or.
#[derive(Debug)]
struct Plugin {
    key_id: Mutex<String>,
    healthz: Mutex<String>,
    asked: Mutex<BTreeMap<String, usize>>,
}

impl Plugin {
    async fn start(path: &Path) -> (Arc<Self>, Tasks) {
        let plugin = Arc::new(Self {
            key_id: Mutex::new("1".to_owned()),
            healthz: Mutex::new("ok".to_owned()),
            asked: Mutex::default(),
        });
        let listener = tokio::net::UnixListener::bind(path).unwrap();
        let (tasks, shared) = (Tasks::new(), Arc::clone(&plugin));
        let connections = tasks.clone();
        tasks.spawn("plugin", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let plugin = Arc::clone(&shared);
                let service =
                    hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        let plugin = Arc::clone(&plugin);
                        async move {
                            let method =
                                request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
                            let body = request.into_body().collect().await.unwrap().to_bytes();
                            let message = plugin.answer(&method, &body[5..]);
                            let mut framed = vec![0];
                            framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
                            framed.extend(message);
                            let mut trailers = http::HeaderMap::new();
                            trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                            let body = Full::new(Bytes::from(framed))
                                .with_trailers(std::future::ready(Some(Ok(trailers))));
                            let answer = http::Response::builder().header("content-type", "application/grpc");
                            Ok::<_, std::convert::Infallible>(answer.body(body).unwrap())
                        }
                    });
                connections.spawn("plugin connection", async move {
                    let _ended = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        (plugin, tasks)
    }

    fn answer(&self, method: &str, message: &[u8]) -> Vec<u8> {
        *self.asked.lock().entry(method.to_owned()).or_default() += 1;
        let flip = |bytes: &[u8]| -> Vec<u8> { bytes.iter().map(|byte| byte ^ 0x5a).collect() };
        let key_id = self.key_id.lock().clone();
        match method {
            "Status" => {
                StatusResponse { version: "v2".to_owned(), healthz: self.healthz.lock().clone(), key_id }
                    .encode_to_vec()
            }
            "Encrypt" => {
                let request = EncryptRequest::decode(message).unwrap();
                let annotations = [("example.com/a".to_owned(), b"b".to_vec())].into();
                EncryptResponse { ciphertext: flip(&request.plaintext), key_id, annotations }.encode_to_vec()
            }
            "Decrypt" => {
                let request = DecryptRequest::decode(message).unwrap();
                assert_eq!(request.annotations["example.com/a"], b"b");
                DecryptResponse { plaintext: flip(&request.ciphertext) }.encode_to_vec()
            }
            other => panic!("{other}"),
        }
    }

    fn asked(&self, method: &str) -> usize {
        self.asked.lock().get(method).copied().unwrap_or_default()
    }
}

#[tokio::test]
async fn a_plugin_keeps_the_key_to_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("kms.sock");
    let (plugin, _tasks) = Plugin::start(&socket).await;
    let provider = format!("{{kms: {{apiVersion: v2, name: p, endpoint: 'unix://{}'}}}}", socket.display());
    let first = world("secrets", &provider).await;
    assert_eq!(first.encryption.health(), Ok(()));
    first.write(PLACE).await;
    first.write("/registry/secrets/default/t").await;
    let stored = first.stored(PLACE).await;
    assert!(stored.starts_with(b"k8s:enc:kms:v2:p:"));
    assert!(!stored.windows(6).any(|part| part == b"Secret"));
    assert_eq!(first.read(PLACE).await.unwrap(), PLAIN);
    // One seed for all, which is remembered.
    assert_eq!((plugin.asked("Encrypt"), plugin.asked("Decrypt")), (1, 0));
    // Another server does not know it, and asks once.
    let second = first.again("secrets", &provider).await;
    assert_eq!(second.read(PLACE).await.unwrap(), PLAIN);
    assert_eq!(second.read("/registry/secrets/default/t").await.unwrap(), PLAIN);
    assert_eq!(plugin.asked("Decrypt"), 1);
    assert!(!second.store.is_stale(PLACE).await.unwrap());
    // The plugin has another key: what was written with the old one is stale.
    *plugin.key_id.lock() = "2".to_owned();
    let kms = Arc::clone(&second.encryption.table.load().kms[0]);
    kms.look().await.unwrap();
    assert_eq!(plugin.asked("Encrypt"), 3);
    assert!(second.store.is_stale(PLACE).await.unwrap());
    // It is not well: that is told, and what was read can be read.
    *plugin.healthz.lock() = "no".to_owned();
    kms.look().await.unwrap_err();
    assert_eq!(
        second.encryption.health().unwrap_err(),
        "kmsv2 Provider p is not healthy, error: got unexpected healthz status: no"
    );
    assert_eq!(second.read(PLACE).await.unwrap(), PLAIN);
}

#[tokio::test]
async fn a_plugin_that_is_not_there_is_told_and_nothing_is_written() {
    let provider = "{kms: {apiVersion: v2, name: p, endpoint: 'unix:///nowhere/kms.sock', timeout: 1s}}";
    let world = world("secrets", provider).await;
    let health = world.encryption.health().unwrap_err();
    assert!(
        health
            .starts_with("failed to perform status section of the healthz check for KMS Provider p, error: "),
        "{health}"
    );
    let error = world.store.create(PLACE, Bytes::from_static(PLAIN), None).await.unwrap_err();
    assert!(matches!(error, Error::Unreadable(_)), "{error}");
    assert!(world.inner.get(PLACE).await.unwrap().is_none());
}
