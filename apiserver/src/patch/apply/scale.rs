//! Who has the replica count of an object, seen from its scale.
//!
//! A Scale is a view: its `spec.replicas` is a field of the object behind it, so its owners are those of that field, and
//! what a write of the Scale does to them is done to the object's record.

use serde_json::Value;

use super::{
    element::Element,
    managed::{Entry, Fields, Managed},
    set::Set,
};

const SCALE_VERSION: &str = "autoscaling/v1";
const REPLICAS: &[&str] = &["spec", "replicas"];

/// Where an object has its replica count.
#[derive(Clone, Copy, Debug)]
pub struct Replicas<'a> {
    /// The version of the request, such as `apps/v1`.
    pub api_version: &'a str,
    /// Version and path, for every version that has a scale.
    pub paths: &'a [(&'a str, &'a [&'a str])],
}

fn elements(path: &[&str]) -> Vec<Element> {
    path.iter().map(|name| Element::field(name)).collect()
}

// === impl Replicas ===

impl Replicas<'_> {
    fn path(&self, api_version: &str) -> Option<Vec<Element>> {
        self.paths.iter().find(|(version, _)| *version == api_version).map(|(_, path)| elements(path))
    }

    /// The record of the Scale: of the object's, the entries that have the replica count.
    ///
    /// # Errors
    /// When the object's record cannot be read.
    pub fn of_scale(&self, object: Option<&Value>) -> Result<Option<Value>, String> {
        let mut managed = Managed::sent(object.cloned())?;
        let mut kept = Vec::new();
        for entry in std::mem::take(&mut managed.entries) {
            let Some(path) = self.path(&entry.api_version) else { continue };
            if entry.fields.read().has(&path) {
                let set = Set::of_fields(&[REPLICAS]);
                kept.push(Entry::new(entry.identity, SCALE_VERSION, entry.time, set));
            }
        }
        managed.entries = kept;
        Ok(managed.encode())
    }

    /// The record of the object after a write of its Scale, which left the Scale with the record `scale`.
    ///
    /// # Errors
    /// When one of the records cannot be read.
    pub fn of_object(&self, object: Option<&Value>, scale: Option<&Value>) -> Result<Option<Value>, String> {
        let before = Managed::sent(object.cloned())?;
        let mut scale = Managed::sent(scale.cloned())?;
        let mut after = Managed::default();
        for mut entry in before.entries {
            let Some(path) = self.path(&entry.api_version) else { continue };
            let mut set = entry.fields.read();
            // An entry that had the replica count and is gone from the Scale's record lost it.
            if set.has(&path) && scale.take(&entry.identity).is_none() {
                let mut lost = Set::default();
                lost.insert(&path);
                set.subtract(&lost);
                if set.is_empty() {
                    continue;
                }
            }
            entry.fields = Fields::Read(set);
            after.entries.push(entry);
        }
        for entry in scale.entries {
            if entry.fields.read().has(&elements(REPLICAS)) {
                let mut set = Set::default();
                set.insert(&self.path(self.api_version).unwrap_or_default());
                // Upstream looks the time up in the record before the write, and finds none.
                after.entries.push(Entry::new(entry.identity, self.api_version, None, set));
            }
        }
        Ok(after.encode())
    }
}

#[cfg(test)]
mod tests;
