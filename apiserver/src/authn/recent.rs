//! What was worked out lately, so that it need not be again: a map of bounded size.

use std::{collections::BTreeMap, mem};

/// A map that forgets. When full: the entries of the generation before the last are dropped, those used since stay.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: BTreeMap<K, V>,
    old: BTreeMap<K, V>,
    /// Entries a generation.
    capacity: usize,
}

// === impl Recent ===

impl<K: Ord + Clone, V: Clone> Recent<K, V> {
    /// Keeps the last `capacity` entries at least, and twice as many at most.
    pub(super) fn new(capacity: usize) -> Self {
        Self { young: BTreeMap::new(), old: BTreeMap::new(), capacity }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(key.clone(), value.clone());
        Some(value)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.capacity {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let mut recent = Recent::new(10);
        for number in 0..1000 {
            recent.insert(number, number);
            assert_eq!(recent.get(&0), Some(0));
            assert!(recent.young.len() + recent.old.len() <= 20);
        }
        assert_eq!(recent.get(&995), Some(995));
        assert_eq!(recent.get(&500), None);
    }
}
