//! Which form the answer shall have, and which form the body has.
//!
//! Two gates, as upstream has them: the media type must be one we produce, spelled out or `*/*`; then the clauses are
//! tried in the order of their weight, and the first whose parameters we can follow wins. Pure.

use api_types::status::{Details, Status};

use super::query::Query;

/// How bytes are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What an answer is turned into before it is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// Rows and columns.
    Table,
    /// Metadata alone.
    Metadata,
    /// A list of metadata alone.
    MetadataList,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// How it is laid out.
    pub format: Format,
    /// Whether JSON is indented.
    pub pretty: bool,
    /// What it is turned into first.
    pub transform: Option<Transform>,
    /// Whether the transformed object is of `meta.k8s.io/v1beta1` instead of `v1`.
    pub beta: bool,
}

/// The media types we speak, as messages list them.
pub const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

struct Clause<'a> {
    media: &'a str,
    weight: f32,
    parameters: Vec<(&'a str, &'a str)>,
}

// === impl Format ===

impl Format {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    fn from_media(media: &str) -> Option<Self> {
        [Self::Json, Self::Yaml, Self::Protobuf].into_iter().find(|format| format.content_type() == media)
    }
}

// === impl Media ===

impl Media {
    /// Plain JSON.
    pub const JSON: Self = Self { format: Format::Json, pretty: false, transform: None, beta: false };
}

/// The form of the answer, from `Accept`, `?pretty` and the user agent (people with browsers and curl get indentation).
/// `list` says whether the answer is a list, for which metadata alone comes as a list too.
///
/// # Errors
/// 406, in upstream's two spellings.
pub fn output(accept: &str, query: &Query, user_agent: &str) -> Result<Media, Status> {
    let pretty = match query.get("pretty") {
        Some(_) => query.flag("pretty"),
        None => ["curl", "Wget", "Mozilla/5.0"].iter().any(|agent| user_agent.starts_with(agent)),
    };
    let json = Media { pretty, ..Media::JSON };
    if accept.trim().is_empty() {
        return Ok(json);
    }
    let mut clauses: Vec<Clause<'_>> = accept.split(',').map(clause).collect();
    if !clauses.iter().any(|clause| clause.media == "*/*" || Format::from_media(clause.media).is_some()) {
        return Err(Status::failure(
            406,
            "NotAcceptable",
            format!("406: Not Acceptable\n\nAvailable representations: {ACCEPTED}"),
        )
        .with_details(Details::default()));
    }
    clauses.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    clauses
        .iter()
        .filter_map(|clause| {
            let format = match clause.media {
                "*/*" | "application/*" => Format::Json,
                media => Format::from_media(media)?,
            };
            follow(Media { format, ..json }, &clause.parameters)
        })
        .next()
        .ok_or_else(not_acceptable)
}

/// The 406 for parameters that cannot be followed.
pub fn not_acceptable() -> Status {
    Status::failure(406, "NotAcceptable", format!("only the following media types are accepted: {ACCEPTED}"))
}

/// The 406 for objects of custom kinds, or lists of them, in protobuf.
pub fn no_protobuf(what: &str) -> Status {
    Status::failure(
        406,
        "NotAcceptable",
        format!(
            "object *unstructured.{what} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
        ),
    )
}

/// The 406 for events in a form that has no end marks between them.
pub fn not_streamable() -> Status {
    let streamed = [Format::Json, Format::Protobuf].map(|it| format!("{};stream=watch", it.content_type()));
    Status::failure(
        406,
        "NotAcceptable",
        format!("only the following media types are accepted: {}", streamed.join(", ")),
    )
}

/// The form of a body.
///
/// # Errors
/// 415
pub fn input(content_type: &str) -> Result<Format, Status> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if media.is_empty() {
        return Ok(Format::Json);
    }
    Format::from_media(media).ok_or_else(|| {
        Status::failure(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {ACCEPTED}"
            ),
        )
    })
}

fn clause(text: &str) -> Clause<'_> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let mut weight = 1.0;
    let mut parameters = Vec::new();
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        if name == "q" {
            weight = value.parse().unwrap_or(1.0);
        } else {
            parameters.push((name, value));
        }
    }
    Clause { media, weight, parameters }
}

fn follow(media: Media, parameters: &[(&str, &str)]) -> Option<Media> {
    let get = |name| parameters.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let mut media = media;
    if let Some(stream) = get("stream") {
        (stream == "watch").then_some(())?;
    }
    if let Some(pretty) = get("pretty") {
        media.pretty = pretty == "1";
    }
    if let Some(kind) = get("as") {
        (get("g") == Some("meta.k8s.io")).then_some(())?;
        media.beta = match get("v") {
            Some("v1") => false,
            Some("v1beta1") => true,
            _ => return None,
        };
        media.transform = Some(match kind {
            // Tables have cells of any type, which protobuf has no form for.
            "Table" if media.format == Format::Protobuf => return None,
            "Table" => Transform::Table,
            "PartialObjectMetadata" => Transform::Metadata,
            "PartialObjectMetadataList" => Transform::MetadataList,
            _ => return None,
        });
    }
    Some(media)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_clause_that_can_be_followed_wins() {
        let check = |accept: &str| match output(accept, &Query::default(), "kubectl/v1.36.0") {
            Ok(media) => format!("{:?} {:?} {}", media.format, media.transform, media.beta),
            Err(status) => status.message,
        };
        for (accept, expected) in [
            ("", "Json None false"),
            ("*/*", "Json None false"),
            ("application/json;q=0.1, application/yaml;q=0.9", "Yaml None false"),
            ("application/xml, application/json;q=0.5", "Json None false"),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "Json Some(Table) false"),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", "Json Some(Table) true"),
            ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", "Json None false"),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/yaml;as=Table;v=v1;g=meta.k8s.io",
                "Yaml Some(Table) false",
            ),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
                "Protobuf Some(Metadata) false",
            ),
        ] {
            assert_eq!(check(accept), expected, "{accept}");
        }
        assert!(check("application/*").starts_with("406: Not Acceptable"));
        assert!(check("application/cbor").starts_with("406: Not Acceptable"));
        let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io";
        assert!(check(table).starts_with("only the following"));
        assert!(check("application/json;as=Odd;v=v1;g=meta.k8s.io").starts_with("only the following"));
    }

    #[test]
    fn people_get_indentation() {
        let pretty = |query: &str, agent: &str| output("", &Query::parse(query), agent).unwrap().pretty;
        assert!(pretty("", "curl/8.0") && pretty("pretty=1", "kubectl") && pretty("pretty=true", ""));
        assert!(!pretty("pretty=false", "curl/8.0") && !pretty("", "kubectl/v1.36.0"));
    }
}
