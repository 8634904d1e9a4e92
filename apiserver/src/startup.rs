//! Carries out what `bootstrap` says: at start-up all of it, later, again and again, what must not be missing.

use std::{sync::Arc, time::Duration};

use api_types::{object::ObjectExt, status::Status};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    bootstrap::{Cluster, Item, Step, items},
    registry::{
        Call, delete,
        strategy::{Part, group_version},
        update::Plan,
        warnings::Warnings,
    },
    server::Server,
    tls::files,
};

/// How many objects are written at a time: a durable store commits them together.
const AT_A_TIME: usize = 32;
/// How often an object is tried that somebody else writes too.
const ATTEMPTS: usize = 5;
/// How long what must not be missing may be.
const INTERVAL: Duration = Duration::from_secs(60);

/// Makes the cluster's own objects what they should be, and goes on doing so.
///
/// # Errors
/// Trouble with the store, or an object of ours that is refused.
pub(crate) async fn start(server: &Arc<Server>) -> Result<(), Status> {
    carry_out(server, |_| true).await?;
    let weak = Arc::downgrade(server);
    server.runtime.tasks.spawn("bootstrap objects", async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(server) = weak.upgrade() else { return };
            if let Err(error) = carry_out(&server, |item| item.recurring).await {
                tracing::warn!(%error, "cannot see to an object of the cluster");
            }
        }
    });
    Ok(())
}

async fn carry_out(server: &Arc<Server>, which: impl Fn(&Item) -> bool) -> Result<(), Status> {
    let catalogue = &server.registry.catalogue;
    let mut versions: Vec<_> = catalogue.all().iter().map(|it| group_version(&it.names())).collect();
    versions.dedup();
    let authorities = server.identity.authenticator.client_authorities.as_ref();
    let authorities: Option<String> =
        authorities.map(|them| them.certificates().iter().map(files::to_pem).collect());
    let cluster = Cluster {
        service_ranges: &server.config.service_cidrs,
        address: Some(server.config.advertise.ip()),
        port: server.config.advertise.port(),
        node_port: 0,
        versions: &versions,
        client_authorities: authorities.as_deref(),
        front_proxy: server.identity.authenticator.outside.front_proxy.as_deref(),
        now: server.runtime.clock.now(),
    };
    let mut items = items(&cluster).into_iter().filter(which).peekable();
    // Objects of one kind at once, kinds in their order: there must be namespaces before there is anything in them.
    while let Some(first) = items.next() {
        let resource = first.resource;
        let mut same = vec![first];
        while let Some(item) = items.next_if(|item| item.resource == resource) {
            same.push(item);
        }
        stream::iter(same)
            .map(|item| async move { see_to(server, &item).await })
            .buffer_unordered(AT_A_TIME)
            .try_collect::<()>()
            .await?;
    }
    Ok(())
}

async fn see_to(server: &Server, item: &Item) -> Result<(), Status> {
    let mut attempt = 1;
    loop {
        match try_to(server, item).await {
            // Another server is at the same.
            Err(status) if attempt < ATTEMPTS && (status.is("AlreadyExists") || status.is("Conflict")) => {
                attempt += 1;
            }
            result => return result,
        }
    }
}

async fn try_to(server: &Server, item: &Item) -> Result<(), Status> {
    let Some(call) = call(server, item) else { return Ok(()) };
    let registry = &server.registry;
    let existing = match registry.current(&call).await {
        Ok(current) => Some(call.served.serve(current.object)),
        Err(status) if status.is("NotFound") => None,
        Err(status) => return Err(status),
    };
    let create = async |object: Value| {
        let object = call.served.resource.default(object).map_err(Status::internal)?;
        registry.create(&Call { name: String::new(), ..call.clone() }, object).await?;
        write_status(server, item, &call).await
    };
    match item.step(existing.as_ref()) {
        Step::Keep => Ok(()),
        Step::Create(object) => create(object).await,
        Step::Update(object) => {
            let object = call.served.resource.default(object).map_err(Status::internal)?;
            registry.update(&call, plan(Part::Main), &|_| Ok(object.clone())).await.map(drop)
        }
        Step::Recreate(object) => {
            let uid = existing.map(|it| it.uid().to_owned());
            registry.delete(&call, &delete::Options { uid, ..delete::Options::default() }).await?;
            create(object).await
        }
    }
}

/// A create leaves the status out, as it does for everybody.
async fn write_status(server: &Server, item: &Item, call: &Call) -> Result<(), Status> {
    let Some(status) = &item.status else { return Ok(()) };
    let call =
        Call { subresource: "status".to_owned(), manager: item.status_manager.to_owned(), ..call.clone() };
    let change = |old: Option<&Value>| {
        let mut object = old.cloned().unwrap_or_default();
        api_types::object::object_of(&mut object).insert("status".to_owned(), status.clone());
        Ok(object)
    };
    server.registry.update(&call, plan(Part::Status), &change).await.map(drop)
}

fn plan(part: Part) -> Plan {
    Plan::of(part)
}

/// `None` for kinds that are not served.
fn call(server: &Server, item: &Item) -> Option<Call> {
    Some(Call {
        served: server.registry.catalogue.find(&item.version.group, &item.version.version, item.resource)?,
        namespace: item.object.namespace().to_owned(),
        name: item.object.name().to_owned(),
        subresource: String::new(),
        user: User::new("system:apiserver", &[MASTERS, AUTHENTICATED]),
        now: server.runtime.clock.now(),
        dry_run: false,
        manager: item.manager.to_owned(),
        options: Value::Null,
        warnings: Warnings::default(),
        answers: crate::custom::ownership::Answers::default(),
        audit: crate::audit::Record::default(),
    })
}
