//! Keeps priority and fairness in step with what is stored, deals seats anew every ten seconds, and says of each flow
//! schema whether its level is there.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use api_types::{object::object_of, status::Status};
use serde_json::{Value, json};
use store::cache::{Filter, WatchFrom};
use tokio::{sync::Notify, time::Instant};

use super::{
    Gate,
    configuration::{Configuration, Untold},
    dispatcher::{Fairness, PERIOD},
};
use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    registry::{Call, strategy::Part, update::Plan, warnings::Warnings},
    server::Server,
};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const WATCHED: [&str; 2] = ["flowschemas", "prioritylevelconfigurations"];
/// Who has written the status of flow schemas.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
/// How long a watch that ended, or an attempt that failed, waits before the next.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the status of one schema may be written in [`WINDOW`]: servers that disagree must not write for ever.
const WRITES_MAX: usize = 6;
const WINDOW: Duration = Duration::from_secs(60);

/// Reads the configuration and follows it from now on.
pub(crate) async fn start(server: &Arc<Server>) {
    let Gate::Fair(fairness) = &server.gate else { return };
    let changed = Arc::new(Notify::new());
    for plural in WATCHED {
        let Some(served) = server.registry.catalogue.find(GROUP, "v1", plural) else { continue };
        let (storage, changed) = (Arc::clone(&served.storage), Arc::clone(&changed));
        server.runtime.tasks.spawn("flow control configuration", async move {
            loop {
                let cache = storage.cache();
                cache.ready().await;
                if let Ok(mut watcher) = cache.watch(WatchFrom::Now, Filter::prefix(&storage.prefix)) {
                    // What was missed before it began is looked at too.
                    changed.notify_one();
                    while let Some(Ok(_)) = watcher.next().await {
                        changed.notify_one();
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    let (dealing, stopping) = (Arc::clone(fairness), server.runtime.tasks.stopping());
    server.runtime.tasks.spawn("seats of priority levels", async move {
        while !stopping.is_cancelled() {
            tokio::time::sleep(PERIOD).await;
            dealing.rebalance();
        }
    });
    let mut writes = BTreeMap::new();
    // Later, when the watches have begun, all is looked at again.
    let _again = digest(server, fairness, &mut writes).await;
    let (weak, fairness) = (Arc::downgrade(server), Arc::clone(fairness));
    server.runtime.tasks.spawn("flow control digest", async move {
        loop {
            changed.notified().await;
            let Some(server) = weak.upgrade() else { return };
            match digest(&server, &fairness, &mut writes).await {
                Ok(None) => {}
                Ok(Some(later)) => {
                    drop(server);
                    tokio::select! {
                        biased;
                        () = changed.notified() => {}
                        () = tokio::time::sleep(later) => {}
                    }
                    changed.notify_one();
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot follow flow schemas and priority levels");
                    drop(server);
                    tokio::time::sleep(PAUSE).await;
                    changed.notify_one();
                }
            }
        }
    });
}

/// Reads all and goes by it. Says after what time there is more to write.
async fn digest(
    server: &Arc<Server>,
    fairness: &Fairness,
    writes: &mut BTreeMap<String, VecDeque<Instant>>,
) -> Result<Option<Duration>, Status> {
    let [schemas, levels] = WATCHED;
    let schemas = server.list(GROUP, "v1", schemas, "").await?;
    let levels = server.list(GROUP, "v1", levels, "").await?;
    let mut configuration =
        Configuration::new(schemas.iter().map(AsRef::as_ref), levels.iter().map(AsRef::as_ref));
    let untold = std::mem::take(&mut configuration.untold);
    fairness.adopt(configuration);
    let now = Instant::now();
    writes.retain(|_, times| {
        times.retain(|at| now.saturating_duration_since(*at) < WINDOW);
        !times.is_empty()
    });
    let mut later = None;
    for schema in untold {
        let times = writes.entry(schema.name.clone()).or_default();
        if times.len() >= WRITES_MAX {
            later = Some(WINDOW / 2);
            continue;
        }
        times.push_back(now);
        tell(server, &schema).await?;
    }
    Ok(later)
}

/// Writes the condition of a schema.
async fn tell(server: &Server, schema: &Untold) -> Result<(), Status> {
    let Some(served) = server.registry.catalogue.find(GROUP, "v1", "flowschemas") else { return Ok(()) };
    let now = server.runtime.clock.now();
    let call = Call {
        served,
        namespace: String::new(),
        name: schema.name.clone(),
        subresource: "status".to_owned(),
        user: User::new("system:apiserver", &[MASTERS, AUTHENTICATED]),
        now,
        dry_run: false,
        manager: MANAGER.to_owned(),
        options: Value::Null,
        warnings: Warnings::default(),
        answers: crate::custom::ownership::Answers::default(),
        audit: crate::audit::record::Record::default(),
    };
    let plan = Plan::of(Part::Status);
    let (status, reason, message) = &schema.condition;
    let change = |old: Option<&Value>| {
        let mut object = old.cloned().unwrap_or_default();
        let others =
            object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let is_ours = |it: &Value| it.get("type").and_then(Value::as_str) == Some("Dangling");
        let mut conditions: Vec<Value> = others.into_iter().filter(|it| !is_ours(it)).collect();
        conditions.push(json!({"type": "Dangling", "status": status,
            "lastTransitionTime": crate::registry::time(now), "reason": reason, "message": message}));
        object_of(&mut object).insert("status".to_owned(), json!({"conditions": conditions}));
        Ok(object)
    };
    match server.registry.update(&call, plan, &change).await {
        // It is gone: there is nothing to tell.
        Err(status) if status.is("NotFound") => Ok(()),
        result => result.map(drop),
    }
}
