//! The kinds of `autoscaling`.

pub(super) mod conversion;
pub(crate) mod horizontalpodautoscalers;
pub(crate) mod horizontalpodautoscalers_v1;
