//! Goal: kinds that others have published work as on upstream: established, explained, and their instances judged.
//!
//! Method: small definitions in the shapes of well-known ones, written down here from what their documentation says: lists
//! with keys, defaults, patterns, rules in CEL, columns, status, int-or-string. They are not copies, and much shorter.

use std::time::Duration;

use e2e::{Cluster, eventually, tools};
use serde_json::Value;

/// A kind, with instances that are good and such that are not.
struct Published {
    definition: &'static str,
    name: &'static str,
    /// A field and what `kubectl explain` must say of it.
    explained: (&'static str, &'static str),
    good: &'static str,
    /// What is replaced by what in the good one, and what the refusal must say.
    bad: &'static [(&'static str, &'static str, &'static str)],
    /// What the table of `kubectl get` must show, besides the name.
    shown: &'static [&'static str],
    /// A path in what is stored, and the default that must be there.
    defaulted: (&'static str, &'static str),
}

const PUBLISHED: &[Published] = &[
    Published {
        name: "httproutes.gateway.networking.k8s.io",
        definition: r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: httproutes.gateway.networking.k8s.io
  annotations: {api-approved.kubernetes.io: "https://github.com/kubernetes-sigs/gateway-api/pull/2466"}
spec:
  group: gateway.networking.k8s.io
  scope: Namespaced
  names: {plural: httproutes, singular: httproute, kind: HTTPRoute, listKind: HTTPRouteList, categories: [gateway-api]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Hostnames, type: string, jsonPath: .spec.hostnames}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        description: A way to route HTTP requests.
        type: object
        required: [spec]
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            properties:
              hostnames:
                description: The host names that should match the Host header.
                type: array
                maxItems: 16
                items: {type: string, minLength: 1, maxLength: 253, pattern: '^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'}
              parentRefs:
                type: array
                maxItems: 32
                items:
                  type: object
                  required: [name]
                  properties:
                    group: {type: string, default: gateway.networking.k8s.io, maxLength: 253}
                    kind: {type: string, default: Gateway, minLength: 1, maxLength: 63}
                    name: {type: string, minLength: 1, maxLength: 253}
                    port: {type: integer, format: int32, minimum: 1, maximum: 65535}
                    sectionName: {type: string, maxLength: 253}
              rules:
                type: array
                minItems: 1
                maxItems: 16
                default: [{matches: [{path: {type: PathPrefix, value: /}}]}]
                items:
                  type: object
                  properties:
                    matches:
                      type: array
                      maxItems: 64
                      default: [{path: {type: PathPrefix, value: /}}]
                      items:
                        type: object
                        properties:
                          path:
                            type: object
                            default: {type: PathPrefix, value: /}
                            properties:
                              type: {type: string, default: PathPrefix, enum: [Exact, PathPrefix, RegularExpression]}
                              value: {type: string, default: /, maxLength: 1024}
                            x-kubernetes-validations:
                            - rule: "(self.type in ['Exact','PathPrefix']) ? self.value.startsWith('/') : true"
                              message: value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']
                          headers:
                            type: array
                            maxItems: 16
                            x-kubernetes-list-type: map
                            x-kubernetes-list-map-keys: [name]
                            items:
                              type: object
                              required: [name, value]
                              properties: {name: {type: string, maxLength: 256}, value: {type: string, maxLength: 4096}}
                    backendRefs:
                      type: array
                      maxItems: 16
                      items:
                        type: object
                        required: [name]
                        properties:
                          name: {type: string, maxLength: 253}
                          kind: {type: string, default: Service, maxLength: 63}
                          port: {type: integer, format: int32, minimum: 1, maximum: 65535}
                          weight: {type: integer, format: int32, default: 1, minimum: 0, maximum: 1000000}
                        x-kubernetes-validations:
                        - {rule: "self.kind == 'Service' ? has(self.port) : true", message: Must have port for Service reference}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"#,
        explained: ("httproute.spec.hostnames", "The host names that should match the Host header."),
        good: r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: sample}
spec:
  parentRefs: [{name: gateway}]
  hostnames: [www.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /login}, headers: [{name: a, value: b}]}]
    backendRefs: [{name: web, port: 8080}]
