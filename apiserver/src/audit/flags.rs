//! The flags of the audit: upstream's, with upstream's defaults and complaints.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use runtime::Runtime;

use super::{
    Setup,
    backend::{Backend, Complaints, IgnoringFailures},
    batch::{self, Batching},
    log::{Keeping, Log, Output, Rotating},
    policy::{Policy, VERSION},
    truncate::Truncating,
    webhook::{Destination, Webhook},
};
use crate::observe::metrics;

const MODES: &str = "batch,blocking,blocking-strict";
const FORMATS: &str = "legacy,json";

/// What is put on record, and where.
#[derive(Args, Clone, Debug)]
pub struct AuditFlags {
    /// The policy: which requests are put on record, and how much of them
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// Where events are logged; - for standard output
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// How many days logs that were put aside are kept; 0 for ever
    #[arg(long, default_value_t = 366, value_name = "DAYS", allow_negative_numbers = true)]
    pub audit_log_maxage: i64,
    /// How many logs that were put aside are kept; 0 for all
    #[arg(long, default_value_t = 100, value_name = "COUNT", allow_negative_numbers = true)]
    pub audit_log_maxbackup: i64,
    /// At how many megabytes a log is put aside; 0 for never
    #[arg(long, default_value_t = 100, value_name = "MEGABYTES", allow_negative_numbers = true)]
    pub audit_log_maxsize: i64,
    /// How events are logged: json, or legacy for a line of text
    #[arg(long, default_value = "json", value_name = "FORMAT")]
    pub audit_log_format: String,
    /// The version of logged events
    #[arg(long, default_value = VERSION, value_name = "VERSION")]
    pub audit_log_version: String,
    /// Whether logs that were put aside are packed
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_log_compress: bool,
    /// How events are logged: batch, blocking (requests wait for it) or blocking-strict (and fail if it fails)
    #[arg(long, default_value = "blocking", value_name = "MODE")]
    pub audit_log_mode: String,
    /// How many events wait to be logged, in mode batch
    #[arg(long, default_value_t = 10_000, value_name = "COUNT", allow_negative_numbers = true)]
    pub audit_log_batch_buffer_size: i64,
    /// How many events are logged together, in mode batch
    #[arg(long, default_value_t = 1, value_name = "COUNT", allow_negative_numbers = true)]
    pub audit_log_batch_max_size: i64,
    /// How long events wait for others, in mode batch
    #[arg(long, default_value = "0", value_parser = duration, value_name = "DURATION")]
    pub audit_log_batch_max_wait: Duration,
    /// Whether there is a bound to the batches a second, in mode batch
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_log_batch_throttle_enable: bool,
    /// How many batches a second, in mode batch
    #[arg(long, default_value_t = 0.0, value_name = "RATE", allow_negative_numbers = true)]
    pub audit_log_batch_throttle_qps: f64,
    /// How many batches at once after a pause, in mode batch
    #[arg(long, default_value_t = 0, value_name = "COUNT", allow_negative_numbers = true)]
    pub audit_log_batch_throttle_burst: i64,
    /// Whether events that are too large to be logged lose their objects
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_log_truncate_enabled: bool,
    /// The largest batch that is logged, in bytes
    #[arg(long, default_value_t = 10 * 1024 * 1024, value_name = "BYTES", allow_negative_numbers = true)]
    pub audit_log_truncate_max_batch_size: i64,
    /// The largest event that is logged, in bytes
    #[arg(long, default_value_t = 100 * 1024, value_name = "BYTES", allow_negative_numbers = true)]
    pub audit_log_truncate_max_event_size: i64,
    /// A kubeconfig that says where events are sent
    #[arg(long, value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// The version of sent events
    #[arg(long, default_value = VERSION, value_name = "VERSION")]
    pub audit_webhook_version: String,
    /// How long is waited before events are sent again
    #[arg(long, alias = "audit-webhook-batch-initial-backoff", default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub audit_webhook_initial_backoff: Duration,
    /// How events are sent: batch, blocking (requests wait for it) or blocking-strict (and fail if it fails)
    #[arg(long, default_value = "batch", value_name = "MODE")]
    pub audit_webhook_mode: String,
    /// How many events wait to be sent, in mode batch
    #[arg(long, default_value_t = 10_000, value_name = "COUNT", allow_negative_numbers = true)]
    pub audit_webhook_batch_buffer_size: i64,
    /// How many events are sent together, in mode batch
    #[arg(long, default_value_t = 400, value_name = "COUNT", allow_negative_numbers = true)]
    pub audit_webhook_batch_max_size: i64,
    /// How long events wait for others, in mode batch
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub audit_webhook_batch_max_wait: Duration,
    /// Whether there is a bound to the batches a second, in mode batch
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_webhook_batch_throttle_enable: bool,
    /// How many batches a second, in mode batch
    #[arg(long, default_value_t = 10.0, value_name = "RATE", allow_negative_numbers = true)]
    pub audit_webhook_batch_throttle_qps: f64,
    /// How many batches at once after a pause, in mode batch
    #[arg(long, default_value_t = 15, value_name = "COUNT", allow_negative_numbers = true)]
    pub audit_webhook_batch_throttle_burst: i64,
    /// Whether events that are too large to be sent lose their objects
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub audit_webhook_truncate_enabled: bool,
    /// The largest batch that is sent, in bytes
    #[arg(long, default_value_t = 10 * 1024 * 1024, value_name = "BYTES", allow_negative_numbers = true)]
    pub audit_webhook_truncate_max_batch_size: i64,
    /// The largest event that is sent, in bytes
    #[arg(long, default_value_t = 100 * 1024, value_name = "BYTES", allow_negative_numbers = true)]
    pub audit_webhook_truncate_max_event_size: i64,
}

