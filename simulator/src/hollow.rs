//! Hollow nodes: kubelets without containers.
//!
//! To the API they are kubelets: they register a Node, renew its Lease, take Pods that are bound to them from Pending to
//! Running and Ready, end them when they are deleted or done, and give them addresses. What a Pod does, and how long it
//! takes, is data: [`stages`].
//!
//! Both loops are reconciles on the harness of the `client` crate: [`nodes`] keeps a Node and its Lease, [`pods`] moves
//! one Pod a step further.

pub mod addresses;
pub mod nodes;
pub mod pods;
pub mod stages;

use std::{collections::BTreeSet, sync::Arc};

use client::{
    Api, Key,
    controller::{Cause, Manager, Options as Workers, triggers::Inbox},
};
use parking_lot::Mutex;
use runtime::Runtime;

use self::{addresses::Addresses, nodes::HollowNodes, pods::HollowPods, stages::Stages};

/// Which nodes there are and how they behave.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many nodes.
    pub nodes: u16,
    /// What Pods do on them.
    pub stages: Stages,
    /// Which of them are not heard of.
    pub silence: Silence,
}

/// The nodes that are lost: they do nothing and are not heard of until they return. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Silence(Arc<Mutex<BTreeSet<String>>>);

/// Nodes that run.
#[derive(Clone)]
pub struct Hollow {
    /// What their looks leave.
    pub manager: Manager,
    nodes: Inbox,
    pods: Inbox,
}

/// The names of the nodes, in order.
pub fn names(count: u16) -> Vec<String> {
    (1..=count).map(|number| format!("node-{number}")).collect()
}

/// Starts the nodes; they run until the runtime's tasks are told to stop.
pub fn start(runtime: &Runtime, api: Api, options: Options) -> Hollow {
    let manager = Manager::new(runtime, api);
    let names: Vec<String> = names(options.nodes);
    let of_nodes = HollowNodes::new(names.clone(), runtime.clock.now(), options.silence.clone());
    let nodes = manager.start(of_nodes, Workers::workers(2));
    for name in &names {
        nodes.add(Key::cluster(name), Cause::Start);
    }
    let addresses = Arc::new(Addresses::default());
    let of_pods = HollowPods::new(names, options.stages, addresses, options.silence);
    let pods = manager.start(of_pods, Workers::workers(4));
    Hollow { manager, nodes, pods }
}

// === impl Silence ===

impl Silence {
    /// A node is lost.
    pub fn fall_on(&self, node: &str) {
        self.0.lock().insert(node.to_owned());
    }

    /// All nodes may be heard of again; those that were not.
    pub fn lift(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.0.lock())
    }

    /// Whether a node is lost.
    pub fn is_on(&self, node: &str) -> bool {
        self.0.lock().contains(node)
    }
}

// === impl Hollow ===

impl std::fmt::Debug for Hollow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hollow").finish_non_exhaustive()
    }
}

impl Hollow {
    /// A node that was lost looks at itself and at these Pods.
    pub fn wake(&self, node: &str, pods: impl IntoIterator<Item = Key>) {
        self.nodes.add(Key::cluster(node), Cause::Start);
        for pod in pods {
            self.pods.add(pod, Cause::Start);
        }
    }
}
