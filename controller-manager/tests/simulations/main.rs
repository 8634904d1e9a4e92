//! Controllers and a cluster in memory, with time paused: what must hold at every moment, and what must come about in the
//! end, whatever goes wrong between.

mod jobs;
mod others;
mod rollouts;
mod world;
