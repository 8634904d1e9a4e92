//! What a look comes to: how many Pods there shall be, and what is told of it.
//!
//! Invariant: no I/O. What was asked for comes as values, what is remembered as a [`Memory`].

use std::sync::Arc;

use api_types::quantity::{Format, Quantity};
use client::{events::Note, meta::time};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    ask::{Sample, Scale},
    pace::{Memory, Range},
    proposal::{self, Ground, Proposal, Tolerance},
};
use crate::{
    conditions::{self, Condition},
    kinds::{
        HorizontalPodAutoscaler, Pod,
        horizontal_pod_autoscaler::{AutoscalerStatus, Metric, Source},
    },
};

/// A difference of so much is none, unless somebody says otherwise.
const TOLERANCE: f64 = 0.1;

/// Why the selector of a target is of no use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    Missing,
    Malformed(String),
    /// The selector, and the autoscalers whose Pods it selects.
    Ambiguous(String, Vec<String>),
}

/// A look.
#[derive(Debug)]
pub(super) struct View<'a> {
    root: &'a HorizontalPodAutoscaler,
    pub(super) now: Timestamp,
    /// As the look has changed it so far.
    pub(super) status: AutoscalerStatus,
    pub(super) notes: Vec<Note>,
    pub(super) why: String,
    /// What the metrics call for, and which of them for the most; `None` if none could be measured.
    called_for: Option<(i32, String)>,
    told: Vec<Value>,
    reason: String,
    failed: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(root: &'a HorizontalPodAutoscaler, now: Timestamp) -> Self {
        // Times are told to the second.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Self {
            root,
            now,
            status: root.status.clone(),
            notes: Vec::new(),
            why: "as many Pods as what is measured calls for".to_owned(),
            called_for: None,
            told: Vec::new(),
            reason: String::new(),
            failed: false,
        }
    }

    fn min(&self) -> i32 {
        self.root.spec.min_replicas.unwrap_or(1)
    }

    fn warn(&mut self, reason: &'static str, message: String) {
        self.notes.push(Note::warning(reason, message));
    }

    fn condition(
        &mut self,
        which: &'static str,
        status: &'static str,
        reason: impl Into<std::borrow::Cow<'static, str>>,
        message: impl Into<String>,
    ) {
        let new = Condition::new(which, status, reason, message, self.now);
        match self.status.conditions.iter_mut().find(|it| it.r#type == which) {
            Some(old) => {
                let since = if old.status == new.status { old.last_transition_time } else { Some(self.now) };
                *old = Condition { last_transition_time: since, ..new };
            }
            None => self.status.conditions.push(new),
        }
    }

    /// The scale of the target cannot be told.
    pub(super) fn no_scale(mut self, error: &str) -> Self {
        self.warn("FailedGetScale", error.to_owned());
        let message = format!("the HPA controller was unable to get the target's current scale: {error}");
        self.condition("AbleToScale", "False", "FailedGetScale", message);
        self.why = "the scale of the target cannot be told".to_owned();
        self
    }

    /// The scale of the target is known.
    pub(super) fn scaled(&mut self, scale: &Scale) {
        let message = "the HPA controller was able to get the target's current scale";
        self.condition("AbleToScale", "True", "SucceededGetScale", message);
        self.status.current_replicas = scale.wanted;
    }

    /// Whether it depends on what is measured how many Pods there shall be.
    pub(super) fn needs_measurements(&self, scale: &Scale) -> bool {
        scale.wanted != 0 && (self.min()..=self.root.spec.max_replicas).contains(&scale.wanted)
    }

    /// Nothing can be measured, since nobody knows which Pods are the target's.
    pub(super) fn unfit_selector(&mut self, unfit: Unfit) {
        let (event, reason, error, message) = match unfit {
            Unfit::Missing => (
                "SelectorRequired",
                "InvalidSelector",
                "selector is required".to_owned(),
                "the HPA target's scale is missing a selector".to_owned(),
            ),
            Unfit::Malformed(error) => {
                let error = format!(
                    "couldn't convert selector into a corresponding internal selector object: {error}"
                );
                ("InvalidSelector", "InvalidSelector", error.clone(), error)
            }
            Unfit::Ambiguous(selector, rivals) => {
                let error = format!(
                    "pods by selector {selector} are controlled by multiple HPAs: [{}]",
                    rivals.join(" ")
                );
                ("AmbiguousSelector", "AmbiguousSelector", error.clone(), error)
            }
        };
        self.warn(event, error.clone());
        self.condition("ScalingActive", "False", reason, message);
        self.fail(error);
    }

    fn fail(&mut self, error: String) {
        self.failed = true;
        self.warn("FailedComputeMetricsReplicas", error);
        self.why = "nobody can tell how many Pods there shall be".to_owned();
    }

    /// What was measured of each metric, in their order.
    pub(super) fn measured(
        &mut self,
        scale: &Scale,
        samples: Vec<Result<Sample, String>>,
        pods: &[Arc<Pod>],
    ) {
        let metrics = &self.root.spec.metrics;
        let mut most: Option<(i32, String)> = None;
        let mut first_failure: Option<(&'static str, String, String)> = None;
        let mut failures = 0;
        for (metric, sample) in metrics.iter().zip(samples) {
            let proposed = sample.and_then(|sample| self.propose(metric, scale, sample, pods));
            match (proposed, metric.source()) {
                (Ok(proposal), Some(source)) => {
                    self.told.push(tell(metric, source, &proposal));
                    if most
                        .as_ref()
                        .is_none_or(|(replicas, _)| *replicas == 0 || proposal.replicas > *replicas)
                    {
                        most = Some((proposal.replicas, name(metric, source)));
                    }
                }
                (outcome, _) => {
                    let error = outcome.err().unwrap_or_default();
                    let (reason, detail, whole) = explain(metric, &error);
                    self.warn(reason, detail.clone());
                    self.told.push(json!({"type": ""}));
                    failures += 1;
                    first_failure.get_or_insert((reason, detail, whole));
                }
            }
        }
        let shrinks = most.as_ref().is_none_or(|(replicas, _)| *replicas < scale.wanted);
        if let Some((reason, detail, whole)) = first_failure
            && (failures >= metrics.len() || shrinks)
        {
            // What cannot be measured might call for more.
            let message = format!("the HPA was unable to compute the replica count: {detail}");
            self.condition("ScalingActive", "False", reason, message);
            let count = metrics.len();
            self.fail(format!(
                "invalid metrics ({failures} invalid out of {count}), first error is: {whole}"
            ));
            return;
        }
        let by = most.as_ref().map(|(_, name)| name.clone()).unwrap_or_default();
        let message = format!("the HPA was able to successfully calculate a replica count from {by}");
        self.condition("ScalingActive", "True", "ValidMetricFound", message);
        self.called_for = most;
    }

    fn propose(
        &self,
        metric: &Metric,
        scale: &Scale,
        sample: Sample,
        pods: &[Arc<Pod>],
    ) -> Result<Proposal, String> {
        let Some(source) = metric.source() else { return Err(String::new()) };
        let target = &source.target;
        let milli = |amount: &Option<Quantity>| amount.as_ref().map(Quantity::milli_value);
        let (average, value) = (milli(&target.average_value), milli(&target.value));
        let tolerance = self.tolerance();
        let ground = Ground { current: scale.wanted, pods, tolerance, now: self.now };
        match (&*metric.r#type, sample) {
            ("Resource" | "ContainerResource", Sample::Pods(measured)) => {
                match (average, target.average_utilization) {
                    (Some(average), _) => {
                        proposal::average(ground, average, &*source.name == "cpu", measured)
                    }
                    (None, Some(percent)) => {
                        proposal::utilization(ground, percent, &source.name, &source.container, measured)
                    }
                    (None, None) => {
                        Err("invalid resource metric source: neither an average utilization target nor \
                                         an average value (usage) target was set"
                            .to_owned())
                    }
                }
            }
            ("Pods", Sample::Pods(measured)) => {
                proposal::average(ground, average.unwrap_or_default(), false, measured)
            }
            (kind, Sample::Total(usage)) => match (average, value) {
                (Some(average), _) if kind == "External" || &*target.r#type == "AverageValue" => {
                    Ok(proposal::share(scale.there, average, usage, tolerance))
                }
                (_, Some(value)) => proposal::total(ground, value, usage),
                _ => Err(format!(
                    "invalid {} metric source: neither a value target nor an average value target was set",
                    kind.to_lowercase()
                )),
            },
            (_, Sample::Pods(_)) => Err(String::new()),
        }
    }

    fn tolerance(&self) -> Tolerance {
        let behavior = self.root.spec.behavior.as_ref();
        let of = |tolerance: Option<&Quantity>| tolerance.map_or(TOLERANCE, Quantity::as_f64);
        Tolerance {
            down: of(behavior.and_then(|it| it.scale_down.tolerance.as_ref())),
            up: of(behavior.and_then(|it| it.scale_up.tolerance.as_ref())),
        }
    }

    /// How many Pods there shall be, if not as many as there are to be.
    pub(super) fn decide(&mut self, scale: &Scale, memory: &mut Memory) -> Option<i32> {
        let (min, max, current) = (self.min(), self.root.spec.max_replicas, scale.wanted);
        self.status.current_metrics =
            if self.told.is_empty() { None } else { Some(std::mem::take(&mut self.told).into()) };
        if self.failed {
            return None;
        }
        if current == 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            self.condition("ScalingActive", "False", "ScalingDisabled", message);
            self.status.desired_replicas = 0;
            self.why = "whoever wants no Pods gets none".to_owned();
            return None;
        }
        if current > max {
            self.reason = "Current number of replicas above Spec.MaxReplicas".to_owned();
            return Some(max);
        }
        if current < min {
            self.reason = "Current number of replicas below Spec.MinReplicas".to_owned();
            return Some(min);
        }
        let (called_for, by) = self.called_for.clone().unwrap_or_default();
        self.reason = match called_for.cmp(&current) {
            std::cmp::Ordering::Greater => format!("{by} above target"),
            std::cmp::Ordering::Less => "All metrics below target".to_owned(),
            std::cmp::Ordering::Equal => String::new(),
        };
        let behavior = self.root.spec.behavior.as_ref();
        let paced = memory.pace(behavior, Range { min, max, current }, called_for, self.now);
        let (reason, message) =
            paced.stabilized.unwrap_or(("ReadyForNewScale", "recommended size matches current size"));
        self.condition("AbleToScale", "True", reason, message);
        self.condition(
            "ScalingLimited",
            if paced.limited { "True" } else { "False" },
            paced.reason,
            paced.message,
        );
        if paced.replicas == current {
            self.status.desired_replicas = current;
            return None;
        }
        Some(paced.replicas)
    }

    /// The scale was written, or not.
    pub(super) fn rescaled(
        &mut self,
        scale: &Scale,
        wanted: i32,
        outcome: Result<(), String>,
        memory: &mut Memory,
    ) {
        let reason = std::mem::take(&mut self.reason);
        if let Err(error) = outcome {
            self.warn("FailedRescale", format!("New size: {wanted}; reason: {reason}; error: {error}"));
            let message = format!("the HPA controller was unable to update the target scale: {error}");
            self.condition("AbleToScale", "False", "FailedUpdateScale", message);
            self.why = "the scale of the target cannot be written".to_owned();
            return;
        }
        let message = format!("the HPA controller was able to update the target scale to {wanted}");
        self.condition("AbleToScale", "True", "SucceededRescale", message);
        self.why = format!("there shall be {wanted} Pods: {reason}");
        self.notes.push(Note::normal("SuccessfulRescale", format!("New size: {wanted}; reason: {reason}")));
        memory.changed(self.root.spec.behavior.as_ref(), scale.wanted, wanted, self.now);
        self.status.desired_replicas = wanted;
        self.status.last_scale_time = Some(self.now);
    }
}

