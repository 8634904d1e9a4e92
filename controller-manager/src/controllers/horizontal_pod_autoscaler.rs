//! HorizontalPodAutoscaler: as many Pods as what is measured calls for.
//!
//! Measurements cannot be watched, so every autoscaler is looked at every 15 seconds; this controller is the one that must
//! look at a clock to find work. A look [asks](ask) for the scale of the target and for what is measured, and
//! [decides](decide) from these values and from what it remembers of the last minutes; [`proposal`] says how many Pods one
//! metric calls for, [`pace`] how fast it may go there.

mod ask;
mod decide;
mod pace;
mod proposal;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use api_types::selectors::labels::Selector;
use client::{
    Api, Cache, Change, Key, Kind, Write,
    controller::{Executor, Manager, Options as Workers, Plan, Request},
    events::{Note, ObjectRef, Recorder},
    queue::Queue,
    resource::HORIZONTAL_POD_AUTOSCALERS,
};
use futures::FutureExt;
use parking_lot::Mutex;
use runtime::SharedClock;

use self::{ask::Scale, decide::View, pace::Memory};
use crate::{
    inventory::Inventory,
    kinds::{HorizontalPodAutoscaler, Pod},
    shell::{self, Look, Looks},
};

/// So often everything is measured.
const PERIOD: Duration = Duration::from_secs(15);
/// Somebody else may write the scale meanwhile; so often it is tried again.
const TRIES: usize = 5;

/// Keeps HorizontalPodAutoscalers.
struct Autoscalers {
    api: Api,
    executor: Executor,
    clock: SharedClock,
    inventory: Inventory,
    autoscalers: Cache<HorizontalPodAutoscaler>,
    pods: Cache<Pod>,
    memory: Mutex<BTreeMap<Key, Memory>>,
    /// The Pods that each autoscaler is about, as it was told when it was looked at last.
    selectors: Mutex<BTreeMap<Key, Selector>>,
}

/// Starts the controller.
pub(super) fn start(manager: &Manager, workers: Workers, inventory: &Inventory) {
    inventory.start(manager);
    let api = workers.api.unwrap_or_else(|| manager.api.clone());
    let events = Recorder::start(&manager.runtime, api.clone(), "horizontal-pod-autoscaler");
    let queue = Queue::named("horizontalpodautoscaler", &manager.metrics);
    let autoscalers = manager.caches.want::<HorizontalPodAutoscaler>();
    let pods = manager.caches.want::<Pod>();
    let inbox = queue.clone();
    autoscalers.subscribe(move |change| match change {
        Change::Modified { old, new } if old.spec == new.spec => {}
        change => inbox.add(change.object().key()),
    });
    let looks = Autoscalers {
        executor: Executor::new(api.clone(), events),
        api,
        clock: Arc::clone(&manager.runtime.clock),
        inventory: inventory.clone(),
        autoscalers: autoscalers.clone(),
        pods: pods.clone(),
        memory: Mutex::default(),
        selectors: Mutex::default(),
    };
    let inventory = inventory.clone();
    let ready = async move {
        autoscalers.synced().await;
        pods.synced().await;
        inventory.complete().await;
    };
    shell::start(manager, workers.workers, &queue, &Arc::new(looks), ready.boxed().shared());
}

// === impl Autoscalers ===

impl fmt::Debug for Autoscalers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Autoscalers").finish_non_exhaustive()
    }
}

impl Looks for Autoscalers {
    type Key = Key;
    const NAME: &'static str = "horizontal-pod-autoscaler-controller";

    async fn look(&self, key: &Key) -> Look {
        let Some(root) = self.autoscalers.get(key) else {
            self.memory.lock().remove(key);
            self.selectors.lock().remove(key);
            return Look::because(key.clone(), "the autoscaler is gone");
        };
        let plan = self.measure(&root).await;
        Look {
            execution: self.executor.execute(&plan).await,
            look_again: Some(PERIOD),
            ..Look::because(key.clone(), plan.why.to_string())
        }
    }
}

