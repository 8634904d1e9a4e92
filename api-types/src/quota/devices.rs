//! What a ResourceClaim uses: devices, by their class, or by the plain resource that its Pod asked for instead (KEP-4381,
//! KEP-5004).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::{Amounts, number, or_default};

/// Marks a claim that was made for a Pod because that asks for devices as plain resources.
pub const EXTENDED: &str = "resource.kubernetes.io/extended-resource-claim";
/// What counts the claims.
pub const COUNT: &str = "count/resourceclaims.resource.k8s.io";
/// What counts the devices of a class, after the class' name.
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// What counts the devices of a class that Pods ask for without a claim, before the class' name.
const IMPLICIT_DEVICES: &str = "requests.deviceclass.resource.kubernetes.io/";
/// Whoever wants all devices gets so many at most.
const ALL_MAX: i64 = 32;

/// The classes of devices, each with the plain resource by which Pods can ask for one; empty if there is none.
pub type Classes = BTreeMap<Box<str>, Box<str>>;

/// What a claim wants: so many devices it may get at most, by their class. Reads the `spec` of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted(pub BTreeMap<Box<str>, i64>);

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Spec {
            #[serde(deserialize_with = "or_default")]
            devices: Requests,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Requests {
            #[serde(deserialize_with = "or_default")]
            requests: Vec<Request>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Request {
            exactly: Option<Exactly>,
            #[serde(deserialize_with = "or_default")]
            first_available: Vec<Exactly>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Exactly {
            device_class_name: Box<str>,
            allocation_mode: Box<str>,
            count: i64,
        }
        impl Exactly {
            fn at_most(&self) -> i64 {
                match &*self.allocation_mode {
                    "ExactCount" => self.count,
                    "All" => ALL_MAX,
                    _ => 0,
                }
            }
        }

        let spec = Option::<Spec>::deserialize(deserializer)?.unwrap_or_default();
        let mut by_class = BTreeMap::new();
        for request in spec.devices.requests {
            // Of several that would do the worst counts, of each class.
            let mut most = BTreeMap::new();
            let any = if request.first_available.is_empty() {
                request.exactly.into_iter().collect()
            } else {
                request.first_available
            };
            for choice in any {
                let at_most = choice.at_most();
                let known = most.entry(choice.device_class_name).or_insert(0);
                *known = at_most.max(*known);
            }
            for (class, count) in most {
                let sum = by_class.entry(class).or_insert(0_i64);
                *sum = sum.saturating_add(count);
            }
        }
        Ok(Self(by_class))
    }
}

/// Whether a name is of what claims of devices use.
pub fn measures(name: &str, classes: &Classes) -> bool {
    name == COUNT
        || name.ends_with(DEVICES)
        || name.strip_prefix(IMPLICIT_DEVICES).is_some_and(|class| classes.contains_key(class))
        || name
            .strip_prefix("requests.")
            .is_some_and(|name| name.contains('/') && classes.values().any(|it| **it == *name))
}

/// What a claim uses, besides what was counted for its Pod already.
pub fn usage(wanted: &Wanted, classes: &Classes, pod: &Amounts) -> Amounts {
    let mut all = Amounts::from([(COUNT.into(), number(1))]);
    for (class, count) in &wanted.0 {
        all.insert(format!("{class}{DEVICES}").into(), number(*count));
        let by_name = classes.get(class).filter(|name| !name.is_empty());
        let by_name = by_name.map(|name| format!("requests.{name}"));
        for name in std::iter::once(format!("{IMPLICIT_DEVICES}{class}")).chain(by_name) {
            let mut left = number(*count);
            if let Some(counted) = pod.get(&*name) {
                left -= counted;
            }
            if left.sign() > 0 {
                *all.entry(name.into()).or_default() += &left;
            }
        }
    }
    all
}

/// Whether a claim that was made for a Pod is the one that the Pod names, or, until it names one, the first of all that
/// were made for it. Claims are told by when they were made and their names.
pub fn is_the_pods<'a>(
    claim: (Option<Timestamp>, &'a str),
    named: &str,
    made_for_it: impl IntoIterator<Item = (Option<Timestamp>, &'a str)>,
) -> bool {
    if named.is_empty() { made_for_it.into_iter().all(|other| other >= claim) } else { named == claim.1 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn classes() -> Classes {
        Classes::from([("gpu".into(), "example.com/gpu".into()), ("nic".into(), "".into())])
    }

    #[test]
    fn devices_count_by_class_and_by_the_resource_of_the_class() {
        let wanted: Wanted = serde_json::from_value(json!({"devices": {"requests": [
            {"exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 3}},
            {"firstAvailable": [{"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1},
                {"deviceClassName": "nic", "allocationMode": "All"}]}]}}))
        .unwrap();
        let pod = Amounts::from([("requests.example.com/gpu".into(), number(1))]);
        let usage = usage(&wanted, &classes(), &pod);
        assert!(usage.keys().all(|name| measures(name, &classes())), "{usage:?}");
        assert_eq!(
            json!(usage),
            json!({COUNT: "1", "gpu.deviceclass.resource.k8s.io/devices": "4", "nic.deviceclass.resource.k8s.io/devices": "32",
                "requests.deviceclass.resource.kubernetes.io/gpu": "4", "requests.deviceclass.resource.kubernetes.io/nic": "32",
                "requests.example.com/gpu": "3"})
        );
    }

    #[test]
    fn names_of_devices_are_those_of_classes_that_there_are() {
        for (name, of_devices) in [
            ("any.deviceclass.resource.k8s.io/devices", true),
            ("requests.deviceclass.resource.kubernetes.io/nic", true),
            ("requests.deviceclass.resource.kubernetes.io/none", false),
            ("requests.example.com/gpu", true),
            ("requests.example.com/other", false),
            ("requests.", false),
        ] {
            assert_eq!(measures(name, &classes()), of_devices, "{name}");
        }
    }

    #[test]
    fn a_pod_has_the_claim_it_names_or_the_first_that_was_made_for_it() {
        let at = |second: i64| Timestamp::from_second(second).ok();
        let all = [(at(1), "b"), (at(1), "a"), (at(2), "c")];
        for (claim, named, expected) in
            [(all[1], "", true), (all[0], "", false), (all[2], "c", true), (all[1], "c", false)]
        {
            assert_eq!(is_the_pods(claim, named, all), expected, "{claim:?} {named}");
        }
    }
}