/// The Event's reason, what is told of a metric that could not be measured, and in the sum of all.
fn explain(metric: &Metric, error: &str) -> (&'static str, String, String) {
    let Some(source) = metric.source() else {
        let error = format!("unknown metric source type {:?}", metric.r#type);
        return ("InvalidMetricSourceType", error.clone(), error);
    };
    let (name, target) = (&source.name, &source.target);
    let metric_name = &source.metric.name;
    match &*metric.r#type {
        "Resource" | "ContainerResource" => {
            let what = if target.average_value.is_some() { "usage" } else { "utilization" };
            let detail = format!("failed to get {name} {what}: {error}");
            let (reason, whole) = if &*metric.r#type == "Resource" {
                ("FailedGetResourceMetric", format!("failed to get {name} resource metric value: {detail}"))
            } else {
                let container = &source.container;
                (
                    "FailedGetContainerResourceMetric",
                    format!("failed to get {container} container metric value: {detail}"),
                )
            };
            (reason, detail, whole)
        }
        "Pods" => {
            ("FailedGetPodsMetric", error.to_owned(), format!("failed to get pods metric value: {error}"))
        }
        "Object" => {
            ("FailedGetObjectMetric", error.to_owned(), format!("failed to get object metric value: {error}"))
        }
        _ => {
            let detail = if target.average_value.is_some() {
                format!("failed to get {metric_name} external metric: {error}")
            } else {
                format!("failed to get external metric {metric_name}: {error}")
            };
            let whole = format!("failed to get {metric_name} external metric value: {detail}");
            ("FailedGetExternalMetric", error.to_owned(), whole)
        }
    }
}

