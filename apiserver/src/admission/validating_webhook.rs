//! `ValidatingAdmissionWebhook`: asks webhooks, all at once, whether a write may be.

use std::sync::Weak;

use api_types::status::Status;
use futures::future::{BoxFuture, join_all};

use super::{
    Attributes, Plugin,
    webhook::{self, Hooks, Type},
};
use crate::server::Server;

/// The plugin.
#[derive(Debug)]
pub(super) struct ValidatingWebhook(Hooks);

impl Plugin for ValidatingWebhook {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl ValidatingWebhook {
    pub(super) fn new(server: Weak<Server>) -> Self {
        Self(Hooks::new(server, Type::Validating))
    }

    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        let Some(round) = self.0.round(attributes).await? else { return Ok(()) };
        let mut concerned = Vec::new();
        for hook in &round.hooks {
            if let Some(invocation) = round.invocation(hook, attributes).await? {
                let subject = round.subject(&invocation, attributes);
                concerned.push((hook, invocation, subject));
            }
        }
        let asked = concerned.iter().map(async |(hook, invocation, subject)| {
            match round.ask(hook, attributes, invocation, subject).await {
                Ok(_) => Ok(()),
                Err(failure) => webhook::settle(hook, failure),
            }
        });
        // All are asked, and the first that is against it is told of.
        join_all(asked).await.into_iter().collect()
    }
}
