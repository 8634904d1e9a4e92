//! The kinds that are served, looked up by group, version and plural name.
//!
//! Built-in kinds are there from the start, custom ones come and go: see `custom/serving.rs`. A resource that is
//! served in two groups or versions has one place in the store: its second name converts.

use std::{borrow::Cow, sync::Arc};

use api_types::{kind::GroupResource, status::Status};
use arc_swap::ArcSwap;
use imbl::OrdMap;
use parking_lot::Mutex;
use runtime::Tasks;
use serde_json::Value;
use store::{
    Backend,
    cache::{self, Cache, Describe, Object},
};

use super::{
    describe::describe,
    keys,
    stored::Form,
    strategy::{Called, Resource},
};
use crate::custom::{kind::Kind, versions::Versions};

/// A resource under one of its names.
#[derive(Debug)]
pub struct Served {
    /// The kind as it is addressed.
    pub resource: Arc<dyn Resource>,
    /// Where its objects are.
    pub storage: Arc<Storage>,
    /// How objects come from and go to the version they are stored in, if that is another.
    pub conversion: Option<Conversion>,
    /// Of custom kinds: this version among the others.
    custom: Option<(Arc<Versions>, usize)>,
}

/// Functions between a served and a stored version.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// The group and plural of the resource it is stored as.
    pub stored_as: (&'static str, &'static str, &'static str),
    /// To the stored version.
    pub store: fn(Value) -> Value,
    /// From the stored version.
    pub serve: fn(Value) -> Value,
}

/// One place in the store with its watch cache.
pub struct Storage {
    /// The kind of the stored objects.
    pub resource: Arc<dyn Resource>,
    /// The form of the stored objects.
    pub form: Form,
    /// The prefix of all keys, with a slash at the end.
    pub prefix: String,
    /// The other versions that the same objects are served in, by `apiVersion`.
    pub other_versions: Vec<(String, Conversion)>,
    describe: Describe,
    versions: Option<Arc<Versions>>,
    backend: Arc<dyn Backend>,
    tasks: Tasks,
    metrics: cache::Metrics,
    cache: Mutex<Option<Cache>>,
}

type Key = (String, String, String);
/// A snapshot costs a pointer and a change its path, however many kinds there are.
type Table = OrdMap<Key, Arc<Served>>;

/// The kinds that are served.
pub struct Catalogue {
    table: ArcSwap<Table>,
    backend: Arc<dyn Backend>,
    metrics: cache::Metrics,
}

// === impl Storage ===

impl Storage {
    /// The watch cache, started when it is first needed.
    pub fn cache(&self) -> Cache {
        self.cache
            .lock()
            .get_or_insert_with(|| {
                cache::start(
                    self.resource.resource().to_string(),
                    Arc::clone(&self.backend),
                    self.prefix.clone(),
                    Arc::clone(&self.describe),
                    cache::Config {
                        // The one index that every kubelet's watch goes by.
                        index: self
                            .resource
                            .selectable()
                            .iter()
                            .find(|field| field.label == "spec.nodeName")
                            .map(|field| field.label.to_owned()),
                        metrics: self.metrics.clone(),
                        ..cache::Config::default()
                    },
                    &self.tasks,
                )
            })
            .clone()
    }

    /// How long objects live after their last write, if not for ever.
    pub fn ttl(&self) -> Option<std::time::Duration> {
        self.resource.time_to_live()
    }

