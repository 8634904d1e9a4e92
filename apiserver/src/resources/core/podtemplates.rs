//! PodTemplates: `podtemplates` of `v1`.

use api_types::field::{Faults, Path};
use k8s_openapi::api::core::v1::{PodTemplate, PodTemplateSpec};

use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::{optional::same, pod_spec::Rules, pod_template},
};

/// The strategy of PodTemplates.
pub(crate) struct PodTemplates;

impl Strategy for PodTemplates {
    type Object = PodTemplate;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "PodTemplate",
        plural: "podtemplates",
        singular: "podtemplate",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const RETURNS_DELETED: bool = true;
    const GENERATION: Generation = Generation::Content;
    const REJUDGES_METADATA: bool = false;

    fn default(template: &mut PodTemplate) {
        pod_template::default(template.template.get_or_insert_default());
    }

    fn prepare_for_create(_cx: &Context<'_>, template: &mut PodTemplate) {
        pod_template::prepare(template.template.get_or_insert_default(), None);
    }

    fn validate(cx: &Context<'_>, template: &PodTemplate) -> Faults {
        validate(template, &Rules::default().under(cx))
    }

    fn prepare_for_update(_cx: &Context<'_>, template: &mut PodTemplate, old: &PodTemplate) {
        pod_template::prepare(template.template.get_or_insert_default(), old.template.as_ref());
    }

    fn validate_update(cx: &Context<'_>, template: &PodTemplate, old: &PodTemplate) -> Faults {
        validate(template, &pod_template::rules(old.template.as_ref()).under(cx))
    }

    fn warnings(_cx: &Context<'_>, template: &PodTemplate, old: Option<&PodTemplate>) -> Vec<String> {
        if old.is_some_and(|old| same(&template.template, &old.template)) {
            return Vec::new();
        }
        let template = template.template.as_ref();
        template.map(|it| pod_template::warnings(it, &Path::new("template"))).unwrap_or_default()
    }
}

fn validate(template: &PodTemplate, rules: &Rules) -> Faults {
    let nothing = PodTemplateSpec::default();
    pod_template::validate(template.template.as_ref().unwrap_or(&nothing), rules, &Path::new("template"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::shared::testing::{check_create, defaulted};

    #[test]
    fn a_template_has_the_defaults_of_its_pods() {
        let object = json!({"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}});
        let template = defaulted::<PodTemplates>(object.clone());
        let spec = template.template.unwrap().spec.unwrap();
        assert_eq!(spec.restart_policy.as_deref(), Some("Always"));
        assert_eq!(spec.enable_service_links, None, "that comes with the pod");
        assert_eq!(check_create::<PodTemplates>(object), Vec::<String>::new());
    }

    #[test]
    fn a_template_must_be_fit_for_pods() {
        assert_eq!(
            check_create::<PodTemplates>(json!({"template": {"spec": {"containers": [{"name": "c"}]}}})),
            ["template.spec.containers[0].image: Required value"]
        );
    }
}