impl Autoscalers {
    /// Measures, changes the scale if it is to be changed, and says what is to be told.
    async fn measure(&self, root: &HorizontalPodAutoscaler) -> Plan {
        let key = root.key();
        let mut view = View::new(root, self.clock.now());
        let scale = match ask::scale(&self.api, &self.inventory, root).await {
            Ok(scale) => scale,
            Err(error) => return told(root, view.no_scale(&error)),
        };
        self.memory.lock().entry(key.clone()).or_default().begin(scale.wanted, view.now);
        view.scaled(&scale);
        if view.needs_measurements(&scale) {
            let namespace = &root.metadata.namespace;
            match self.selector(root, &scale) {
                Err(unfit) => view.unfit_selector(unfit),
                Ok(selector) => {
                    let pods = self.pods.select(namespace, &selector);
                    let mut samples = Vec::new();
                    for metric in &root.spec.metrics {
                        samples.push(
                            ask::sample(&self.api, &self.inventory, namespace, metric, &scale.selector).await,
                        );
                    }
                    view.measured(&scale, samples, &pods);
                }
            }
        }
        let wanted = {
            let mut all = self.memory.lock();
            view.decide(&scale, all.entry(key.clone()).or_default())
        };
        if let Some(wanted) = wanted {
            let outcome = self.rescale(root, &scale, wanted).await;
            let mut all = self.memory.lock();
            view.rescaled(&scale, wanted, outcome, all.entry(key).or_default());
        }
        told(root, view)
    }

    /// The selector of the target, unless Pods it selects are another autoscaler's too.
    fn selector(&self, root: &HorizontalPodAutoscaler, scale: &Scale) -> Result<Selector, decide::Unfit> {
        if scale.selector.is_empty() {
            return Err(decide::Unfit::Missing);
        }
        scale
            .selector
            .parse::<Selector>()
            .map_err(|error| decide::Unfit::Malformed(error.to_string()))
            .and_then(|selector| {
                let mut selectors = self.selectors.lock();
                selectors.insert(root.key(), selector.clone());
                let namespace = &root.metadata.namespace;
                let about_them = about(&self.pods.select(namespace, &selector), namespace, &selectors);
                if about_them.len() > 1 {
                    return Err(decide::Unfit::Ambiguous(scale.selector.clone(), about_them));
                }
                Ok(selector)
            })
    }

    /// Writes the scale, over whatever others write to it meanwhile.
    async fn rescale(
        &self,
        root: &HorizontalPodAutoscaler,
        scale: &Scale,
        wanted: i32,
    ) -> Result<(), String> {
        let key = Key::new(&root.metadata.namespace, &root.spec.scale_target_ref.name);
        let mut object = scale.object.clone();
        let mut tries = 0;
        loop {
            object["spec"]["replicas"] = wanted.into();
            let update = self.api.update::<serde_json::Value>(&scale.resource, &key, "scale", &object);
            match update.await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() && tries < TRIES => {
                    tries += 1;
                    object = match self.api.get_subresource(&scale.resource, &key, "scale").await {
                        Ok(object) => object,
                        Err(error) => return Err(error.to_string()),
                    };
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// The autoscalers of a namespace that are about one of these Pods.
fn about(pods: &[Arc<Pod>], namespace: &str, selectors: &BTreeMap<Key, Selector>) -> Vec<String> {
    let near = selectors.iter().filter(|(key, _)| *key.namespace == *namespace);
    let about = near.filter(|(_, selector)| pods.iter().any(|pod| selector.matches(&pod.metadata.labels)));
    about.map(|(key, _)| key.to_string()).collect()
}

/// What a look has come to, as writes.
fn told(root: &HorizontalPodAutoscaler, view: View<'_>) -> Plan {
    let View { status, notes, why, .. } = view;
    let about = ObjectRef::to(root);
    let mut plan = Plan::because(why);
    if status != root.status {
        let request = Request::status(HORIZONTAL_POD_AUTOSCALERS, root.key(), decide::to_value(&status));
        plan = plan.then(request.if_same(&root.metadata.uid));
    }
    for note in notes {
        let note: Note = note;
        plan = plan.then(Write::event(about.clone(), note));
    }
    plan
}
