//! The kinds of `autoscaling`.

pub mod conversion;
pub(crate) mod horizontalpodautoscalers;
pub(crate) mod horizontalpodautoscalers_v1;
