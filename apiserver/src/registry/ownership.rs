//! Who is on record for which field: the field manager of each kind and part.

use api_types::status::Status;
use serde_json::Value;

use super::{Call, Registry, strategy::Part};
use crate::{
    custom::ownership::CustomVersions,
    patch::apply::{BuiltIn, FieldManager, Reset, Versions, set::Pattern},
};

const STATUS: &[&Pattern] = &[&["status"]];
const SPEC: &[&Pattern] = &[&["spec"]];
const NOTHING: &[&Pattern] = &[];

impl Call {
    /// Does something with the field manager of this write.
    pub fn with_field_manager<T>(&self, part: Part, work: impl FnOnce(FieldManager<'_>) -> T) -> T {
        let kind = self.served.resource.kind();
        let convert = |object: &Value, api_version: &str| self.served.convert(object, api_version);
        let built_in = BuiltIn { kind: &kind, convert: Some(&convert) };
        let custom = self.custom_versions();
        let versions: &dyn Versions = match &custom {
            Some(custom) => custom,
            None => &built_in,
        };
        let usual = match part {
            Part::Main if self.served.resource.has_status() => Reset::Fields(STATUS),
            Part::Status => Reset::Fields(SPEC),
            Part::Main | Part::Sub(_) => Reset::Fields(NOTHING),
        };
        let reset = self.served.resource.resets(part).unwrap_or(usual);
        work(FieldManager { kind: &kind, versions, subresource: &self.subresource, reset, now: self.now })
    }
}

impl Call {
    fn custom_versions(&self) -> Option<CustomVersions<'_>> {
        let kind = self.served.resource.custom()?;
        Some(CustomVersions { kind, answers: &self.answers })
    }

    /// Asks the webhook that converts what it must be asked. True if something was asked: see [`Answers::fetch`].
    ///
    /// [`Answers::fetch`]: crate::custom::ownership::Answers::fetch
    ///
    /// # Errors
    /// 500 in upstream's words, if it fails.
    pub(super) async fn fetch_answers(&self) -> Result<bool, Status> {
        match self.served.resource.custom() {
            Some(kind) => self.answers.fetch(kind).await,
            None => Ok(false),
        }
    }
}

impl Registry {
    /// Records what a create, update or patch sets.
    ///
    /// # Errors
    /// 500 if a webhook that converts fails.
    pub(super) async fn track(
        &self,
        call: &Call,
        part: Part,
        old: Option<&Value>,
        new: &mut Value,
    ) -> Result<(), Status> {
        let by_webhook = call.served.resource.custom().is_some_and(|kind| kind.versions.by_webhook());
        let untracked = by_webhook.then(|| new.clone());
        loop {
            call.with_field_manager(part, |manager| manager.track(old, new, &call.manager));
            match &untracked {
                Some(untracked) if call.fetch_answers().await? => new.clone_from(untracked),
                _ => return Ok(()),
            }
        }
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
