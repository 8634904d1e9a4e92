//! What there is in the cluster, whatever its kind: the metadata of everything that can be deleted, for the controllers
//! that must not know kinds.
//!
//! What is served is asked for anew when a definition or a registered service changes, and now and then besides: a
//! service behind an APIService may change without telling.
//!
//! Invariant: nothing is decided here about any object.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use client::{
    Cache, Resource,
    api::discovery::Discovery,
    controller::Manager,
    reflector::Metadata,
    resource::{API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS},
};
use parking_lot::Mutex;
use runtime::Signal;

/// What is served is asked for anew after so long even if nothing told of a change.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// A definition is served a moment after it is accepted, so that one look soon after a change is not enough.
const ASK_SOON: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(500), Duration::from_secs(2)];

/// Metadata of everything that can be deleted. Cheap to clone; started once, by whoever needs it first.
#[derive(Clone, Default)]
pub struct Inventory(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Counts changes of definitions.
    definitions: Signal<u64>,
    /// Whether everything that was served at the start has been listed.
    complete: Signal<bool>,
}

#[derive(Default)]
struct State {
    started: bool,
    caches: BTreeMap<Resource, Cache<Metadata>>,
    watchers: Vec<Watcher>,
}

/// Told of each resource, when it begins to be kept (with its cache) and when it no longer is.
type Watcher = Box<dyn Fn(&Resource, Option<&Cache<Metadata>>) + Send>;

// === impl Inventory ===

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.state.lock().caches.keys()).finish()
    }
}

impl Inventory {
    /// Begins to keep the metadata unless that has begun.
    pub fn start(&self, manager: &Manager) {
        if std::mem::replace(&mut self.0.state.lock().started, true) {
            return;
        }
        let inventory = self.clone();
        manager.runtime.tasks.spawn("inventory", inventory.follow(manager.clone()));
    }

    /// Calls `watcher` with every resource there is and will be.
    pub fn watch(&self, watcher: impl Fn(&Resource, Option<&Cache<Metadata>>) + Send + 'static) {
        let mut state = self.0.state.lock();
        for (resource, cache) in &state.caches {
            watcher(resource, Some(cache));
        }
        state.watchers.push(Box::new(watcher));
    }

    /// Waits until everything that was served at the start has been listed.
    pub async fn complete(&self) {
        self.0.complete.wait(|complete| *complete).await;
    }

    /// The resource of a kind, in whatever version.
    pub fn resource_of(&self, api_version: &str, kind: &str) -> Option<Resource> {
        let state = self.0.state.lock();
        state.caches.keys().find(|resource| resource.is_kind(api_version, kind)).cloned()
    }

    /// How many objects of a kind there are in a namespace; `None` if there is no such kind, or nothing is known of it yet.
    pub fn count(&self, group: &str, plural: &str, namespace: &str) -> Option<usize> {
        let cache = {
            let state = self.0.state.lock();
            let found =
                state.caches.iter().find(|(it, _)| it.group == group && it.plural == plural && it.namespaced);
            found.map(|(_, cache)| cache.clone())?
        };
        cache.is_synced().then(|| cache.in_namespace(namespace).len())
    }

    async fn follow(self, manager: Manager) {
        for definitions in [CUSTOM_RESOURCE_DEFINITIONS, API_SERVICES] {
            let shared = Arc::clone(&self.0);
            let cache = manager.caches.metadata(&definitions);
            cache.subscribe(move |_| shared.definitions.update(|count| *count += 1));
        }
        loop {
            let seen = self.0.definitions.get();
            match manager.api.discover().await {
                Ok(discovery) => {
                    self.adopt(&manager, &discovery);
                    if !self.0.complete.get() {
                        let caches: Vec<_> = self.0.state.lock().caches.values().cloned().collect();
                        for cache in caches {
                            cache.synced().await;
                        }
                        self.0.complete.update(|complete| *complete = true);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot tell what is served");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            }
            let changed = self.0.definitions.wait(|count| *count != seen);
            if tokio::time::timeout(ASK_AGAIN, changed).await.is_ok() {
                for delay in ASK_SOON {
                    tokio::time::sleep(delay).await;
                    if let Ok(discovery) = manager.api.discover().await {
                        self.adopt(&manager, &discovery);
                    }
                }
            }
        }
    }

    fn adopt(&self, manager: &Manager, discovery: &Discovery) {
        let wanted = kept(discovery);
        let mut state = self.0.state.lock();
        let gone: Vec<_> = state
            .caches
            .keys()
            .filter(|resource| !wanted.contains(resource))
            // A server that does not answer does not mean that its objects are gone.
            .filter(|resource| !discovery.stale.contains(&resource.api_version()))
            .cloned()
            .collect();
        for resource in gone {
            state.caches.remove(&resource);
            state.watchers.iter().for_each(|watcher| watcher(&resource, None));
            manager.caches.forget_metadata(&resource);
        }
        for resource in wanted {
            if !state.caches.contains_key(&resource) {
                let cache = manager.caches.metadata(&resource);
                state.watchers.iter().for_each(|watcher| watcher(&resource, Some(&cache)));
                state.caches.insert(resource, cache);
            }
        }
    }
}

/// What is kept: everything that can be listed, watched and deleted, in its preferred version; but not Events, which own
/// nothing, are owned by nothing, and are many.
fn kept(discovery: &Discovery) -> Vec<Resource> {
    discovery
        .resources
        .iter()
        .filter(|found| found.preferred && found.can(&["delete", "list", "watch"]))
        .filter(|found| {
            found.resource.plural != "events" || !matches!(&*found.resource.group, "" | "events.k8s.io")
        })
        .map(|found| found.resource.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use client::{api::discovery::Discovered, resource};

    use super::*;

    #[test]
    fn kept_is_what_can_be_watched_and_deleted_but_not_events() {
        let found = |resource: Resource, verbs: &[&str], preferred| Discovered {
            resource,
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            preferred,
        };
        let all = ["delete", "list", "watch", "get"];
        let discovery = Discovery {
            resources: vec![
                found(resource::PODS, &all, true),
                found(resource::EVENTS, &all, true),
                found(resource::NEW_EVENTS, &all, true),
                found(resource::JOBS, &all, false),
                found(resource::TOKEN_REVIEWS, &["create"], true),
            ],
            ..Discovery::default()
        };
        assert_eq!(kept(&discovery), [resource::PODS]);
    }
}
