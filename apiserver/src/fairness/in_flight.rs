//! The plain limit, where fairness is off: so many requests that read and so many that write at once, the rest is sent away.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::{
    authn::user::{MASTERS, User},
    http::info::RequestInfo,
};

/// How many are served now, and may be at most; 0 for no limit.
#[derive(Debug)]
pub struct InFlight {
    reading: Arc<AtomicU32>,
    writing: Arc<AtomicU32>,
    reading_max: u32,
    writing_max: u32,
}

/// One that is served; dropped when it is not any more.
#[derive(Debug)]
pub struct Place(Option<Arc<AtomicU32>>);

// === impl InFlight ===

impl InFlight {
    /// With these limits.
    pub fn new(reading_max: u32, writing_max: u32) -> Self {
        Self { reading: Arc::default(), writing: Arc::default(), reading_max, writing_max }
    }

    /// A place, or none. Administrators always have one.
    pub fn enter(&self, info: &RequestInfo, user: &User) -> Option<Place> {
        let reads = matches!(info.verb.as_str(), "get" | "list" | "watch");
        let (count, max) =
            if reads { (&self.reading, self.reading_max) } else { (&self.writing, self.writing_max) };
        if info.is_long_running() || max == 0 {
            return Some(Place(None));
        }
        let enter = |now: u32| (now < max).then(|| now + 1);
        match count.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter) {
            Ok(_) => Some(Place(Some(Arc::clone(count)))),
            Err(_) => user.is_in(MASTERS).then_some(Place(None)),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::http::{info, query::Query};

    #[test]
    fn so_many_read_and_so_many_write_at_once() {
        let request = |method: Method, url: &str| {
            let (path, query) = url.split_once('?').unwrap_or((url, ""));
            info::resolve(&method, path, &Query::parse(query)).unwrap()
        };
        let (read, write) = (request(Method::GET, "/api/v1/pods"), request(Method::POST, "/api/v1/nodes"));
        let watch = request(Method::GET, "/api/v1/pods?watch=1");
        let (alice, admin) = (User::new("alice", &[]), User::new("admin", &[MASTERS]));
        let limit = InFlight::new(2, 1);
        let first = limit.enter(&read, &alice);
        let _second = limit.enter(&read, &alice);
        assert!(first.is_some() && limit.enter(&read, &alice).is_none());
        assert!(limit.enter(&read, &admin).is_some() && limit.enter(&watch, &alice).is_some());
        let _writing = limit.enter(&write, &alice);
        assert!(limit.enter(&write, &alice).is_none());
        drop(first);
        assert!(limit.enter(&read, &alice).is_some());
        assert!(InFlight::new(0, 0).enter(&read, &alice).is_some());
    }
}
