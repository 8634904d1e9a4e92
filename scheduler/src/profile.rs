//! A profile: which plugins decide for the Pods that name it as their scheduler, in which order and with which weights.

use std::sync::Arc;

use crate::{
    plugin::{ClusterEvent, Plugin, Point},
    plugins,
    pod::Pod,
    queue::Rules,
    snapshot::Others,
};

/// The name Pods have that name none.
pub const DEFAULT_SCHEDULER_NAME: &str = "default-scheduler";

/// Which plugins decide for some Pods.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The `schedulerName` of the Pods.
    pub scheduler_name: String,
    /// How many of the nodes are looked at, in percent; of the process if none, adaptive if 0.
    pub percentage_of_nodes_to_score: Option<u32>,
    /// Who may hold Pods back.
    pub gates: Vec<Arc<dyn Plugin>>,
    /// Who orders the queue.
    pub order: Arc<dyn Plugin>,
    /// Who judges nodes.
    pub filters: Vec<Arc<dyn Plugin>>,
    /// Who is asked for a way out when no node will do.
    pub relief: Vec<Arc<dyn Plugin>>,
    /// Who compares nodes, and how much it counts.
    pub scores: Vec<(Arc<dyn Plugin>, i64)>,
    /// Who takes something for a Pod on its node.
    pub reserves: Vec<Arc<dyn Plugin>>,
    /// Who may delay or forbid a binding.
    pub permits: Vec<Arc<dyn Plugin>>,
    /// Who prepares a binding.
    pub prepares: Vec<Arc<dyn Plugin>>,
    /// Who wants to know of a binding.
    pub told: Vec<Arc<dyn Plugin>>,
}

/// All profiles of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Profiles(Arc<[Profile]>);

// === impl Profile ===

impl Default for Profile {
    fn default() -> Self {
        let all = plugins::all();
        let at = |point: Point| {
            all.iter().filter(move |plugin| plugin.points().contains(&point)).cloned().collect::<Vec<_>>()
        };
        Self {
            scheduler_name: DEFAULT_SCHEDULER_NAME.to_owned(),
            percentage_of_nodes_to_score: None,
            gates: at(Point::PreEnqueue),
            order: Arc::new(plugins::priority_sort::PrioritySort),
            filters: at(Point::Filter),
            relief: at(Point::PostFilter),
            reserves: at(Point::Reserve),
            permits: at(Point::Permit),
            prepares: at(Point::PreBind),
            told: at(Point::PostBind),
            scores: at(Point::Score)
                .into_iter()
                .map(|plugin| (Arc::clone(&plugin), plugin.weight()))
                .collect(),
        }
    }
}

// === impl Profiles ===

impl Default for Profiles {
    fn default() -> Self {
        Self::new(vec![Profile::default()])
    }
}

impl Profiles {
    /// These profiles; their names must differ, and they must order the queue alike.
    pub fn new(profiles: Vec<Profile>) -> Self {
        Self(profiles.into())
    }

    /// The profile for a Pod; none if another scheduler is responsible.
    pub fn of(&self, pod: &Pod) -> Option<&Profile> {
        self.0.iter().find(|profile| *profile.scheduler_name == *pod.scheduler_name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.iter()
    }
}

impl Rules for Profiles {
    fn gate(&self, pod: &Pod, others: &Others) -> Option<&'static str> {
        let gates = &self.of(pod)?.gates;
        gates.iter().find(|plugin| plugin.gate(pod, others).is_some()).map(|plugin| plugin.name())
    }

    fn urgency(&self, pod: &Pod) -> i64 {
        self.of(pod).map_or(0, |profile| profile.order.urgency(pod))
    }

    fn may_help(&self, plugin: &str, pod: &Pod, event: &ClusterEvent) -> bool {
        let Some(profile) = self.of(pod) else { return true };
        let mut known =
            profile.gates.iter().chain(&profile.filters).chain(&profile.reserves).chain(&profile.permits);
        let known = known.find(|known| known.name() == plugin);
        known.is_none_or(|plugin| plugin.may_help(pod, event))
    }
}
