//! Events that wait until there are enough of them, or until it is time: mode `batch`.
//!
//! The queue is bounded: events that do not fit are lost, and that is told. So is how many batches are on their way at once:
//! at that bound the queue is not read until one has arrived.

use std::{sync::Arc, time::Duration};

use runtime::{Stopping, Tasks};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};

use super::{
    backend::{Backend, Complaints, Done},
    event::Event,
};

/// How many batches are on their way at once, where they do not wait for each other.
const IN_FLIGHT_MAX: usize = 64;
/// After a stop: for how long nothing must come before the last batch is sent, and how long that takes at the most.
const QUIET: Duration = Duration::from_millis(250);
const FAREWELL: Duration = Duration::from_secs(6);

/// How batches are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// How many events wait.
    pub(super) buffer_size: usize,
    /// How many are sent together.
    pub(super) batch_max: usize,
    /// How long the first one waits for others.
    pub(super) wait_max: Duration,
    /// Batches a second, and how many at once after a pause.
    pub(super) throttle: Option<(f64, f64)>,
    /// Whether batches do not wait for each other.
    pub(super) parallel: bool,
}

/// A backend that is given batches.
#[derive(Debug)]
pub(super) struct Batching {
    queue: mpsc::Sender<Arc<Event>>,
    complaints: Complaints,
}

/// Who empties the queue.
struct Worker {
    queue: mpsc::Receiver<Arc<Event>>,
    backend: Arc<dyn Backend>,
    options: Options,
    tasks: Tasks,
    in_flight: Arc<Semaphore>,
    /// Sent batches that the throttle allows now, and when that was counted.
    tokens: (f64, Instant),
}

impl Batching {
    pub(super) fn start(
        backend: Arc<dyn Backend>,
        options: Options,
        complaints: Complaints,
        tasks: &Tasks,
    ) -> Self {
        let (sender, queue) = mpsc::channel(options.buffer_size.max(1));
        let worker = Worker {
            queue,
            backend,
            options,
            tasks: tasks.clone(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            tokens: (options.throttle.map_or(0.0, |(_, burst)| burst), Instant::now()),
        };
        let stopping = tasks.stopping();
        tasks.spawn_draining("audit batches", worker.run(stopping));
        Self { queue: sender, complaints }
    }
}

impl Backend for Batching {
    fn process(&self, events: Vec<Arc<Event>>) -> Done {
        for (index, event) in events.iter().enumerate() {
            if let Err(error) = self.queue.try_send(Arc::clone(event)) {
                let why = match error {
                    mpsc::error::TrySendError::Full(_) => "audit buffer queue blocked",
                    mpsc::error::TrySendError::Closed(_) => "audit backend shut down",
                };
                self.complaints.tell("buffered", &why, events.get(index..).unwrap_or_default());
                break;
            }
        }
        Done::Now(true)
    }
}

impl Worker {
    async fn run(mut self, stopping: Stopping) {
        while !stopping.is_cancelled() {
            let events = self.collect(&stopping).await;
            self.send(events).await;
        }
        // Requests that end now are put on record too.
        let end = Instant::now() + FAREWELL;
        loop {
            let mut events = Vec::new();
            while events.len() < self.options.batch_max {
                let last = end.min(Instant::now() + QUIET);
                match tokio::time::timeout_at(last, self.queue.recv()).await {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) | Err(_) => break,
                }
            }
            if events.is_empty() {
                break;
            }
            self.send(events).await;
        }
        self.queue.close();
        let all = u32::try_from(IN_FLIGHT_MAX).unwrap_or(u32::MAX);
        let _sent = tokio::time::timeout(FAREWELL, self.in_flight.acquire_many(all)).await;
    }

    /// The next batch; empty if there was nothing for a while.
    async fn collect(&mut self, stopping: &Stopping) -> Vec<Arc<Event>> {
        let mut events = Vec::new();
        let end = Instant::now() + self.options.wait_max;
        let is_batching = self.options.batch_max > 1;
        while events.len() < self.options.batch_max {
            tokio::select! {
                biased;
                event = self.queue.recv() => match event {
                    Some(event) => events.push(event),
                    None => break,
                },
                () = tokio::time::sleep_until(end), if is_batching => break,
                () = stopping.cancelled() => break,
            }
        }
        events
    }

    async fn send(&mut self, events: Vec<Arc<Event>>) {
        if events.is_empty() {
            return;
        }
        self.throttle().await;
        if !self.options.parallel {
            let _told_by_the_backend = self.backend.process(events).wait().await;
            return;
        }
        let Ok(permit) = Arc::clone(&self.in_flight).acquire_owned().await else { return };
        let backend = Arc::clone(&self.backend);
        self.tasks.spawn_draining("audit batch", async move {
            let _told_by_the_backend = backend.process(events).wait().await;
            drop(permit);
        });
    }

    /// Waits for its turn in a bucket of tokens.
    async fn throttle(&mut self) {
        let Some((rate, burst)) = self.options.throttle else { return };
        let (tokens, counted) = self.tokens;
        let now = Instant::now();
        let tokens = (tokens + now.duration_since(counted).as_secs_f64() * rate).min(burst);
        if tokens < 1.0 {
            tokio::time::sleep(Duration::from_secs_f64((1.0 - tokens) / rate)).await;
            self.tokens = (0.0, Instant::now());
        } else {
            self.tokens = (tokens - 1.0, now);
        }
    }
}
