//! A plugin that keeps the key to the keys: KMS v2, gRPC over a Unix socket.
//!
//! Values are encrypted here, with keys that are derived from a seed; only the seed goes to the plugin and is stored, encrypted
//! by it, beside each value. A seed is kept until the plugin names another key. Seeds that were decrypted are remembered,
//! within bounds, so that most reads ask nobody. While the plugin is not well, values can be written for three minutes
//! more, and read as long as their seeds are remembered.
//!
//! The messages are those of `v2/api.proto` of k8s.io/kms, and of what upstream stores, written down here.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use prost::Message;
use runtime::Runtime;
use tokio::{net::UnixStream, time::Instant};
use tonic::{
    client::Grpc,
    transport::{Channel, Endpoint, Uri},
};
use tonic_prost::ProstCodec;

use super::local::{self, Cipher, Key, Seed};

const STATUS: &str = "/v2.KeyManagementService/Status";
const ENCRYPT: &str = "/v2.KeyManagementService/Encrypt";
const DECRYPT: &str = "/v2.KeyManagementService/Decrypt";

/// How often the plugin is asked how it is: when it was well, and when it was not.
const LOOK_WELL: Duration = Duration::from_secs(60);
const LOOK_ILL: Duration = Duration::from_secs(10);
/// How long a seed may be written with after the plugin was well.
const WRITE_MAX: Duration = Duration::from_secs(180);
/// How many seeds are remembered, and how long. When there are more, the one that was not used for longest is forgotten.
const SEEDS_MAX: usize = 1000;
const SEEDS_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
const KEY_ID_MAX: usize = 1024;
const SEALED_SEED_MAX: usize = 1024;
const ANNOTATIONS_MAX: usize = 32 * 1024;

#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusResponse {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(string, tag = "2")]
    pub(super) healthz: String,
    #[prost(string, tag = "3")]
    pub(super) key_id: String,
}

type Annotations = BTreeMap<String, Vec<u8>>;

#[derive(Clone, PartialEq, Message)]
pub(super) struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
    #[prost(string, tag = "3")]
    pub(super) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(super) annotations: Annotations,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(super) annotations: Annotations,
}

/// What is stored.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) encrypted_data: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) encrypted_dek_source: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(super) annotations: Annotations,
    /// 0: the source is a key of AES-GCM; 1: it is a seed.
    #[prost(int32, tag = "5")]
    pub(super) encrypted_dek_source_type: i32,
}

const KEY: i32 = 0;
const SEED: i32 = 1;

/// A plugin.
#[derive(Debug)]
pub(super) struct Kms {
    name: String,
    prefix: String,
    timeout: Duration,
    channel: Channel,
    runtime: Runtime,
    state: Mutex<State>,
    seeds: Mutex<Seeds>,
}

/// What values are written with.
#[derive(Debug, Default)]
struct State {
    current: Option<Current>,
    /// What was last wrong.
    fault: Option<String>,
}

#[derive(Clone, Debug)]
struct Current {
    seed: Arc<Source>,
    /// What is stored beside each value.
    template: Arc<EncryptedObject>,
    good_until: Instant,
}

/// Where keys come from.
#[derive(Debug)]
enum Source {
    Seed(Seed),
    Key(Key),
}

/// The seeds that were decrypted, by what they are encrypted, with when they were last used.
#[derive(Debug, Default)]
struct Seeds(BTreeMap<Vec<u8>, (Arc<Source>, Instant)>);

impl Seeds {
    fn get(&mut self, sealed: &[u8]) -> Option<Arc<Source>> {
        let (seed, used) = self.0.get_mut(sealed)?;
        *used = Instant::now();
        Some(Arc::clone(seed))
    }

    fn put(&mut self, sealed: Vec<u8>, seed: Arc<Source>) {
        let now = Instant::now();
        self.0.insert(sealed, (seed, now));
        self.0.retain(|_, (_, used)| now.duration_since(*used) < SEEDS_AGE_MAX);
        if self.0.len() > SEEDS_MAX
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (_, used))| *used).map(|(it, _)| it.clone())
        {
            self.0.remove(&oldest);
        }
    }
}

impl Source {
    fn open(&self, data: &[u8], at: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Seed(seed) => seed.open(data, at),
            Self::Key(key) => key.open(data, at),
        }
    }
}

// === impl EncryptedObject ===

