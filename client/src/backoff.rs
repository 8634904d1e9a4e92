//! How long to wait before trying again: grows with each failure, with jitter so that a herd does not move in step.

use std::time::Duration;

use runtime::Random;

/// A growing delay.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    failures: u32,
    random: Random,
}

impl Backoff {
    /// Starts at `initial`, doubles to `max`; each delay is stretched by up to its own length.
    pub(crate) fn new(initial: Duration, max: Duration, random: Random) -> Self {
        Self { initial, max, failures: 0, random }
    }

    /// The next delay.
    pub(crate) fn next(&mut self) -> Duration {
        let delay = doubled(self.initial, self.failures, self.max);
        self.failures = self.failures.saturating_add(1);
        self.random.jitter(delay, 1.0)
    }

    /// Things work again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// `initial` doubled `times` times, at most `max`.
pub(crate) fn doubled(initial: Duration, times: u32, max: Duration) -> Duration {
    let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
    initial.checked_mul(factor).map_or(max, |delay| delay.min(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit() {
        let delay = |times| doubled(Duration::from_millis(5), times, Duration::from_secs(1000));
        assert_eq!(delay(0), Duration::from_millis(5));
        assert_eq!(delay(3), Duration::from_millis(40));
        assert_eq!(delay(17), Duration::from_millis(655_360));
        assert_eq!(delay(18), Duration::from_secs(1000));
        assert_eq!(delay(4_000), Duration::from_secs(1000));
    }

    #[test]
    fn a_success_starts_over() {
        let mut backoff =
            Backoff::new(Duration::from_millis(800), Duration::from_secs(30), Random::from_seed(1));
        let first = backoff.next();
        assert!(first >= Duration::from_millis(800) && first < Duration::from_millis(1600));
        for _ in 0..10 {
            backoff.next();
        }
        assert!(backoff.next() >= Duration::from_secs(30));
        backoff.reset();
        assert!(backoff.next() < Duration::from_millis(1600));
    }
}
