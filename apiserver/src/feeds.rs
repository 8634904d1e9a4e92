//! Keeps what authorization decides from in step with the store: roles, bindings, and what runs on which node.
//!
//! Each feed is a watch like any client's, from the watch cache. A feed that is closed begins again with the whole state.

use std::{sync::Arc, time::Duration};

use store::cache::{Filter, Object, WatchEvent, WatchFrom};
use tokio::sync::oneshot;

use crate::{
    authz::{node, rbac},
    registry::catalogue::Storage,
    server::Server,
};

/// How long a feed waits before it begins again.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts all feeds and waits until each has the state as it is now.
pub(crate) async fn start(server: &Arc<Server>) {
    let mut started = Vec::new();
    for kind in rbac::Kind::ALL {
        let rbac = Arc::clone(&server.rbac);
        started.extend(feed(server, rbac::GROUP, kind.resource(), move |object, gone| {
            let namespace = object.header.namespace.as_deref().unwrap_or_default();
            rbac.update_encoded(kind, namespace, &object.header.name, (!gone).then_some(&object.bytes[..]));
        }));
    }
    for kind in node::Kind::ALL {
        let nodes = Arc::clone(&server.nodes);
        let (group, plural) = kind.resource();
        started.extend(feed(server, group, plural, move |object, gone| {
            let namespace = object.header.namespace.as_deref().unwrap_or_default();
            nodes.update_encoded(kind, namespace, &object.header.name, (!gone).then_some(&object.bytes[..]));
        }));
    }
    for ready in started {
        // A feed that ends early ends because the server stops.
        let _stopped = ready.await;
    }
}

fn feed(
    server: &Arc<Server>,
    group: &str,
    plural: &str,
    take: impl Fn(&Object, bool) + Send + Sync + 'static,
) -> Option<oneshot::Receiver<()>> {
    let served = server.registry.catalogue.find(group, "v1", plural)?;
    let storage = Arc::clone(&served.storage);
    let (ready, is_ready) = oneshot::channel();
    server.runtime.tasks.spawn("authorization feed", async move {
        let mut ready = Some(ready);
        loop {
            follow(&storage, &take, &mut ready).await;
            tokio::time::sleep(PAUSE).await;
        }
    });
    Some(is_ready)
}

async fn follow(
    storage: &Storage,
    take: &(impl Fn(&Object, bool) + Send + Sync),
    ready: &mut Option<oneshot::Sender<()>>,
) {
    let cache = storage.cache();
    cache.ready().await;
    let Ok(mut watcher) = cache.watch(WatchFrom::InitialState, Filter::prefix(&storage.prefix)) else {
        return;
    };
    while let Some(Ok(event)) = watcher.next().await {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => take(&object, false),
            WatchEvent::Deleted { object, .. } => take(&object, true),
            WatchEvent::InitialEventsEnd(_) => {
                if let Some(ready) = ready.take() {
                    // Nobody waits any more if the start was given up.
                    let _gone = ready.send(());
                }
            }
            WatchEvent::Bookmark(_) => {}
        }
    }
}