impl EncryptedObject {
    fn check(&self) -> Result<(), String> {
        if !matches!(self.encrypted_dek_source_type, KEY | SEED) {
            return Err(format!("unknown encryptedDEKSourceType: {}", self.encrypted_dek_source_type));
        }
        if self.encrypted_data.is_empty() {
            return Err("encrypted data is empty".to_owned());
        }
        let length = self.encrypted_dek_source.len();
        if length == 0 {
            return Err("failed to validate encrypted DEK source: encrypted DEK source is empty".to_owned());
        }
        if length > SEALED_SEED_MAX {
            return Err(format!(
                "failed to validate encrypted DEK source: encrypted DEK source is {length} bytes, which exceeds the max size of {SEALED_SEED_MAX}"
            ));
        }
        check_key_id(&self.key_id).map_err(|why| format!("failed to validate key id: {why}"))?;
        let size: usize = self.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        if size > ANNOTATIONS_MAX {
            return Err(format!(
                "failed to validate annotations: total size of annotations is {size}, which exceeds the max size of {ANNOTATIONS_MAX}"
            ));
        }
        if let Some(key) = self.annotations.keys().find(|key| !key.contains('.')) {
            return Err(format!(
                "failed to validate annotations: annotations: Invalid value: {key:?}: should be a domain with at least two segments separated by dots"
            ));
        }
        Ok(())
    }

    /// What tells its seed from others.
    fn sealed_seed(&self) -> Vec<u8> {
        let mut all = vec![u8::try_from(self.encrypted_dek_source_type).unwrap_or(u8::MAX)];
        for part in [&self.encrypted_dek_source[..], self.key_id.as_bytes()]
            .into_iter()
            .chain(self.annotations.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_slice()]))
        {
            all.extend_from_slice(&(part.len() as u64).to_be_bytes());
            all.extend_from_slice(part);
        }
        all
    }
}

fn check_key_id(key_id: &str) -> Result<(), String> {
    match key_id.len() {
        0 => Err("keyID is empty".to_owned()),
        length if length > KEY_ID_MAX => {
            Err(format!("keyID is {length} bytes, which exceeds the max size of {KEY_ID_MAX}"))
        }
        _ => Ok(()),
    }
}

// === impl Kms ===

