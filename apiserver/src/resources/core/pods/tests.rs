//! Tables of pods: what becomes of them, and what is wrong with them.

use serde_json::{Value, json};

use super::*;
use crate::resources::shared::testing::{
    check_create, check_status_update, check_update, created, defaulted, merge, warnings, with_context,
};

/// A pod with this merged into it; `null` takes away.
fn pod(more: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "serviceAccountName": "default"},
    });
    merge(&mut pod, more);
    pod
}

fn spec(more: Value) -> Value {
    pod(json!({"spec": more}))
}

/// A pod whose container has this as well.
fn container(more: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i"});
    merge(&mut container, more);
    spec(json!({"containers": [container]}))
}

fn assert_faults(table: Vec<(Value, Vec<&str>)>) {
    for (pod, expected) in table {
        assert_eq!(check_create::<Pods>(pod.clone()), expected, "{pod}");
    }
}

const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

#[test]
fn defaults_are_upstreams() {
    let pod = defaulted::<Pods>(spec(json!({
        "containers": [{
            "name": "c",
            "image": "registry:5000/i:v1",
            "ports": [{"containerPort": 80}],
            "livenessProbe": {"httpGet": {"port": 80}},
            "readinessProbe": {"grpc": {"port": 80}},
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
        }],
        "volumes": [
            {"name": "e"},
            {"name": "s", "secret": {"secretName": "s"}},
            {"name": "h", "hostPath": {"path": "/"}},
            {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        ],
        "hostNetwork": true,
        "securityContext": {},
    })));
    assert_eq!(
        serde_json::to_value(pod.spec).unwrap(),
        json!({
            "containers": [{
                "name": "c",
                "image": "registry:5000/i:v1",
                "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
                "livenessProbe": {
                    "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                },
                "readinessProbe": {
                    "grpc": {"port": 80, "service": ""},
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                },
                "env": [{
                    "name": "A",
                    "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
                }],
                "resources": {
                    "limits": {"cpu": "1", "memory": "1Gi"},
                    "requests": {"cpu": "100m", "memory": "1Gi"},
                },
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "volumes": [
                {"name": "e", "emptyDir": {}},
                {"name": "s", "secret": {"secretName": "s", "defaultMode": 420}},
                {"name": "h", "hostPath": {"path": "/", "type": ""}},
                {"name": "p", "projected": {
                    "defaultMode": 420,
                    "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
                }},
            ],
            "hostNetwork": true,
            "securityContext": {},
            "serviceAccountName": "default",
            "serviceAccount": "default",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "enableServiceLinks": true,
        })
    );
}

#[test]
fn images_say_how_they_are_pulled() {
    for (image, expected) in [
        ("i", "Always"),
        ("i:latest", "Always"),
        ("i:v1", "IfNotPresent"),
        ("registry:5000/i", "Always"),
        ("i@sha256:0123456789012345678901234567890123456789012345678901234567890123", "IfNotPresent"),
    ] {
        let pod = defaulted::<Pods>(container(json!({"image": image})));
        let policy = pod.spec.unwrap().containers.first().unwrap().image_pull_policy.clone();
        assert_eq!(policy.as_deref(), Some(expected), "{image}");
    }
}

#[test]
fn resources_of_the_pod_follow_its_containers() {
    let pod = defaulted::<Pods>(spec(json!({
        "containers": [
            {"name": "a", "image": "i", "resources": {"requests": {"cpu": "100m"}}},
            {"name": "b", "image": "i", "resources": {"requests": {"cpu": "200m"}}},
        ],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
    })));
    assert_eq!(
        serde_json::to_value(pod.spec.unwrap().resources).unwrap(),
        json!({
            "limits": {"cpu": "1", "memory": "1Gi"},
            "requests": {"cpu": "300m", "memory": "1Gi"},
        })
    );
}

#[test]
fn a_new_pod_is_pending_and_classed() {
    for (resources, class) in [
        (json!({}), "BestEffort"),
        (json!({"requests": {"cpu": "1"}}), "Burstable"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
        (json!({"limits": {"cpu": "1"}}), "Burstable"),
    ] {
        let created = created::<Pods>(container(json!({"resources": resources})));
        assert_eq!(created["status"], json!({"phase": "Pending", "qosClass": class}));
    }
}

#[test]
fn a_gated_pod_says_why_it_is_not_scheduled() {
    let created = created::<Pods>(spec(json!({"schedulingGates": [{"name": "g"}]})));
    assert_eq!(
        created["status"]["conditions"],
        json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastTransitionTime": "2023-11-14T22:13:20Z",
        }])
    );
}

#[test]
fn label_keys_are_merged_into_selectors() {
    let created = created::<Pods>(pod(json!({
        "metadata": {"labels": {"a": "1", "b": "2"}},
        "spec": {
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "t", "labelSelector": {}, "matchLabelKeys": ["a", "absent"],
                "mismatchLabelKeys": ["b"],
            }]}},
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "t", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"x": "y"}}, "matchLabelKeys": ["a"],
            }],
        },
    })));
    let affinity = created["spec"]["affinity"]["podAntiAffinity"]
        ["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"]
        .clone();
    assert_eq!(
        affinity,
        json!({"matchExpressions": [
            {"key": "a", "operator": "In", "values": ["1"]},
            {"key": "b", "operator": "NotIn", "values": ["2"]},
        ]})
    );
    assert_eq!(
        created["spec"]["topologySpreadConstraints"][0]["labelSelector"],
        json!({
            "matchLabels": {"x": "y"},
            "matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}],
        })
    );
}

