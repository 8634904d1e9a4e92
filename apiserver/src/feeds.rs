//! Keeps what authorization decides from in step with the store: roles, bindings, and what runs on which node.
//!
//! Each feed is a watch like any client's, from the watch cache. A feed that is closed begins again with the whole state.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use store::cache::{Filter, Object, WatchEvent, WatchFrom};
use tokio::sync::oneshot;

use crate::{
    authz::{node, rbac},
    registry::catalogue::Storage,
    server::Server,
};

/// How long a feed waits before it begins again.
const PAUSE: Duration = Duration::from_millis(200);

/// What a feed brings.
enum News<'a> {
    /// An object, and its bytes if it is still there.
    Object(&'a Object, Option<&'a [u8]>),
    /// Namespaces and names of all that are there. A feed that begins again does not see what went away meanwhile, and
    /// what went away must not go on granting anything.
    All(&'a BTreeSet<(String, String)>),
}

fn namespace(object: &Object) -> &str {
    object.header.namespace.as_deref().unwrap_or_default()
}

/// Starts all feeds and waits until each has the state as it is now.
pub(crate) async fn start(server: &Arc<Server>) {
    let mut started = Vec::new();
    for kind in rbac::Kind::ALL {
        let rbac = Arc::clone(&server.rbac);
        started.extend(feed(server, rbac::GROUP, kind.resource(), move |news| match news {
            News::Object(object, bytes) => {
                rbac.update_encoded(kind, namespace(object), &object.header.name, bytes);
            }
            News::All(known) => rbac.keep_only(kind, known),
        }));
    }
    for kind in node::Kind::ALL {
        let nodes = Arc::clone(&server.nodes);
        let (group, plural) = kind.resource();
        started.extend(feed(server, group, plural, move |news| match news {
            News::Object(object, bytes) => {
                nodes.update_encoded(kind, namespace(object), &object.header.name, bytes);
            }
            News::All(known) => nodes.keep_only(kind, known),
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
    take: impl Fn(News<'_>) + Send + Sync + 'static,
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
    take: &(impl Fn(News<'_>) + Send + Sync),
    ready: &mut Option<oneshot::Sender<()>>,
) {
    let cache = storage.cache();
    cache.ready().await;
    let Ok(mut watcher) = cache.watch(WatchFrom::InitialState, Filter::prefix(&storage.prefix)) else {
        return;
    };
    // What there is at the beginning, until all of it was seen.
    let mut known = Some(BTreeSet::new());
    while let Some(Ok(event)) = watcher.next().await {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                if let Some(known) = &mut known {
                    known.insert((namespace(&object).to_owned(), object.header.name.to_string()));
                }
                take(News::Object(&object, Some(&object.bytes)));
            }
            WatchEvent::Deleted { object, .. } => take(News::Object(&object, None)),
            WatchEvent::InitialEventsEnd(_) => {
                if let Some(known) = known.take() {
                    take(News::All(&known));
                }
                if let Some(ready) = ready.take() {
                    // Nobody waits any more if the start was given up.
                    let _gone = ready.send(());
                }
            }
            WatchEvent::Bookmark(_) => {}
        }
    }
}
