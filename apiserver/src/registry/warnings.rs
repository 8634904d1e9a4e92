//! What a caller should know though nothing is wrong: gathered while a request is worked on, told with the answer,
//! whether that is a success or a failure.

use std::sync::Arc;

use parking_lot::Mutex;

/// The warnings of one request, in the order they came up. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

// === impl Warnings ===

impl Warnings {
    /// Notes one. What was said before is not said again.
    pub fn add(&self, warning: impl Into<String>) {
        let warning = warning.into();
        let mut noted = self.0.lock();
        if !warning.is_empty() && !noted.contains(&warning) {
            noted.push(warning);
        }
    }

    /// Notes many.
    pub fn extend(&self, warnings: impl IntoIterator<Item = String>) {
        warnings.into_iter().for_each(|warning| self.add(warning));
    }

    /// All that were noted.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_noted_once_by_whoever_comes_first() {
        let warnings = Warnings::default();
        let elsewhere = warnings.clone();
        warnings.add("b");
        elsewhere.extend(["a".to_owned(), "b".to_owned(), String::new()]);
        assert_eq!(warnings.all(), ["b", "a"]);
    }
}
