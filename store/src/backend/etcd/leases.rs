//! Times to live. A lease costs etcd more than a write, so keys that vanish at about the same time share one, as upstream's
//! do: they may live a little longer than they were to, never shorter.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts};
use tokio::{sync::Mutex, time::Instant};

use super::{
    super::{Error, Result},
    link::{Failure, Link, Repeat, path},
    wire::{LeaseGrantRequest, LeaseGrantResponse},
};

/// Upstream's figures: a lease is given out for a twentieth of the time to live, a minute at the most, to so many keys.
const SHARED_PART: u64 = 20;
const SHARED_MAX: u64 = 60;
const KEYS_MAX: u32 = 1000;
/// Upstream's too.
const KEYS_BUCKETS: [f64; 7] = [10.0, 50.0, 100.0, 500.0, 1000.0, 2500.0, 5000.0];

#[derive(Debug)]
pub(super) struct Leases {
    last: Mutex<Option<Lease>>,
    /// How many keys had a lease each, counted when it is no longer given out.
    pub(super) keys: Histogram,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    id: i64,
    expires: Instant,
    keys: u32,
}

// === impl Leases ===

impl Default for Leases {
    #[expect(clippy::expect_used, reason = "the name is a constant, and a test makes it")]
    fn default() -> Self {
        let keys =
            HistogramOpts::new("etcd_lease_object_counts", "[ALPHA] Objects that share one lease of etcd.");
        Self {
            last: Mutex::default(),
            keys: Histogram::with_opts(keys.buckets(KEYS_BUCKETS.to_vec())).expect("a valid name"),
        }
    }
}

impl Leases {
    /// A lease that ends after `ttl`, or a little later; 0 for none.
    pub(super) async fn lease(&self, link: &Link, ttl: Option<Duration>) -> Result<i64> {
        let Some(ttl) = ttl else { return Ok(0) };
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let now = Instant::now();
        // Held while a lease is granted: who comes meanwhile can use it.
        let mut last = self.last.lock().await;
        if let Some(lease) = last.as_mut().filter(|lease| lease.fits(now, seconds)) {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let granted_seconds = seconds.max(1) + shared_for(seconds);
        let request = LeaseGrantRequest { ttl: i64::try_from(granted_seconds).unwrap_or(i64::MAX) };
        // A lease nobody uses does no harm.
        let granted: LeaseGrantResponse =
            link.call(path::LEASE_GRANT, request, Repeat::Harmless).await.map_err(|failure| {
                // Nothing is written yet.
                Failure { perhaps_done: false, ..failure }.into_error()
            })?;
        if !granted.error.is_empty() {
            let reason = format!("etcd grants no lease: {}", granted.error);
            return Err(Error::Unavailable { reason, outcome_unknown: false });
        }
        if let Some(full) = last.take() {
            self.keys.observe(f64::from(full.keys));
        }
        *last = Some(Lease { id: granted.id, expires: now + Duration::from_secs(granted_seconds), keys: 1 });
        Ok(granted.id)
    }

    /// A lease turned out to be gone.
    pub(super) async fn forget(&self, id: i64) {
        let mut last = self.last.lock().await;
        last.take_if(|lease| lease.id == id);
    }
}

fn shared_for(seconds: u64) -> u64 {
    (seconds / SHARED_PART).min(SHARED_MAX)
}

// === impl Lease ===

impl Lease {
    /// Whether it ends neither before a time to live nor much after it.
    fn fits(&self, now: Instant, seconds: u64) -> bool {
        let earliest = now + Duration::from_secs(seconds);
        let latest = earliest + Duration::from_secs(shared_for(seconds));
        earliest < self.expires && self.expires < latest && self.keys < KEYS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_shared_by_what_ends_at_about_the_same_time() {
        let now = Instant::now();
        let lease = |seconds, keys| Lease { id: 1, expires: now + Duration::from_secs(seconds), keys };
        assert!(lease(3600 + 30, 1).fits(now, 3600));
        assert!(!lease(3600 + 30, KEYS_MAX).fits(now, 3600), "too many keys");
        assert!(!lease(3599, 1).fits(now, 3600), "it ends too early");
        assert!(!lease(3600 + 61, 1).fits(now, 3600), "it ends too late");
        assert!(!lease(2, 1).fits(now, 2), "short ones are exact");
    }
}
