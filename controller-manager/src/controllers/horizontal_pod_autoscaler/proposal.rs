//! How many Pods one metric calls for.
//!
//! Pods of which nothing is known must not make the target larger or smaller by that alone: those that are not ready count
//! as idle when it is to grow, and those without a measurement as idle when it is to grow and as busy when it is to shrink.
//! If that turns the direction around, nothing is done.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::ask::Measured;
use crate::{
    kinds::Pod,
    resources::{self, Amounts},
};

/// A Pod that began so recently uses more than it will.
const INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// A Pod that became unready so soon after it began was never ready.
const FIRST_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// A difference of so much is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerance {
    pub(super) down: f64,
    pub(super) up: f64,
}

/// The Pods a proposal is about, and by what it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground<'a> {
    /// So many there are to be.
    pub(super) current: i32,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) tolerance: Tolerance,
    pub(super) now: Timestamp,
}

/// What a metric calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// In thousandths, for each Pod or altogether, as the metric is told.
    pub(super) usage: i64,
    /// In percent of what the Pods ask for.
    pub(super) utilization: Option<i32>,
}

/// The Pods, by what is known of them.
#[derive(Debug, Default)]
struct Groups {
    ready: usize,
    unready: Vec<String>,
    missing: Vec<String>,
    ignored: Vec<String>,
}