/// The backends that flags ask for, checked but not started.
#[derive(Clone, Debug)]
pub struct Backends {
    log: Option<(Destinations, Delivery)>,
    webhook: Option<(Destination, Duration, Delivery)>,
}

#[derive(Clone, Debug)]
struct Destinations {
    path: PathBuf,
    keeping: Keeping,
    is_json: bool,
}

/// How events come to a backend.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    mode: Mode,
    truncation: Option<(usize, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Batch(batch::Options),
    Blocking,
    BlockingStrict,
}

/// The flags of one backend, to be checked.
struct Plugin<'a> {
    name: &'static str,
    mode: &'a str,
    version: &'a str,
    buffer_size: i64,
    batch_max: i64,
    wait_max: Duration,
    throttle: Option<(f64, i64)>,
    parallel: bool,
    is_truncating: bool,
    truncated_batch_max: i64,
    truncated_event_max: i64,
}

fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    parsed
        .and_then(|it| Duration::try_from(it).ok())
        .ok_or_else(|| format!("{text:?} is no duration such as 30s"))
}

// === impl AuditFlags ===

impl AuditFlags {
    /// What the flags ask for; `None` if nothing is to be put on record.
    ///
    /// # Errors
    /// What is wrong with the flags, the policy or a file.
    pub fn setup(&self) -> anyhow::Result<Option<Setup>> {
        let faults = self.faults();
        if !faults.is_empty() {
            bail!(api_types::field::aggregate(&faults));
        }
        let policy = match &self.audit_policy_file {
            Some(file) => {
                Policy::load(file).map_err(|why| anyhow::anyhow!("loading audit policy file: {why}"))?
            }
            None => {
                if self.audit_log_path.is_some() || self.audit_webhook_config_file.is_some() {
                    tracing::info!("no audit policy file provided, no events will be recorded");
                }
                return Ok(None);
            }
        };
        let log = match &self.audit_log_path {
            None => None,
            Some(path) => {
                let destination = Destinations {
                    path: path.clone(),
                    keeping: Keeping {
                        age_max: u32::try_from(self.audit_log_maxage)?,
                        backups_max: usize::try_from(self.audit_log_maxbackup)?,
                        size_max: u64::try_from(self.audit_log_maxsize)?,
                        compress: self.audit_log_compress,
                    },
                    is_json: self.audit_log_format == "json",
                };
                destination.try_to_open()?;
                Some((destination, self.log().delivery()?))
            }
        };
        let webhook = match &self.audit_webhook_config_file {
            None => None,
            Some(file) => {
                let destination = Destination::read(file).context("initializing audit webhook")?;
                Some((destination, self.audit_webhook_initial_backoff, self.webhook().delivery()?))
            }
        };
        if log.is_none() && webhook.is_none() {
            return Ok(None);
        }
        Ok(Some(Setup { policy: Arc::new(policy), backends: Backends { log, webhook } }))
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.audit_log_path.is_some() {
            faults.extend(self.log().faults());
            let format = &self.audit_log_format;
            if !FORMATS.split(',').any(|known| known == format) {
                faults.push(format!("invalid audit log format {format}, allowed formats are {FORMATS:?}"));
            }
            for (flag, value) in [
                ("--audit-log-maxage", self.audit_log_maxage),
                ("--audit-log-maxbackup", self.audit_log_maxbackup),
                ("--audit-log-maxsize", self.audit_log_maxsize),
            ] {
                if value < 0 {
                    faults.push(format!("{flag} {value} can't be a negative number"));
                }
            }
        }
        if self.audit_webhook_config_file.is_some() {
            faults.extend(self.webhook().faults());
        }
        faults
    }