    /// An object as it was stored, brought into the form it is worked on.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn read(&self, stored: &bytes::Bytes) -> Result<Value, String> {
        match &self.versions {
            Some(versions) => versions.read(stored),
            None => {
                let json = self.form.json(stored)?;
                serde_json::from_slice(&json).map_err(|error| error.to_string())
            }
        }
    }

    /// The watch cache, if anybody has needed it yet.
    pub fn started(&self) -> Option<Cache> {
        self.cache.lock().clone()
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

// === impl Served ===

impl Served {
    /// A version of a custom resource.
    pub fn custom(kind: Kind, storage: Arc<Storage>) -> Self {
        let custom = Some((Arc::clone(&kind.versions), kind.at));
        Self { resource: Arc::new(kind), storage, conversion: None, custom }
    }

    /// The kind whose rules hold for writes: of built-in kinds the one that is stored, of custom ones the one that is
    /// addressed.
    pub fn rules(&self) -> &Arc<dyn Resource> {
        if self.custom.is_some() { &self.resource } else { &self.storage.resource }
    }

    /// Whether a request can be about it. Custom resources are not found where their scope is not, which upstream says by
    /// its router for all others.
    pub fn is_for(&self, verb: &str, namespace: &str) -> bool {
        if self.custom.is_none() {
            return true;
        }
        let anywhere = matches!(verb, "list" | "watch");
        match (self.names().namespaced, namespace.is_empty()) {
            (true, true) => anywhere,
            (false, false) => false,
            _ => true,
        }
    }

    /// An object of the watch cache in the version it is addressed in, as far as that is not a matter of reading it.
    ///
    /// # Errors
    /// 500 if a webhook that converts fails.
    pub async fn serve_cached(&self, object: Arc<Object>) -> Result<Arc<Object>, Status> {
        match &self.custom {
            Some((versions, at)) => versions.object(&object, *at).await,
            None => Ok(object),
        }
    }

    /// Many of them.
    ///
    /// # Errors
    /// As [`Served::serve_cached`].
    pub async fn serve_all_cached(&self, objects: &mut [Arc<Object>]) -> Result<(), Status> {
        match &self.custom {
            Some((versions, at)) => versions.objects(objects, *at).await,
            None => Ok(()),
        }
    }

    /// An object out of the store in the version whose rules hold.
    ///
    /// # Errors
    /// As [`Served::serve_cached`].
    pub(crate) async fn after_reading(&self, object: Value) -> Result<Value, Status> {
        match &self.custom {
            Some((versions, at)) => versions.convert_one(object, *at).await,
            None => Ok(object),
        }
    }

    /// An object in the version to store; `None` if it is in that.
    ///
    /// # Errors
    /// As [`Served::serve_cached`].
    pub(super) async fn before_storing(&self, object: &Value) -> Result<Option<Value>, Status> {
        match &self.custom {
            Some((versions, at)) if *at != versions.stored() => {
                versions.convert_one(object.clone(), versions.stored()).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// An object in the version it is addressed in.
    pub fn serve(&self, stored: Value) -> Value {
        match &self.conversion {
            Some(conversion) => (conversion.serve)(stored),
            None => stored,
        }
    }

    /// The same of an object that is still needed.
    pub fn serve_borrowed<'a>(&self, stored: &'a Value) -> Cow<'a, Value> {
        match &self.conversion {
            Some(conversion) => Cow::Owned((conversion.serve)(stored.clone())),
            None => Cow::Borrowed(stored),
        }
    }

    /// An object in the version it is stored in.
    pub fn store(&self, served: Value) -> Value {
        match &self.conversion {
            Some(conversion) => (conversion.store)(served),
            None => served,
        }
    }

    /// An object in another version of the same resource; `None` if there is no such version.
    pub fn convert(&self, served: &Value, api_version: &str) -> Option<Value> {
        if api_version == self.resource.kind().api_version() {
            return Some(served.clone());
        }
        let stored = self.store(served.clone());
        if api_version == self.storage.resource.kind().api_version() {
            return Some(stored);
        }
        let (_, conversion) =
            self.storage.other_versions.iter().find(|(version, _)| version == api_version)?;
        Some((conversion.serve)(stored))
    }

    /// The versions that the same objects are served in, this one among them, as `GROUP/VERSION`.
    pub fn equivalents(&self) -> Vec<String> {
        if let Some((versions, _)) = &self.custom {
            let all = versions.definition.versions.iter().enumerate();
            return all.filter(|(_, it)| it.served).map(|(at, _)| versions.api_version(at)).collect();
        }
        let stored = self.storage.resource.kind().api_version();
        let others = self.storage.other_versions.iter().map(|(version, _)| version.clone());
        std::iter::once(stored).chain(others).collect()
    }

    /// What it is called.
    pub fn names(&self) -> Called<'_> {
        self.resource.names()
    }
}

// === impl Catalogue ===

impl Catalogue {
    /// The built-in kinds over a store. Their watch caches count in these metrics.
    pub fn built_in(backend: &Arc<dyn Backend>, tasks: &Tasks, metrics: &cache::Metrics) -> Self {
        let mut table = Table::new();
        let (plain, converted): (Vec<_>, Vec<_>) =
            crate::resources::all().into_iter().partition(|resource| resource.conversion().is_none());
        for resource in plain {
            let names = resource.names();
            let home = (names.group, names.version, names.plural);
            let storage = Arc::new(Storage {
                other_versions: converted
                    .iter()
                    .filter_map(|other| Some((other.kind().api_version(), other.conversion()?)))
                    .filter(|(_, conversion)| conversion.stored_as == home)
                    .collect(),
                prefix: keys::prefix(&resource.resource()),
                describe: describe(
                    Form::of(&resource),
                    [resource.selectable(), resource.alias_selectable()].concat(),
                ),
                versions: None,
                form: Form::of(&resource),
                resource: Arc::clone(&resource),
                backend: Arc::clone(backend),
                tasks: tasks.clone(),
                metrics: metrics.clone(),
                cache: Mutex::new(None),
            });
            let served = Served { resource, storage, conversion: None, custom: None };
            table.insert(key(&served.names()), Arc::new(served));
        }
        for resource in converted {
            let conversion = resource.conversion();
            let home = conversion
                .map(|it| it.stored_as)
                .and_then(|(group, version, plural)| {
                    table.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
                })
                .map(|served| Arc::clone(&served.storage));
            if let Some(storage) = home {
                let served = Served { resource, storage, conversion, custom: None };
                table.insert(key(&served.names()), Arc::new(served));
            }
        }
        Self { table: ArcSwap::from_pointee(table), backend: Arc::clone(backend), metrics: metrics.clone() }
    }

    /// A place for the objects of a custom resource, given by the version they are stored in. Its watch cache ends with
    /// `tasks`.
    pub fn storage(&self, stored: Kind, tasks: Tasks) -> Storage {
        let versions = Arc::clone(&stored.versions);
        let resource: Arc<dyn Resource> = Arc::new(stored);
        Storage {
            form: Form::new(resource.kind(), None),
            prefix: keys::custom_prefix(&resource.resource()),
            describe: versions.describe(),
            versions: Some(versions),
            other_versions: Vec::new(),
            resource,
            backend: Arc::clone(&self.backend),
            tasks,
            metrics: self.metrics.clone(),
            cache: Mutex::new(None),
        }
    }

    /// Puts custom resources in the place of others. What is built in stays.
    pub fn exchange(&self, removed: &[Arc<Served>], added: Vec<Arc<Served>>) {
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            for served in removed {
                let key = key(&served.names());
                if table.get(&key).is_some_and(|known| Arc::ptr_eq(known, served)) {
                    table.remove(&key);
                }
            }
            for served in &added {
                table.entry(key(&served.names())).or_insert_with(|| Arc::clone(served));
            }
            table
        });
    }

    /// The resource of that name.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Served>> {
        self.table.load().get(&(group.to_owned(), version.to_owned(), plural.to_owned())).cloned()
    }

    /// Every resource of a group, whatever its version.
    pub fn find_any_version(&self, resource: &GroupResource) -> Option<Arc<Served>> {
        self.of_group(&resource.group).find(|served| served.names().plural == resource.resource)
    }

    /// All resources, sorted by group, version and name.
    pub fn all(&self) -> Vec<Arc<Served>> {
        self.table.load().values().cloned().collect()
    }

    /// The resource that a kind names.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Served>> {
        self.of_group(group).find(|served| {
            let names = served.names();
            names.version == version && names.kind == kind
        })
    }

    /// The resources of a group.
    fn of_group(&self, group: &str) -> impl Iterator<Item = Arc<Served>> {
        let table = Table::clone(&self.table.load());
        let first = (group.to_owned(), String::new(), String::new());
        let of_group: Vec<_> = table
            .range(first..)
            .take_while(|((other, ..), _)| other == group)
            .map(|(_, served)| Arc::clone(served))
            .collect();
        of_group.into_iter()
    }
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.table.load().keys()).finish()
    }
}

fn key(names: &Called<'_>) -> Key {
    (names.group.to_owned(), names.version.to_owned(), names.plural.to_owned())
}
