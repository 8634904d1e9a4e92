//! As what admission is shown a write: most are of the object itself, some are made in a kind of their own.
//!
//! What is posted to a subresource (a Binding, an Eviction, a TokenRequest) or opens a connection (PodExecOptions) goes
//! through admission as what it is, in [`Registry::admit`] and [`Registry::let_in`], and the writes that carry it out are
//! not asked about again ([`Shown::Nothing`]). A Scale is an object to be changed like any other, seen through a [`View`].

use std::{fmt, sync::Arc};

use api_types::{kind::GroupVersionKind, status::Status};
use serde_json::Value;

use super::{Call, Registry};
use crate::admission::{Attributes, Operation};

/// As what admission is shown a write.
#[derive(Clone, Copy, Debug, Default)]
pub enum Shown {
    /// As the object that is written.
    #[default]
    Itself,
    /// Not at all: it carries out what was shown before.
    Nothing,
    /// As an object of another kind.
    As(&'static dyn View),
}

/// A kind that a part of an object is read and written as. All objects are in the version of the call.
pub trait View: fmt::Debug + Sync {
    /// The kind of what is shown.
    fn kind(&self) -> GroupVersionKind;

    /// An object as it is shown.
    ///
    /// # Errors
    /// What in the object cannot be shown.
    fn show(&self, call: &Call, object: &Value) -> Result<Value, Status>;

    /// The object that the change of what was shown of `old` means.
    ///
    /// # Errors
    /// What is wrong with the change.
    fn take_back(&self, call: &Call, old: &Value, shown: Value) -> Result<Value, Status>;
}

impl Registry {
    /// Lets plugins change what is asked of a subresource in its own kind: the first half of its admission.
    ///
    /// # Errors
    /// What a plugin has against it.
    pub async fn admit(
        &self,
        call: &Call,
        kind: GroupVersionKind,
        operation: Operation,
        object: Value,
    ) -> Result<Attributes, Status> {
        let mut attributes = Attributes { kind, ..Attributes::of(call, operation, object, Arc::default()) };
        self.admission.admit(&mut attributes).await?;
        Ok(attributes)
    }

    /// Lets plugins refuse it, after it was found to be valid: the second half.
    ///
    /// # Errors
    /// What a plugin has against it.
    pub async fn let_in(&self, attributes: &Attributes) -> Result<(), Status> {
        self.admission.validate(attributes).await?;
        self.admission.settle(attributes, true).await;
        Ok(())
    }
}