// === impl Tolerance ===

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// Rounds up to a number of Pods.
#[expect(clippy::cast_possible_truncation, reason = "saturates, as wanted")]
fn ceil(number: f64) -> i32 {
    number.ceil() as i32
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of measurements is none to more digits")]
fn float(number: i64) -> f64 {
    number as f64
}

fn count(pods: usize) -> i64 {
    i64::try_from(pods).unwrap_or(i64::MAX)
}

fn group(pods: &[Arc<Pod>], measured: &BTreeMap<String, Measured>, is_cpu: bool, now: Timestamp) -> Groups {
    let mut groups = Groups::default();
    for pod in pods {
        let name = pod.metadata.name.to_string();
        if pod.metadata.is_terminating() || &*pod.status.phase == "Failed" {
            groups.ignored.push(name);
        } else if &*pod.status.phase == "Pending" {
            groups.unready.push(name);
        } else {
            match measured.get(&name) {
                None => groups.missing.push(name),
                Some(it) if is_cpu && is_unsettled(pod, it, now) => groups.unready.push(name),
                Some(_) => groups.ready += 1,
            }
        }
    }
    groups
}

/// Whether what was measured of a Pod may be of its start.
fn is_unsettled(pod: &Pod, measured: &Measured, now: Timestamp) -> bool {
    let (Some(ready), Some(start)) = (pod.condition("Ready"), pod.status.start_time) else { return true };
    let unready = &*ready.status == "False";
    let since = ready.last_transition_time.unwrap_or(Timestamp::MIN);
    if now.duration_since(start) < INITIALIZATION {
        let window = SignedDuration::try_from(measured.window).unwrap_or_default();
        let settled = since.checked_add(window).unwrap_or(Timestamp::MAX);
        unready || measured.at.is_some_and(|at| at < settled)
    } else {
        unready && since.duration_since(start) < FIRST_READINESS
    }
}

/// The ratio of what is used to what shall be, with the usage and utilization to tell.
type Ratio = Result<(f64, i64, Option<i32>), String>;

/// From measurements of each Pod; `ratio` compares them with what they shall be, and `busy` says what a Pod uses that is
/// used as it shall be.
fn from_pods(
    ground: Ground<'_>,
    mut measured: BTreeMap<String, Measured>,
    is_cpu: bool,
    ratio: impl Fn(&BTreeMap<String, Measured>) -> Ratio,
    busy: impl Fn(&str) -> i64,
) -> Result<Proposal, String> {
    let Ground { current, pods, tolerance, now } = ground;
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let groups = group(pods, &measured, is_cpu, now);
    measured.retain(|name, _| !groups.ignored.contains(name) && !groups.unready.contains(name));
    if measured.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let (first, usage, utilization) = ratio(&measured)?;
    let propose = |replicas| Ok(Proposal { replicas, usage, utilization });
    let grows_past_unready = !groups.unready.is_empty() && first > 1.0;
    if !grows_past_unready && groups.missing.is_empty() {
        let covered = tolerance.covers(first);
        return propose(if covered { current } else { ceil(first * float(count(groups.ready))) });
    }
    let idle = Measured { value: 0, at: None, window: std::time::Duration::ZERO };
    for name in &groups.missing {
        if first < 1.0 {
            measured.insert(name.clone(), Measured { value: busy(name), ..idle });
        } else if first > 1.0 {
            measured.insert(name.clone(), idle);
        }
    }
    if grows_past_unready {
        measured.extend(groups.unready.iter().map(|name| (name.clone(), idle)));
    }
    let (second, ..) = ratio(&measured)?;
    let turns = (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0);
    if tolerance.covers(second) || turns {
        return propose(current);
    }
    let replicas = ceil(second * float(count(measured.len())));
    let turns = (second < 1.0 && replicas > current) || (second > 1.0 && replicas < current);
    propose(if turns { current } else { replicas })
}

/// From what Pods use of a resource, in percent of what they ask for.
pub(super) fn utilization(
    ground: Ground<'_>,
    target: i32,
    resource: &str,
    container: &str,
    measured: BTreeMap<String, Measured>,
) -> Result<Proposal, String> {
    let asked = |pods: &[Arc<Pod>]| -> Result<BTreeMap<String, i64>, String> {
        pods.iter()
            .map(|pod| Ok((pod.metadata.name.to_string(), requested(pod, resource, container)?)))
            .collect()
    };
    let requests = asked(ground.pods)?;
    let ratio = |measured: &BTreeMap<String, Measured>| -> Ratio {
        let known = measured.iter().filter_map(|(name, it)| Some((it.value, *requests.get(name)?)));
        let (used, asked, pods) =
            known.fold((0_i64, 0_i64, 0_i64), |(used, asked, pods), (value, request)| {
                (used.saturating_add(value), asked.saturating_add(request), pods + 1)
            });
        if asked == 0 {
            return Err("no metrics returned matched known pods".to_owned());
        }
        let percent = i32::try_from(used.saturating_mul(100) / asked).unwrap_or(i32::MAX);
        Ok((f64::from(percent) / f64::from(target), used / pods.max(1), Some(percent)))
    };
    let busy = |name: &str| {
        requests.get(name).copied().unwrap_or_default().saturating_mul(i64::from(target.max(100))) / 100
    };
    from_pods(ground, measured, resource == "cpu", ratio, busy)
}

/// What a Pod asks for of a resource, in thousandths.
fn requested(pod: &Pod, resource: &str, container: &str) -> Result<i64, String> {
    let whole = resources::read(&pod.spec.resources);
    if let (true, Some(amount)) = (container.is_empty(), whole.requests.get(resource)) {
        return Ok(amount.milli_value());
    }
    let sidecars = pod.spec.init_containers.iter().filter(|it| &*it.restart_policy == "Always");
    let all = pod.spec.containers.iter().map(|it| (&*it.name, &*it.resources));
    let mut sum = 0;
    for (name, resources) in all.chain(sidecars.map(|it| (&*it.name, &*it.resources))) {
        if !container.is_empty() && name != container {
            continue;
        }
        let requests: Amounts = resources::read(resources).requests;
        match requests.get(resource) {
            Some(amount) => sum += amount.milli_value(),
            None => {
                return Err(format!(
                    "missing request for {resource} in container {name} of Pod {}",
                    pod.metadata.name
                ));
            }
        }
    }
    Ok(sum)
}

/// From what is measured of Pods, of which each shall have so much.
pub(super) fn average(
    ground: Ground<'_>,
    target: i64,
    is_cpu: bool,
    measured: BTreeMap<String, Measured>,
) -> Result<Proposal, String> {
    let ratio = |measured: &BTreeMap<String, Measured>| -> Ratio {
        let sum = measured.values().fold(0_i64, |sum, it| sum.saturating_add(it.value));
        let usage = sum / count(measured.len()).max(1);
        Ok((float(usage) / float(target), usage, None))
    };
    from_pods(ground, measured, is_cpu, ratio, |_| target)
}

/// From one number that shall be so much.
pub(super) fn total(ground: Ground<'_>, target: i64, usage: i64) -> Result<Proposal, String> {
    let Ground { current, pods, tolerance, .. } = ground;
    let ratio = float(usage) / float(target);
    let propose = |replicas| Ok(Proposal { replicas, usage, utilization: None });
    if current == 0 {
        return propose(ceil(ratio));
    }
    if tolerance.covers(ratio) {
        return propose(current);
    }
    if pods.is_empty() {
        let error = "no pods returned by selector while calculating replica count";
        return Err(format!("unable to calculate ready pods: {error}"));
    }
    let ready = pods.iter().filter(|pod| &*pod.status.phase == "Running" && pod.is_ready()).count();
    propose(ceil(ratio * float(count(ready))))
}

/// From one number of which each Pod shall have so much.
pub(super) fn share(there: i32, target: i64, usage: i64, tolerance: Tolerance) -> Proposal {
    let ratio = float(usage) / (float(target) * f64::from(there));
    let replicas = if tolerance.covers(ratio) { there } else { ceil(float(usage) / float(target)) };
    let each = if there == 0 { usage } else { usage.saturating_add(i64::from(there) - 1) / i64::from(there) };
    Proposal { replicas, usage: each, utilization: None }
}
