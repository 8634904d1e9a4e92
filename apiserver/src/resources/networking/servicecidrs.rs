//! ServiceCIDRs: `servicecidrs` of `networking.k8s.io/v1`.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::networking::v1::ServiceCIDR;

use crate::{
    patch::apply::Reset,
    registry::strategy::{Context, Names, Part, Strategy},
    resources::shared::{addresses, metadata::keep_for_status, net::range_family, optional::Items},
};

/// The strategy of ServiceCIDRs.
pub(crate) struct ServiceCIDRs;

impl Strategy for ServiceCIDRs {
    type Object = ServiceCIDR;

    const NAMES: Names = Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "ServiceCIDR",
        plural: "servicecidrs",
        singular: "servicecidr",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const RESETS: &'static [(Part, Reset<'static>)] =
        &[(Part::Status, Reset::Fields(&[&["spec"], &["metadata"]]))];
    const REJUDGES_METADATA: bool = false;
    const STATUS: bool = true;

    fn validate(_cx: &Context<'_>, object: &ServiceCIDR) -> Faults {
        let path = Path::new("spec.cidrs");
        let ranges = ranges(object);
        if ranges.is_empty() {
            return vec![Fault::required(&path, "at least one CIDR required")];
        }
        if ranges.len() > 2 {
            // Printed as upstream does: the whole spec in its internal form.
            let printed = BadValue::Json(serde_json::json!({"CIDRs": ranges}));
            return vec![Fault::invalid(&path, printed, "may only hold up to 2 values")];
        }
        let mut faults: Faults = ranges
            .iter()
            .enumerate()
            .flat_map(|(index, range)| addresses::cidr(&path.index(index), range))
            .collect();
        if let [one, other] = ranges
            && range_family(one).is_some()
            && range_family(one) == range_family(other)
        {
            faults.push(Fault::invalid(
                &path,
                BadValue::json(&ranges),
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            ));
        }
        faults
    }

    fn validate_update(cx: &Context<'_>, object: &ServiceCIDR, old: &ServiceCIDR) -> Faults {
        let path = Path::new("spec.cidrs");
        let (new, was) = (ranges(object), ranges(old));
        let fixed =
            |index: usize, range: &String| Fault::invalid(&path.index(index), range, "field is immutable");
        let mut faults: Faults = new
            .iter()
            .zip(was)
            .enumerate()
            .filter(|(_, (new, was))| new != was)
            .map(|(index, (new, _))| fixed(index, new))
            .collect();
        match (was.len(), new.len()) {
            (was, new) if was == new => faults,
            // A second family may be added later.
            (1, 2) => {
                faults.extend(Self::validate(cx, object));
                faults
            }
            _ => vec![Fault::invalid(&path, BadValue::json(&new), "field is immutable")],
        }
    }

    fn prepare_for_status_update(_cx: &Context<'_>, object: &mut ServiceCIDR, old: &ServiceCIDR) {
        keep_for_status(&mut object.metadata, &old.metadata);
    }
}

fn ranges(object: &ServiceCIDR) -> &[String] {
    object.spec.as_ref().map(|spec| spec.cidrs.items()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::ServiceCIDRs;
    use crate::resources::shared::testing::{check_create, check_update};

    fn ranges(ranges: &[&str]) -> Value {
        json!({"spec": {"cidrs": ranges}})
    }

    #[test]
    fn there_is_one_range_a_family() {
        for (object, faults) in [
            (ranges(&["10.0.0.0/24"]), vec![]),
            (ranges(&["10.0.0.0/24", "2001:db8::/64"]), vec![]),
            (ranges(&[]), vec!["spec.cidrs: Required value: at least one CIDR required"]),
            (
                ranges(&["10.0.0.0/24", "10.1.0.0/24"]),
                vec![
                    r#"spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"#,
                ],
            ),
            (
                ranges(&["a", "b", "c"]),
                vec![r#"spec.cidrs: Invalid value: {"CIDRs":["a","b","c"]}: may only hold up to 2 values"#],
            ),
            (
                ranges(&["10.0.0.1/24"]),
                vec![
                    r#"spec.cidrs[0]: Invalid value: "10.0.0.1/24": must not have bits set beyond the prefix length"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<ServiceCIDRs>(object), faults);
        }
    }

    #[test]
    fn only_a_second_family_may_be_added() {
        let old = || ranges(&["10.0.0.0/24"]);
        for (new, faults) in [
            (old(), vec![]),
            (ranges(&["10.0.0.0/24", "2001:db8::/64"]), vec![]),
            (
                ranges(&["10.1.0.0/24"]),
                vec![r#"spec.cidrs[0]: Invalid value: "10.1.0.0/24": field is immutable"#],
            ),
            (ranges(&[]), vec!["spec.cidrs: Invalid value: []: field is immutable"]),
        ] {
            assert_eq!(check_update::<ServiceCIDRs>(new, old()), faults);
        }
    }
}
