//! All levels and schemas of a server while requests come and go, and how its seats are dealt among the levels.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use runtime::{Runtime, SharedClock, Tasks};
use tokio::time::Instant;

use super::{
    configuration::{CATCH_ALL, Configuration, LevelSpec},
    demand::Smoothed,
    level::{Level, Schema},
    limits::{self, Bounds, Claim, Shares},
    queues::Discipline,
    retry::RetryAfter,
    watches::Watches,
};
use crate::{authn::user::User, http::info::RequestInfo, observe::metrics};

/// How often seats are dealt anew.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Priority and fairness of a server.
pub struct Fairness {
    origin: Instant,
    /// How many seats there are in all.
    total: u32,
    schemas: ArcSwap<Vec<Arc<Schema>>>,
    levels: Mutex<BTreeMap<String, State>>,
    refusals: Mutex<BTreeMap<String, RetryAfter>>,
    /// Who watches what.
    pub watches: Arc<Watches>,
    metrics: metrics::Flow,
    clock: SharedClock,
    tasks: Tasks,
}

/// A level, and what is dealt to it.
#[derive(Clone, Debug)]
pub struct State {
    /// The level.
    pub level: Arc<Level>,
    /// Whether nothing leads to it any more. It goes when it is empty.
    pub quiescing: bool,
    exempt: bool,
    uid: String,
    shares: Shares,
    /// In how many queues a flow may wait; 0 if there are none.
    hand: u32,
    bounds: Bounds,
    demand: Smoothed,
    limit: u32,
}

// === impl Fairness ===

impl Fairness {
    /// With so many seats; what nothing is configured for yet has the level `catch-all`.
    pub fn new(total: u32, metrics: metrics::Flow, runtime: &Runtime) -> Arc<Self> {
        let it = Arc::new(Self {
            origin: Instant::now(),
            total,
            schemas: ArcSwap::default(),
            levels: Mutex::default(),
            refusals: Mutex::default(),
            watches: Arc::default(),
            metrics,
            clock: Arc::clone(&runtime.clock),
            tasks: runtime.tasks.clone(),
        });
        it.adopt(Configuration::new([].iter(), [].iter()));
        it
    }

    /// How long this has been there.
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The wall-clock time of such a time, for people.
    pub fn at(&self, time: Duration) -> jiff::Timestamp {
        let ago = jiff::SignedDuration::try_from(self.now().saturating_sub(time)).unwrap_or_default();
        self.clock.now().checked_sub(ago).unwrap_or_default()
    }

    /// The schema a request matches.
    pub fn classify(&self, info: &RequestInfo, user: &User) -> Option<Arc<Schema>> {
        let schemas = self.schemas.load();
        let matching = schemas.iter().find(|schema| schema.matcher.matches(info, user));
        // The schema for what nothing else is for matches everybody; if it were changed not to, it is still that.
        matching.or_else(|| schemas.iter().find(|schema| schema.name == CATCH_ALL)).cloned()
    }

    /// Goes by a new configuration. Requests that wait or are served stay where they are.
    pub fn adopt(&self, configuration: Configuration) {
        let now = self.now();
        let mut levels = self.levels.lock();
        for state in levels.values_mut() {
            state.quiescing = true;
        }
        for spec in &configuration.levels {
            match levels.get_mut(&spec.name) {
                Some(state) => state.follow(now, spec),
                None => {
                    levels.insert(spec.name.clone(), State::new(now, spec));
                }
            }
        }
        let schemas = configuration.schemas.into_iter().filter_map(|spec| {
            let state = levels.get(&spec.level)?;
            Some(Arc::new(Schema::new(spec, Arc::clone(&state.level), &state.uid, &self.metrics)))
        });
        self.schemas.store(Arc::new(schemas.collect()));
        self.deal(&mut levels, now);
    }

    /// Deals the seats anew, by what each level could have used lately.
    pub fn rebalance(&self) {
        self.deal(&mut self.levels.lock(), self.now());
    }

    fn deal(&self, levels: &mut BTreeMap<String, State>, now: Duration) {
        levels.retain(|_, state| !state.quiescing || !state.level.look().is_idle());
        let all: u64 = levels.values().map(|state| u64::from(state.shares.nominal)).sum();
        let mut claims = Vec::new();
        for state in levels.values_mut() {
            state.bounds = limits::bounds(self.total, all, state.shares);
            if state.hand > 0 {
                state.level.bound_requests(limits::request_seats_max(state.bounds.nominal, state.hand));
            }
            state.demand.look(state.level.look().take_demand(now));
            claims.push(Claim {
                bounds: state.bounds,
                exempt: state.exempt,
                high_watermark: limits::whole(state.demand.last.max),
                smoothed: state.demand.seats,
            });
        }
        let before: Vec<u32> = levels.values().map(|state| state.limit).collect();
        let dealt = limits::deal(&claims, &before);
        self.metrics.fair_fraction.set(dealt.fair_fraction);
        for ((state, limit), target) in levels.values_mut().zip(dealt.limits).zip(dealt.targets) {
            state.limit = limit;
            state.level.change(|set| set.limit_to(now, limit));
            let level = &[state.level.name.as_str()];
            let seats = |gauge: &prometheus::IntGaugeVec, seats| {
                gauge.with_label_values(level).set(i64::from(seats));
            };
            seats(&self.metrics.nominal_limit_seats, state.bounds.nominal);
            seats(&self.metrics.lower_limit_seats, state.bounds.min);
            seats(&self.metrics.upper_limit_seats, state.bounds.max);
            seats(&self.metrics.current_limit_seats, limit);
            let demand = &self.metrics.demand;
            demand.high_watermark.with_label_values(level).set(state.demand.last.max);
            demand.average.with_label_values(level).set(state.demand.last.average);
            demand.deviation.with_label_values(level).set(state.demand.last.deviation);
            demand.smoothed.with_label_values(level).set(state.demand.seats);
            demand.target.with_label_values(level).set(target);
        }
    }

