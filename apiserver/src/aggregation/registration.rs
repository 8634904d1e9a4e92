//! APIServices of custom resources: made with the first definition that serves a group and version, taken away with the last.
//!
//! They bear the label `kube-aggregator.kubernetes.io/automanaged: "true"`, and their spec is ours. What does not bear it is
//! somebody else's. Those of built-in groups are made at the start (`bootstrap/services.rs`).

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use api_types::{
    kind::GroupVersion,
    object::{ObjectExt, object_of},
    status::Status,
};
use parking_lot::Mutex;
use runtime::Signal;
use serde_json::Value;

use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    bootstrap::custom_api_service,
    registry::{Call, delete, strategy::Part, update::Plan, warnings::Warnings},
    server::Server,
};

const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The APIServices that may have to be made or taken away.
#[derive(Debug, Default)]
pub(super) struct Registration {
    /// Names. As many as there are groups and versions at the most.
    queue: Mutex<BTreeSet<String>>,
    queued: Signal<u64>,
}

/// What to do about an APIService.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Keep,
    Create,
    Update,
    Delete,
}

impl Registration {
    pub(super) fn look_at(&self, names: impl IntoIterator<Item = String>) {
        let mut queue = self.queue.lock();
        let before = queue.len();
        queue.extend(names);
        let grew = queue.len() > before;
        drop(queue);
        if grew {
            self.queued.update(|queued| *queued += 1);
        }
    }
}

/// Begins with what was seen so far.
pub(super) fn start(server: &Arc<Server>) {
    server.runtime.tasks.spawn("APIServices of custom resources", work(Arc::downgrade(server)));
}

async fn work(weak: Weak<Server>) {
    let Some(aggregation) = weak.upgrade().map(|server| Arc::clone(&server.aggregation)) else { return };
    let registration = &aggregation.registration;
    loop {
        let seen = registration.queued.get();
        let next = registration.queue.lock().pop_first();
        let Some(name) = next else {
            registration.queued.wait(|queued| *queued != seen).await;
            continue;
        };
        let Some(server) = weak.upgrade() else { return };
        if let Err(error) = see_to(&server, &name).await {
            tracing::warn!(service = name, %error, "cannot see to an APIService");
            let (weak, name) = (Weak::clone(&weak), name);
            server.runtime.tasks.spawn("APIService again", async move {
                tokio::time::sleep(AGAIN).await;
                if let Some(server) = weak.upgrade() {
                    server.aggregation.registration.look_at([name]);
                }
            });
        }
    }
}

async fn see_to(server: &Arc<Server>, name: &str) -> Result<(), Status> {
    let Some((version, group)) = name.split_once('.').filter(|(_, group)| !group.is_empty()) else {
        return Ok(());
    };
    if server.documents.is_built_in(group, version) {
        return Ok(());
    }
    let wanted = server
        .definitions
        .serve(group, version)
        .then(|| custom_api_service(&GroupVersion::new(group, version)));
    let there = server.try_get(super::GROUP, "v1", super::PLURAL, "", name).await?;
    let step = step(there.as_deref(), wanted.as_ref());
    let Some(served) = server.registry.catalogue.find(super::GROUP, "v1", super::PLURAL) else {
        return Ok(());
    };
    let call = Call {
        served,
        namespace: String::new(),
        name: name.to_owned(),
        subresource: String::new(),
        user: User::new("system:apiserver", &[MASTERS, AUTHENTICATED]),
        now: server.runtime.clock.now(),
        dry_run: false,
        manager: "kube-apiserver".to_owned(),
        options: Value::Null,
        warnings: Warnings::default(),
        answers: crate::custom::ownership::Answers::default(),
        audit: crate::audit::Record::default(),
    };
    let registry = &server.registry;
    let result = match (step, wanted) {
        (Step::Create, Some(wanted)) => {
            let object = call.served.resource.default(wanted).map_err(Status::internal)?;
            registry.create(&Call { name: String::new(), ..call }, object).await.map(drop)
        }
        (Step::Update, Some(wanted)) => {
            let plan = Plan::of(Part::Main);
            let change = |old: Option<&Value>| {
                let mut object = old.cloned().unwrap_or_default();
                let spec = wanted.get("spec").cloned().unwrap_or_default();
                object_of(&mut object).insert("spec".to_owned(), spec);
                Ok(object)
            };
            registry.update(&call, plan, &change).await.map(drop)
        }
        (Step::Delete, _) => {
            let uid = there.map(|it| it.uid().to_owned());
            registry.delete(&call, &delete::Options { uid, ..delete::Options::default() }).await.map(drop)
        }
        _ => Ok(()),
    };
    match result {
        // Another server was faster.
        Err(status) if ["AlreadyExists", "NotFound", "Conflict"].iter().any(|it| status.is(it)) => Ok(()),
        result => result,
    }
}

/// What to do, given what is there and what should be.
fn step(there: Option<&Value>, wanted: Option<&Value>) -> Step {
    match (there, wanted) {
        (None, None) => Step::Keep,
        (None, Some(_)) => Step::Create,
        (Some(there), _) if there.label(AUTOMANAGED) != Some("true") => Step::Keep,
        (Some(_), None) => Step::Delete,
        (Some(there), Some(wanted)) if there.get("spec") == wanted.get("spec") => Step::Keep,
        (Some(_), Some(_)) => Step::Update,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_bears_our_mark_is_ours() {
        let wanted = custom_api_service(&GroupVersion::new("acme.com", "v1"));
        let mut other = wanted.clone();
        other["spec"]["versionPriority"] = json!(7);
        let mut unmarked = other.clone();
        unmarked["metadata"]["labels"] = json!({AUTOMANAGED: "onstart"});
        for (there, desired, expected) in [
            (None, None, Step::Keep),
            (None, Some(&wanted), Step::Create),
            (Some(&wanted), Some(&wanted), Step::Keep),
            (Some(&other), Some(&wanted), Step::Update),
            (Some(&wanted), None, Step::Delete),
            (Some(&unmarked), Some(&wanted), Step::Keep),
            (Some(&unmarked), None, Step::Keep),
        ] {
            assert_eq!(step(there, desired), expected);
        }
    }
}
