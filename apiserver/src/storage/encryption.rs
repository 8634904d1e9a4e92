//! Encryption at rest: what is stored is transformed on its way in and out, as an `EncryptionConfiguration` says.
//!
//! The stored bytes are upstream's (`k8s:enc:aesgcm:v1:key1:…`), so that either reads what the other wrote; the key under which
//! something is stored is authenticated with it. The first provider of a resource writes, all of them read. What was not
//! written by the first is stale, and is written anew by the next update even if that changes nothing.
//!
//! It stands between the registry and the store: neither knows of it. Resources that no configuration names pass untouched.

mod configuration;
mod kms;
mod local;
mod provider;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use api_types::kind::GroupResource;
use arc_swap::ArcSwap;
use bytes::Bytes;
use clap::Args;
use futures::{StreamExt as _, future::BoxFuture};
use runtime::Runtime;
use store::{
    Backend, Entry, Page, Range, Revision,
    backend::{Error, Event, EventStream, Result},
};

use self::{configuration::Configuration, provider::Providers};
use super::whose::Resources;

/// How often a changed configuration is looked for.
const RELOAD_PERIOD: Duration = Duration::from_secs(60);

/// What is encrypted, and with what.
#[derive(Args, Clone, Debug, Default)]
pub struct EncryptionFlags {
    /// An EncryptionConfiguration: which resources are stored encrypted, and with what
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
    /// Whether that file is read again when it changes
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub encryption_provider_config_automatic_reload: bool,
}

/// The providers of all resources, as the file says at the time.
#[derive(Debug)]
pub struct Encryption {
    table: ArcSwap<Table>,
}

/// The providers by resource. A `*` stands for every resource of a group, and of every group.
#[derive(Debug, Default)]
struct Table {
    providers: BTreeMap<GroupResource, Arc<Providers>>,
    kms: Vec<Arc<kms::Kms>>,
}

/// A store whose values are encrypted.
#[derive(Debug)]
struct Encrypted {
    backend: Arc<dyn Backend>,
    view: View,
}

/// How stored values are read and written.
#[derive(Clone, Debug)]
struct View {
    encryption: Arc<Encryption>,
    resources: Arc<Resources>,
    /// What the keys of the store itself begin with, where upstream would have `/registry/`.
    prefix: Arc<str>,
}

// === impl EncryptionFlags ===

impl EncryptionFlags {
    /// The store with its values encrypted, if so wished, and what tells how that is going. `prefix` is what keys begin with
    /// in the store itself.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub async fn over(
        &self,
        backend: Arc<dyn Backend>,
        prefix: &str,
        runtime: &Runtime,
    ) -> anyhow::Result<(Arc<dyn Backend>, Option<Arc<Encryption>>)> {
        let Some(file) = &self.encryption_provider_config else {
            if self.encryption_provider_config_automatic_reload {
                anyhow::bail!(
                    "--encryption-provider-config-automatic-reload must be set with --encryption-provider-config"
                );
            }
            return Ok((backend, None));
        };
        let text = read(file)?;
        let table = Table::read(&text, runtime)
            .await
            .with_context(|| format!("--encryption-provider-config {}", file.display()))?;
        let encryption = Arc::new(Encryption { table: ArcSwap::from_pointee(table) });
        if self.encryption_provider_config_automatic_reload {
            let keep = keep_up(Arc::clone(&encryption), file.clone(), text, runtime.clone());
            runtime.tasks.spawn("encryption configuration", keep);
        }
        let view = View {
            encryption: Arc::clone(&encryption),
            resources: Arc::new(Resources::built_in()),
            prefix: prefix.into(),
        };
        Ok((Arc::new(Encrypted { backend, view }), Some(encryption)))
    }
}

fn read(file: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let shown = file.display();
    let text = std::fs::read(file)
        .with_context(|| format!("error reading encryption provider configuration file \"{shown}\""))?;
    anyhow::ensure!(!text.is_empty(), "encryption provider configuration file \"{shown}\" is empty");
    Ok(text)
}

