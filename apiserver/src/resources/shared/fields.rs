//! Faults that several kinds find and that no other module of this folder has.

use std::collections::BTreeMap;

use api_types::field::{BadValue, Fault, FaultKind, Path};

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

/// Fewer items than there must be.
pub(crate) fn too_few(path: &Path, actual: usize, min: usize) -> Fault {
    let unit = if min == 1 { "item" } else { "items" };
    Fault {
        kind: FaultKind::TooFew,
        field: path.to_string(),
        value: actual.into(),
        detail: format!("must have at least {min} {unit}"),
    }
}

/// More characters than there may be, for the rules that count characters and not bytes.
pub(crate) fn too_many_characters(path: &Path, max: usize) -> Fault {
    let unit = if max == 1 { "character" } else { "characters" };
    Fault {
        kind: FaultKind::TooLong,
        field: path.to_string(),
        value: BadValue::Omitted,
        detail: format!("may not be more than {max} {unit}"),
    }
}
