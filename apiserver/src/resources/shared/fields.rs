//! Faults that several kinds find and that no other module of this folder has.

use std::collections::BTreeMap;

use api_types::field::{Fault, Path};

use super::optional::Text;

/// Whether two maps hold the same, an absent one being empty.
pub(crate) fn same_map<T: PartialEq>(
    a: Option<&BTreeMap<String, T>>,
    b: Option<&BTreeMap<String, T>>,
) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b,
        (Some(only), None) | (None, Some(only)) => only.is_empty(),
        (None, None) => true,
    }
}

/// The fault of a text that may not change but did, an absent one being empty.
pub(crate) fn changed_text(path: &Path, new: &Option<String>, old: &Option<String>) -> Option<Fault> {
    immutable_text(path, new.text(), old.text())
}

/// The fault of a text that may not change but did.
pub(crate) fn immutable_text(path: &Path, new: &str, old: &str) -> Option<Fault> {
    (new != old).then(|| Fault::invalid(path, new, "field is immutable"))
}