#[test]
fn faults_of_containers_are_upstreams() {
    let label = format!(r#"spec.containers[0].name: Invalid value: "C": {LABEL}"#);
    assert_faults(vec![
        (spec(json!({"containers": []})), vec!["spec.containers: Required value"]),
        (container(json!({"name": ""})), vec!["spec.containers[0].name: Required value"]),
        (container(json!({"name": "C"})), vec![&label]),
        (container(json!({"image": ""})), vec!["spec.containers[0].image: Required value"]),
        (
            container(json!({"image": " i"})),
            vec![
                r#"spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace"#,
            ],
        ),
        (
            spec(json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]})),
            vec![r#"spec.containers[1].name: Duplicate value: "c""#],
        ),
        (
            container(json!({"imagePullPolicy": "Maybe", "terminationMessagePolicy": "No"})),
            vec![
                r#"spec.containers[0].terminationMessagePolicy: Unsupported value: "No": supported values: "File", "FallbackToLogsOnError""#,
                r#"spec.containers[0].imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never""#,
            ],
        ),
        (
            container(json!({"ports": [
                {"containerPort": 0},
                {"containerPort": 70000, "protocol": "X"},
                {"containerPort": 1, "name": "a_b"},
                {"containerPort": 1, "hostPort": 1, "name": "a"},
                {"containerPort": 1, "hostPort": 1, "name": "a"},
            ]})),
            vec![
                "spec.containers[0].ports[0].containerPort: Required value",
                "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                r#"spec.containers[0].ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP""#,
                r#"spec.containers[0].ports[2].name: Invalid value: "a_b": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"#,
                r#"spec.containers[0].ports[4].name: Duplicate value: "a""#,
                r#"spec.containers[0].ports[4].hostPort: Duplicate value: "TCP//1""#,
            ],
        ),
        (
            container(json!({"env": [
                {"name": ""},
                {"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "B", "valueFrom": {}},
                {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "spec.volumes"}}},
                {"name": "D", "valueFrom": {"resourceFieldRef": {"resource": "limits.gold"}}},
                {"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": ""}}},
            ]})),
            vec![
                "spec.containers[0].env[0].name: Required value",
                r#"spec.containers[0].env[1].valueFrom: Invalid value: "": may not be specified when `value` is not empty"#,
                r#"spec.containers[0].env[2].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"#,
                r#"spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: Invalid value: "spec.volumes": error converting fieldPath: field label not supported: spec.volumes"#,
                r#"spec.containers[0].env[4].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.gold": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory""#,
                "spec.containers[0].env[5].valueFrom.secretKeyRef.key: Required value",
            ],
        ),
    ]);
}

