//! Answers of webhooks, for as long as they are good.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// So many answers are kept. When full: those that are past are dropped, and if there are none, all.
const ANSWERS_MAX: usize = 8192;

/// Answers by what was asked; only a digest of a question is kept, since questions hold tokens.
#[derive(Debug)]
pub(crate) struct Answers<T>(Mutex<BTreeMap<[u8; 32], (Timestamp, T)>>);

// === impl Answers ===

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Answers<T> {
    /// The answer, if it is still good.
    pub(crate) fn get(&self, question: &str, now: Timestamp) -> Option<T> {
        let known = self.0.lock();
        known.get(&digest(question)).filter(|(until, _)| now < *until).map(|(_, answer)| answer.clone())
    }

    /// Keeps an answer.
    pub(crate) fn put(&self, question: &str, answer: T, now: Timestamp, good_for: Duration) {
        if good_for.is_zero() {
            return;
        }
        let mut known = self.0.lock();
        if known.len() >= ANSWERS_MAX {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() >= ANSWERS_MAX {
            known.clear();
        }
        known.insert(digest(question), (now + good_for, answer));
    }
}

fn digest(question: &str) -> [u8; 32] {
    Sha256::digest(question).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_good_for_its_time_and_there_are_never_too_many() {
        let answers = Answers::default();
        let now = Timestamp::UNIX_EPOCH;
        let second = Duration::from_secs(1);
        answers.put("a", 1, now, second);
        answers.put("b", 2, now, Duration::ZERO);
        assert_eq!(
            [answers.get("a", now), answers.get("b", now), answers.get("a", now + second)],
            [Some(1), None, None]
        );
        for number in 0..3 * ANSWERS_MAX {
            answers.put(&number.to_string(), number, now, second);
            assert!(answers.0.lock().len() <= ANSWERS_MAX);
        }
    }
}
