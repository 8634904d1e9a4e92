//! Who has which fields after a write.

use std::{borrow::Cow, collections::BTreeMap};

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
fn unowned() -> Set {
    let mut paths: Vec<Vec<&str>> = vec![vec!["apiVersion"], vec!["kind"], vec!["metadata"]];
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        paths.push(vec!["metadata", name]);
    }
    Set::of_fields(&paths.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

// === impl Reset ===

impl Reset<'_> {
    fn filter(self, set: Set) -> Set {
        match self {
            Self::Fields([]) => set,
            Self::Fields(paths) => set.without(&Set::of_fields(paths)),
            Self::AllBut(patterns) => set.only(patterns),
        }
    }

    fn changes(self, changes: Changes) -> Changes {
        Changes {
            added: self.filter(changes.added),
            modified: self.filter(changes.modified),
            removed: self.filter(changes.removed),
        }
    }

    /// Top-level fields that need not be compared, as nothing of them would be left.
    fn skipped(self) -> Vec<&'static str> {
        match self {
            Self::Fields(paths) => paths
                .iter()
                .filter_map(|path| match path {
                    [only] => Some(*only),
                    _ => None,
                })
                .collect(),
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
        let (changes, _) = self.settle(old, new, shape, managed)?;
        let written = changes.modified.union(&changes.added).difference(&unowned());
        if written.is_empty() {
            return Ok(());
        }
        let earlier = managed.take(&writer).map(|entry| entry.fields.read()).transpose()?.unwrap_or_default();
        let set = written.union(&earlier);
        managed.entries.push(Entry::new(writer, &self.api_version, Some(time(now)), set));
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
        self.reconcile(managed)?;
        let set = self.reset.filter(fields_of(applied, shape));
        let last = managed.take(&writer);
        let object = match live {
            None => applied.clone(),
            Some(live) => {
                let merged = merge(live, applied, shape)
                    .map_err(|problem| format!("failed to merge config: {problem}"))?;
                match &last {
                    Some(last) => self.prune(merged, managed, &set, last)?,
                    None => merged,
                }
            }
        };
        if let Some(live) = live {
            let (_, mut taken) = self.settle(live, &object, shape, managed)?;
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
        let set = set.difference(&unowned());
        if !set.is_empty() {
            managed.entries.push(Entry::new(writer, &self.api_version, written_at, set));
        }
        Ok(object)
    }

    /// Takes what changed from whom had it. Says what changed in the version of the request, and what was taken from
    /// whom because it was set anew.
    fn settle(
        &self,
        old: &Value,
        new: &Value,
        shape: Shape<'_>,
        managed: &mut Managed,
    ) -> Result<(Changes, Vec<(Identity, Set)>), String> {
        let skipped = self.reset.skipped();
        let compare = |old: &Value, new: &Value, shape: Shape<'_>| {
            let changes = compare(old, new, shape, &skipped)
                .map_err(|problem| format!("failed to compare objects: {problem}"))?;
            Ok::<_, String>(self.reset.changes(changes))
        };
        let here = compare(old, new, shape)?;
        let mut taken_from = Vec::new();
        let mut elsewhere: BTreeMap<String, Option<(Changes, Shape<'_>)>> = BTreeMap::new();
        let mut kept = Vec::with_capacity(managed.entries.len() + 1);
        for mut entry in std::mem::take(&mut managed.entries) {
            let version = entry.api_version.clone();
            let there = if version == self.api_version {
                None
            } else {
                if !elsewhere.contains_key(&version) {
                    let compared = self
                        .at_both(old, new, &version)
                        .map(|(old, new, shape)| Ok::<_, String>((compare(&old, &new, shape)?, shape)));
                    elsewhere.insert(version.clone(), compared.transpose()?);
                }
                match elsewhere.get(&version).and_then(Option::as_ref) {
                    Some(there) => Some(there),
                    // The version is gone, and with it who is on record.
                    None => continue,
                }
            };
            let (changes, shape) = there.map_or((&here, shape), |(changes, shape)| (changes, *shape));
            let changed = [&changes.added, &changes.modified, &changes.removed];
            if let Fields::Stored(stored) = &entry.fields {
                let is_empty = stored.as_object().is_none_or(serde_json::Map::is_empty);
                if !is_empty && !changed.iter().any(|set| set.touches(stored)) {
                    kept.push(entry);
                    continue;
                }
            }
            let set = entry.fields.read()?.reconciled(shape);
            let taken = set.intersection(&changes.modified).union(&set.intersection(&changes.added));
            if !taken.is_empty() {
                taken_from.push((entry.identity.clone(), taken.clone()));
            }
            let left = set.difference(&taken).difference(&changes.removed);
            if !left.is_empty() {
                entry.fields = Fields::Read(left);
                kept.push(entry);
            }
        }
        managed.entries = kept;
        Ok((here, taken_from))
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
    fn reconcile(&self, managed: &mut Managed) -> Result<(), String> {
        let mut kept = Vec::with_capacity(managed.entries.len() + 1);
        for mut entry in std::mem::take(&mut managed.entries) {
            if let Some(shape) = self.versions.shape(&entry.api_version) {
                entry.fields = Fields::Read(entry.fields.read()?.reconciled(shape));
                kept.push(entry);
            }
        }
        managed.entries = kept;
        Ok(())
    }

    /// Takes out of the merged object what the writer applied before and does not now (`set` is what it applies now),
    /// except what someone has.
    fn prune(&self, merged: Value, others: &Managed, set: &Set, last: &Entry) -> Result<Value, String> {
        let last_set = last.fields.read()?;
        let last_version = last.api_version.as_str();
        let (Some(shape), Some(merged_then)) =
            (self.versions.shape(last_version), self.at(&merged, last_version))
        else {
            return Ok(merged);
        };
        if last_set.is_empty() {
            return Ok(merged);
        }
        let last_named = last_set.with_named_fields(Some(shape));
        let mut pruned = remove(&merged_then, &last_named, shape);

        // What someone has comes back, seen with the eyes of each version; that of the last apply first, as conversions
        // may need fields that were just taken out.
        let mut owned: BTreeMap<&str, Set> = BTreeMap::new();
        owned.insert(&self.api_version, set.clone());
        for entry in &others.entries {
            let of_version = owned.entry(&entry.api_version).or_default();
            *of_version = of_version.union(&entry.fields.read()?);
        }
        let mut versions: Vec<(&str, Set)> = owned.into_iter().collect();
        versions.sort_by_key(|(version, _)| *version != last_version);
        for (version, owned) in versions {
            let Some(shape) = self.versions.shape(version) else { continue };
            let (Some(merged), Some(rest)) = (self.at(&merged, version), self.at(&pruned, version)) else {
                continue;
            };
            let named = |set: Set| set.with_named_fields(Some(shape));
            let all = named(fields_of(&merged, shape));
            let stay = named(fields_of(&rest, shape)).union(&named(owned));
            let restored = remove(&merged, &all.difference(&stay), shape);
            pruned = restored;
        }

        // What nobody has but was taken out along with something around it was not the writer's to take.
        let Some(rest) = self.at(&pruned, last_version) else { return Ok(merged) };
        let all = fields_of(&merged_then, shape).with_named_fields(Some(shape));
        let stay = fields_of(&rest, shape).with_named_fields(Some(shape));
        let result = remove(&merged_then, &all.difference(&stay).intersection(&last_named), shape);
        match self.at(&result, &self.api_version) {
            Some(result) => Ok(result.into_owned()),
            None => Ok(merged),
        }
    }
}
