//! Which custom resources are served, and how they are described: brought up to date with every change of a definition, at
//! the price of that definition and its group.
//!
//! A change of what a resource is (its spec, its names) begins a new place with a new watch cache: what was cached was read by
//! the old schema. The old one ends a moment later, and with it the watches of it, as upstream's do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use api_types::kind::{GroupVersion, GroupVersionKind};
use runtime::Tasks;

use super::{
    definition::Definition,
    kind::{Kind, VERBS, VERBS_TERMINATING},
    versions::Versions,
};
use crate::{
    discovery::{CUSTOM_PRIORITY, Freshness, ServedResource, ServedSubresource, ServedVersion},
    openapi::{CustomKind, Part},
    registry::catalogue::{Served, Storage},
    server::Server,
};

/// How long requests that are under way may go on with what is served no more.
const GRACE: Duration = Duration::from_secs(1);

/// What is served.
#[derive(Debug, Default)]
pub struct Serving {
    /// By the name of the definition.
    places: BTreeMap<String, Place>,
    /// All definitions, by group and name.
    groups: BTreeMap<String, BTreeMap<String, Arc<Definition>>>,
}

#[derive(Debug)]
struct Place {
    versions: Arc<Versions>,
    storage: Arc<Storage>,
    served: Vec<Arc<Served>>,
    /// What stops the watch cache.
    tasks: Tasks,
}

// === impl Serving ===

impl Serving {
    /// The definitions of a group.
    pub fn group(&self, group: &str) -> impl Iterator<Item = &Arc<Definition>> {
        self.groups.get(group).into_iter().flatten().map(|(_, definition)| definition)
    }

    /// A definition as it was last seen.
    pub fn definition(&self, group: &str, name: &str) -> Option<&Arc<Definition>> {
        self.groups.get(group)?.get(name)
    }

    /// Whether requests for the objects of this very definition are answered.
    pub fn serves(&self, definition: &Definition) -> bool {
        self.places.get(&definition.name).is_some_and(|place| place.versions.definition.serves_as(definition))
    }

    /// The resource in the version it is stored in, whether that version is served or not.
    pub fn stored(&self, name: &str) -> Option<Arc<Served>> {
        let place = self.places.get(name)?;
        let kind = Kind::new(Arc::clone(&place.versions), place.versions.stored());
        Some(Arc::new(Served::custom(kind, Arc::clone(&place.storage))))
    }

    /// Takes in definitions as they are now; `None` for those that are gone.
    pub fn adopt(
        &mut self,
        server: &Arc<Server>,
        changes: impl IntoIterator<Item = (String, Option<Arc<Definition>>)>,
    ) {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        let mut touched: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, now) in changes {
            let before = self.replace(&name, now.as_ref());
            if described_alike(before.as_deref(), now.as_deref()) {
                continue;
            }
            for definition in [&before, &now].into_iter().flatten() {
                let versions = touched.entry(definition.group.clone()).or_default();
                versions.extend(definition.versions.iter().map(|version| version.name.clone()));
            }
            self.place(server, &name, now, &mut added, &mut removed);
        }
        if !(added.is_empty() && removed.is_empty()) {
            server.registry.catalogue.exchange(&removed, added);
        }
        self.describe(server, &touched);
    }

    fn replace(&mut self, name: &str, now: Option<&Arc<Definition>>) -> Option<Arc<Definition>> {
        // The name of a definition ends in its group.
        let group = name.split_once('.').map(|(_, group)| group).unwrap_or_default();
        match now {
            Some(now) => {
                let group = self.groups.entry(group.to_owned()).or_default();
                group.insert(name.to_owned(), Arc::clone(now))
            }
            None => {
                let members = self.groups.get_mut(group)?;
                let before = members.remove(name);
                if members.is_empty() {
                    self.groups.remove(group);
                }
                before
            }
        }
    }

    /// Serves a definition, or serves it no more, or goes on as it is.
    fn place(
        &mut self,
        server: &Arc<Server>,
        name: &str,
        now: Option<Arc<Definition>>,
        added: &mut Vec<Arc<Served>>,
        removed: &mut Vec<Arc<Served>>,
    ) {
        let wanted = now.filter(|definition| definition.is_served());
        if let (Some(place), Some(definition)) = (self.places.get(name), &wanted)
            && place.versions.definition.serves_as(definition)
        {
            place.versions.set_terminating(definition.is("Terminating"));
            return;
        }
        if let Some(old) = self.places.remove(name) {
            removed.extend(old.served.iter().cloned());
            server.runtime.tasks.spawn("custom resource that was", async move {
                tokio::time::sleep(GRACE).await;
                old.tasks.stop();
            });
        }
        let Some(definition) = wanted else { return };
        let Some(versions) = Versions::new(definition, Arc::downgrade(server), &server.runtime) else {
            return;
        };
        let versions = Arc::new(versions);
        let tasks = server.runtime.tasks.child();
        let stored = Kind::new(Arc::clone(&versions), versions.stored());
        let storage = Arc::new(server.registry.catalogue.storage(stored, tasks.clone()));
        let served: Vec<_> = versions
            .definition
            .versions
            .iter()
            .enumerate()
            .filter(|(_, version)| version.served)
            .map(|(at, _)| {
                Arc::new(Served::custom(Kind::new(Arc::clone(&versions), at), Arc::clone(&storage)))
            })
            .collect();
        added.extend(served.iter().cloned());
        self.places.insert(name.to_owned(), Place { versions, storage, served, tasks });
    }

    /// Describes groups and versions anew.
    fn describe(&self, server: &Server, touched: &BTreeMap<String, BTreeSet<String>>) {
        let (mut present, mut absent) = (Vec::new(), Vec::new());
        let mut groups_gone = Vec::new();
        for (group, versions) in touched {
            for version in versions {
                // What is built in, or another server's, is described as such.
                if server.documents.is_built_in(group, version)
                    || server.aggregation.is_elsewhere(group, version)
                {
                    continue;
                }
                let established = self.group(group).filter(|it| it.is("Established"));
                let served: Vec<_> = established
                    .filter_map(|it| Some((it, it.versions.iter().position(|at| at.name == *version)?)))
                    .filter(|(it, at)| it.versions.get(*at).is_some_and(|version| version.served))
                    .collect();
                let group_version = GroupVersion::new(group, version);
                if served.is_empty() {
                    absent.push(group_version);
                    continue;
                }
                let resources = served.iter().map(|(definition, at)| resource(definition, *at)).collect();
                let kinds = served.iter().map(|(definition, at)| custom_kind(definition, *at)).collect();
                let version =
                    ServedVersion::new(group_version, CUSTOM_PRIORITY, Freshness::Current, resources);
                let version = Arc::new(version);
                present.push((Arc::clone(&version), Part::custom(version, kinds)));
            }
            let any = |definition: &Arc<Definition>| {
                definition.is("Established") && definition.versions.iter().any(|version| version.served)
            };
            if !self.group(group).any(any) {
                groups_gone.push(group.clone());
            }
        }
        server.documents.exchange(present, &absent, &groups_gone);
    }
}