/// Reads the file again when it changes. What cannot be used leaves everything as it is.
async fn keep_up(encryption: Arc<Encryption>, file: PathBuf, mut known: Vec<u8>, runtime: Runtime) {
    loop {
        tokio::time::sleep(RELOAD_PERIOD).await;
        let text = match read(&file) {
            Ok(text) if text == known => continue,
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the encryption configuration stays as it is");
                continue;
            }
        };
        match Table::read(&text, &runtime).await {
            Ok(table) => match table.check().await {
                Ok(()) => {
                    encryption.table.store(Arc::new(table));
                    known = text;
                    tracing::info!("the encryption configuration was read again");
                }
                Err(error) => tracing::warn!(error, "the encryption configuration stays as it is"),
            },
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the encryption configuration stays as it is");
            }
        }
    }
}

// === impl Encryption ===

impl Encryption {
    /// Whether the plugins that keep keys are well, as they last said.
    ///
    /// # Errors
    /// What is wrong with the first that is not.
    pub fn health(&self) -> std::result::Result<(), String> {
        self.table.load().kms.iter().try_for_each(|kms| kms.health())
    }
}

// === impl Table ===

impl Table {
    async fn read(text: &[u8], runtime: &Runtime) -> anyhow::Result<Self> {
        let configuration = Configuration::parse(text).map_err(anyhow::Error::msg)?;
        let mut table = Self::default();
        let mut lists: BTreeMap<GroupResource, Vec<provider::Provider>> = BTreeMap::new();
        for resources in configuration.resources {
            let providers = provider::all(&resources.providers, runtime, &mut table.kms)?;
            for name in &resources.resources {
                let resource = configuration::group_resource(name);
                let masks = [GroupResource::new(&resource.group, "*"), GroupResource::new("*", "*")];
                if let Some(mask) = masks.iter().find(|mask| **mask != resource && lists.contains_key(mask)) {
                    anyhow::bail!(
                        "error while building transformers: resource {:?} is masked by earlier rule {:?}",
                        shown(&resource),
                        shown(mask)
                    );
                }
                lists.entry(resource).or_default().extend(providers.iter().cloned());
            }
        }
        table.providers =
            lists.into_iter().map(|(resource, list)| (resource, Arc::new(Providers(list)))).collect();
        for kms in &table.kms {
            kms.start(runtime).await;
        }
        Ok(table)
    }

    /// Whether what was read can be used.
    async fn check(&self) -> std::result::Result<(), String> {
        for kms in &self.kms {
            kms.look().await?;
        }
        Ok(())
    }

    fn of(&self, group: &str, resource: &str) -> Option<Arc<Providers>> {
        if resource.is_empty() {
            return None;
        }
        [(group, resource), (group, "*"), ("*", "*")]
            .into_iter()
            .find_map(|(group, resource)| self.providers.get(&GroupResource::new(group, resource)))
            .cloned()
    }
}

fn shown(resource: &GroupResource) -> String {
    match (resource.resource.as_str(), resource.group.as_str()) {
        ("*", "") => "*.".to_owned(),
        (resource, "") => resource.to_owned(),
        (resource, group) => format!("{resource}.{group}"),
    }
}

// === impl View ===

impl View {
    fn providers(&self, key: &str) -> Option<Arc<Providers>> {
        let (group, resource) = self.resources.resource(key);
        self.encryption.table.load().of(group, resource)
    }

    /// The key as it is in the store, which is authenticated with the value.
    fn whole(&self, key: &str) -> String {
        match key.strip_prefix("/registry/") {
            Some(rest) => format!("{}{rest}", self.prefix),
            None => key.to_owned(),
        }
    }

    async fn seal(&self, key: &str, value: Bytes) -> Result<Bytes> {
        let Some(providers) = self.providers(key) else { return Ok(value) };
        let sealed = providers.seal(&value, self.whole(key).as_bytes()).await;
        sealed.map(Bytes::from).map_err(Error::Unreadable)
    }

