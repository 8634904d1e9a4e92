//! Waiting for one's turn, and having it.
//!
//! A turn ends when it is dropped, whatever became of the request: answered, failed, given up by its client.

use std::{sync::Arc, time::Duration};

use http::{Method, Uri};
use tokio::{sync::oneshot, time::Instant};

use super::{
    dispatcher::Fairness,
    level::{Entry, Level, Schema},
    queues::{Arrival, Ticket},
    shuffle,
    work::{self, Facts},
};
use crate::{
    authn::user::User,
    http::{info::RequestInfo, query::Query},
};

/// A request that asks for its turn.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// What it is about.
    pub info: &'a RequestInfo,
    /// Its parameters.
    pub query: &'a Query,
    /// Whose it is.
    pub user: &'a User,
    /// For those who look at what waits.
    pub method: &'a Method,
    /// Likewise.
    pub uri: &'a Uri,
    /// Until when it may wait.
    pub until: Instant,
}

/// What it gets.
#[derive(Debug)]
pub enum Outcome {
    /// Its turn.
    Now(Turn),
    /// A place in a queue.
    Later(Waiting),
    /// Nothing. It may come again after so many seconds.
    Never(u64),
}

/// A turn. Its seats are taken until it is dropped, and then as long as its watchers are told.
#[derive(Debug)]
pub struct Turn {
    held: Held,
    begun: Duration,
}

/// A place in a queue, given up when dropped.
#[derive(Debug)]
pub struct Waiting {
    held: Held,
    turn: oneshot::Receiver<()>,
    until: Instant,
    came: Duration,
}

/// Whatever a request has in a level.
#[derive(Debug)]
struct Held {
    fairness: Arc<Fairness>,
    schema: Arc<Schema>,
    ticket: Option<Ticket>,
    waits: bool,
    watch: bool,
}

// === impl Fairness ===

impl Fairness {
    /// Asks for a turn under a schema.
    pub fn ask(self: &Arc<Self>, schema: &Arc<Schema>, asking: &Asking<'_>, facts: &impl Facts) -> Outcome {
        let level = &schema.level;
        let queues = level.has_queues();
        let distinguished = || schema.matcher.distinguish(asking.info, asking.user);
        let flow = if queues { shuffle::flow(&schema.name, distinguished()) } else { 0 };
        let estimate = work::estimate(asking.info, asking.query, facts, level.request_seats_max());
        let hot = schema.counts.hot();
        hot.seats.observe(f64::from(estimate.seats_max()));
        let entry = Entry {
            schema: Arc::clone(schema),
            user: asking.user.name.as_str().into(),
            method: asking.method.clone(),
            uri: asking.uri.clone(),
            wake: None,
        };
        let now = self.now();
        let (arrival, turn) = level.change(|set| {
            let arrival = set.arrive(now, estimate, flow, entry);
            let turn = match arrival {
                Arrival::Waits(ticket) => Some(Level::listen(set, ticket)),
                Arrival::Served(_) | Arrival::Refused(_) => None,
            };
            (arrival, turn)
        });
        let held = |ticket, waits| Held {
            fairness: Arc::clone(self),
            schema: Arc::clone(schema),
            ticket: Some(ticket),
            waits,
            watch: asking.info.verb == "watch",
        };
        match (arrival, turn) {
            (Arrival::Refused(reason), _) => {
                schema.counts.rejected(reason);
                Outcome::Never(self.refuse(&level.name))
            }
            (Arrival::Waits(ticket), Some((turn, length))) => {
                hot.queue_length.observe(crate::observe::metrics::real(length));
                Outcome::Later(Waiting { held: held(ticket, true), turn, until: asking.until, came: now })
            }
            (Arrival::Served(ticket) | Arrival::Waits(ticket), _) => {
                if queues {
                    hot.queue_length.observe(1.0);
                }
                Outcome::Now(Turn::new(held(ticket, false), now, now))
            }
        }
    }
}

// === impl Turn ===

impl Turn {
    fn new(held: Held, came: Duration, now: Duration) -> Self {
        let hot = held.schema.counts.hot();
        hot.dispatched.inc();
        hot.wait.observe(now.saturating_sub(came).as_secs_f64());
        Self { held, begun: now }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let took = self.held.fairness.now().saturating_sub(self.begun);
        let counts = &self.held.schema.counts;
        if self.held.watch {
            counts.watch_began(took);
        } else {
            counts.hot().execution.observe(took.as_secs_f64());
        }
    }
}

// === impl Waiting ===

impl Waiting {
    /// Waits. If the turn does not come in time: after how many seconds to come again.
    ///
    /// # Errors
    /// That number.
    pub async fn wait(self) -> Result<Turn, u64> {
        let Self { mut held, turn, until, came } = self;
        // Nobody tells that there will be no turn.
        let _in_time = tokio::time::timeout_at(until, turn).await;
        let now = held.fairness.now();
        if held.give_up() {
            held.schema.counts.gave_up(now.saturating_sub(came));
            return Err(held.fairness.refuse(&held.schema.level.name));
        }
        Ok(Turn::new(held, came, now))
    }
}

// === impl Held ===

impl Held {
    /// Leaves the queue. False if the turn has come.
    fn give_up(&mut self) -> bool {
        self.waits = false;
        let Some(ticket) = self.ticket else { return true };
        let now = self.fairness.now();
        let gone = self.schema.level.change(|set| set.give_up(now, ticket));
        if gone {
            self.ticket = None;
            self.schema.counts.rejected("time-out");
        }
        gone
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.waits && self.give_up() {
            return;
        }
        let Some(ticket) = self.ticket.take() else { return };
        let now = self.fairness.now();
        let lingers = self.schema.level.change(|set| {
            set.finish(now, ticket);
            set.next().is_some()
        });
        if lingers {
            self.fairness.tick(&self.schema.level);
        }
    }
}
