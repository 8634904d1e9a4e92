//! How many watches there are of what: those who write make work for those who watch.
//!
//! Watches are alike if they are of the same resource, namespace and name. Watches of Pods that are of one node only are
//! left out: a Pod is told to one of them.

use std::{collections::BTreeMap, sync::Arc};

use api_types::selectors::fields;
use parking_lot::Mutex;

use crate::http::{info::RequestInfo, query::Query};

/// Resource, group.
type Kind = (String, String);

/// All watches.
#[derive(Debug, Default)]
pub struct Watches(Mutex<BTreeMap<Kind, Counts>>);

/// Those of one resource.
#[derive(Debug, Default)]
struct Counts {
    all: u32,
    /// By namespace and name, either may be empty.
    some: BTreeMap<String, BTreeMap<String, u32>>,
}

/// A watch that goes on; forgotten when dropped.
#[derive(Debug)]
pub struct Watching {
    watches: Arc<Watches>,
    kind: Kind,
    namespace: String,
    name: String,
}

// === impl Watches ===

impl Watches {
    /// One more watch, unless it is of a kind that is not counted.
    pub fn begin(self: &Arc<Self>, info: &RequestInfo, query: &Query) -> Option<Watching> {
        let one_node = || {
            let selector = fields::Selector::parse(query.get("fieldSelector")?).ok()?;
            selector.exact("spec.nodeName").map(|node| !node.is_empty())
        };
        if info.resource == "pods" && one_node() == Some(true) {
            return None;
        }
        let watching = Watching {
            watches: Arc::clone(self),
            kind: (info.resource.clone(), info.group.clone()),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
        };
        watching.count(|count| *count += 1);
        Some(watching)
    }

    /// How many hear of what a request writes.
    pub fn interested(&self, info: &RequestInfo) -> u32 {
        let kinds = self.0.lock();
        // Few kinds are watched, and comparing needs no copy of the names.
        let found =
            kinds.iter().find(|((resource, group), _)| *resource == info.resource && *group == info.group);
        let Some((_, counts)) = found else { return 0 };
        let of = |name: &str| {
            counts.some.get(&info.namespace).and_then(|names| names.get(name)).copied().unwrap_or_default()
        };
        let in_namespace = if info.namespace.is_empty() { 0 } else { of("") };
        let of_object = if info.name.is_empty() { 0 } else { of(&info.name) };
        counts.all + in_namespace + of_object
    }
}

// === impl Watching ===

impl Watching {
    fn count(&self, change: impl FnOnce(&mut u32)) {
        let mut kinds = self.watches.0.lock();
        let counts = kinds.entry(self.kind.clone()).or_default();
        if self.namespace.is_empty() && self.name.is_empty() {
            change(&mut counts.all);
        } else {
            let names = counts.some.entry(self.namespace.clone()).or_default();
            let count = names.entry(self.name.clone()).or_default();
            change(count);
            if *count == 0 {
                names.remove(&self.name);
            }
            if names.is_empty() {
                counts.some.remove(&self.namespace);
            }
        }
        if counts.all == 0 && counts.some.is_empty() {
            kinds.remove(&self.kind);
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.count(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::http::info;

    fn request(method: Method, url: &str) -> (RequestInfo, Query) {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let query = Query::parse(query);
        (info::resolve(&method, path, &query).unwrap(), query)
    }

    #[test]
    fn a_write_is_told_to_watches_of_all_of_its_namespace_and_of_itself() {
        let watches = Arc::new(Watches::default());
        let begin = |url| {
            let (info, query) = request(Method::GET, url);
            watches.begin(&info, &query)
        };
        let all: Vec<_> = [
            "/api/v1/pods?watch=1",
            "/api/v1/namespaces/a/pods?watch=1",
            "/api/v1/namespaces/a/pods?watch=1&fieldSelector=metadata.name%3Dx",
            "/api/v1/namespaces/b/pods?watch=1",
            "/api/v1/nodes?watch=1",
            "/api/v1/nodes?watch=1&fieldSelector=metadata.name%3Dn",
            "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn",
        ]
        .into_iter()
        .map(begin)
        .collect();
        let told = |url| watches.interested(&request(Method::PUT, url).0);
        assert_eq!(told("/api/v1/namespaces/a/pods/x"), 3);
        assert_eq!(told("/api/v1/namespaces/a/pods/y"), 2);
        assert_eq!(told("/api/v1/namespaces/c/pods/x"), 1);
        assert_eq!(told("/api/v1/nodes/n"), 2);
        assert_eq!(told("/apis/apps/v1/namespaces/a/deployments/x"), 0);
        drop(all);
        assert_eq!(told("/api/v1/namespaces/a/pods/x"), 0);
        assert!(watches.0.lock().is_empty());
    }
}