/// A metric as Events name it.
fn name(metric: &Metric, source: &Source) -> String {
    let (resource, name) = (&source.name, &source.metric.name);
    match &*metric.r#type {
        "Resource" if source.target.average_value.is_some() => format!("{resource} resource"),
        "ContainerResource" if source.target.average_value.is_some() => format!("{resource} resource"),
        "Resource" => format!("{resource} resource utilization (percentage of request)"),
        "ContainerResource" => format!("{resource} container resource utilization (percentage of request)"),
        "Pods" => format!("pods metric {name}"),
        "Object" if &*source.target.r#type == "Value" => {
            format!("{} metric {name}", source.described_object.kind)
        }
        _ => {
            let selector = source.metric.selector.as_ref().map_or("nil".to_owned(), ToString::to_string);
            format!("external metric {name}({selector})")
        }
    }
}

/// What was measured, as the status tells it.
fn tell(metric: &Metric, source: &Source, proposal: &Proposal) -> Value {
    let format = if &*source.name == "memory" { Format::BinarySi } else { Format::DecimalSi };
    let usage = Quantity::from_milli(proposal.usage, format).to_string();
    let mut identifier = json!({"name": source.metric.name});
    if let Some(selector) = &source.metric.selector {
        identifier["selector"] = selector.clone();
    }
    let resource = || {
        let mut current = json!({"averageValue": usage});
        if let Some(percent) = proposal.utilization {
            current["averageUtilization"] = percent.into();
        }
        json!({"name": source.name, "current": current})
    };
    let by_target = || {
        let is_average = source.target.average_value.is_some()
            && (&*metric.r#type == "External" || &*source.target.r#type == "AverageValue");
        if is_average { json!({"averageValue": usage}) } else { json!({"value": usage}) }
    };
    match &*metric.r#type {
        "Resource" => json!({"type": "Resource", "resource": resource()}),
        "ContainerResource" => {
            let mut told = resource();
            told["container"] = source.container.as_ref().into();
            json!({"type": "ContainerResource", "containerResource": told})
        }
        "Pods" => json!({"type": "Pods", "pods": {"metric": identifier, "current": {"averageValue": usage}}}),
        "Object" => {
            let object = &source.described_object;
            let mut described = json!({"kind": object.kind, "name": object.name});
            if !object.api_version.is_empty() {
                described["apiVersion"] = object.api_version.as_ref().into();
            }
            json!({"type": "Object",
                "object": {"metric": identifier, "current": by_target(), "describedObject": described}})
        }
        _ => json!({"type": "External", "external": {"metric": identifier, "current": by_target()}}),
    }
}

pub(super) fn to_value(status: &AutoscalerStatus) -> Value {
    json!({
        "currentReplicas": conditions::count(status.current_replicas),
        "desiredReplicas": status.desired_replicas,
        "lastScaleTime": status.last_scale_time.map(time),
        "currentMetrics": status.current_metrics,
        "conditions": conditions::to_value(&status.conditions),
    })
}
