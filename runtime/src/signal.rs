//! A value that tasks wait on, woken in the order they began to wait.
//!
//! `tokio::sync::watch` would do, but spreads its receivers over several lists at random, so that who is woken first differs
//! from run to run: a simulation would not replay.

use std::fmt;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A value that tasks wait on. Share it in an `Arc`.
#[derive(Default)]
pub struct Signal<T> {
    value: Mutex<T>,
    changed: Notify,
}

// === impl Signal ===

impl<T: Clone> Signal<T> {
    /// Holding `value`.
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    /// The value now.
    pub fn get(&self) -> T {
        self.value.lock().clone()
    }

    /// Changes the value and wakes all who wait. `change` must not touch this signal.
    pub fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.value.lock());
        self.changed.notify_waiters();
    }

    /// Waits until `condition` holds of the value, and returns that value. Asked at once and after each change; changes in
    /// quick succession may be asked about once. Safe to cancel.
    pub async fn wait(&self, mut condition: impl FnMut(&T) -> bool) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let value = self.get();
            if condition(&value) {
                return value;
            }
            changed.await;
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Signal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signal").field(&*self.value.lock()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::Tasks;

    #[tokio::test(start_paused = true)]
    async fn who_waited_first_is_woken_first() {
        let signal = Arc::new(Signal::new(0));
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks = Tasks::new();
        for number in 0..40 {
            let (signal, order) = (Arc::clone(&signal), Arc::clone(&order));
            tasks.spawn("waiter", async move {
                signal.wait(|value| *value > 0).await;
                order.lock().push(number);
            });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        signal.update(|value| *value += 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(*order.lock(), (0..40).collect::<Vec<_>>());
        assert_eq!(signal.wait(|value| *value == 1).await, 1, "what holds already is not waited for");
    }
}
