//! Randomness as a value that is passed in: one generator a process, seeded in simulations.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use uuid::Uuid;

/// The alphabet of generated names: no vowels, no look-alikes, so that no word is formed by accident.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A shared source of randomness. Cloning shares the generator.
#[derive(Clone)]
pub struct Random(Arc<Mutex<StdRng>>);

// === impl Random ===

impl Random {
    /// Seeded by the operating system.
    pub fn from_os() -> Self {
        Self(Arc::new(Mutex::new(StdRng::from_os_rng())))
    }

    /// The same draws for the same seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A version 4 UUID.
    pub fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// The suffix that `generateName` adds: `len` characters.
    pub fn name_suffix(&self, len: usize) -> String {
        let mut rng = self.0.lock();
        (0..len)
            .filter_map(|_| {
                NAME_ALPHABET.get(rng.random_range(0..NAME_ALPHABET.len())).copied().map(char::from)
            })
            .collect()
    }

    /// A number in `0..bound`, 0 for a bound of 0.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.lock().random_range(0..bound) }
    }

    /// A number in `0.0..1.0`.
    pub fn fraction(&self) -> f64 {
        self.0.lock().random()
    }

    /// `base` stretched by up to `factor` of itself, to keep a herd from moving in step.
    pub fn jitter(&self, base: Duration, factor: f64) -> Duration {
        base.mul_f64(1.0 + self.fraction() * factor.max(0.0))
    }

    /// Fills the slice.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill_bytes(bytes);
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays() {
        let draw = |seed| {
            let random = Random::from_seed(seed);
            (random.uuid(), random.name_suffix(5), random.below(100))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(draw(7).0.get_version_num(), 4);
    }
}