#[test]
fn faults_of_init_containers_are_upstreams() {
    let init = |more: Value| {
        let mut container = json!({"name": "i", "image": "i"});
        merge(&mut container, more);
        spec(json!({"initContainers": [container]}))
    };
    assert_faults(vec![
        (init(json!({})), vec![]),
        (init(json!({"name": "c"})), vec![r#"spec.initContainers[0].name: Duplicate value: "c""#]),
        (
            init(json!({"livenessProbe": {"tcpSocket": {"port": 1}}, "lifecycle": {}})),
            vec![
                "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
            ],
        ),
        (init(json!({"restartPolicy": "Always", "livenessProbe": {"tcpSocket": {"port": 1}}})), vec![]),
        (
            init(json!({"restartPolicy": "Sometimes"})),
            vec![
                r#"spec.initContainers[0].restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure""#,
            ],
        ),
    ]);
}

#[test]
fn faults_of_probes_and_hooks_are_upstreams() {
    assert_faults(vec![
        (
            container(json!({"livenessProbe": {}})),
            vec!["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
        ),
        (
            container(json!({"livenessProbe": {
                "tcpSocket": {"port": 1}, "httpGet": {"port": 1},
            }})),
            vec![
                "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            ],
        ),
        (
            container(json!({"livenessProbe": {
                "tcpSocket": {"port": 0}, "initialDelaySeconds": -1, "timeoutSeconds": -1, "periodSeconds": -1,
                "successThreshold": 2, "failureThreshold": -1,
            }})),
            vec![
                "spec.containers[0].livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.containers[0].livenessProbe.initialDelaySeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.containers[0].livenessProbe.timeoutSeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.containers[0].livenessProbe.failureThreshold: Invalid value: -1: must be greater than or equal to 0",
                "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ],
        ),
        (
            container(json!({"readinessProbe": {
                "httpGet": {"port": "web", "scheme": "FTP", "httpHeaders": [{"name": "bad header", "value": ""}]},
                "terminationGracePeriodSeconds": 1,
            }})),
            vec![
                r#"spec.containers[0].readinessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS""#,
                r#"spec.containers[0].readinessProbe.httpGet.httpHeaders: Invalid value: "bad header": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"#,
                "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes",
            ],
        ),
        (
            container(json!({"lifecycle": {
                "postStart": {"exec": {}},
                "preStop": {"sleep": {"seconds": 31}},
            }})),
            vec![
                "spec.containers[0].lifecycle.postStart.exec.command: Required value",
                "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
            ],
        ),
    ]);
}

#[test]
fn faults_of_resources_are_upstreams() {
    assert_faults(vec![
        (
            container(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
            vec![
                r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#,
            ],
        ),
        (
            container(json!({"resources": {"requests": {"cpu": "-1"}}})),
            vec![
                r#"spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
            ],
        ),
        (
            container(json!({"resources": {"limits": {"gold": "1"}, "requests": {"gold": "1"}}})),
            vec![
                r#"spec.containers[0].resources.limits[gold]: Invalid value: "gold": must be a standard resource type or fully qualified"#,
                r#"spec.containers[0].resources.limits[gold]: Invalid value: "gold": must be a standard resource for containers"#,
                r#"spec.containers[0].resources.requests[gold]: Invalid value: "gold": must be a standard resource type or fully qualified"#,
                r#"spec.containers[0].resources.requests[gold]: Invalid value: "gold": must be a standard resource for containers"#,
            ],
        ),
        (
            container(json!({"resources": {
                "limits": {"example.com/a": "2"}, "requests": {"example.com/a": "1"},
            }})),
            vec![
                r#"spec.containers[0].resources.requests: Invalid value: "1": must be equal to example.com/a limit of 2"#,
            ],
        ),
        (
            container(json!({"resources": {"requests": {"example.com/a": "1"}}})),
            vec![
                "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
            ],
        ),
        (
            container(json!({"resources": {
                "limits": {"example.com/a": "500m"}, "requests": {"example.com/a": "500m"},
            }})),
            vec![
                r#"spec.containers[0].resources.limits[example.com/a]: Invalid value: "500m": must be an integer"#,
                r#"spec.containers[0].resources.requests[example.com/a]: Invalid value: "500m": must be an integer"#,
            ],
        ),
        (
            container(json!({"resources": {"limits": {"hugepages-2Mi": "1Gi"}}})),
            vec![r#"spec.containers[0].resources: Forbidden: HugePages require cpu or memory"#],
        ),
        (
            container(json!({"resources": {"claims": [{"name": "x"}]}})),
            vec![
                r#"spec.containers[0].resources.claims[0]: Not found: "x": must be one of the names in pod.spec.resourceClaims which is empty"#,
            ],
        ),
    ]);
}

#[test]
fn faults_of_volumes_and_mounts_are_upstreams() {
    assert_faults(vec![
        (
            spec(json!({"volumes": [{"name": "v"}, {"name": "v"}]})),
            vec![r#"spec.volumes[1].name: Duplicate value: "v""#],
        ),
        (
            spec(json!({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/a/../b"}}]})),
            vec!["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            spec(json!({"volumes": [{"name": "v", "hostPath": {"path": "/a/../b", "type": "Odd"}}]})),
            vec![
                r#"spec.volumes[0].hostPath.path: Invalid value: "/a/../b": must not contain '..'"#,
                r#"spec.volumes[0].hostPath.type: Unsupported value: "Odd": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket""#,
            ],
        ),
        (
            spec(json!({"volumes": [{"name": "v", "configMap": {
                "defaultMode": 512, "items": [{"key": "", "path": "/x", "mode": -1}],
            }}]})),
            vec![
                "spec.volumes[0].configMap.name: Required value",
                "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
                "spec.volumes[0].configMap.items[0].key: Required value",
                r#"spec.volumes[0].configMap.items[0].path: Invalid value: "/x": must be a relative path"#,
                "spec.volumes[0].configMap.items[0].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive",
            ],
        ),
        (
            container(json!({"volumeMounts": [
                {"name": "none", "mountPath": "/a"},
                {"name": "", "mountPath": ""},
            ]})),
            vec![
                r#"spec.containers[0].volumeMounts[0].name: Not found: "none""#,
                "spec.containers[0].volumeMounts[1].name: Required value",
                r#"spec.containers[0].volumeMounts[1].name: Not found: """#,
                "spec.containers[0].volumeMounts[1].mountPath: Required value",
            ],
        ),
        (
            spec(json!({
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "c", "image": "i", "volumeMounts": [
                    {"name": "v", "mountPath": "/a", "subPath": "../x"},
                    {"name": "v", "mountPath": "/a", "mountPropagation": "Odd"},
                    {"name": "v", "mountPath": "/b", "subPath": "a", "subPathExpr": "b"},
                    {"name": "v", "mountPath": "/c", "recursiveReadOnly": "Enabled"},
                ]}],
            })),
            vec![
                r#"spec.containers[0].volumeMounts.subPath: Invalid value: "../x": must not contain '..'"#,
                r#"spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique"#,
                r#"spec.containers[0].volumeMounts.mountPropagation: Unsupported value: "Odd": supported values: "Bidirectional", "HostToContainer", "None""#,
                r#"spec.containers[0].volumeMounts[2].subPathExpr: Invalid value: "b": subPathExpr and subPath are mutually exclusive"#,
                "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
            ],
        ),
    ]);
}

#[test]
fn faults_of_security_contexts_are_upstreams() {
    assert_faults(vec![
        (
            spec(json!({"securityContext": {
                "runAsUser": -1, "fsGroup": -1, "supplementalGroups": [-1],
                "sysctls": [{"name": "a!b", "value": "1"}, {"name": "kernel.shm_rmid_forced", "value": "1"},
                    {"name": "kernel.shm_rmid_forced", "value": "1"}],
            }})),
            vec![
                "spec.securityContext.fsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "spec.securityContext.supplementalGroups[0]: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                r#"spec.securityContext.sysctls[0].name: Invalid value: "a!b": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"#,
                r#"spec.securityContext.sysctls[2].name: Duplicate value: "kernel.shm_rmid_forced""#,
            ],
        ),
        (
            container(json!({"securityContext": {
                "privileged": true, "allowPrivilegeEscalation": false, "procMount": "Odd",
            }})),
            vec![
                r#"spec.containers[0].securityContext.procMount: Unsupported value: "Odd": supported values: "Default", "Unmasked""#,
                r#"spec.containers[0].securityContext: Invalid value: {"Capabilities":null,"Privileged":true,"SELinuxOptions":null,"WindowsOptions":null,"RunAsUser":null,"RunAsGroup":null,"RunAsNonRoot":null,"ReadOnlyRootFilesystem":null,"AllowPrivilegeEscalation":false,"ProcMount":"Odd","SeccompProfile":null,"AppArmorProfile":null}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"#,
            ],
        ),
        (
            container(json!({"securityContext": {"seccompProfile": {"type": "Localhost"}}})),
            vec![
                "spec.containers[0].securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            ],
        ),
        (
            container(json!({"securityContext": {"appArmorProfile": {
                "type": "RuntimeDefault", "localhostProfile": "x",
            }}})),
            vec![
                r#"spec.containers[0].securityContext.appArmorProfile.localhostProfile: Invalid value: "x": can only be set when AppArmor type is Localhost"#,
            ],
        ),
        (
            spec(json!({"os": {"name": "windows"}, "hostPID": true, "securityContext": {"runAsUser": 1}})),
            vec![
                "spec.hostPID: Forbidden: cannot be set for a windows pod",
                "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
            ],
        ),
        (
            spec(json!({"os": {"name": "plan9"}})),
            vec![r#"spec.os: Unsupported value: "plan9": supported values: "linux", "windows""#],
        ),
    ]);
}

#[test]
fn faults_of_scheduling_are_upstreams() {
    let key = format!(
        r#"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: Invalid value: "bad key": {QUALIFIED}"#
    );
    let empty_key = format!(
        r#"spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: "": {QUALIFIED}"#
    );
    let node = |expression: Value| {
        spec(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [expression]}],
        }}}}))
    };
    assert_faults(vec![
        (node(json!({"key": "bad key", "operator": "Exists"})), vec![&key]),
        (
            node(json!({"key": "a", "operator": "Near"})),
            vec![
                r#"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator"#,
            ],
        ),
        (
            node(json!({"key": "a", "operator": "In"})),
            vec![
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ],
        ),
        (
            spec(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [],
            }}}})),
            vec![
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
            ],
        ),
        (
            spec(json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 101, "podAffinityTerm": {"topologyKey": ""}},
            ]}}})),
            vec![
                "spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100",
                "spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Required value: can not be empty",
                r#"spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: "": name part must be non-empty"#,
                &empty_key,
            ],
        ),
        (
            spec(json!({"tolerations": [
                {"operator": "Equal", "value": "x"},
                {"key": "a", "operator": "Exists", "value": "x"},
                {"key": "a", "operator": "Near"},
                {"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 1},
                {"key": "a", "operator": "Exists", "effect": "Odd"},
            ]})),
            vec![
                r#"spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys""#,
                r#"spec.tolerations[1].operator: Invalid value: "x": value must be empty when `operator` is 'Exists'"#,
                r#"spec.tolerations[2].operator: Unsupported value: "Near": supported values: "Equal", "Exists""#,
                r#"spec.tolerations[3].effect: Invalid value: "NoSchedule": effect must be 'NoExecute' when `tolerationSeconds` is set"#,
                r#"spec.tolerations[4].effect: Unsupported value: "Odd": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#,
            ],
        ),
        (
            spec(json!({"topologySpreadConstraints": [
                {"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Odd"},
                {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2},
            ]})),
            vec![
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
                r#"spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Odd": supported values: "DoNotSchedule", "ScheduleAnyway""#,
                "spec.topologySpreadConstraints[1].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            ],
        ),
        (
            spec(json!({"nodeName": "n", "schedulingGates": [{"name": "a"}, {"name": "a"}]})),
            vec![
                r#"spec.schedulingGates[1]: Duplicate value: "a""#,
                "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            ],
        ),
    ]);
}

