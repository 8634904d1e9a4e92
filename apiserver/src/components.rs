//! The parts of the control plane and whether they are well: what `componentstatuses` shows and what health checks ask.
//!
//! As upstream, the scheduler and the controller manager are asked at their own ports on this machine, without a look at
//! their certificates; those that run in this process say so and are asked directly.

mod port;
mod store;

use std::{collections::BTreeMap, fmt, sync::Arc};

use ::store::Backend;
use api_types::{kind::GroupResource, status::Status};
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::observe::health::Verdict;

pub use store::StoreProbe;

/// Where the components answer, by upstream's default ports.
const PORTS: &[(&str, u16)] = &[("controller-manager", 10257), ("scheduler", 10259)];
/// What the store is called.
const STORE: &str = "etcd-0";

/// Tells why an object is as it is: given the resource with its group, the namespace and the name, and whether to tell all.
pub type Explain = Box<dyn Fn(&str, &str, &str, bool) -> Value + Send + Sync>;

type Probe = Box<dyn Fn() -> Verdict + Send + Sync>;

/// The parts of the control plane.
pub struct Components {
    /// The store.
    pub store: Arc<StoreProbe>,
    in_process: Mutex<BTreeMap<&'static str, Probe>>,
    explain: Mutex<Option<Explain>>,
}

// === impl Components ===

impl Components {
    /// Over this store.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { store: StoreProbe::new(backend), in_process: Mutex::default(), explain: Mutex::default() }
    }

    /// Somebody in this process remembers why things were done, and answers at `/debug/why`.
    pub fn explained_by(&self, explain: Explain) {
        *self.explain.lock() = Some(explain);
    }

    /// Why an object is as it is; `None` if nobody here remembers.
    pub fn explain(&self, resource: &str, namespace: &str, name: &str, whole: bool) -> Option<Value> {
        let explain = self.explain.lock();
        explain.as_ref().map(|explain| explain(resource, namespace, name, whole))
    }

    /// A component of this name runs in this process: it is asked by this function and not at its port.
    pub fn runs_here(&self, name: &'static str, probe: impl Fn() -> Verdict + Send + Sync + 'static) {
        self.in_process.lock().insert(name, Box::new(probe));
    }

    /// How all are, sorted by name, as ComponentStatuses.
    pub async fn all(&self) -> Vec<Value> {
        let mut names: Vec<&str> = PORTS.iter().map(|(name, _)| *name).collect();
        names.push(STORE);
        names.sort_unstable();
        join_all(names.into_iter().map(|name| self.show(name))).await.into_iter().flatten().collect()
    }

    /// How one is.
    ///
    /// # Errors
    /// 404, of the kind and not of the resource, as upstream words it.
    pub async fn one(&self, name: &str) -> Result<Value, Status> {
        let not_found = || Status::not_found(&GroupResource::new("", "componentstatus"), name);
        self.show(name).await.ok_or_else(not_found)
    }

    async fn show(&self, name: &str) -> Option<Value> {
        let here = self.in_process.lock().get(name).map(|probe| probe());
        let condition = match here {
            Some(verdict) => told(verdict),
            None if name == STORE => match self.store.ask().await {
                Ok(()) => told(Ok(())),
                // A failure to ask the store is told apart from what a component says of itself.
                Err(why) => json!({"type": "Healthy", "status": "False", "error": why}),
            },
            None => {
                let (_, port) = PORTS.iter().find(|(known, _)| *known == name)?;
                match port::ask(*port).await {
                    Ok(text) => json!({"type": "Healthy", "status": "True", "message": text}),
                    Err(why) => told(Err(why)),
                }
            }
        };
        Some(json!({
            "kind": "ComponentStatus",
            "apiVersion": "v1",
            "metadata": {"name": name},
            "conditions": [condition],
        }))
    }
}

fn told(verdict: Verdict) -> Value {
    match verdict {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(why) => json!({"type": "Healthy", "status": "False", "message": why}),
    }
}

impl fmt::Debug for Components {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Components").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ::store::Memory;
    use runtime::Tasks;

    use super::*;

    fn condition(status: &Value) -> String {
        let text = |field: &str| {
            status.pointer(&format!("/conditions/0/{field}")).and_then(Value::as_str).unwrap_or_default()
        };
        format!("{} {}", text("status"), text("message"))
    }

    #[tokio::test]
    async fn components_of_this_process_are_asked_directly_and_the_store_is_read() {
        let components = Components::new(Arc::new(Memory::new(&Tasks::new())));
        components.runs_here("scheduler", || Ok(()));
        components.runs_here("controller-manager", || Err("lost its lease".to_owned()));
        let all = components.all().await;
        let shown: Vec<String> = all
            .iter()
            .map(|it| format!("{} {}", it["metadata"]["name"].as_str().unwrap_or_default(), condition(it)))
            .collect();
        assert_eq!(shown, ["controller-manager False lost its lease", "etcd-0 True ok", "scheduler True ok"]);
        let missing = components.one("nosuch").await.unwrap_err();
        assert_eq!(missing.message, "componentstatus \"nosuch\" not found");
    }
}
