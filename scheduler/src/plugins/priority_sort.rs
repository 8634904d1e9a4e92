//! `PrioritySort`: more important Pods go first.

use crate::{
    plugin::{Plugin, Point},
    pod::Pod,
};

/// Orders the queue.
#[derive(Debug)]
pub struct PrioritySort;

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        "PrioritySort"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::QueueSort]
    }

    fn urgency(&self, pod: &Pod) -> i64 {
        pod.priority.into()
    }
}
