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

use std::sync::Arc;

use client::{
    Api, Key,
    controller::{Cause, Manager, Options as Workers},
};
use runtime::Runtime;

use self::{addresses::Addresses, nodes::HollowNodes, pods::HollowPods, stages::Stages};

/// Which nodes there are and how they behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes.
    pub nodes: u16,
    /// What Pods do on them.
    pub stages: Stages,
}

/// The names of the nodes, in order.
pub fn names(count: u16) -> Vec<String> {
    (1..=count).map(|number| format!("node-{number}")).collect()
}

/// Starts the nodes; they run until the runtime's tasks are told to stop.
pub fn start(runtime: &Runtime, api: Api, options: Options) -> Manager {
    let manager = Manager::new(runtime, api);
    let names: Vec<String> = names(options.nodes);
    let nodes = manager.start(HollowNodes::new(names.clone(), runtime.clock.now()), Workers::workers(2));
    for name in &names {
        nodes.add(Key::cluster(name), Cause::Start);
    }
    let addresses = Arc::new(Addresses::default());
    manager.start(HollowPods::new(names, options.stages, addresses), Workers::workers(4));
    manager
}
