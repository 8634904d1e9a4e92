//! Where webhooks are called: a URL, or a service.

use api_types::field::{Fault, Faults, Path};

use super::{
    names::{dns1123_subdomain, port_number},
    url::Url,
};

/// The port of a service that is called unless another is said.
pub(crate) const PORT_DEFAULT: i32 = 443;
const FORM: &str = "; desired format: https://host[/path]";

/// A service that is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceRef<'a> {
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// The path that is asked for.
    pub(crate) path: Option<&'a str>,
    /// The port.
    pub(crate) port: Option<i32>,
}

/// What is wrong with the URL of a webhook.
pub(crate) fn url_faults(path: &Path, text: &str) -> Faults {
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(wrong) => {
            return vec![Fault::required(path, format!("url must be a valid URL: {wrong}{FORM}"))];
        }
    };
    let mut faults = Vec::new();
    if url.scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        faults.push(Fault::invalid(path, &url.scheme, detail));
    }
    if url.host.is_empty() {
        faults.push(Fault::invalid(path, url.host, format!("host must be specified{FORM}")));
    }
    for (part, detail) in [
        (url.user, "user information is not permitted in the URL"),
        (Some(url.fragment).filter(|it| !it.is_empty()), "fragments are not permitted in the URL"),
        (Some(url.query).filter(|it| !it.is_empty()), "query parameters are not permitted in the URL"),
    ] {
        faults.extend(part.map(|part| Fault::invalid(path, part, detail)));
    }
    faults
}

/// What is wrong with the service of a webhook.
pub(crate) fn service_faults(path: &Path, service: ServiceRef<'_>) -> Faults {
    let mut faults = Vec::new();
    for (field, value) in [("name", service.name), ("namespace", service.namespace)] {
        if value.is_empty() {
            faults.push(Fault::required(&path.child(field), ""));
        }
    }
    let port = service.port.unwrap_or(PORT_DEFAULT);
    let wrong = port_number(i64::from(port));
    if !wrong.is_empty() {
        let detail = format!("port is not valid: {}", wrong.join(", "));
        faults.push(Fault::invalid(&path.child("port"), port, detail));
    }
    faults.extend(service.path.iter().flat_map(|url_path| url_path_faults(&path.child("path"), url_path)));
    faults
}

fn url_path_faults(path: &Path, url_path: &str) -> Faults {
    if matches!(url_path, "" | "/") {
        return Vec::new();
    }
    let segment_fault = |detail: String| Fault::invalid(path, url_path, detail);
    if url_path == "//" {
        return vec![segment_fault("segment[0] may not be empty".to_owned())];
    }
    let mut faults = Vec::new();
    if !url_path.starts_with('/') {
        faults.push(segment_fault("must start with a '/'".to_owned()));
    }
    // Upstream passes over the first character whatever it is.
    let mut rest = url_path.chars();
    rest.next();
    let rest = rest.as_str();
    for (index, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if segment.is_empty() {
            faults.push(segment_fault(format!("segment[{index}] may not be empty")));
        } else {
            let wrongs = dns1123_subdomain(segment);
            faults.extend(wrongs.iter().map(|wrong| segment_fault(format!("segment[{index}]: {wrong}"))));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_https_and_nothing_but_host_and_path() {
        for (url, faults) in [
            ("https://a.b/c", vec![]),
            (
                "http://x/",
                vec![
                    r#"u: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]"#,
                ],
            ),
            (
                "https://u@/?q#f",
                vec![
                    r#"u: Invalid value: "": host must be specified; desired format: https://host[/path]"#,
                    r#"u: Invalid value: "u": user information is not permitted in the URL"#,
                    r#"u: Invalid value: "f": fragments are not permitted in the URL"#,
                    r#"u: Invalid value: "q": query parameters are not permitted in the URL"#,
                ],
            ),
            (
                ":",
                vec![
                    r#"u: Required value: url must be a valid URL: parse ":": missing protocol scheme; desired format: https://host[/path]"#,
                ],
            ),
        ] {
            let found: Vec<String> =
                url_faults(&Path::new("u"), url).iter().map(ToString::to_string).collect();
            assert_eq!(found, faults);
        }
    }

    #[test]
    fn a_service_has_a_name_a_port_and_a_path_of_names() {
        let service = ServiceRef { namespace: "n", name: "s", path: None, port: None };
        let subdomain = dns1123_subdomain("A").join("");
        for (service, faults) in [
            (service, vec![]),
            (
                ServiceRef { namespace: "", name: "", path: Some("//"), port: Some(0) },
                vec![
                    "s.name: Required value".to_owned(),
                    "s.namespace: Required value".to_owned(),
                    "s.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive"
                        .to_owned(),
                    r#"s.path: Invalid value: "//": segment[0] may not be empty"#.to_owned(),
                ],
            ),
            (ServiceRef { path: Some("/a/b/"), ..service }, vec![]),
            (
                ServiceRef { path: Some("xa//A"), ..service },
                vec![
                    r#"s.path: Invalid value: "xa//A": must start with a '/'"#.to_owned(),
                    r#"s.path: Invalid value: "xa//A": segment[1] may not be empty"#.to_owned(),
                    format!(r#"s.path: Invalid value: "xa//A": segment[2]: {subdomain}"#),
                ],
            ),
        ] {
            let found: Vec<String> =
                service_faults(&Path::new("s"), service).iter().map(ToString::to_string).collect();
            assert_eq!(found, faults);
        }
    }
}
