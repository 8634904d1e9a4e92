//! Shuffle sharding: which few queues of many the requests of a flow may wait in.
//!
//! Two flows may share a queue, but hardly a whole hand of them, so that one that floods its queues leaves the others some
//! that are short (KEP-1040). Pure.

use sha2::{Digest as _, Sha256};

/// The most queues a hand can have: what 60 bits of a hash suffice for.
pub const HAND_MAX: usize = 15;

/// The queues of a flow, in the order they were dealt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hand {
    cards: [usize; HAND_MAX],
    size: usize,
}

/// A flow's number: always the same for the same schema and distinguisher.
pub fn flow(schema: &str, distinguisher: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(schema.as_bytes());
    hash.update([0]);
    hash.update(distinguisher.as_bytes());
    let sum = hash.finalize();
    sum.iter().take(8).rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

// === impl Hand ===

impl Hand {
    /// Deals `size` different queues of `queues` (at least one) to a flow.
    pub fn deal(flow: u64, queues: usize, size: usize) -> Self {
        let size = size.min(queues).clamp(1, HAND_MAX);
        let mut hand = Self { cards: [0; HAND_MAX], size };
        let mut rest = flow;
        for dealt in 0..size {
            let left = u64::try_from(queues.saturating_sub(dealt)).unwrap_or(1).max(1);
            let mut card = usize::try_from(rest % left).unwrap_or_default();
            rest /= left;
            // The number counts the queues that are not dealt yet: skip those that are, smallest first.
            let mut before = hand.cards;
            let taken = before.get_mut(..dealt).unwrap_or_default();
            taken.sort_unstable();
            for taken in taken {
                if card >= *taken {
                    card += 1;
                }
            }
            if let Some(place) = hand.cards.get_mut(dealt) {
                *place = card;
            }
        }
        hand
    }

    /// The queues.
    pub fn cards(&self) -> &[usize] {
        self.cards.get(..self.size).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_flow_always_has_the_same_hand_and_no_queue_twice() {
        for user in 0..1000 {
            let flow = flow("global-default", &format!("user-{user}"));
            let hand = Hand::deal(flow, 128, 6);
            assert_eq!(hand, Hand::deal(flow, 128, 6));
            assert_eq!(hand.cards().iter().collect::<BTreeSet<_>>().len(), 6);
            assert!(hand.cards().iter().all(|&card| card < 128));
        }
    }

    #[test]
    fn every_hand_is_dealt_equally_often() {
        // All 5 * 4 * 3 hands of three out of five, in order.
        let hands: BTreeSet<Vec<usize>> =
            (0..60).map(|flow| Hand::deal(flow, 5, 3).cards().to_vec()).collect();
        assert_eq!(hands.len(), 60);
    }

    #[test]
    fn flows_of_different_schemas_are_different_even_if_they_read_alike() {
        assert_ne!(flow("a", "b"), flow("ab", ""));
        assert_ne!(flow("a", ""), flow("", "a"));
    }

    #[test]
    fn a_hand_is_never_larger_than_the_deck() {
        assert_eq!(Hand::deal(77, 1, 6).cards(), [0]);
    }
}