"#,
        bad: &[
            ("/login", "login", "value must be an absolute path and start with '/'"),
            ("name: web, port: 8080", "name: web", "Must have port for Service reference"),
            ("www.example.com", "WWW_example", "should match"),
            ("PathPrefix", "Prefix", "Unsupported value: \"Prefix\""),
            ("port: 8080", "port: 80800", "should be less than or equal to 65535"),
            ("{name: a, value: b}", "{name: a, value: b}, {name: a, value: c}", "Duplicate value"),
            (
                "parentRefs: [{name: gateway}]",
                "parentRefs: [{kind: Gateway}]",
                "spec.parentRefs[0].name: Required value",
            ),
        ],
        shown: &[r#"["www.example.com"]"#],
        defaulted: ("/spec/rules/0/backendRefs/0/weight", "1"),
    },
    Published {
        name: "gateways.gateway.networking.k8s.io",
        definition: r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: gateways.gateway.networking.k8s.io
  annotations: {api-approved.kubernetes.io: "https://github.com/kubernetes-sigs/gateway-api/pull/2466"}
spec:
  group: gateway.networking.k8s.io
  scope: Namespaced
  names: {plural: gateways, singular: gateway, kind: Gateway, shortNames: [gtw], categories: [gateway-api]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Class, type: string, jsonPath: .spec.gatewayClassName}
    - {name: Address, type: string, jsonPath: '.status.addresses[*].value'}
    - {name: Programmed, type: string, jsonPath: '.status.conditions[?(@.type=="Programmed")].status'}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [gatewayClassName, listeners]
            properties:
              gatewayClassName: {type: string, minLength: 1, maxLength: 253, description: The class that this Gateway is of.}
              listeners:
                type: array
                minItems: 1
                maxItems: 64
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name, port, protocol]
                  properties:
                    name: {type: string, minLength: 1, maxLength: 253}
                    hostname: {type: string, maxLength: 253}
                    port: {type: integer, format: int32, minimum: 1, maximum: 65535}
                    protocol: {type: string, minLength: 1, maxLength: 255}
                    tls:
                      type: object
                      properties:
                        mode: {type: string, default: Terminate, enum: [Terminate, Passthrough]}
                        certificateRefs: {type: array, maxItems: 64, items: {type: object, properties: {name: {type: string, maxLength: 253}}}}
                      x-kubernetes-validations:
                      - {rule: "self.mode == 'Terminate' ? size(self.certificateRefs) > 0 : true", message: certificateRefs must be specified when mode is Terminate}
                x-kubernetes-validations:
                - rule: "self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP'] ? !has(l.tls) : true)"
                  message: tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']
                - rule: "self.all(l1, self.exists_one(l2, l1.port == l2.port && l1.protocol == l2.protocol && (has(l1.hostname) && has(l2.hostname) ? l1.hostname == l2.hostname : !has(l1.hostname) && !has(l2.hostname))))"
                  message: Combination of port, protocol and hostname must be unique for each listener
          status:
            type: object
            default: {conditions: [{lastTransitionTime: "1970-01-01T00:00:00Z", message: Waiting for controller, reason: Pending, status: Unknown, type: Programmed}]}
            properties:
              addresses: {type: array, items: {type: object, properties: {value: {type: string}}}}
              conditions:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [type]
                items:
                  type: object
                  required: [type, status, lastTransitionTime, message, reason]
                  properties:
                    type: {type: string}
                    status: {type: string, enum: ["True", "False", Unknown]}
                    reason: {type: string}
                    message: {type: string}
                    lastTransitionTime: {type: string, format: date-time}
"#,
        explained: ("gateway.spec.gatewayClassName", "The class that this Gateway is of."),
        good: r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: sample}