impl Kms {
    /// A plugin that is not asked yet.
    pub(super) fn new(name: &str, endpoint: &str, timeout: Duration, runtime: &Runtime) -> Self {
        let path = endpoint.strip_prefix("unix:").unwrap_or(endpoint);
        let path = PathBuf::from(match path.strip_prefix("//") {
            Some(path) => path,
            None => path,
        });
        // The address is not used: the connector knows where.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            }),
        );
        Self {
            name: name.to_owned(),
            prefix: format!("k8s:enc:kms:v2:{name}:"),
            timeout,
            channel,
            runtime: runtime.clone(),
            state: Mutex::default(),
            seeds: Mutex::default(),
        }
    }

    /// What its values begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Asks it for the first time, and then again and again for as long as somebody holds it.
    pub(super) async fn start(self: &Arc<Self>, runtime: &Runtime) {
        // What is wrong is remembered, and told by the health check.
        let _first = self.look().await;
        let weak = Arc::downgrade(self);
        runtime.tasks.spawn("kms plugin", async move {
            loop {
                let well = match weak.upgrade() {
                    Some(kms) => kms.state.lock().fault.is_none(),
                    None => return,
                };
                tokio::time::sleep(if well { LOOK_WELL } else { LOOK_ILL }).await;
                if let Some(kms) = weak.upgrade()
                    && let Err(fault) = kms.look().await
                {
                    tracing::warn!(provider = kms.name, fault, "the plugin that keeps keys is not well");
                }
            }
        });
    }

    /// How it was when it was last asked.
    pub(super) fn health(&self) -> Result<(), String> {
        self.state.lock().fault.clone().map_or(Ok(()), Err)
    }

    /// Asks how it is, and for a new seed if it has another key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) async fn look(&self) -> Result<(), String> {
        let looked = self.refresh().await;
        self.state.lock().fault = looked.as_ref().err().cloned();
        looked
    }

    async fn refresh(&self) -> Result<(), String> {
        let status: StatusResponse = self.call(STATUS, StatusRequest {}).await.map_err(|why| {
            format!(
                "failed to perform status section of the healthz check for KMS Provider {}, error: {why}",
                self.name
            )
        })?;
        let mut faults = Vec::new();
        if status.healthz != "ok" {
            faults.push(format!("got unexpected healthz status: {}", status.healthz));
        }
        if !matches!(status.version.as_str(), "v2" | "v2beta1") {
            faults.push(format!("expected KMSv2 API version v2, got {}", status.version));
        }
        if let Err(why) = check_key_id(&status.key_id) {
            faults.push(format!("got invalid KMSv2 KeyID hash: {why}"));
        } else if let Err(why) = self.rotate(&status.key_id).await {
            faults.push(why);
        }
        if faults.is_empty() {
            return Ok(());
        }
        let faults = api_types::field::aggregate(&faults);
        Err(format!("kmsv2 Provider {} is not healthy, error: {faults}", self.name))
    }

    /// A new seed, if the key is another one.
    async fn rotate(&self, key_id: &str) -> Result<(), String> {
        let good_until = Instant::now() + WRITE_MAX;
        {
            let mut state = self.state.lock();
            if let Some(current) = state.current.as_mut().filter(|it| it.template.key_id == key_id) {
                current.good_until = good_until;
                return Ok(());
            }
        }
        let seed = local::random::<{ local::SEED_BYTES }>()?;
        let request = EncryptRequest { plaintext: seed.to_vec(), uid: self.uid() };
        let sealed: EncryptResponse = self
            .call(ENCRYPT, request)
            .await
            .map_err(|why| format!("failed to encrypt DEK, error: {why}"))?;
        let mut template = EncryptedObject {
            // Any, so that it is valid.
            encrypted_data: vec![0],
            key_id: sealed.key_id,
            encrypted_dek_source: sealed.ciphertext,
            annotations: sealed.annotations,
            encrypted_dek_source_type: SEED,
        };
        template.check()?;
        if template.key_id != key_id {
            return Err(format!(
                "failed to rotate DEK: the plugin's status names another key than the one it encrypts with ({} bytes, {} bytes)",
                key_id.len(),
                template.key_id.len()
            ));
        }
        template.encrypted_data.clear();
        let source = Arc::new(Source::Seed(Seed::new(&seed)?));
        self.seeds.lock().put(template.sealed_seed(), Arc::clone(&source));
        let current = Current { seed: source, template: Arc::new(template), good_until };
        self.state.lock().current = Some(current);
        Ok(())
    }

    fn uid(&self) -> String {
        self.runtime.random.uuid().to_string()
    }

    /// Encrypts.
    ///
    /// # Errors
    /// That there is no seed, or that the plugin has not been well for too long.
    pub(super) fn seal(&self, value: &[u8], at: &[u8]) -> Result<Vec<u8>, String> {
        let (current, fault) = {
            let state = self.state.lock();
            (state.current.clone(), state.fault.clone())
        };
        let Some(current) = current else {
            return Err(fault.unwrap_or_else(|| "got unexpected nil transformer".to_owned()));
        };
        if Instant::now() > current.good_until {
            let why = fault.unwrap_or_default();
            return Err(format!("encryptedDEKSource expired: {why}"));
        }
        let Source::Seed(seed) = &*current.seed else { return Err("there is no seed".to_owned()) };
        let object = EncryptedObject {
            encrypted_data: seed.seal(value, at)?,
            ..EncryptedObject::clone(&current.template)
        };
        Ok(object.encode_to_vec())
    }

    /// Decrypts; true if it was encrypted with another key than is used now.
    ///
    /// # Errors
    /// What is wrong, in upstream's words.
    pub(super) async fn open(&self, stored: &[u8], at: &[u8]) -> Result<(Vec<u8>, bool), String> {
        let object = EncryptedObject::decode(stored).map_err(|error| error.to_string())?;
        object.check()?;
        let sealed = object.sealed_seed();
        let known = self.seeds.lock().get(&sealed);
        let source = match known {
            Some(source) => source,
            None => {
                let request = DecryptRequest {
                    ciphertext: object.encrypted_dek_source.clone(),
                    uid: self.uid(),
                    key_id: object.key_id.clone(),
                    annotations: object.annotations.clone(),
                };
                let opened: DecryptResponse = self
                    .call(DECRYPT, request)
                    .await
                    .map_err(|why| format!("failed to decrypt DEK, error: {why}"))?;
                let source = Arc::new(if object.encrypted_dek_source_type == SEED {
                    Source::Seed(Seed::new(&opened.plaintext)?)
                } else {
                    Source::Key(Key::new(Cipher::AesGcm, &opened.plaintext).map_err(|it| it.to_string())?)
                });
                self.seeds.lock().put(sealed, Arc::clone(&source));
                source
            }
        };
        let value = source.open(&object.encrypted_data, at)?;
        let state = self.state.lock();
        let stale = state.current.as_ref().is_some_and(|current| {
            current.template.key_id != object.key_id || object.encrypted_dek_source_type != SEED
        });
        Ok((value, stale))
    }

    async fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A, String>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        let asked = async {
            grpc.ready().await.map_err(|error| error.to_string())?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc
                .unary(tonic::Request::new(request), PathAndQuery::from_static(method), codec)
                .await
                .map_err(|status| {
                    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
                })?;
            Ok(answer.into_inner())
        };
        tokio::time::timeout(self.timeout, asked).await.unwrap_or_else(|_late| {
            Err("rpc error: code = DeadlineExceeded desc = context deadline exceeded".to_owned())
        })
    }
}
