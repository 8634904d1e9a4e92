//! Who is on record for which field: the field manager of each kind and part.

use api_types::status::Status;
use serde_json::Value;

use super::{Call, Registry, strategy::Part};
use crate::patch::apply::{BuiltIn, FieldManager, Reset, set::Pattern};

const STATUS: &[&Pattern] = &[&["status"]];
const SPEC: &[&Pattern] = &[&["spec"]];
const NOTHING: &[&Pattern] = &[];

impl Call {
    /// Does something with the field manager of this write.
    pub fn with_field_manager<T>(&self, part: Part, work: impl FnOnce(FieldManager<'_>) -> T) -> T {
        let kind = self.served.resource.kind();
        let convert = |object: &Value, api_version: &str| self.served.convert(object, api_version);
        let versions = BuiltIn { kind: &kind, convert: Some(&convert) };
        let usual = match part {
            Part::Main if self.served.resource.has_status() => Reset::Fields(STATUS),
            Part::Status => Reset::Fields(SPEC),
            Part::Main | Part::Sub(_) => Reset::Fields(NOTHING),
        };
        let reset = self.served.resource.resets(part).unwrap_or(usual);
        work(FieldManager {
            kind: &kind,
            versions: &versions,
            subresource: &self.subresource,
            reset,
            now: self.now,
        })
    }
}

impl Registry {
    /// Records what a create, update or patch sets.
    pub(super) fn track(&self, call: &Call, part: Part, old: Option<&Value>, new: &mut Value) {
        call.with_field_manager(part, |manager| manager.track(old, new, &call.manager));
    }
}

/// Lays an applied configuration over the object that is there.
///
/// # Errors
/// As [`FieldManager::apply`].
pub fn apply(
    call: &Call,
    part: Part,
    live: Option<&Value>,
    applied: &Value,
    force: bool,
) -> Result<Value, Status> {
    call.with_field_manager(part, |manager| manager.apply(live, applied, &call.manager, force))
}