spec:
  gatewayClassName: acme
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}
"#,
        bad: &[
            ("protocol: HTTPS", "protocol: TCP", "tls must not be specified for protocols"),
            (
                "name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}",
                "name: other, port: 80, protocol: HTTP",
                "Combination of port, protocol and hostname must be unique",
            ),
            (
                "certificateRefs: [{name: c}]",
                "certificateRefs: []",
                "certificateRefs must be specified when mode is Terminate",
            ),
            ("name: https", "name: http", "Duplicate value"),
            ("gatewayClassName: acme", "gatewayClassName: ''", "should be at least 1 chars long"),
        ],
        shown: &["acme", "Unknown"],
        defaulted: ("/spec/listeners/1/tls/mode", "\"Terminate\""),
    },
    Published {
        name: "certificates.cert-manager.io",
        definition: r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.cert-manager.io}
spec:
  group: cert-manager.io
  scope: Namespaced
  names: {plural: certificates, singular: certificate, kind: Certificate, shortNames: [cert, certs], categories: [cert-manager]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type == "Ready")].status'}
    - {name: Secret, type: string, jsonPath: .spec.secretName}
    - {name: Issuer, type: string, jsonPath: .spec.issuerRef.name, priority: 1}
    selectableFields: [{jsonPath: .spec.issuerRef.name}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            required: [issuerRef, secretName]
            properties:
              secretName: {type: string, description: The Secret that keeps the signed certificate.}
              dnsNames: {type: array, items: {type: string}, x-kubernetes-list-type: atomic}
              duration: {type: string}
              revisionHistoryLimit: {type: integer, format: int32}
              issuerRef:
                type: object
                required: [name]
                properties: {group: {type: string}, kind: {type: string}, name: {type: string}}
              privateKey:
                type: object
                properties:
                  algorithm: {type: string, enum: [RSA, ECDSA, Ed25519]}
                  rotationPolicy: {type: string, enum: [Never, Always]}
                  size: {type: integer}
              usages:
                type: array
                items: {type: string, enum: [signing, digital signature, server auth, client auth]}
              keystores: {type: object, nullable: true, x-kubernetes-preserve-unknown-fields: true}
              revision: {type: integer, default: 1}
          status:
            type: object
            properties:
              conditions: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [type], items: {type: object, required: [type, status], properties: {type: {type: string}, status: {type: string}}}}
"#,
        explained: ("certificate.spec.secretName", "The Secret that keeps the signed certificate."),
        good: r#"
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: sample}
spec:
  secretName: sample-tls
  dnsNames: [example.com]
  issuerRef: {name: letsencrypt, kind: ClusterIssuer}
  privateKey: {algorithm: ECDSA, size: 256}
  usages: [server auth]
  keystores: null