    /// One more is sent away from a level: after how many seconds to come again.
    pub fn refuse(&self, level: &str) -> u64 {
        let mut refusals = self.refusals.lock();
        if !refusals.contains_key(level) {
            refusals.insert(level.to_owned(), RetryAfter::default());
        }
        refusals.get_mut(level).map_or(1, |retry| {
            retry.refused(self.origin.elapsed().as_secs());
            retry.seconds()
        })
    }

    /// Sees to the seats of a level that linger, as long as there are any.
    pub fn tick(self: &Arc<Self>, level: &Arc<Level>) {
        if level.ticking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (it, level) = (Arc::clone(self), Arc::clone(level));
        self.tasks.spawn("seats that linger", async move {
            loop {
                let next = {
                    let set = level.look();
                    let next = set.next();
                    if next.is_none() {
                        // Under the lock, so that whoever makes seats linger afterwards finds nobody ticking.
                        level.ticking.store(false, Ordering::Release);
                    }
                    next
                };
                let Some(next) = next else { return };
                tokio::time::sleep_until(it.origin + next).await;
                level.change(|set| set.pass(it.now()));
            }
        });
    }

    /// Runs something beside the requests.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, task);
    }

    /// The levels, by name.
    pub fn levels(&self) -> Vec<State> {
        self.levels.lock().values().cloned().collect()
    }

    /// Brings the gauges up to date. They cost nothing until somebody looks.
    pub fn publish(&self) {
        let metrics = &self.metrics;
        let schemas = self.schemas.load();
        let mut writing = [0_i64; 2];
        for state in self.levels.lock().values() {
            let level = state.level.name.as_str();
            let mut seen: BTreeMap<&str, [i64; 4]> = BTreeMap::new();
            let known = schemas.iter().filter(|it| Arc::ptr_eq(&it.level, &state.level) && it.counts.any());
            seen.extend(known.map(|schema| (schema.name.as_str(), [0; 4])));
            let set = state.level.look();
            for (_, request) in set.requests() {
                let seats = i64::from(request.estimate.seats_max());
                let counts = seen.entry(request.payload.schema.name.as_str()).or_default();
                let [waiting, seats_waiting, executing, seats_executing] = counts;
                if request.started.is_some() {
                    *executing += 1;
                    *seats_executing += seats;
                } else {
                    *waiting += 1;
                    *seats_waiting += seats;
                    let [reads, writes] = &mut writing;
                    let kind = if request.payload.method.is_safe() { reads } else { writes };
                    *kind += 1;
                }
            }
            for (schema, [waiting, seats_waiting, executing, seats_executing]) in seen {
                let labels = &[level, schema];
                metrics.in_queue.with_label_values(labels).set(waiting);
                metrics.in_queue_seats.with_label_values(labels).set(seats_waiting);
                metrics.executing.with_label_values(labels).set(executing);
                metrics.executing_seats.with_label_values(labels).set(seats_executing);
            }
            let progress = u64::try_from(set.progress()).unwrap_or(u64::MAX);
            metrics.progress.with_label_values(&[level]).set(Duration::from_nanos(progress).as_secs_f64());
        }
        for (kind, waiting) in ["readOnly", "mutating"].iter().zip(writing) {
            metrics.in_queue_by_kind.with_label_values(&[kind]).set(waiting);
        }
    }
}

impl fmt::Debug for Fairness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fairness").field("total", &self.total).finish_non_exhaustive()
    }
}

// === impl State ===

impl State {
    fn new(now: Duration, spec: &LevelSpec) -> Self {
        let mut state = Self {
            level: Arc::new(Level::new(now, spec, 0)),
            quiescing: false,
            exempt: false,
            uid: String::new(),
            shares: Shares::default(),
            hand: 0,
            bounds: Bounds::default(),
            demand: Smoothed::default(),
            limit: 0,
        };
        state.follow(now, spec);
        state
    }

    fn follow(&mut self, now: Duration, spec: &LevelSpec) {
        self.quiescing = false;
        self.exempt = spec.discipline == Discipline::Exempt;
        self.uid.clone_from(&spec.uid);
        self.shares = spec.shares;
        self.hand = match spec.discipline {
            Discipline::Queue { hand, .. } => u32::try_from(hand).unwrap_or(u32::MAX),
            Discipline::Exempt | Discipline::Reject => 0,
        };
        self.level.configure(now, spec.discipline);
    }
}