    fn log(&self) -> Plugin<'_> {
        Plugin {
            name: "log",
            mode: &self.audit_log_mode,
            version: &self.audit_log_version,
            buffer_size: self.audit_log_batch_buffer_size,
            batch_max: self.audit_log_batch_max_size,
            wait_max: self.audit_log_batch_max_wait,
            throttle: self
                .audit_log_batch_throttle_enable
                .then_some((self.audit_log_batch_throttle_qps, self.audit_log_batch_throttle_burst)),
            parallel: false,
            is_truncating: self.audit_log_truncate_enabled,
            truncated_batch_max: self.audit_log_truncate_max_batch_size,
            truncated_event_max: self.audit_log_truncate_max_event_size,
        }
    }

    fn webhook(&self) -> Plugin<'_> {
        Plugin {
            name: "webhook",
            mode: &self.audit_webhook_mode,
            version: &self.audit_webhook_version,
            buffer_size: self.audit_webhook_batch_buffer_size,
            batch_max: self.audit_webhook_batch_max_size,
            wait_max: self.audit_webhook_batch_max_wait,
            throttle: self
                .audit_webhook_batch_throttle_enable
                .then_some((self.audit_webhook_batch_throttle_qps, self.audit_webhook_batch_throttle_burst)),
            parallel: true,
            is_truncating: self.audit_webhook_truncate_enabled,
            truncated_batch_max: self.audit_webhook_truncate_max_batch_size,
            truncated_event_max: self.audit_webhook_truncate_max_event_size,
        }
    }
}

// === impl Plugin ===

impl Plugin<'_> {
    fn faults(&self) -> Vec<String> {
        let Self { name, mode, .. } = self;
        let mut faults = Vec::new();
        if !MODES.split(',').any(|known| known == *mode) {
            faults.push(format!("invalid audit {name} mode {mode}, allowed modes are {MODES:?}"));
        } else if *mode == "batch" {
            let (rate, burst) = self.throttle.unwrap_or((1.0, 1));
            let numbers = [
                ("buffer size", self.buffer_size.to_string(), self.buffer_size > 0),
                ("max batch size", self.batch_max.to_string(), self.batch_max > 0),
                ("throttle QPS", rate.to_string(), rate > 0.0),
                ("throttle burst", burst.to_string(), burst > 0),
            ];
            // One is told at a time.
            if let Some((what, value, _)) = numbers.into_iter().find(|(_, _, good)| !good) {
                faults.push(format!("invalid audit batch {name} {what} {value}, must be a positive number"));
            }
        }
        let (event_max, batch_max) = (self.truncated_event_max, self.truncated_batch_max);
        if event_max <= 0 {
            faults.push(format!(
                "invalid audit truncate {name} max event size {event_max}, must be a positive number"
            ));
        } else if batch_max < event_max {
            faults.push(format!(
                "invalid audit truncate {name} max batch size {batch_max}, must be greater than max event size ({event_max})"
            ));
        }
        if self.version != VERSION {
            faults.push(r#"invalid group version, allowed versions are ["audit.k8s.io/v1"]"#.to_owned());
        }
        faults
    }

    fn delivery(&self) -> anyhow::Result<Delivery> {
        let mode = match self.mode {
            "blocking" => Mode::Blocking,
            "blocking-strict" => Mode::BlockingStrict,
            _ => Mode::Batch(batch::Options {
                buffer_size: usize::try_from(self.buffer_size)?,
                batch_max: usize::try_from(self.batch_max)?,
                wait_max: self.wait_max,
                throttle: self
                    .throttle
                    .map(|(rate, burst)| anyhow::Ok((rate, f64::from(i32::try_from(burst)?))))
                    .transpose()?,
                parallel: self.parallel,
            }),
        };
        let truncation = self
            .is_truncating
            .then(|| {
                let max =
                    (usize::try_from(self.truncated_event_max)?, usize::try_from(self.truncated_batch_max)?);
                anyhow::Ok(max)
            })
            .transpose()?;
        Ok(Delivery { mode, truncation })
    }
}

// === impl Destinations ===

impl Destinations {
    fn is_stdout(&self) -> bool {
        self.path == Path::new("-")
    }

