//! Who has which fields after a write.

use std::{borrow::Cow, collections::BTreeMap, sync::LazyLock};

use api_types::status::Cause;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Reset, Versions, check,
    compare::{Changes, compare, same},
    element::Element,
    extract::fields_of,
    managed::{Entry, Fields, Identity, Managed, time},
    merge::merge,
    remove::remove,
    set::Set,
    shape::Shape,
};

/// Settles ownership for writes of one version of a kind.
pub(super) struct Owners<'a> {
    pub(super) versions: &'a dyn Versions,
    /// The version of the request.
    pub(super) api_version: String,
    pub(super) reset: Reset<'a>,
}

/// A field that an apply would change and someone else is on record for.
pub(super) struct Conflict {
    pub(super) with: Identity,
    pub(super) path: Vec<Element>,
}

/// Why an apply does not happen.
pub(super) enum Refusal {
    Conflicts(Vec<Conflict>),
    Broken(String),
}

/// Fields that are on record for nobody, as the server writes them or they name the object. Only the paths themselves:
/// `metadata.labels.x` is not among them.
static UNOWNED: LazyLock<Set> = LazyLock::new(|| {
    Set::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

// === impl Reset ===

impl Reset<'_> {
    fn filter(self, mut set: Set) -> Set {
        match self {
            Self::Fields(paths) => {
                set.subtract_deep(&Set::of_fields(paths));
                set
            }
            Self::AllBut(patterns) => set.only(patterns),
        }
    }

    /// What is left of changes that [`Self::skipped`] is not in any more.
    fn filter_changes(self, changes: Changes) -> Changes {
        if matches!(self, Self::Fields(paths) if paths.iter().all(|path| path.len() == 1)) {
            return changes;
        }
        Changes {
            added: self.filter(changes.added),
            modified: self.filter(changes.modified),
            removed: self.filter(changes.removed),
        }
    }

    /// Top-level fields that need not be compared, as nothing of them would be left.
    fn skipped(self) -> Vec<&'static str> {
        match self {
            Self::Fields(paths) => {
                paths.iter().filter(|path| path.len() == 1).flat_map(|path| path.iter().copied()).collect()
            }
            Self::AllBut(_) => Vec::new(),
        }
    }
}

// === impl Conflict ===

impl Conflict {
    /// As in `.spec.containers[name="a"].image`.
    pub(super) fn path_text(&self) -> String {
        self.path.iter().map(Element::to_string).collect()
    }

    pub(super) fn cause(&self) -> Cause {
        Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", self.with),
            field: self.path_text(),
        }
    }
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

// === impl Owners ===

