//! The kinds that are served, looked up by group, version and plural name.
//!
//! Built-in kinds are there from the start, and so far there are no others. A resource that is
//! served in two groups or versions has one place in the store: its second name converts.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use api_types::kind::GroupResource;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use runtime::Tasks;
use serde_json::Value;
use store::{
    Backend,
    cache::{self, Cache},
};

use super::{
    describe::describe,
    keys,
    stored::Form,
    strategy::{Names, Resource},
};

/// A resource under one of its names.
#[derive(Debug)]
pub struct Served {
    /// The kind as it is addressed.
    pub resource: Arc<dyn Resource>,
    /// Where its objects are.
    pub storage: Arc<Storage>,
    /// How objects come from and go to the version they are stored in, if that is another.
    pub conversion: Option<Conversion>,
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
    backend: Arc<dyn Backend>,
    tasks: Tasks,
    metrics: cache::Metrics,
    cache: Mutex<Option<Cache>>,
}

type Key = (String, String, String);
type Table = BTreeMap<Key, Arc<Served>>;

/// The kinds that are served.
#[derive(Debug)]
pub struct Catalogue {
    table: ArcSwap<Table>,
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
                    describe(
                        self.form.clone(),
                        [self.resource.selectable(), self.resource.alias_selectable()].concat(),
                    ),
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

    /// What it is called.
    pub fn names(&self) -> Names {
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
                form: Form::of(&resource),
                resource: Arc::clone(&resource),
                backend: Arc::clone(backend),
                tasks: tasks.clone(),
                metrics: metrics.clone(),
                cache: Mutex::new(None),
            });
            table.insert(key(&resource.names()), Arc::new(Served { resource, storage, conversion: None }));
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
                table.insert(key(&resource.names()), Arc::new(Served { resource, storage, conversion }));
            }
        }
        Self { table: ArcSwap::from_pointee(table) }
    }

    /// The resource of that name.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Served>> {
        self.table.load().get(&(group.to_owned(), version.to_owned(), plural.to_owned())).cloned()
    }

    /// Every resource of a group, whatever its version.
    pub fn find_any_version(&self, resource: &GroupResource) -> Option<Arc<Served>> {
        self.table.load().values().find(|served| served.resource.resource() == *resource).cloned()
    }

    /// All resources, sorted by group, version and name.
    pub fn all(&self) -> Vec<Arc<Served>> {
        self.table.load().values().cloned().collect()
    }

    /// The resource that a kind names.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Served>> {
        self.table
            .load()
            .values()
            .find(|served| {
                let names = served.names();
                names.group == group && names.version == version && names.kind == kind
            })
            .cloned()
    }
}

fn key(names: &Names) -> Key {
    (names.group.to_owned(), names.version.to_owned(), names.plural.to_owned())
}
