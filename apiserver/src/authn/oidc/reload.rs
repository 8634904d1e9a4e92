//! The file of `--authentication-config`, followed while the server runs: its issuers are replaced once the new ones were found.

use std::{path::PathBuf, sync::Arc, time::Duration};

use api_types::field::aggregate;
use prometheus::{GaugeVec, IntCounterVec, Opts, core::Collector};
use runtime::{SharedClock, Tasks};
use sha2::{Digest as _, Sha256};

use super::{
    Issuers,
    configuration::{AnonymousAuthConfig, AuthenticationConfiguration},
    issuer::Issuer,
    keys::ALGORITHMS,
};

/// How often the file is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How long new issuers may take to be found.
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
/// How often they are asked whether they were.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Metrics of a file that is read again, under upstream's names.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    server: String,
    total: IntCounterVec,
    last: GaugeVec,
    config: GaugeVec,
}

/// The file and what came of it.
#[derive(Debug)]
pub struct Followed {
    /// The file.
    pub file: PathBuf,
    /// What it said, as it was last taken.
    pub text: Vec<u8>,
    /// What it said about callers without credentials, which cannot change.
    pub anonymous: Option<AnonymousAuthConfig>,
    /// Issuers of our own.
    pub disallowed: Vec<String>,
    /// What is replaced.
    pub issuers: Arc<Issuers>,
    /// Counted.
    pub metrics: ReloadMetrics,
}

// === impl ReloadMetrics ===

impl ReloadMetrics {
    /// For a part of the server, `authentication` or `authorization`; `server` tells servers apart.
    ///
    /// # Errors
    /// Names that are none.
    pub fn new(part: &str, server: &str) -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("apiserver_{part}_config_controller_{name}"), help.to_owned())
        };
        Ok(Self {
            server: digest(server.as_bytes()),
            total: IntCounterVec::new(
                opts(
                    "automatic_reloads_total",
                    &format!(
                        "Total number of automatic reloads of {part} configuration split by status and apiserver identity."
                    ),
                ),
                &["apiserver_id_hash", "status"],
            )?,
            last: GaugeVec::new(
                opts(
                    "automatic_reload_last_timestamp_seconds",
                    &format!(
                        "Timestamp of the last automatic reload of {part} configuration split by status and apiserver identity."
                    ),
                ),
                &["apiserver_id_hash", "status"],
            )?,
            config: GaugeVec::new(
                opts(
                    "last_config_info",
                    &format!(
                        "Information about the last applied {part} configuration with hash as label, split by apiserver identity."
                    ),
                ),
                &["apiserver_id_hash", "hash"],
            )?,
        })
    }

    /// To be shown.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.total.clone()), Box::new(self.last.clone()), Box::new(self.config.clone())]
    }

    /// This is what counts now.
    pub fn applied(&self, text: &[u8]) {
        self.config.reset();
        self.config.with_label_values(&[self.server.as_str(), &digest(text)]).set(1.0);
    }

    /// It was read again. `now` in seconds since 1970.
    pub fn reloaded(&self, success: bool, now: i64) {
        let status = if success { "success" } else { "failure" };
        let labels = [self.server.as_str(), status];
        self.total.with_label_values(&labels).inc();
        #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
        self.last.with_label_values(&labels).set(now as f64);
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

// === impl Followed ===

impl Followed {
    /// Takes what the file says as it changes.
    pub async fn follow(mut self, tasks: Tasks, clock: SharedClock) {
        self.metrics.applied(&self.text);
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let file = self.file.clone();
            // The file may lie on a network.
            let Ok(read) = tokio::task::spawn_blocking(move || std::fs::read(file)).await else { continue };
            let text = match read {
                Ok(text) if text == self.text => continue,
                Ok(text) => text,
                Err(error) => {
                    tracing::error!(%error, "cannot read the configuration of authentication again");
                    self.metrics.reloaded(false, clock.now().as_second());
                    continue;
                }
            };
            let outcome = self.take(&text, &tasks).await;
            self.metrics.reloaded(outcome.is_ok(), clock.now().as_second());
            match outcome {
                Ok(()) => {
                    tracing::info!("the configuration of authentication is a new one");
                    self.metrics.applied(&text);
                    self.text = text;
                }
                Err(why) => tracing::error!(why, "the old configuration of authentication stays"),
            }
        }
    }

    async fn take(&self, text: &[u8], tasks: &Tasks) -> Result<(), String> {
        let read = AuthenticationConfiguration::read(text)?;
        if read.anonymous != self.anonymous {
            return Err("changes to the anonymous configuration need a restart".to_owned());
        }
        let compiled = read.compile(&self.disallowed).map_err(aggregate)?;
        let algorithms: Vec<String> = ALGORITHMS.iter().map(|&it| it.to_owned()).collect();
        let issuers: Vec<Arc<Issuer>> =
            compiled.into_iter().map(|it| Issuer::start(it, algorithms.clone(), tasks)).collect();
        let unhealthy = || issuers.iter().filter_map(|it| it.health().err()).collect::<Vec<_>>();
        let found = tokio::time::timeout(HEALTHY_WITHIN, async {
            while !unhealthy().is_empty() {
                tokio::time::sleep(ASK_AGAIN).await;
            }
        });
        if found.await.is_err() {
            return Err(aggregate(unhealthy()));
        }
        self.issuers.replace(issuers);
        Ok(())
    }
}
