//! The kinds of `autoscaling`.

pub(crate) mod horizontalpodautoscalers;
pub(crate) mod horizontalpodautoscalers_v1;
