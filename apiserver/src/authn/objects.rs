//! How authentication looks at the objects that credentials depend on.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::Value;

use api_types::status::Status;

/// Finds objects of the core group: service accounts, secrets, pods, nodes.
pub trait Objects: Send + Sync {
    /// The object as it is now, `None` if there is none. `resource` is the plural name, `namespace` is empty for nodes.
    ///
    /// # Errors
    /// What kept us from looking: then the credential is not accepted, and not refused for good either.
    fn get<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Value>>, Status>>;

    /// Notes on the Secret with this uid that its token was used on a day, as `2026-01-31`. Best effort: whoever has a good
    /// token is let in all the same.
    fn note_used<'a>(
        &'a self,
        namespace: &'a str,
        secret: &'a str,
        uid: &'a str,
        day: &'a str,
    ) -> BoxFuture<'a, ()>;
}

/// A set of objects that stand still, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct FixedObjects(
    pub(crate) std::collections::BTreeMap<String, Value>,
    /// What was noted, as `namespace/secret day`.
    pub(crate) parking_lot::Mutex<Vec<String>>,
);

#[cfg(test)]
impl FixedObjects {
    /// Objects by `resource/namespace/name`.
    pub(crate) fn new<const N: usize>(objects: [(&str, Value); N]) -> Self {
        Self(
            objects.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            parking_lot::Mutex::default(),
        )
    }
}

#[cfg(test)]
impl Objects for FixedObjects {
    fn get<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Value>>, Status>> {
        Box::pin(
            async move { Ok(self.0.get(&format!("{resource}/{namespace}/{name}")).cloned().map(Arc::new)) },
        )
    }

    fn note_used<'a>(
        &'a self,
        namespace: &'a str,
        secret: &'a str,
        _uid: &'a str,
        day: &'a str,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.1.lock().push(format!("{namespace}/{secret} {day}")) })
    }
}
