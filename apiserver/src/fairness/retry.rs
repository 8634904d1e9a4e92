//! When a client that is sent away may come back: the later, the more were sent away in the last seconds.
//!
//! Doubled as long as there are three times as many refusals as seconds, one less when there are fewer than that. Pure.

use std::collections::VecDeque;

/// The longest, in seconds.
const MAX: u64 = 32;

/// What is told to those who are sent away by one priority level. Times are whole seconds of any clock that only goes on.
#[derive(Clone, Debug)]
pub struct RetryAfter {
    /// Seconds and how many were refused in each; not the one that is going on.
    past: VecDeque<(u64, u64)>,
    now: (u64, u64),
    seconds: u64,
    grown_at: Option<u64>,
}

// === impl RetryAfter ===

impl Default for RetryAfter {
    fn default() -> Self {
        Self { past: VecDeque::new(), now: (0, 0), seconds: 1, grown_at: None }
    }
}

impl RetryAfter {
    /// One more is refused.
    pub fn refused(&mut self, second: u64) {
        if self.now.0 == second {
            self.now.1 += 1;
            return;
        }
        self.past.push_back(self.now);
        let kept = (2 * self.seconds).min(MAX);
        while self.past.front().is_some_and(|past| second.saturating_sub(past.0) > kept) {
            self.past.pop_front();
        }
        self.now = (second, 1);
        let recent = self.past.iter().filter(|past| second.saturating_sub(past.0) <= self.seconds);
        let refused: u64 = recent.map(|past| past.1).sum();
        let may_grow = self.grown_at.is_none_or(|at| second.saturating_sub(at) >= self.seconds);
        if may_grow && refused >= 3 * self.seconds {
            self.seconds = (2 * self.seconds).min(MAX);
            self.grown_at = Some(second);
        } else if refused < self.seconds && self.seconds > 1 {
            self.seconds -= 1;
        }
    }

    /// After how many seconds to come back.
    pub fn seconds(&self) -> u64 {
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_under_load_up_to_its_bound_and_shrinks_by_one_afterwards() {
        let mut retry = RetryAfter::default();
        let mut seen = vec![retry.seconds()];
        for second in 1..80 {
            for _ in 0..1000 {
                retry.refused(second);
            }
            if seen.last() != Some(&retry.seconds()) {
                seen.push(retry.seconds());
            }
        }
        assert_eq!(seen, [1, 2, 4, 8, 16, 32]);
        // A minute without any, then one now and then.
        for step in 0..40 {
            retry.refused(200 + step * 40);
        }
        assert_eq!(retry.seconds(), 1);
    }

    #[test]
    fn a_few_refusals_change_nothing() {
        let mut retry = RetryAfter::default();
        for second in 1..100 {
            retry.refused(second);
            retry.refused(second);
            assert_eq!(retry.seconds(), 1);
        }
    }
}
