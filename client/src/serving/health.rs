//! `/healthz`, `/livez` and `/readyz` of a component: whether it answers, and whether it is about to go.

use std::{collections::BTreeSet, fmt::Write as _};

use api_types::field::go_quote;

const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

pub(super) struct Health {
    is_stopping: Box<dyn Fn() -> bool + Send + Sync>,
}

// === impl Health ===

impl Health {
    pub(super) fn new(is_stopping: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { is_stopping: Box::new(is_stopping) }
    }

    /// Code and text; `None` if the path is none of health.
    pub(super) fn answer(&self, path: &str, query: &str) -> Option<(u16, String)> {
        let mut steps = path.strip_prefix('/')?.splitn(2, '/');
        let endpoint = ENDPOINTS.into_iter().find(|name| Some(*name) == steps.clone().next())?;
        steps.next();
        let checks = self.checks(endpoint);
        if let Some(name) = steps.next() {
            let (_, verdict) = checks.into_iter().find(|(known, _)| *known == name)?;
            return Some(match verdict {
                Ok(()) => (200, "ok".to_owned()),
                Err(why) => (500, format!("internal server error: {why}\n")),
            });
        }
        let values = |wanted: &'static str| {
            query.split('&').filter_map(move |pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (name == wanted).then_some(value)
            })
        };
        let excluded: BTreeSet<&str> = values("exclude").collect();
        let mut unknown = excluded.clone();
        let (mut report, mut failed) = (String::new(), false);
        for (name, verdict) in checks {
            // Writing to a String cannot fail.
            let _ = match verdict {
                _ if unknown.remove(name) => writeln!(report, "[+]{name} excluded: ok"),
                Ok(()) => writeln!(report, "[+]{name} ok"),
                Err(_) => {
                    failed = true;
                    writeln!(report, "[-]{name} failed: reason withheld")
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
        Some(if failed {
            (500, format!("{report}{endpoint} check failed\n"))
        } else if values("verbose").next().is_some() {
            (200, format!("{report}{endpoint} check passed\n"))
        } else {
            (200, "ok".to_owned())
        })
    }

    fn checks(&self, endpoint: &str) -> Vec<(&'static str, Result<(), &'static str>)> {
        let mut checks = vec![("ping", Ok(()))];
        if endpoint == "readyz" {
            let stopping = (self.is_stopping)();
            checks.push(("shutdown", if stopping { Err("process is shutting down") } else { Ok(()) }));
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_told_in_upstreams_words() {
        for (stopping, path, query, expected) in [
            (false, "/healthz", "", Some((200, "ok"))),
            (false, "/livez", "verbose", Some((200, "[+]ping ok\nlivez check passed\n"))),
            (true, "/livez", "", Some((200, "ok"))),
            (
                true,
                "/readyz",
                "",
                Some((500, "[+]ping ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n")),
            ),
            (true, "/readyz", "exclude=shutdown", Some((200, "ok"))),
            (
                false,
                "/healthz",
                "verbose&exclude=etcd",
                Some((
                    200,
                    "[+]ping ok\nwarn: some health checks cannot be excluded: no matches for \"etcd\"\nhealthz check passed\n",
                )),
            ),
            (false, "/healthz/ping", "", Some((200, "ok"))),
            (true, "/readyz/shutdown", "", Some((500, "internal server error: process is shutting down\n"))),
            (false, "/healthz/nonsense", "", None),
            (false, "/nonsense", "", None),
        ] {
            let answer = Health::new(move || stopping).answer(path, query);
            let answer = answer.as_ref().map(|(code, text)| (*code, text.as_str()));
            assert_eq!(answer, expected, "{path}?{query}");
        }
    }
}
