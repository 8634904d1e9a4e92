//! A cluster without machines: hollow nodes that run Pods by the clock, and the simulator that plays a whole cluster in
//! one thread from one seed.

pub mod hollow;
