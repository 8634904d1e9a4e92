//! How many seats a priority level could have used, watched over time. What it lends and borrows follows from it.

use std::time::Duration;

/// How slowly what was seen is forgotten: half in five minutes, if it is looked at every ten seconds.
const FORGETTING: f64 = 0.977;

/// A number that changes, and what is known of it since it was last asked.
#[derive(Clone, Debug)]
pub struct Demand {
    since: Duration,
    value: f64,
    seconds: f64,
    sum: f64,
    squares: f64,
    max: f64,
}

/// What was seen over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// How long, in seconds.
    pub seconds: f64,
    /// The most.
    pub max: f64,
    /// On average.
    pub average: f64,
    /// The standard deviation.
    pub deviation: f64,
}

/// The same over a longer time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Smoothed {
    /// The last look.
    pub last: Seen,
    /// The high-water mark that is only slowly forgotten.
    pub seats: f64,
}

// === impl Demand ===

impl Demand {
    /// Nothing wanted yet, at this time.
    pub fn new(now: Duration) -> Self {
        Self { since: now, value: 0.0, seconds: 0.0, sum: 0.0, squares: 0.0, max: 0.0 }
    }

    /// From now on it is this.
    pub fn set(&mut self, now: Duration, value: u32) {
        self.pass(now);
        self.value = f64::from(value);
        self.max = self.max.max(self.value);
    }

    fn pass(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.since).as_secs_f64();
        self.since = now.max(self.since);
        self.seconds += seconds;
        self.sum += self.value * seconds;
        self.squares += self.value * self.value * seconds;
    }

    /// What was seen since this was last called.
    pub fn take(&mut self, now: Duration) -> Seen {
        self.pass(now);
        let mut seen = Seen { seconds: self.seconds, max: self.max, ..Seen::default() };
        if self.seconds > 0.0 {
            seen.average = self.sum / self.seconds;
            // What is below zero by rounding is no deviation.
            seen.deviation = (self.squares / self.seconds - seen.average * seen.average).max(0.0).sqrt();
        }
        *self = Self { since: self.since, value: self.value, max: self.value, ..Self::new(now) };
        seen
    }
}

// === impl Smoothed ===

impl Smoothed {
    /// After one more look.
    pub fn look(&mut self, seen: Seen) {
        if seen.seconds <= 0.0 {
            self.last.max = seen.max;
            return;
        }
        self.last = seen;
        let envelope = seen.average + seen.deviation;
        self.seats = envelope.max(FORGETTING.mul_add(self.seats, (1.0 - FORGETTING) * envelope));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn average_and_deviation_are_weighted_by_time() {
        let at = Duration::from_secs;
        let mut demand = Demand::new(at(0));
        demand.set(at(0), 4);
        demand.set(at(3), 8);
        let seen = demand.take(at(4));
        assert!(close(seen.seconds, 4.0) && close(seen.max, 8.0) && close(seen.average, 5.0));
        assert!(close(seen.deviation, 3.0_f64.sqrt()));
        // What it is goes on, what it was is over.
        let seen = demand.take(at(5));
        assert!(close(seen.average, 8.0) && close(seen.max, 8.0) && close(seen.deviation, 0.0));
    }

    #[test]
    fn a_peak_is_remembered_at_once_and_forgotten_by_half_in_five_minutes() {
        let mut smoothed = Smoothed::default();
        smoothed.look(Seen { seconds: 10.0, max: 100.0, average: 100.0, deviation: 0.0 });
        assert!(close(smoothed.seats, 100.0));
        for _ in 0..30 {
            smoothed.look(Seen { seconds: 10.0, ..Seen::default() });
        }
        assert!((48.0..52.0).contains(&smoothed.seats), "{}", smoothed.seats);
    }
}