/// Whether two states of a definition lead to the same.
fn described_alike(before: Option<&Definition>, now: Option<&Definition>) -> bool {
    match (before, now) {
        (None, None) => true,
        (Some(before), Some(now)) => {
            before.serves_as(now)
                && ["NamesAccepted", "Established", "Terminating"]
                    .iter()
                    .all(|condition| before.is(condition) == now.is(condition))
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// A resource as discovery tells of it.
fn resource(definition: &Definition, at: usize) -> ServedResource {
    const READ_AND_WRITE: [&str; 3] = ["get", "patch", "update"];
    let names = &definition.accepted;
    let version = definition.versions.get(at);
    let verbs = if definition.is("Terminating") { VERBS_TERMINATING } else { VERBS };
    let owned = |verbs: &[&str]| verbs.iter().map(|verb| (*verb).to_owned()).collect::<Vec<_>>();
    let mut subresources = Vec::new();
    if version.is_some_and(|version| version.status) {
        subresources.push(ServedSubresource {
            name: "status".to_owned(),
            kind: names.kind.clone(),
            group_version: None,
            verbs: owned(&READ_AND_WRITE),
        });
    }
    if version.is_some_and(|version| version.scale.is_some()) {
        subresources.push(ServedSubresource {
            name: "scale".to_owned(),
            kind: "Scale".to_owned(),
            group_version: Some(GroupVersion::new("autoscaling", "v1")),
            verbs: owned(&READ_AND_WRITE),
        });
    }
    // Only a version that is served tells what objects are stored as.
    let stored = definition.versions.iter().find(|version| version.stored && version.served);
    ServedResource {
        name: names.plural.clone(),
        singular: names.singular.clone(),
        kind: names.kind.clone(),
        namespaced: definition.namespaced,
        verbs: owned(verbs),
        short: names.short_names.clone(),
        categories: names.categories.clone(),
        stored_as: stored
            .map(|it| GroupVersionKind::new(&definition.group, &it.name, &definition.requested.kind)),
        subresources,
        spells_out_kind: true,
    }
}

/// A kind as OpenAPI tells of it.
fn custom_kind(definition: &Definition, at: usize) -> CustomKind {
    let version = definition.versions.get(at);
    CustomKind {
        kind: definition.accepted.kind.clone(),
        list_kind: definition.accepted.list_kind.clone(),
        plural: definition.accepted.plural.clone(),
        schema: version.and_then(|version| version.schema.clone()).filter(|_| {
            !definition.preserve_unknown && definition.condition("NonStructuralSchema").is_none()
        }),
        selectable_fields: version.map(|version| version.selectable.clone()).unwrap_or_default(),
    }
}
