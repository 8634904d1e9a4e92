//! A cluster without machines: hollow nodes that run Pods by the clock, and the simulator that plays a whole cluster in
//! one thread from one seed.
//!
//! Read in this order: [`hollow`] are the nodes, [`in_process`] is the way into a server of the same process, [`link`] is
//! that way with the faults of a network; [`cluster`] puts a world together and plays it; [`log`] writes down every change
//! and [`safety`] looks at each; [`scenarios`] and [`workloads`] are what clients do meanwhile, [`steps`] what goes
//! wrong, and [`script`] reads both from a text.

pub mod hollow;

pub mod in_process;

pub mod link;

pub mod clock;

pub mod cluster;

pub mod log;

pub mod safety;

pub mod scenarios;

pub mod workloads;

pub mod steps;

pub mod script;
