//! What the name of an image says about which image is meant.

use std::sync::LazyLock;

use regex::Regex;

/// Bytes of a repository's name, domain included.
const REPOSITORY_LENGTH_MAX: usize = 255;

/// What a container's pull policy is if it is not given: always for what may move, once for what stays.
pub(crate) fn default_pull_policy(image: &str) -> &'static str {
    if tag(image).as_deref() == Some("latest") { "Always" } else { "IfNotPresent" }
}

/// The tag that an image's name means: `latest` if it has neither tag nor digest. `None` if the name means nothing.
fn tag(image: &str) -> Option<String> {
    // A bare image id is not a name.
    if image.len() == 64 && image.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let (domain, rest) = split_domain(image);
    let name = rest.split(':').next().unwrap_or_default();
    if name.chars().any(char::is_uppercase) {
        return None;
    }
    let whole = format!("{domain}/{rest}");
    let parts = REFERENCE.captures(&whole)?;
    if parts.get(1)?.len() > REPOSITORY_LENGTH_MAX {
        return None;
    }
    let digest = parts.get(3).map(|it| it.as_str());
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return None;
    }
    match (parts.get(2), digest) {
        (Some(tag), _) => Some(tag.as_str().to_owned()),
        (None, Some(_)) => Some(String::new()),
        (None, None) => Some("latest".to_owned()),
    }
}

/// The registry, which may be left out for the default one, and the rest.
fn split_domain(image: &str) -> (String, String) {
    const DEFAULT: &str = "docker.io";
    let (domain, rest) = match image.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT, image),
    };
    let domain = if domain == "index.docker.io" { DEFAULT } else { domain };
    let rest =
        if domain == DEFAULT && !rest.contains('/') { format!("library/{rest}") } else { rest.to_owned() };
    (domain.to_owned(), rest)
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The grammar of the distribution project: a repository with its domain, a tag, a digest.
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    const LABEL: &str = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    const COMPONENT: &str = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*";
    let domain = format!(r"(?:{LABEL}(?:\.{LABEL})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?");
    let repository = format!(r"(?:{domain}/)?{COMPONENT}(?:/{COMPONENT})*");
    let tag = r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}";
    let digest = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
    #[expect(clippy::unwrap_used, reason = "the expression is constant, and a test matches with it")]
    Regex::new(&format!("^({repository})(?::({tag}))?(?:@({digest}))?$")).unwrap()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_may_move_are_pulled_always() {
        let sha = "a".repeat(64);
        for (image, expected) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.25", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("localhost:5000/nginx:1", "IfNotPresent"),
            ("registry.k8s.io/pause:latest", "Always"),
            ("a/b/c", "Always"),
            ("[::1]:5000/x", "Always"),
            (&format!("nginx@sha256:{sha}"), "IfNotPresent"),
            (&format!("nginx:latest@sha256:{sha}"), "Always"),
            (&format!("nginx@sha256:{}", "a".repeat(40)), "IfNotPresent"),
            ("Nginx", "IfNotPresent"),
            ("", "IfNotPresent"),
            (" ", "IfNotPresent"),
            ("a b", "IfNotPresent"),
            (&sha, "IfNotPresent"),
            ("Registry/x", "Always"),
        ] {
            assert_eq!(default_pull_policy(image), expected, "{image}");
        }
    }
}
