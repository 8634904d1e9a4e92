//! How much work a request is: how many seats it takes, and for how long after its answer.
//!
//! The rules are upstream's work estimator (KEP-1040; with `SizeBasedListCostEstimate`, which is on). Pure: how many objects
//! and watchers there are is told by others.

use std::time::Duration;

use crate::http::{info::RequestInfo, query::Query};

/// Work: seats times nanoseconds.
pub type Work = i128;

/// How long a request is taken to last before it has.
pub const GUESS: Duration = Duration::from_millis(3);
/// How many bytes of a list one seat is good for.
const BYTES_PER_SEAT: u64 = 100_000;
/// How much of a list is in memory at once if it comes out of the cache.
const CACHED_MAX: u64 = 1_000_000;
/// The size of objects whose size is not known.
const OBJECT_MAX: u64 = 1_500_000;
/// The most seats of a list.
const LIST_SEATS_MAX: u32 = 100;
/// The most seats of a write, with what comes after it.
const WRITE_SEATS_MAX: u32 = 10;
/// How many watchers hear of a write for one seat.
const WATCHERS_PER_SEAT: u32 = 10;
/// How long it takes to tell them.
const TELLING: Duration = Duration::from_millis(5);

/// What a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Seats while it is served.
    pub initial_seats: u32,
    /// Seats after it was answered.
    pub final_seats: u32,
    /// How long it keeps those.
    pub additional_latency: Duration,
}

/// How large a collection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// How many objects.
    pub objects: u64,
    /// How many bytes one has on average.
    pub mean_bytes: u64,
}

/// What an estimate is made from, besides the request. Asked only if it matters.
pub trait Facts {
    /// How large the collection of the requested kind is, if that is known.
    fn collection(&self) -> Option<Collection>;
    /// How many watchers hear of a change of the requested object.
    fn watchers(&self) -> u32;
}

/// Seats times a duration.
pub fn work(seats: u32, duration: Duration) -> Work {
    let nanoseconds = i128::try_from(duration.as_nanos()).unwrap_or(i128::from(u64::MAX));
    i128::from(seats).saturating_mul(nanoseconds)
}

/// Estimates a request. `seats_max` is what its priority level allows one request, 0 for no such bound.
pub fn estimate(info: &RequestInfo, query: &Query, facts: &impl Facts, seats_max: u32) -> Estimate {
    match info.verb.as_str() {
        "list" | "watch" if info.resource_request => {
            Estimate::seats(list(info, query, facts, within(seats_max, LIST_SEATS_MAX)))
        }
        "create" | "update" | "patch" | "delete" if info.resource_request => {
            write(info, facts, within(seats_max, WRITE_SEATS_MAX))
        }
        _ => Estimate::seats(1),
    }
}

fn within(seats_max: u32, limit: u32) -> u32 {
    if seats_max == 0 { limit } else { seats_max.min(limit) }
}

fn list(info: &RequestInfo, query: &Query, facts: &impl Facts, seats_max: u32) -> u32 {
    let text = |name: &str| query.get(name).unwrap_or_default();
    let limit = match text("limit") {
        "" => 0,
        // It will be refused; until then it may be anything.
        text => match text.parse::<i64>() {
            Ok(limit) => u64::try_from(limit).unwrap_or_default(),
            Err(_) => return seats_max,
        },
    };
    let (version, watch) = (text("resourceVersion"), info.verb == "watch");
    if watch && !query.flag("sendInitialEvents") && !matches!(version, "" | "0") {
        return 1;
    }
    let from_store = match text("resourceVersionMatch") {
        "Exact" => true,
        "NotOlderThan" => false,
        _ => !text("continue").is_empty() || (limit > 0 && !matches!(version, "" | "0")),
    };
    let cached = watch || !from_store;
    let Some(Collection { objects, mean_bytes }) = facts.collection() else { return 1 };
    let mean_bytes = if mean_bytes == 0 && objects > 0 { OBJECT_MAX } else { mean_bytes };
    let wanted = if limit == 0 { objects } else { limit.min(objects) };
    let selecting = !text("fieldSelector").is_empty() || !text("labelSelector").is_empty();
    let loaded = if !info.name.is_empty() {
        1
    } else if !cached && selecting {
        wanted.max(objects / 2)
    } else {
        wanted
    };
    let bytes = loaded.saturating_mul(mean_bytes);
    let bytes = if cached { bytes.min(CACHED_MAX) } else { bytes };
    u32::try_from(bytes.div_ceil(BYTES_PER_SEAT)).unwrap_or(u32::MAX).max(1).min(seats_max)
}

fn write(info: &RequestInfo, facts: &impl Facts, seats_max: u32) -> Estimate {
    // A token changes no object, though it is asked of one.
    if info.resource == "serviceaccounts" && info.subresource == "token" {
        return Estimate::seats(1);
    }
    let watchers = facts.watchers();
    if watchers < WATCHERS_PER_SEAT {
        return Estimate::seats(1);
    }
    let seats = watchers.div_ceil(WATCHERS_PER_SEAT);
    // The same work on fewer seats takes longer: a wide request would keep others waiting for seats it does not use.
    let final_seats = seats.min(seats_max.max(1));
    Estimate { initial_seats: 1, final_seats, additional_latency: TELLING * seats / final_seats }
}

