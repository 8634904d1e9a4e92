//! A ValidatingAdmissionPolicy, as far as controllers look at it.

use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;

/// A ValidatingAdmissionPolicy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ValidatingAdmissionPolicy {
    /// The metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: PolicySpec,
    /// What was found out.
    pub status: PolicyStatus,
}

/// What is wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySpec {
    /// The kind of the policy's parameters, if it has any.
    pub param_kind: Option<ParamKind>,
    /// Which writes are judged.
    #[serde(deserialize_with = "null_is_default")]
    pub match_constraints: MatchConstraints,
    /// What expressions may name after `variables.`.
    #[serde(deserialize_with = "null_is_default")]
    pub variables: Vec<Variable>,
    /// What must be true of a write.
    #[serde(deserialize_with = "null_is_default")]
    pub validations: Vec<Validation>,
}

/// The kind of parameters.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParamKind {
    /// Its `apiVersion`.
    pub api_version: Box<str>,
    /// Its kind.
    pub kind: Box<str>,
}

/// Which writes are judged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MatchConstraints {
    /// Those that one of these matches.
    #[serde(deserialize_with = "null_is_default")]
    pub resource_rules: Vec<ResourceRule>,
}

/// Resources by their names; `*` is any.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceRule {
    /// The groups; that of core is empty.
    #[serde(deserialize_with = "null_is_default")]
    pub api_groups: Vec<Box<str>>,
    /// The versions.
    #[serde(deserialize_with = "null_is_default")]
    pub api_versions: Vec<Box<str>>,
    /// The resources, such as `pods` and `pods/status`.
    #[serde(deserialize_with = "null_is_default")]
    pub resources: Vec<Box<str>>,
}

/// An expression with a name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Variable {
    /// The name.
    pub name: Box<str>,
    /// The expression.
    pub expression: Box<str>,
}

/// What must be true.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Validation {
    /// The expression that must be.
    pub expression: Box<str>,
    /// The expression that says what is wrong; empty if there is none.
    pub message_expression: Box<str>,
}

/// What was found out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// Of which generation that is.
    pub observed_generation: i64,
}

// === impl ValidatingAdmissionPolicy ===

impl Kind for ValidatingAdmissionPolicy {
    const RESOURCE: Resource = resource::VALIDATING_ADMISSION_POLICIES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
