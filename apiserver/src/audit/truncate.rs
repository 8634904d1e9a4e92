//! Events that are too large lose their objects, and batches that are too large are cut: `--audit-*-truncate-*`.

use std::sync::Arc;

use super::{
    backend::{Backend, Complaints, Done},
    event::Event,
    policy::Level,
};

/// What says of an event that it lost its objects.
const ANNOTATION: &str = "audit.k8s.io/truncated";

/// A backend that is given no large events.
#[derive(Debug)]
pub(super) struct Truncating {
    pub(super) backend: Arc<dyn Backend>,
    /// In bytes.
    pub(super) event_max: usize,
    /// In bytes.
    pub(super) batch_max: usize,
    pub(super) complaints: Complaints,
}

impl Backend for Truncating {
    fn process(&self, events: Vec<Arc<Event>>) -> Done {
        let mut batches = Vec::new();
        let (mut batch, mut batch_size) = (Vec::new(), 0);
        for event in events {
            let Some((event, size)) = self.fit(event) else { continue };
            if !batch.is_empty() && batch_size + size > self.batch_max {
                batches.push(std::mem::take(&mut batch));
                batch_size = 0;
            }
            batch_size += size;
            batch.push(event);
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
        let mut done: Vec<Done> = batches.into_iter().map(|batch| self.backend.process(batch)).collect();
        match done.len() {
            0 => Done::Now(true),
            1 => done.remove(0),
            _ => Done::Later(Box::pin(async move {
                let mut kept = true;
                for one in done {
                    kept &= one.wait().await;
                }
                kept
            })),
        }
    }
}

impl Truncating {
    /// The event as it fits, and its size; `None` if it does not.
    fn fit(&self, event: Arc<Event>) -> Option<(Arc<Event>, usize)> {
        let size = |event: &Event| event.json().map(|json| json.len());
        let found = size(&event).and_then(|found| {
            if found <= self.event_max || event.level < Level::Request {
                return Ok((Arc::clone(&event), found));
            }
            let mut less = Event { request_object: None, response_object: None, ..(*event).clone() };
            less.annotations.insert(ANNOTATION.to_owned(), "true".to_owned());
            let found = size(&less)?;
            Ok((Arc::new(less), found))
        });
        match found {
            Ok((event, size)) if size <= self.event_max => return Some((event, size)),
            Ok((event, _)) => {
                self.complaints.tell("truncate", &"event is too large even after truncating", &[event]);
            }
            Err(error) => self.complaints.tell("truncate", &error, &[event]),
        }
        None
    }
}
