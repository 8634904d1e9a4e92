//! `/healthz`, `/livez`, `/readyz`: whether the server is well, should be restarted, should get traffic.
//!
//! A check is a function that reads what some task last found out; it must not wait. See "Kubernetes API health
//! endpoints".

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use api_types::field::go_quote;
use tokio::time::Instant;

use super::metrics::Slis;

/// One of the three questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// Is it well? Deprecated in favour of the other two.
    Healthz,
    /// Does it live, or must it be restarted?
    Livez,
    /// Shall it get requests?
    Readyz,
}

/// All three.
pub const EVERYWHERE: &[Endpoint] = &[Endpoint::Healthz, Endpoint::Livez, Endpoint::Readyz];

const EXCEPT_LIVEZ: &[Endpoint] = &[Endpoint::Healthz, Endpoint::Readyz];
const LIVE: &[Endpoint] = &[Endpoint::Livez];

/// Only the one that says whether to send requests.
pub const READY: &[Endpoint] = &[Endpoint::Readyz];

/// What is wrong, if anything; told only to those who may see single checks.
pub type Verdict = Result<(), String>;

/// The checks, in the order they are reported.
pub struct Health {
    checks: Vec<Check>,
    slis: Slis,
}

struct Check {
    name: String,
    at: &'static [Endpoint],
    probe: Box<dyn Fn() -> Verdict + Send + Sync>,
}

/// Something that has to be done once before the server is well.
#[derive(Clone, Debug, Default)]
pub struct Hook(Arc<AtomicBool>);

/// What to answer: plain text (`text/plain; charset=utf-8`), with `Cache-Control: no-cache, private`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200 or 500.
    pub code: u16,
    /// The text.
    pub body: String,
    /// Whether `X-Content-Type-Options: nosniff` is sent.
    pub nosniff: bool,
}

// === impl Endpoint ===

impl Endpoint {
    /// The endpoint at a path.
    pub fn at(path: &str) -> Option<Self> {
        EVERYWHERE.iter().copied().find(|endpoint| path.strip_prefix('/') == Some(endpoint.name()))
    }

    /// The path without its slash, which is also what the endpoint calls itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthz => "healthz",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }
}

// === impl Health ===

impl Health {
    /// The checks that need nobody: `ping`, which says that the server answers, and `log`, since we never wait for the
    /// log.
    pub fn new(slis: Slis) -> Self {
        let mut health = Self { checks: Vec::new(), slis };
        health.add("ping", EVERYWHERE, || Ok(()));
        health.add("log", EVERYWHERE, || Ok(()));
        health
    }

    /// A check at these endpoints.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        at: &'static [Endpoint],
        probe: impl Fn() -> Verdict + Send + Sync + 'static,
    ) {
        self.checks.push(Check { name: name.into(), at, probe: Box::new(probe) });
    }

    /// A check `poststarthook/NAME` that fails until the hook is done.
    /// Whether the server lives is not asked of it for the time of `grace`.
    pub fn hook(&mut self, name: &str, grace: Duration) -> Hook {
        let hook = Hook::default();
        let verdict = |done: &Hook| if done.is_done() { Ok(()) } else { Err("not finished".to_owned()) };
        let (done, begun) = (hook.clone(), Instant::now());
        self.add(format!("poststarthook/{name}"), EXCEPT_LIVEZ, move || verdict(&done));
        let done = hook.clone();
        self.add(format!("poststarthook/{name}"), LIVE, move || {
            if begun.elapsed() < grace { Ok(()) } else { verdict(&done) }
        });
        hook
    }

    fn checks_at(&self, endpoint: Endpoint) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.at.contains(&endpoint))
    }

    /// Answers `/healthz` and its like. Failures are always told in detail, though without their reasons: anyone may
    /// ask.
    pub fn answer<'a>(
        &self,
        endpoint: Endpoint,
        verbose: bool,
        exclude: impl IntoIterator<Item = &'a str>,
    ) -> Answer {
        let excluded: BTreeSet<&str> = exclude.into_iter().collect();
        let mut unknown = excluded.clone();
        let mut report = String::new();
        let mut failed = Vec::new();
        for Check { name, probe, .. } in self.checks_at(endpoint) {
            // Writing to a String cannot fail.
            let _ = if excluded.contains(name.as_str()) {
                unknown.remove(name.as_str());
                writeln!(report, "[+]{name} excluded: ok")
            } else {
                let verdict = probe();
                self.slis.observe(name, endpoint.name(), verdict.is_ok());
                match verdict {
                    Ok(()) => writeln!(report, "[+]{name} ok"),
                    Err(reason) => {
                        failed.push(format!("{name}: {reason}"));
                        writeln!(report, "[-]{name} failed: reason withheld")
                    }
                }
            };
        }
        if !unknown.is_empty() {
            let quoted: Vec<String> = unknown.into_iter().map(go_quote).collect();
            let _ = writeln!(
                report,
                "warn: some health checks cannot be excluded: no matches for {}",
                quoted.join(",")
            );
        }
        let name = endpoint.name();
        if !failed.is_empty() {
            tracing::warn!(endpoint = name, failed = failed.join("; "), "health checks fail");
            return Answer { code: 500, body: format!("{report}{name} check failed\n"), nosniff: true };
        }
        let body = if verbose { format!("{report}{name} check passed\n") } else { "ok".to_owned() };
        Answer { code: 200, body, nosniff: true }
    }

    /// Answers `/healthz/NAME` and its like; `None` if there is no such check.
    pub fn answer_check(&self, endpoint: Endpoint, name: &str) -> Option<Answer> {
        let check = self.checks_at(endpoint).find(|check| check.name == name)?;
        Some(match (check.probe)() {
            Ok(()) => Answer { code: 200, body: "ok".to_owned(), nosniff: false },
            Err(reason) => {
                Answer { code: 500, body: format!("internal server error: {reason}\n"), nosniff: true }
            }
        })
    }

    /// The paths there are, for `/`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for endpoint in EVERYWHERE {
            paths.push(format!("/{}", endpoint.name()));
            paths.extend(
                self.checks_at(*endpoint).map(|check| format!("/{}/{}", endpoint.name(), check.name)),
            );
        }
        paths
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.checks.iter().map(|check| &check.name)).finish()
    }
}

