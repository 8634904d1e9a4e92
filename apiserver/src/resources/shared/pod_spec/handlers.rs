//! What is wrong with probes and lifecycle hooks.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::{
    api::core::v1::{
        Container, ExecAction, GRPCAction, HTTPGetAction, Lifecycle, Probe, SleepAction, TCPSocketAction,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    super::{
        metadata::invalid_each,
        names::{http_header_name, port_name},
        optional::{Items, Text, negative, one_of_or_empty_fault},
    },
    containers::port_faults,
    validate::Surroundings,
};

const WINDOWS_SIGNALS: &[&str] = &["SIGKILL", "SIGTERM"];
const LINUX_SIGNALS: &[&str] = &[
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

/// What is to be done when asked.
struct Handler<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

/// Faults of the hooks and probes of a container that runs on.
pub(super) fn validate_all(container: &Container, around: &Surroundings<'_>, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if let Some(lifecycle) = &container.lifecycle {
        faults.extend(self::lifecycle(lifecycle, around, &path.child("lifecycle")));
    }
    let grace = around.grace_period_seconds;
    if let Some(probe) = &container.liveness_probe {
        faults.extend(must_succeed_once(probe, grace, &path.child("livenessProbe")));
    }
    if let Some(probe) = &container.readiness_probe {
        let path = path.child("readinessProbe");
        faults.extend(self::probe(probe, grace, &path));
        if let Some(seconds) = probe.termination_grace_period_seconds {
            faults.push(Fault::invalid(
                &path.child("terminationGracePeriodSeconds"),
                seconds,
                "must not be set for readinessProbes",
            ));
        }
    }
    if let Some(probe) = &container.startup_probe {
        faults.extend(must_succeed_once(probe, grace, &path.child("startupProbe")));
    }
    faults
}

fn must_succeed_once(probe: &Probe, grace: Option<i64>, path: &Path) -> Faults {
    let mut faults = self::probe(probe, grace, path);
    let threshold = probe.success_threshold.unwrap_or_default();
    if threshold != 1 {
        faults.push(Fault::invalid(&path.child("successThreshold"), threshold, "must be 1"));
    }
    faults
}

fn probe(probe: &Probe, grace: Option<i64>, path: &Path) -> Faults {
    let handler = Handler {
        exec: probe.exec.as_ref(),
        http_get: probe.http_get.as_ref(),
        tcp_socket: probe.tcp_socket.as_ref(),
        grpc: probe.grpc.as_ref(),
        sleep: None,
    };
    let mut faults = self::handler(&handler, grace, path);
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        faults.extend(negative(&path.child(field), value.unwrap_or_default()));
    }
    if let Some(seconds) = probe.termination_grace_period_seconds
        && seconds <= 0
    {
        faults.push(Fault::invalid(
            &path.child("terminationGracePeriodSeconds"),
            seconds,
            "must be greater than 0",
        ));
    }
    faults
}

fn lifecycle(lifecycle: &Lifecycle, around: &Surroundings<'_>, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (field, hook) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
        let Some(hook) = hook else { continue };
        let handler = Handler {
            exec: hook.exec.as_ref(),
            http_get: hook.http_get.as_ref(),
            tcp_socket: hook.tcp_socket.as_ref(),
            grpc: None,
            sleep: hook.sleep.as_ref(),
        };
        faults.extend(self::handler(&handler, around.grace_period_seconds, &path.child(field)));
    }
    if let Some(signal) = lifecycle.stop_signal.as_deref() {
        let path = path.child("stopSignal");
        match around.os {
            None => faults
                .push(Fault::forbidden(&path, "may not be set for containers with empty `spec.os.name`")),
            Some("windows") => faults.extend(one_of_or_empty_fault(&path, signal, WINDOWS_SIGNALS)),
            Some("linux") => faults.extend(one_of_or_empty_fault(&path, signal, LINUX_SIGNALS)),
            Some(_) => {}
        }
    }
    faults
}

fn handler(handler: &Handler<'_>, grace: Option<i64>, path: &Path) -> Faults {
    let at = |field: &str| path.child(field);
    let given = [
        ("exec", handler.exec.map(|it| exec(it, &at("exec")))),
        ("httpGet", handler.http_get.map(|it| http_get(it, &at("httpGet")))),
        ("tcpSocket", handler.tcp_socket.map(|it| port(&it.port, &at("tcpSocket").child("port")))),
        ("grpc", handler.grpc.map(|it| port_faults(it.port, &at("grpc").child("port")))),
        ("sleep", handler.sleep.map(|it| sleep(it, grace, &at("sleep")))),
    ];
    let mut given = given.into_iter().filter_map(|(field, faults)| Some((field, faults?)));
    let Some((_, mut faults)) = given.next() else {
        return vec![Fault::required(path, "must specify a handler type")];
    };
    faults.extend(
        given.map(|(field, _)| Fault::forbidden(&at(field), "may not specify more than 1 handler type")),
    );
    faults
}

fn exec(exec: &ExecAction, path: &Path) -> Faults {
    if exec.command.items().is_empty() {
        vec![Fault::required(&path.child("command"), "")]
    } else {
        Vec::new()
    }
}

fn http_get(get: &HTTPGetAction, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if get.path.text().is_empty() {
        faults.push(Fault::required(&path.child("path"), ""));
    }
    faults.extend(port(&get.port, &path.child("port")));
    faults.extend(one_of_or_empty_fault(&path.child("scheme"), get.scheme.text(), &["HTTP", "HTTPS"]));
    for header in get.http_headers.items() {
        faults.extend(invalid_each(&path.child("httpHeaders"), &header.name, http_header_name(&header.name)));
    }
    faults
}

fn port(port: &IntOrString, path: &Path) -> Faults {
    match port {
        IntOrString::Int(number) => port_faults(*number, path),
        IntOrString::String(name) => invalid_each(path, name, port_name(name)),
    }
}

fn sleep(sleep: &SleepAction, grace: Option<i64>, path: &Path) -> Faults {
    // Without a grace period something else is wrong, and said elsewhere.
    let Some(grace) = grace else { return Vec::new() };
    if (0..=grace).contains(&sleep.seconds) {
        return Vec::new();
    }
    vec![Fault::invalid(
        path,
        sleep.seconds,
        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
    )]
}
