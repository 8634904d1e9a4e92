//! `ValidatingAdmissionWebhook`: asks webhooks, all at once, whether a write may be.

use std::sync::Weak;

use api_types::status::Status;
use futures::future::{BoxFuture, join_all};

use super::{
    Attributes, Plugin,
    webhook::{self, Hooks, Subject, Type},
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
        for (index, hook) in round.hooks.iter().enumerate() {
            if let Some(seen) = round.invocation(hook, attributes).await? {
                let subject = Subject::of(attributes, &seen).await?;
                concerned.push((index, hook, seen, subject));
            }
        }
        let asked = concerned.iter().map(async |(index, hook, seen, subject)| {
            match round.ask(hook, attributes, seen, subject).await {
                Ok(_) => Ok(()),
                Err(failure) => {
                    let place = format!("validating.webhook.admission.k8s.io/round_0_index_{index}");
                    webhook::settle(hook, failure, attributes, &place)
                }
            }
        });
        // All are asked, and the first that is against it is told of.
        join_all(asked).await.into_iter().collect()
    }
}
