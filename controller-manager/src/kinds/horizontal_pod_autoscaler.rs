//! A HorizontalPodAutoscaler, as far as controllers look at it.

use api_types::quantity::Quantity;
use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::conditions::Condition;

/// A HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HorizontalPodAutoscaler {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: AutoscalerSpec,
    /// What is.
    pub status: AutoscalerStatus,
}

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalerSpec {
    /// What is scaled.
    pub scale_target_ref: Target,
    /// At least so many Pods; 1 if `None`.
    pub min_replicas: Option<i32>,
    /// At most so many.
    pub max_replicas: i32,
    /// What is measured.
    #[serde(deserialize_with = "null_is_default")]
    pub metrics: Vec<Metric>,
    /// How fast it goes.
    pub behavior: Option<Behavior>,
}

/// An object by its kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Target {
    /// Its `apiVersion`.
    pub api_version: Box<str>,
    /// Its kind.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// Something that is measured: one of the sources, as the type says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metric {
    /// `Resource`, `ContainerResource`, `Pods`, `Object` or `External`.
    pub r#type: Box<str>,
    /// A resource of all containers.
    pub resource: Option<Source>,
    /// A resource of one container.
    pub container_resource: Option<Source>,
    /// Something about each Pod.
    pub pods: Option<Source>,
    /// Something about another object.
    pub object: Option<Source>,
    /// Something outside of the cluster.
    pub external: Option<Source>,
}

/// What is measured, and what it shall be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// Of a resource: its name.
    pub name: Box<str>,
    /// Of a resource: the container, if it is one container's.
    pub container: Box<str>,
    /// Of anything else: its name and which of it.
    pub metric: Identifier,
    /// The other object.
    pub described_object: Target,
    /// What it shall be.
    pub target: Aim,
}

/// A metric's name, and which of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Identifier {
    /// The name.
    pub name: Box<str>,
    /// A label selector, as it came.
    pub selector: Option<Value>,
}

/// What a metric shall be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Aim {
    /// `Utilization`, `Value` or `AverageValue`.
    pub r#type: Box<str>,
    /// In percent of what the Pods ask for.
    pub average_utilization: Option<i32>,
    /// For each Pod.
    pub average_value: Option<Quantity>,
    /// Altogether.
    pub value: Option<Quantity>,
}

/// How fast it goes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Behavior {
    /// To more Pods.
    #[serde(deserialize_with = "null_is_default")]
    pub scale_up: Rules,
    /// To fewer Pods.
    #[serde(deserialize_with = "null_is_default")]
    pub scale_down: Rules,
}

/// How fast it goes in one direction.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rules {
    /// What was recommended in so many seconds counts too.
    pub stabilization_window_seconds: Option<i32>,
    /// `Max`, `Min` or `Disabled`: which of the policies counts.
    pub select_policy: Option<Box<str>>,
    /// The policies.
    #[serde(deserialize_with = "null_is_default")]
    pub policies: Vec<Policy>,
    /// A difference of so much is none.
    pub tolerance: Option<Quantity>,
}

/// At most so much in so long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// `Pods` or `Percent`.
    pub r#type: Box<str>,
    /// So many.
    pub value: i32,
    /// In so long.
    pub period_seconds: i32,
}

/// How it is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalerStatus {
    /// When the number of Pods was last changed.
    pub last_scale_time: Option<Timestamp>,
    /// How many Pods there were to be.
    pub current_replicas: i32,
    /// How many there shall be.
    pub desired_replicas: i32,
    /// What was measured, as it is told.
    pub current_metrics: Option<Value>,
    /// What is remarkable.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
}

// === impl HorizontalPodAutoscaler ===

impl Kind for HorizontalPodAutoscaler {
    const RESOURCE: Resource = resource::HORIZONTAL_POD_AUTOSCALERS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Metric {
    /// The source that the type names.
    pub fn source(&self) -> Option<&Source> {
        match &*self.r#type {
            "Resource" => self.resource.as_ref(),
            "ContainerResource" => self.container_resource.as_ref(),
            "Pods" => self.pods.as_ref(),
            "Object" => self.object.as_ref(),
            "External" => self.external.as_ref(),
            _ => None,
        }
    }
}