#[test]
fn faults_of_the_rest_are_upstreams() {
    let hostname = format!(r#"spec.hostname: Invalid value: "a_b": {LABEL}"#);
    assert_faults(vec![
        (
            spec(json!({"restartPolicy": "Odd", "dnsPolicy": "Odd"})),
            vec![
                r#"spec.restartPolicy: Unsupported value: "Odd": supported values: "Always", "OnFailure", "Never""#,
                r#"spec.dnsPolicy: Unsupported value: "Odd": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None""#,
            ],
        ),
        (
            spec(json!({"dnsPolicy": "None"})),
            vec![r#"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"#],
        ),
        (spec(json!({"hostname": "a_b"})), vec![&hostname]),
        (
            spec(json!({"hostname": "a.b"})),
            vec![r#"spec.hostname: Invalid value: "a.b": must not contain dots"#],
        ),
        (
            spec(json!({"activeDeadlineSeconds": 0})),
            vec!["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            spec(json!({"ephemeralContainers": [{"name": "e", "image": "i"}]})),
            vec!["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        ),
        (
            pod(json!({"metadata": {"annotations": {
                "controller.kubernetes.io/pod-deletion-cost": "text",
            }}})),
            vec![
                r#"metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "text": must be a 32bit integer"#,
            ],
        ),
        (
            pod(json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}})),
            vec![
                r#"metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set"#,
            ],
        ),
        (
            spec(json!({"serviceAccountName": null, "volumes": [{"name": "v", "projected": {"sources": [
                {"serviceAccountToken": {"path": "t"}},
            ]}}]})),
            vec![
                "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
            ],
        ),
    ]);
}

#[test]
fn little_may_change_of_a_pod() {
    let old = || created::<Pods>(spec(json!({"activeDeadlineSeconds": 100})));
    let change = |more: Value| {
        let mut new = old();
        merge(&mut new, more);
        check_update::<Pods>(new, old())
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(change(json!({"metadata": {"labels": {"a": "b"}}})), none);
    assert_eq!(
        change(json!({"spec": {
            "containers": [{"name": "c", "image": "other", "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
            "activeDeadlineSeconds": 50,
            "tolerations": [{"operator": "Exists"}],
        }})),
        none
    );
    assert_eq!(
        change(json!({"spec": {"activeDeadlineSeconds": 200}})),
        ["spec.activeDeadlineSeconds: Invalid value: 200: must be less than or equal to previous value"]
    );
    assert_eq!(
        change(json!({"spec": {"activeDeadlineSeconds": null}})),
        [
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"
        ]
    );
    assert_eq!(
        change(json!({"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]}})),
        ["spec.containers: Forbidden: pod updates may not add or remove containers"]
    );
    let faults = change(json!({"spec": {"nodeName": "n"}}));
    assert_eq!(faults.len(), 1);
    assert!(
        faults.concat().starts_with(
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
        ),
        "{faults:?}"
    );
}

#[test]
fn tolerations_and_gates_change_one_way() {
    let old = || {
        created::<Pods>(spec(json!({
            "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}],
            "schedulingGates": [{"name": "g"}],
            "nodeSelector": {"a": "b"},
        })))
    };
    let change = |more: Value| {
        let mut new = old();
        merge(&mut new, json!({"spec": more}));
        check_update::<Pods>(new, old())
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(
        change(json!({"tolerations": [
            {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 20},
        ]})),
        none
    );
    assert_eq!(
        change(json!({"tolerations": []})),
        ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
    );
    assert_eq!(change(json!({"schedulingGates": []})), none);
    assert_eq!(
        change(json!({"schedulingGates": [{"name": "g"}, {"name": "h"}]})),
        [
            "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'h'"
        ]
    );
    assert_eq!(change(json!({"nodeSelector": {"a": "b", "c": "d"}})), none);
    assert_eq!(
        change(json!({"nodeSelector": {"a": "c"}})),
        [
            r#"spec.nodeSelector: Invalid value: {"a":"c"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"#
        ]
    );
    assert_eq!(
        change(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}],
        }}}})),
        none
    );
}

#[test]
fn faults_of_a_status_are_upstreams() {
    let old = || {
        let mut old = created::<Pods>(spec(json!({"restartPolicy": "Never"})));
        old["status"]["containerStatuses"] = json!([{
            "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 0}},
        }]);
        old
    };
    let change = |more: Value| {
        let mut new = old();
        merge(&mut new, json!({"status": more}));
        check_status_update::<Pods>(new, old())
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(change(json!({"phase": "Succeeded", "podIP": "10.0.0.1"})), none);
    assert_eq!(
        change(json!({"qosClass": "Guaranteed"})),
        [r#"status.qosClass: Invalid value: "Guaranteed": field is immutable"#]
    );
    assert_eq!(
        change(json!({"containerStatuses": [{
            "name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {}},
        }]})),
        ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
    );
    assert_eq!(
        change(json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]})),
        [
            r#"status.podIPs: Invalid value: [{"IP":"10.0.0.1"},{"IP":"10.0.0.2"}]: may specify no more than one IP for each IP family"#
        ]
    );
}

#[test]
fn the_two_fields_for_addresses_agree() {
    for (status, expected) in [
        (json!({"podIP": "1.1.1.1"}), json!(["1.1.1.1"])),
        (json!({"podIPs": [{"ip": "1.1.1.1"}, {"ip": "::1"}]}), json!(["1.1.1.1", "::1"])),
        (json!({"podIP": "2.2.2.2", "podIPs": [{"ip": "1.1.1.1"}]}), json!(["2.2.2.2"])),
    ] {
        let pod = defaulted::<Pods>(pod(json!({"status": status})));
        let status = pod.status.unwrap();
        let ips: Value = status.pod_ips.iter().flatten().map(|it| json!(it.ip)).collect();
        assert_eq!(ips, expected);
        assert_eq!(status.pod_ip.map(Value::from).as_ref(), expected.get(0));
    }
}

#[test]
fn what_works_and_surprises_is_warned_of() {
    for (object, expected) in [
        (spec(json!({})), vec![]),
        (
            spec(json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}})),
            vec![
                r#"spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead"#,
            ],
        ),
        (
            container(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]})),
            vec![
                r#"spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply"#,
            ],
        ),
        (
            spec(json!({"imagePullSecrets": [{"name": ""}]})),
            vec![r#"spec.imagePullSecrets[0].name: invalid empty name """#],
        ),
    ] {
        assert_eq!(warnings::<Pods>(object), expected);
    }
}

#[test]
fn pods_without_a_node_go_at_once() {
    for (more, asked, expected) in [
        (json!({"spec": {"nodeName": "n"}}), None, 30),
        (json!({"spec": {"nodeName": "n"}}), Some(5), 5),
        (json!({"spec": {"nodeName": "n"}}), Some(-5), 1),
        (json!({"spec": {"nodeName": "n"}, "status": {"phase": "Failed"}}), None, 0),
        (json!({}), Some(5), 0),
    ] {
        let pod = defaulted::<Pods>(pod(more.clone()));
        assert_eq!(Pods::grace_period(&pod, asked), Some(expected), "{more}");
    }
}

#[test]
fn privileged_containers_may_be_disallowed() {
    let faults = with_context(|cx| {
        let cx = Context { allow_privileged: false, ..cx.clone() };
        let pod = defaulted::<Pods>(container(json!({"securityContext": {"privileged": true}})));
        Pods::validate(&cx, &pod).iter().map(ToString::to_string).collect::<Vec<_>>()
    });
    assert_eq!(
        faults,
        ["spec.containers[0].securityContext.privileged: Forbidden: disallowed by cluster policy"]
    );
}