    fn try_to_open(&self) -> anyhow::Result<()> {
        if !self.is_stdout() {
            let clock: runtime::SharedClock = Arc::new(runtime::SystemClock);
            Rotating::new(&self.path, self.keeping.clone(), clock)
                .with_context(|| format!("ensureLogFile: {}", self.path.display()))?;
        }
        Ok(())
    }
}

// === impl Backends ===

impl Backends {
    /// The backends, at work.
    pub(super) fn start(&self, metrics: &metrics::Audit, runtime: &Runtime) -> Vec<Arc<dyn Backend>> {
        let complaints = Complaints(metrics.clone());
        let mut backends: Vec<Arc<dyn Backend>> = Vec::new();
        if let Some((to, delivery)) = &self.log {
            let output = if to.is_stdout() {
                Some(Output::Stdout)
            } else {
                match Rotating::new(&to.path, to.keeping.clone(), Arc::clone(&runtime.clock)) {
                    Ok(file) => Some(Output::File(file)),
                    // It could be opened a moment ago.
                    Err(error) => {
                        tracing::error!(%error, path = %to.path.display(), "cannot open the audit log");
                        None
                    }
                }
            };
            if let Some(output) = output {
                let log = Arc::new(Log::new(output, to.is_json, complaints.clone()));
                backends.push(delivery.wrap(log, &complaints, runtime));
            }
        }
        if let Some((destination, backoff, delivery)) = &self.webhook {
            let webhook = Webhook::new(destination.clone(), *backoff, complaints.clone(), runtime);
            backends.push(delivery.wrap(Arc::new(webhook), &complaints, runtime));
        }
        backends
    }
}

impl Delivery {
    fn wrap(self, backend: Arc<dyn Backend>, complaints: &Complaints, runtime: &Runtime) -> Arc<dyn Backend> {
        let backend: Arc<dyn Backend> = match self.mode {
            Mode::BlockingStrict => backend,
            Mode::Blocking => Arc::new(IgnoringFailures(backend)),
            Mode::Batch(options) => {
                Arc::new(Batching::start(backend, options, complaints.clone(), &runtime.tasks))
            }
        };
        match self.truncation {
            None => backend,
            Some((event_max, batch_max)) => {
                Arc::new(Truncating { backend, event_max, batch_max, complaints: complaints.clone() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        audit: AuditFlags,
    }

    fn flags(words: &str) -> AuditFlags {
        Program::try_parse_from(["x"].into_iter().chain(words.split_whitespace())).unwrap().audit
    }

    #[test]
    fn what_is_wrong_with_flags_is_told_in_upstreams_words() {
        for (words, expected) in [
            ("--audit-log-maxage -1", vec![]),
            (
                "--audit-log-path a --audit-log-maxage -1",
                vec!["--audit-log-maxage -1 can't be a negative number"],
            ),
            (
                "--audit-log-path a --audit-log-format xml",
                vec![r#"invalid audit log format xml, allowed formats are "legacy,json""#],
            ),
            (
                "--audit-log-path a --audit-log-mode fast",
                vec![r#"invalid audit log mode fast, allowed modes are "batch,blocking,blocking-strict""#],
            ),
            (
                "--audit-log-path a --audit-log-mode batch --audit-log-batch-buffer-size 0",
                vec!["invalid audit batch log buffer size 0, must be a positive number"],
            ),
            (
                "--audit-webhook-config-file a --audit-webhook-batch-throttle-qps 0",
                vec!["invalid audit batch webhook throttle QPS 0, must be a positive number"],
            ),
            (
                "--audit-webhook-config-file a --audit-webhook-truncate-max-batch-size 1",
                vec![
                    "invalid audit truncate webhook max batch size 1, must be greater than max event size (102400)",
                ],
            ),
            (
                "--audit-webhook-config-file a --audit-webhook-version audit.k8s.io/v2",
                vec![r#"invalid group version, allowed versions are ["audit.k8s.io/v1"]"#],
            ),
            ("--audit-log-path a --audit-log-compress --audit-log-truncate-enabled=true", vec![]),
        ] {
            assert_eq!(flags(words).faults(), expected, "{words}");
        }
    }

    #[test]
    fn nothing_is_put_on_record_without_a_policy_and_a_place() {
        assert!(flags("").setup().unwrap().is_none());
        assert!(flags("--audit-log-path -").setup().unwrap().is_none());
        let error = flags("--audit-policy-file /nowhere/p").setup().unwrap_err().to_string();
        assert!(error.starts_with("loading audit policy file: failed to read file path"), "{error}");
    }
}