"#,
        bad: &[
            ("  secretName: sample-tls\n", "", "spec.secretName: Required value"),
            ("algorithm: ECDSA", "algorithm: DSA", "Unsupported value: \"DSA\""),
            ("dnsNames: [example.com]", "dnsNames: example.com", "must be of type array"),
            ("size: 256", "size: large", "must be of type integer"),
            (
                "{name: letsencrypt, kind: ClusterIssuer}",
                "{kind: ClusterIssuer}",
                "spec.issuerRef.name: Required value",
            ),
        ],
        shown: &["sample-tls"],
        defaulted: ("/spec/revision", "1"),
    },
    Published {
        name: "servicemonitors.monitoring.coreos.com",
        definition: r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {plural: servicemonitors, singular: servicemonitor, kind: ServiceMonitor, shortNames: [smon], categories: [prometheus-operator]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [endpoints, selector]
            properties:
              jobLabel: {type: string}
              scrapeProtocols: {type: array, minItems: 1, x-kubernetes-list-type: set, items: {type: string, enum: [PrometheusProto, OpenMetricsText1.0.0, PrometheusText1.0.0]}}
              namespaceSelector: {type: object, default: {any: false}, properties: {any: {type: boolean}, matchNames: {type: array, items: {type: string}}}}
              selector:
                type: object
                x-kubernetes-map-type: atomic
                properties:
                  matchLabels: {type: object, additionalProperties: {type: string}}
                  matchExpressions: {type: array, x-kubernetes-list-type: atomic, items: {type: object, required: [key, operator], properties: {key: {type: string}, operator: {type: string}, values: {type: array, items: {type: string}}}}}
              endpoints:
                description: The endpoints that are scraped.
                type: array
                items:
                  type: object
                  properties:
                    port: {type: string}
                    targetPort: {anyOf: [{type: integer}, {type: string}], x-kubernetes-int-or-string: true}
                    interval: {type: string, pattern: '^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$'}
                    honorLabels: {type: boolean}
                    params: {type: object, additionalProperties: {type: array, items: {type: string}}}
"#,
        explained: ("servicemonitor.spec.endpoints", "The endpoints that are scraped."),
        good: r#"
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: sample}
spec:
  selector: {matchLabels: {app: web}}
  scrapeProtocols: [PrometheusProto]
  endpoints: [{targetPort: 8080, interval: 30s, params: {a: [b]}}]
"#,
        bad: &[
            ("interval: 30s", "interval: soon", "should match"),
            ("targetPort: 8080", "targetPort: true", "must be of type"),
            ("[PrometheusProto]", "[PrometheusProto, PrometheusProto]", "Duplicate value"),
            ("[PrometheusProto]", "[]", "should have at least 1 items"),
            ("{a: [b]}", "{a: b}", "must be of type array"),
            ("{app: web}", "{app: 1}", "must be of type string"),
        ],
        shown: &[],
        defaulted: ("/spec/namespaceSelector/any", "false"),
    },
];

#[test]
fn kinds_that_others_published_are_established_explained_and_judged() {
    let cluster = Cluster::up(&tools::kubectl().unwrap(), &["--store=memory", "--nodes=0"]).unwrap();
    let run = |words: &[&str], text: &str| {
        let said = cluster.try_kubectl_with(words, text).unwrap();
        (said.status.success(), said.whole())
    };
    let apply = |text: &str| run(&["apply", "--server-side", "-f", "-"], text);
    for it in PUBLISHED {
        let (done, said) = apply(it.definition);
        assert!(done, "{said}");
        let named = format!("crd {}", it.name);
        cluster.kubectl(&format!("wait --for=condition=Established crd/{} --timeout=30s", it.name));
        let definition = cluster.get(&named);
        let conditions = definition.pointer("/status/conditions").and_then(Value::as_array).unwrap();
        assert!(conditions.iter().all(|it| it["type"] != "NonStructuralSchema"), "{definition}");
        eventually("kubectl knows the kind", Duration::from_secs(10), || {
            let said = cluster.try_kubectl(&format!("explain {}", it.explained.0)).unwrap();
            if said.out.contains(it.explained.1) { Ok(()) } else { Err(said.whole()) }
        });
        let (done, said) = apply(it.good);
        assert!(done, "{said}");
        let stored = cluster.get(&format!("{} sample", it.name));
        let (path, value) = it.defaulted;
        assert_eq!(
            stored.pointer(path).map(ToString::to_string).as_deref(),
            Some(value),
            "{path} of {stored}"
        );
        let table = cluster.kubectl(&format!("get {}", it.name));
        for shown in it.shown {
            assert!(table.contains(shown), "{shown} in\n{table}");
        }
        for (from, to, refusal) in it.bad {
            let bad = it.good.replacen(from, to, 1).replace("name: sample", "name: bad");
            assert!(bad.contains(to) && !it.good.contains("name: bad"), "{from} is replaced");
            // Not applied: that finds entries of the same key before validation does, in other words.
            let (done, said) = run(&["create", "-f", "-"], &bad);
            assert!(!done && said.contains(refusal), "{refusal:?} of {}:\n{bad}\n{said}", it.name);
        }
    }
}
