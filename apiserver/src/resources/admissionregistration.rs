//! The kinds of `admissionregistration.k8s.io`.
//!
//! What is checked here is their shape. Whether expressions compile, and whether the writer may read the parameters
//! that a policy names, is not for the kinds to know.

mod hooks;
mod matching;
pub(crate) mod mutatingadmissionpolicies;
pub(crate) mod mutatingadmissionpolicybindings;
pub(crate) mod mutatingwebhookconfigurations;
mod policies;
pub(crate) mod validatingadmissionpolicies;
pub(crate) mod validatingadmissionpolicybindings;
pub(crate) mod validatingwebhookconfigurations;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::shared::optional::Text;

/// How names end that are kept for configuration from files.
const STATIC_SUFFIX: &str = ".static.k8s.io";

/// The warning about a name that is kept for configuration from files.
fn name_warnings(metadata: &ObjectMeta) -> Vec<String> {
    let warning = || {
        format!(
            "metadata.name: names ending with \"{STATIC_SUFFIX}\" are reserved for static manifest-based configurations and cannot be managed via the API"
        )
    };
    metadata.name.text().ends_with(STATIC_SUFFIX).then(warning).into_iter().collect()
}
