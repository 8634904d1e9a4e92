//! `AlwaysAdmit` and `AlwaysDeny`: what their names say. Upstream keeps them for tests.

use api_types::status::Status;
use futures::future::BoxFuture;

use super::{Attributes, Plugin};

/// Has nothing against anything.
#[derive(Debug)]
pub(super) struct AlwaysAdmit;

/// Has something against everything.
#[derive(Debug)]
pub(super) struct AlwaysDeny;

impl Plugin for AlwaysAdmit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }
}

impl Plugin for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(Err(denied(attributes))))
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(Err(denied(attributes))))
    }
}

fn denied(attributes: &Attributes) -> Status {
    attributes.forbidden("admission control is denying all modifications")
}