impl Owners<'_> {
    /// After an update: the writer has what it changed, and nobody else does.
    ///
    /// # Errors
    /// When an object does not fit its type or a record cannot be read.
    pub(super) fn update(
        &self,
        old: &Value,
        new: &Value,
        managed: &mut Managed,
        writer: Identity,
        now: Timestamp,
    ) -> Result<(), String> {
        let shape = self
            .versions
            .shape(&self.api_version)
            .ok_or_else(|| format!("no corresponding type for {}", self.api_version))?;
        if self.versions.may_misfit() {
            for object in [new, old] {
                check::check(object, shape, true).map_err(|problems| problems.to_string())?;
            }
        }
        let changes = self.settle(old, new, shape, managed, None)?;
        let mut written = changes.modified.union(changes.added);
        written.subtract(&UNOWNED);
        if !written.is_empty() {
            if let Some(earlier) = managed.take(&writer) {
                written.unite(earlier.fields.read());
            }
            managed.entries.push(Entry::new(writer, &self.api_version, Some(time(now)), written));
        }
        Ok(())
    }

    /// After an apply: the object, and the writer has what it applied.
    ///
    /// # Errors
    /// When others have what the apply changes and it is not forced.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) fn apply(
        &self,
        live: Option<&Value>,
        applied: &Value,
        shape: Shape<'_>,
        managed: &mut Managed,
        writer: Identity,
        force: bool,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        self.reconcile(managed);
        let set = self.reset.filter(fields_of(applied, shape));
        let last = managed.take(&writer);
        let object = match live {
            None => applied.clone(),
            Some(live) => {
                let merged = merge(live, applied, shape)
                    .map_err(|problem| format!("failed to merge config: {problem}"))?;
                match last.clone() {
                    Some(last) => self.prune(merged, managed, &set, last),
                    None => merged,
                }
            }
        };
        if let Some(live) = live {
            let mut taken = Vec::new();
            self.settle(live, &object, shape, managed, Some(&mut taken))?;
            if !taken.is_empty() && !force {
                taken.sort_by_cached_key(|(from, _)| from.sort_key());
                let conflicts = taken.iter().flat_map(|(with, set)| {
                    set.paths().into_iter().map(|path| Conflict { with: with.clone(), path })
                });
                return Err(Refusal::Conflicts(conflicts.collect()));
            }
        }
        // A write that changes nothing does not change the time either.
        let unchanged = live.is_some_and(|live| same(live, &object));
        let written_at = if unchanged { last.and_then(|last| last.time) } else { Some(time(now)) };
        let set = set.difference(&UNOWNED);
        if !set.is_empty() {
            managed.entries.push(Entry::new(writer, &self.api_version, written_at, set));
        }
        Ok(object)
    }

    /// Takes what changed from whom had it. Says what changed in the version of the request and, where that is asked,
    /// what was taken from whom because it was set anew.
    fn settle(
        &self,
        old: &Value,
        new: &Value,
        shape: Shape<'_>,
        managed: &mut Managed,
        mut taken_from: Option<&mut Vec<(Identity, Set)>>,
    ) -> Result<Changes, String> {
        let skipped = self.reset.skipped();
        let compare = |old: &Value, new: &Value, shape: Shape<'_>| {
            let changes = compare(old, new, shape, &skipped)
                .map_err(|problem| format!("failed to compare objects: {problem}"))?;
            Ok::<_, String>(self.reset.filter_changes(changes))
        };
        let here = compare(old, new, shape)?;
        let mut elsewhere: BTreeMap<String, Option<(Changes, Shape<'_>)>> = BTreeMap::new();
        let mut kept = Vec::with_capacity(managed.entries.len() + 1);
        for mut entry in std::mem::take(&mut managed.entries) {
            let (changes, shape) = if entry.api_version == self.api_version {
                (&here, shape)
            } else {
                if !elsewhere.contains_key(&entry.api_version) {
                    let compared = self.at_both(old, new, &entry.api_version);
                    let compared = compared
                        .map(|(old, new, shape)| Ok::<_, String>((compare(&old, &new, shape)?, shape)));
                    elsewhere.insert(entry.api_version.clone(), compared.transpose()?);
                }
                match elsewhere.get(&entry.api_version) {
                    Some(Some((changes, shape))) => (changes, *shape),
                    // The version is gone, and with it who is on record.
                    _ => continue,
                }
            };
            let changed = [&changes.added, &changes.modified, &changes.removed];
            if let Fields::Stored(stored) = &entry.fields {
                let is_empty = stored.as_object().is_none_or(serde_json::Map::is_empty);
                if !is_empty && !changed.iter().any(|set| set.touches(stored)) {
                    kept.push(entry);
                    continue;
                }
            }
            let mut set = entry.fields.read();
            set.reconcile(shape);
            if let Some(taken_from) = &mut taken_from {
                let taken = set.intersection(&changes.modified).union(set.intersection(&changes.added));
                if !taken.is_empty() {
                    taken_from.push((entry.identity.clone(), taken));
                }
            }
            changed.into_iter().for_each(|changed| set.subtract(changed));
            if !set.is_empty() {
                entry.fields = Fields::Read(set);
                kept.push(entry);
            }
        }
        managed.entries = kept;
        Ok(here)
    }

    /// Both objects in another version.
    fn at_both(&self, old: &Value, new: &Value, version: &str) -> Option<(Value, Value, Shape<'_>)> {
        let shape = self.versions.shape(version)?;
        Some((self.versions.convert(old, version)?, self.versions.convert(new, version)?, shape))
    }

    /// The object in a version.
    fn at<'v>(&self, object: &'v Value, version: &str) -> Option<Cow<'v, Value>> {
        if object.get("apiVersion").and_then(Value::as_str) == Some(version) {
            Some(Cow::Borrowed(object))
        } else {
            self.versions.convert(object, version).map(Cow::Owned)
        }
    }

    /// Brings all records up to date with the types, and forgets those of versions that are gone.
    fn reconcile(&self, managed: &mut Managed) {
        let mut kept = Vec::with_capacity(managed.entries.len() + 1);
        for mut entry in std::mem::take(&mut managed.entries) {
            if let Some(shape) = self.versions.shape(&entry.api_version) {
                let mut set = entry.fields.read();
                set.reconcile(shape);
                entry.fields = Fields::Read(set);
                kept.push(entry);
            }
        }
        managed.entries = kept;
    }

    /// Takes out of the merged object what the writer applied before and does not now (`set` is what it applies now),
    /// except what someone has.
    fn prune(&self, merged: Value, others: &Managed, set: &Set, last: Entry) -> Value {
        let last_version = last.api_version.as_str();
        let last_set = last.fields.read();
        // Nothing was given up.
        if last_version == self.api_version && last_set.clone().difference(set).is_empty() {
            return merged;
        }
        let (Some(shape), Some(merged_then)) =
            (self.versions.shape(last_version), self.at(&merged, last_version))
        else {
            return merged;
        };
        let last_named = last_set.with_named_fields(Some(shape));
        let mut pruned = remove(&merged_then, &last_named, shape);

        // What someone has comes back, seen with the eyes of each version; that of the last apply first, as conversions
        // may need fields that were just taken out.
        let mut owned: BTreeMap<&str, Set> = BTreeMap::new();
        owned.insert(&self.api_version, set.clone());
        for entry in &others.entries {
            owned.entry(&entry.api_version).or_default().unite(entry.fields.clone().read());
        }
        let mut versions: Vec<(&str, Set)> = owned.into_iter().collect();
        versions.sort_by_key(|(version, _)| *version != last_version);
        for (version, owned) in versions {
            let Some(shape) = self.versions.shape(version) else { continue };
            let (Some(merged), Some(rest)) = (self.at(&merged, version), self.at(&pruned, version)) else {
                continue;
            };
            let mut gone = fields_of(&merged, shape).with_named_fields(Some(shape));
            gone.subtract(&fields_of(&rest, shape).with_named_fields(Some(shape)));
            gone.subtract(&owned.with_named_fields(Some(shape)));
            pruned = remove(&merged, &gone, shape);
        }

        // What nobody has but was taken out along with something around it was not the writer's to take.
        let Some(rest) = self.at(&pruned, last_version) else { return merged };
        let mut gone = fields_of(&merged_then, shape).with_named_fields(Some(shape));
        gone.subtract(&fields_of(&rest, shape).with_named_fields(Some(shape)));
        let result = remove(&merged_then, &gone.intersection(&last_named), shape);
        self.at(&result, &self.api_version).map(Cow::into_owned).unwrap_or(merged)
    }
}
