//! Which time of a schedule is due: the latest that is not later than now.

use std::time::Duration;

use api_types::cron::Schedule;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// So much later than a scheduled time a look comes, so that it is not a little early by a clock that is behind.
const DELTA: SignedDuration = SignedDuration::from_millis(100);

/// How many times were missed, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// One, or a few.
    Few,
    /// More than a hundred: something is wrong.
    Many,
}

/// A schedule, and now.
pub(super) struct Due<'a> {
    pub(super) schedule: &'a Schedule,
    pub(super) zone: &'a TimeZone,
    pub(super) now: Timestamp,
}

impl Due<'_> {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next(after, self.zone)
    }

    /// The latest time after `earliest` and not after now, and how many there were.
    ///
    /// # Errors
    /// When the schedule names no times.
    pub(super) fn latest(&self, earliest: Timestamp) -> Result<Option<(Timestamp, Missed)>, &'static str> {
        const NONE: &str = "time difference between two schedules is less than 1 second";

        let first = self.next(earliest).ok_or(NONE)?;
        if self.now < first {
            return Ok(None);
        }
        let second = self.next(first).ok_or(NONE)?;
        if self.now < second {
            return Ok(Some((first, Missed::Few)));
        }
        let period = second.duration_since(first).as_secs();
        if period < 1 {
            return Err(NONE);
        }
        // Times in between are skipped by the period of the first two, not walked through: there may be years of them.
        let missed = self.now.duration_since(first).as_secs() / period + 1;
        let skipped = SignedDuration::from_secs((missed - 2).saturating_mul(period));
        let mut at = first.checked_add(skipped).map_err(|_out_of_range| NONE)?;
        let mut latest = None;
        while let Some(next) = self.next(at).filter(|next| *next <= self.now) {
            latest = Some(next);
            at = next;
        }
        let how_many = if missed > 100 { Missed::Many } else { Missed::Few };
        Ok(latest.map(|latest| (latest, how_many)))
    }

    /// How long until the first time that is not past, given the last for which a Job was made.
    pub(super) fn next_look(&self, last: Timestamp) -> Option<Duration> {
        let from = match self.latest(last) {
            Ok(Some((latest, _))) => latest,
            Ok(None) if self.next(last).is_some_and(|first| first > self.now) => last,
            Ok(None) | Err(_) => self.now,
        };
        let wait = self.next(from)?.duration_since(self.now) + DELTA;
        Some(Duration::try_from(wait).unwrap_or_default())
    }
}
