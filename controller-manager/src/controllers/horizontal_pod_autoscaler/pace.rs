//! How fast it may go: what was recommended lately counts too, and no more than so much may change in so long.

use jiff::{SignedDuration, Timestamp};

use crate::kinds::horizontal_pod_autoscaler::{Behavior, Rules};

/// Without rules it gets smaller only when nothing larger was recommended for so long.
const DOWN_WINDOW: i32 = 300;

/// What is remembered of an autoscaler.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// What was recommended, and when.
    recommendations: Vec<(Timestamp, i32)>,
    /// By how many Pods it grew and shrank, and when.
    ups: Vec<(Timestamp, i32)>,
    downs: Vec<(Timestamp, i32)>,
}

/// Between what it moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) current: i32,
}

/// What comes of a recommendation, and how to tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paced {
    pub(super) replicas: i32,
    /// Why what was recommended before counts, if it does.
    pub(super) stabilized: Option<(&'static str, &'static str)>,
    pub(super) limited: bool,
    pub(super) reason: &'static str,
    pub(super) message: &'static str,
}

const UP_STABILIZED: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_LIMIT: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: (&str, &str) =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const TOO_MANY: (&str, &str) =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const IN_RANGE: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");

fn before(now: Timestamp, seconds: i32) -> Timestamp {
    now.checked_sub(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MIN)
}

// === impl Memory ===

impl Memory {
    /// The size it has when it is first seen counts as recommended.
    pub(super) fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    fn remember(&mut self, recommended: i32, oldest: Timestamp, now: Timestamp) {
        self.recommendations.retain(|(at, _)| *at >= oldest);
        self.recommendations.push((now, recommended));
    }

    /// The size was changed.
    pub(super) fn changed(&mut self, behavior: Option<&Behavior>, from: i32, to: i32, now: Timestamp) {
        let Some(behavior) = behavior else { return };
        let longest =
            |rules: &Rules| rules.policies.iter().map(|it| it.period_seconds).max().unwrap_or_default();
        let keep = before(now, longest(&behavior.scale_up).max(longest(&behavior.scale_down)));
        let events = if to > from { &mut self.ups } else { &mut self.downs };
        events.retain(|(at, _)| *at >= keep);
        events.push((now, (to - from).abs()));
    }

    /// What comes of a recommendation.
    pub(super) fn pace(
        &mut self,
        behavior: Option<&Behavior>,
        range: Range,
        recommended: i32,
        now: Timestamp,
    ) -> Paced {
        let (stable, why) = match behavior {
            None => (self.highest(recommended, before(now, DOWN_WINDOW)), DOWN_STABILIZED),
            Some(behavior) => self.stabilize(behavior, range.current, recommended, now),
        };
        let window = |rules: &Rules| rules.stabilization_window_seconds.unwrap_or(DOWN_WINDOW);
        let longest = behavior.map_or(DOWN_WINDOW, |it| window(&it.scale_up).max(window(&it.scale_down)));
        self.remember(recommended, before(now, longest), now);
        let (replicas, (reason, message)) = match behavior {
            None => plain_limit(range, stable),
            Some(behavior) => self.limit(behavior, range, stable, now),
        };
        let stabilized = (stable != recommended).then_some(why);
        Paced { replicas, stabilized, limited: replicas != stable, reason, message }
    }

    fn highest(&self, recommended: i32, since: Timestamp) -> i32 {
        let recent = self.recommendations.iter().filter(|(at, _)| *at >= since).map(|(_, it)| *it);
        recent.chain([recommended]).max().unwrap_or(recommended)
    }

    /// Neither more than the least nor less than the most of what was recommended in the window of either direction.
    fn stabilize(
        &self,
        behavior: &Behavior,
        current: i32,
        recommended: i32,
        now: Timestamp,
    ) -> (i32, (&'static str, &'static str)) {
        let up_since = before(now, behavior.scale_up.stabilization_window_seconds.unwrap_or_default());
        let down_since = before(now, behavior.scale_down.stabilization_window_seconds.unwrap_or(DOWN_WINDOW));
        let recent = |since: Timestamp| {
            self.recommendations.iter().filter(move |(at, _)| *at > since).map(|(_, it)| *it)
        };
        let least = recent(up_since).chain([recommended]).min().unwrap_or(recommended);
        let most = recent(down_since).chain([recommended]).max().unwrap_or(recommended);
        let why = if recommended >= current { UP_STABILIZED } else { DOWN_STABILIZED };
        (current.max(least).min(most), why)
    }

    fn limit(
        &self,
        behavior: &Behavior,
        range: Range,
        wanted: i32,
        now: Timestamp,
    ) -> (i32, (&'static str, &'static str)) {
        let Range { min, max, current } = range;
        if wanted > current {
            let limit = self.furthest(&behavior.scale_up, current, true, now).max(current);
            let (most, why) = if max > limit { (limit, UP_LIMIT) } else { (max, TOO_MANY) };
            if wanted > most {
                return (most, why);
            }
        } else if wanted < current {
            let limit = self.furthest(&behavior.scale_down, current, false, now).min(current);
            let (least, why) = if min < limit { (limit, DOWN_LIMIT) } else { (min, TOO_FEW) };
            if wanted < least {
                return (least, why);
            }
        }
        (wanted, IN_RANGE)
    }

    /// How far the policies let it go in a direction.
    fn furthest(&self, rules: &Rules, current: i32, up: bool, now: Timestamp) -> i32 {
        let select = rules.select_policy.as_deref().unwrap_or("Max");
        if select == "Disabled" {
            return current;
        }
        let sum = |events: &[(Timestamp, i32)], seconds: i32| -> i32 {
            let since = before(now, seconds);
            events.iter().filter(|(at, _)| *at > since).map(|(_, by)| *by).sum()
        };
        let reach = rules.policies.iter().map(|policy| {
            let start =
                current - sum(&self.ups, policy.period_seconds) + sum(&self.downs, policy.period_seconds);
            match (&*policy.r#type, up) {
                ("Pods", true) => start.saturating_add(policy.value),
                ("Pods", false) => start.saturating_sub(policy.value),
                (_, true) => percent(start, 100_i64 + i64::from(policy.value), 99),
                (_, false) => percent(start, 100_i64 - i64::from(policy.value), 0),
            }
        });
        // The greatest change is the highest number going up, and the lowest going down.
        let furthest = if (select == "Min") == up { reach.min() } else { reach.max() };
        furthest.unwrap_or(current)
    }
}

fn percent(of: i32, percent: i64, round: i64) -> i32 {
    let hundredths = i64::from(of) * percent + round;
    i32::try_from(hundredths.div_euclid(100)).unwrap_or(i32::MAX)
}

/// Without rules it at most doubles, or grows to four.
fn plain_limit(range: Range, wanted: i32) -> (i32, (&'static str, &'static str)) {
    let Range { min, max, current } = range;
    let limit = current.saturating_mul(2).max(4);
    let (most, why) = if max > limit { (limit, UP_LIMIT) } else { (max, TOO_MANY) };
    if wanted < min {
        (min, TOO_FEW)
    } else if wanted > most {
        (most, why)
    } else {
        (wanted, IN_RANGE)
    }
}