// === impl Hook ===

impl Hook {
    /// Whether it is.
    pub fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// It is done; done it stays.
    pub fn done(&self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        let mut health = Health::new(super::super::metrics::Metrics::new().slis);
        health.add("etcd", EVERYWHERE, || Ok(()));
        health.add("shutdown", READY, || Err("process is shutting down".to_owned()));
        health
    }

    #[test]
    fn a_well_server_says_ok_and_no_more_unless_asked() {
        let health = health();
        let answer = health.answer(Endpoint::Livez, false, []);
        assert_eq!(answer, Answer { code: 200, body: "ok".to_owned(), nosniff: true });
        let answer = health.answer(Endpoint::Livez, true, []);
        assert_eq!(answer.body, "[+]ping ok\n[+]log ok\n[+]etcd ok\nlivez check passed\n");
    }

    #[test]
    fn a_failure_is_named_without_its_reason() {
        let answer = health().answer(Endpoint::Readyz, false, []);
        assert_eq!(answer.code, 500);
        assert_eq!(
            answer.body,
            "[+]ping ok\n[+]log ok\n[+]etcd ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n"
        );
    }

    #[test]
    fn checks_can_be_excluded_and_what_cannot_is_said() {
        let health = health();
        let answer = health.answer(Endpoint::Readyz, true, ["shutdown", "ping"]);
        assert_eq!(
            answer.body,
            "[+]ping excluded: ok\n[+]log ok\n[+]etcd ok\n[+]shutdown excluded: ok\nreadyz check passed\n"
        );
        let answer = health.answer(Endpoint::Livez, true, ["shutdown", "nosuch"]);
        assert_eq!(
            answer.body,
            "[+]ping ok\n[+]log ok\n[+]etcd ok\nwarn: some health checks cannot be excluded: no matches for \
             \"nosuch\",\"shutdown\"\nlivez check passed\n"
        );
    }

    #[test]
    fn a_single_check_tells_its_reason() {
        let health = health();
        let answer = |endpoint, name| health.answer_check(endpoint, name).map(|it| (it.code, it.body));
        assert_eq!(answer(Endpoint::Healthz, "ping"), Some((200, "ok".to_owned())));
        assert_eq!(answer(Endpoint::Healthz, "shutdown"), None, "only readiness asks for it");
        let failure = "internal server error: process is shutting down\n".to_owned();
        assert_eq!(answer(Endpoint::Readyz, "shutdown"), Some((500, failure)));
    }

    #[test]
    fn a_hook_fails_until_it_is_done() {
        let mut health = Health::new(super::super::metrics::Metrics::new().slis);
        let hook = health.hook("rbac/bootstrap-roles", Duration::ZERO);
        assert_eq!(health.answer(Endpoint::Healthz, false, []).code, 500);
        hook.done();
        assert_eq!(health.answer(Endpoint::Healthz, false, []).code, 200);
        assert!(health.paths().contains(&"/readyz/poststarthook/rbac/bootstrap-roles".to_owned()));
    }

    #[test]
    fn endpoints_are_found_by_their_paths() {
        assert_eq!(Endpoint::at("/readyz"), Some(Endpoint::Readyz));
        assert_eq!(Endpoint::at("/readyz/ping"), None);
        assert_eq!(Endpoint::at("readyz"), None);
    }
}