    /// The value, and whether it is stale.
    async fn open(&self, key: &str, value: Bytes) -> Result<(Bytes, bool)> {
        let Some(providers) = self.providers(key) else {
            return if provider::is_sealed(&value) {
                Err(Error::Unreadable(provider::NOT_FOR_IDENTITY.to_owned()))
            } else {
                Ok((value, false))
            };
        };
        providers.open(&value, self.whole(key).as_bytes()).await.map_err(|why| {
            Error::Unreadable(format!("unable to transform key {}: {why}", api_types::field::go_quote(key)))
        })
    }

    async fn entry(&self, entry: Entry) -> Result<Entry> {
        let (value, _) = self.open(&entry.key, entry.value).await?;
        Ok(Entry { value, ..entry })
    }

    async fn event(&self, event: Event) -> Result<Event> {
        // What was there before is a help and no more.
        let before = async |entry: Option<Entry>| match entry {
            Some(entry) => self.entry(entry).await.ok(),
            None => None,
        };
        Ok(match event {
            Event::Put { entry, created, previous } => {
                Event::Put { entry: self.entry(entry).await?, created, previous: before(previous).await }
            }
            Event::Delete { key, revision, previous } => {
                Event::Delete { key, revision, previous: before(previous).await }
            }
            Event::Progress(revision) => Event::Progress(revision),
        })
    }

    /// A refusal, with the entry it is because of.
    async fn refusal<T>(&self, answer: Result<T>) -> Result<T> {
        match answer {
            Err(Error::Conflict(entry)) => Err(Error::Conflict(Box::new(self.entry(*entry).await?))),
            other => other,
        }
    }
}

// === impl Encrypted ===

impl Backend for Encrypted {
    fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> BoxFuture<'_, Result<Revision>> {
        let key = key.to_owned();
        Box::pin(async move {
            let value = self.view.seal(&key, value).await?;
            self.backend.create(&key, value, ttl).await
        })
    }

    fn update(
        &self,
        key: &str,
        expected: Revision,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, Result<Revision>> {
        let key = key.to_owned();
        Box::pin(async move {
            let value = self.view.seal(&key, value).await?;
            self.view.refusal(self.backend.update(&key, expected, value, ttl).await).await
        })
    }

    fn delete(&self, key: &str, expected: Revision) -> BoxFuture<'_, Result<Revision>> {
        let asked = self.backend.delete(key, expected);
        Box::pin(async move { self.view.refusal(asked.await).await })
    }

    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>>> {
        let asked = self.backend.get(key);
        Box::pin(async move {
            match asked.await? {
                Some(entry) => self.view.entry(entry).await.map(Some),
                None => Ok(None),
            }
        })
    }

    fn is_stale(&self, key: &str) -> BoxFuture<'_, Result<bool>> {
        let asked = self.backend.get(key);
        Box::pin(async move {
            match asked.await? {
                Some(entry) => self.view.open(&entry.key, entry.value).await.map(|(_, stale)| stale),
                None => Ok(false),
            }
        })
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<Page>> {
        let asked = self.backend.range(range);
        Box::pin(async move {
            let page = asked.await?;
            let mut entries = Vec::with_capacity(page.entries.len());
            for entry in page.entries {
                entries.push(self.view.entry(entry).await?);
            }
            Ok(Page { entries, ..page })
        })
    }

    fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, Result<EventStream>> {
        let (asked, view) = (self.backend.watch(prefix, after), self.view.clone());
        Box::pin(async move {
            let events = asked.await?.then(move |batch| {
                let view = view.clone();
                async move {
                    let mut events = Vec::new();
                    for event in batch? {
                        events.push(view.event(event).await?);
                    }
                    Ok(events)
                }
            });
            Ok(events.boxed())
        })
    }

    fn request_progress(&self, prefix: &str) {
        self.backend.request_progress(prefix);
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
        self.backend.revision()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        self.backend.compact(revision)
    }

    fn times_to_live(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<(String, Duration)>>> {
        self.backend.times_to_live(prefix)
    }

    fn collectors(&self) -> Vec<Box<dyn prometheus::core::Collector>> {
        self.backend.collectors()
    }

    fn size(&self) -> Option<u64> {
        self.backend.size()
    }
}