// === impl Estimate ===

impl Estimate {
    /// So many seats, and none afterwards.
    pub const fn seats(seats: u32) -> Self {
        Self { initial_seats: seats, final_seats: 0, additional_latency: Duration::ZERO }
    }

    /// How many seats it holds from the beginning to the end.
    pub fn seats_max(&self) -> u32 {
        self.initial_seats.max(self.final_seats)
    }

    /// How much work it is taken to be.
    pub fn work(&self) -> Work {
        work(self.initial_seats, GUESS).saturating_add(self.final_work())
    }

    /// How much of that comes after its answer.
    pub fn final_work(&self) -> Work {
        work(self.final_seats, self.additional_latency)
    }

    /// The same work where there are no more seats than `limit`.
    pub fn narrowed(mut self, limit: u32) -> Self {
        if limit > 0 && self.final_seats > limit {
            let nanoseconds = u64::try_from(self.final_work() / i128::from(limit)).unwrap_or(u64::MAX);
            self.additional_latency = Duration::from_nanos(nanoseconds);
            self.final_seats = limit;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::http::info;

    struct Told(Option<Collection>, u32);

    impl Facts for Told {
        fn collection(&self) -> Option<Collection> {
            self.0
        }

        fn watchers(&self) -> u32 {
            self.1
        }
    }

    fn check(method: Method, url: &str, facts: &Told, seats_max: u32) -> Estimate {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let query = Query::parse(query);
        estimate(&info::resolve(&method, path, &query).unwrap(), &query, facts, seats_max)
    }

    #[test]
    fn a_list_takes_seats_by_the_bytes_it_brings_to_memory() {
        let some = |objects, mean_bytes| Told(Some(Collection { objects, mean_bytes }), 0);
        for (url, facts, seats_max, seats) in [
            ("/api/v1/pods", some(0, 0), 0, 1),
            ("/api/v1/pods", some(10, 1000), 0, 1),
            ("/api/v1/pods", some(250, 1000), 0, 3),
            // The cache streams: never more than a megabyte at once.
            ("/api/v1/pods", some(100_000, 5_000), 0, 10),
            ("/api/v1/pods", some(100_000, 5_000), 4, 4),
            ("/api/v1/pods?limit=50", some(100_000, 5_000), 0, 3),
            ("/api/v1/pods?continue=x", some(1_000, 5_000), 0, 50),
            ("/api/v1/pods?continue=x", some(100_000, 5_000), 0, 100),
            ("/api/v1/pods?continue=x&limit=10&labelSelector=a", some(1_000, 5_000), 0, 25),
            ("/api/v1/pods?resourceVersion=7&resourceVersionMatch=Exact", some(1_000, 5_000), 0, 50),
            ("/api/v1/pods?fieldSelector=metadata.name%3Dx", some(1_000, 5_000), 0, 1),
            ("/api/v1/pods?limit=many", some(10, 10), 7, 7),
            // Sizes that are not known are the worst.
            ("/api/v1/pods", some(1, 0), 0, 10),
            ("/api/v1/pods", Told(None, 0), 0, 1),
            ("/api/v1/pods?watch=1", some(1_000, 1_000), 0, 10),
            ("/api/v1/pods?watch=1&resourceVersion=0", some(1_000, 1_000), 0, 10),
            ("/api/v1/pods?watch=1&resourceVersion=5", some(1_000, 1_000), 0, 1),
            ("/api/v1/pods?watch=1&resourceVersion=5&sendInitialEvents=true", some(1_000, 1_000), 0, 10),
            ("/api/v1/namespaces/a/pods/b", some(1_000, 1_000), 0, 1),
            ("/apis", some(1_000, 1_000), 0, 1),
        ] {
            assert_eq!(check(Method::GET, url, &facts, seats_max), Estimate::seats(seats), "{url}");
        }
    }

    #[test]
    fn a_write_goes_on_taking_seats_while_its_watchers_are_told() {
        let with = |final_seats, milliseconds| Estimate {
            initial_seats: 1,
            final_seats,
            additional_latency: Duration::from_millis(milliseconds),
        };
        let pods = "/api/v1/namespaces/a/pods";
        for (method, url, watchers, seats_max, expected) in [
            (Method::POST, pods, 9, 0, Estimate::seats(1)),
            (Method::POST, pods, 10, 0, with(1, 5)),
            (Method::POST, pods, 95, 0, with(10, 5)),
            (Method::POST, pods, 400, 0, with(10, 20)),
            (Method::PUT, "/api/v1/namespaces/a/pods/b", 40, 2, with(2, 10)),
            (Method::POST, "/api/v1/namespaces/a/serviceaccounts/b/token", 400, 0, Estimate::seats(1)),
            (Method::DELETE, pods, 400, 0, Estimate::seats(1)),
        ] {
            assert_eq!(check(method, url, &Told(None, watchers), seats_max), expected, "{url} {watchers}");
        }
    }

    #[test]
    fn a_narrower_request_is_the_same_work() {
        let wide = Estimate { initial_seats: 1, final_seats: 10, additional_latency: TELLING };
        let narrow = wide.narrowed(4);
        assert_eq!((narrow.final_seats, narrow.work()), (4, wide.work()));
        assert_eq!(wide.narrowed(10), wide);
    }
}
