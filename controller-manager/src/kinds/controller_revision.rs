//! A ControllerRevision, as far as controllers look at it.

use client::{Index, Kind, Meta, Resource, resource};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{claim, template::Template};

/// A template that a DaemonSet or StatefulSet has or had.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ControllerRevision {
    /// The metadata.
    pub metadata: Meta,
    /// Its number: the greatest is the newest.
    pub revision: i64,
    /// What it brings back; `None` if it is something else than a template.
    #[serde(rename = "data", deserialize_with = "template")]
    pub template: Option<Template>,
}

/// Reads the patch `{"spec": {"template": {"$patch": "replace", …}}}`.
fn template<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Template>, D::Error> {
    let mut data = Value::deserialize(deserializer)?;
    let Some(template) = data.pointer_mut("/spec/template").map(Value::take) else { return Ok(None) };
    let Value::Object(mut template) = template else { return Ok(None) };
    template.remove("$patch");
    Ok(serde_json::from_value(Value::Object(template)).ok())
}

// === impl ControllerRevision ===

impl Kind for ControllerRevision {
    const RESOURCE: Resource = resource::CONTROLLER_REVISIONS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes() -> Vec<Index<Self>> {
        vec![claim::orphans()]
    }
}

impl ControllerRevision {
    /// Whether it brings back this template.
    pub fn is_of(&self, template: &Template) -> bool {
        self.template.as_ref().is_some_and(|it| it.is_like(template))
    }
}
