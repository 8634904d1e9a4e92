//! `list`: many objects at one revision, whole or page by page.
//!
//! Pages hang together by a token that names the revision and the key to go on at. The objects' bytes come from the
//! watch cache as they are and go out in chunks; nothing is decoded unless the caller wants another form.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use api_types::{
    field::go_quote,
    kind::GroupVersionKind,
    schema::TypeRef,
    selectors::{
        fields,
        labels::{self, Requirement},
    },
    status::Status,
    wire,
};
use axum::body::Body;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD},
};
use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{
    Revision,
    cache::{self, Cache, Header, Object, Snapshot},
};

use super::{
    Asked, forms,
    options::List,
    read,
    shape::{self, Shape},
};
use crate::{
    columns::ListMeta,
    http::{
        negotiate::{self, Format},
        respond::{self, Answer},
    },
    registry::{keys, read_failure},
    server::Server,
};

/// How many bytes of a long list go out at once.
const CHUNK: usize = 64 * 1024;

/// Reads tokens as Go does: it does not mind bits that are left over.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

/// What a list found.
pub(super) struct Found {
    pub(super) objects: Vec<Arc<Object>>,
    /// How many objects were looked at for it.
    pub(super) looked_at: usize,
    pub(super) revision: Revision,
    pub(super) continuation: String,
    pub(super) remaining: Option<u64>,
}

pub(super) async fn list(server: &Arc<Server>, asked: Asked) -> Result<Answer, Status> {
    let options = List::read(&asked.query, asked.served.resource.as_ref(), false)?;
    let found = find(&asked, &options).await?;
    let names = asked.served.storage.resource.names();
    server.metrics.cache.listed(names.group, names.plural, "", found.looked_at, found.objects.len());
    answer(server, &asked, found)
}

/// What was found in the form the caller wants.
pub(super) fn answer(server: &Server, asked: &Asked, found: Found) -> Result<Answer, Status> {
    let kind = asked.served.resource.kind();
    let shape = Shape::of(asked)?;
    let meta = ListMeta {
        resource_version: found.revision.to_string(),
        continue_token: found.continuation,
        remaining_item_count: found.remaining.and_then(|count| i64::try_from(count).ok()),
    };
    if let (true, Format::Protobuf, None, Some(of)) =
        (shape.is_plain(), asked.media.format, &asked.served.conversion, asked.served.resource.schema())
    {
        return protobuf(&kind, &meta, &found.objects, of);
    }
    let custom = asked.served.resource.custom().is_some();
    if custom && shape.is_plain() && asked.media.format == Format::Protobuf {
        return Err(negotiate::no_protobuf("UnstructuredList"));
    }
    let derived = !shape.is_plain() || asked.media.format != Format::Json || asked.media.pretty;
    if derived || asked.served.conversion.is_some() {
        let mut objects = Vec::with_capacity(found.objects.len());
        for object in &found.objects {
            objects.push(shape::served_bytes(&asked.served, &object.bytes)?);
        }
        return shape.answer_list(&objects, &meta, server.runtime.clock.now());
    }
    let list_kind = asked.served.resource.list_kind();
    let mut meta = serde_json::to_value(&meta).map_err(Status::internal)?;
    if custom && meta.get("continue").is_none() {
        // Lists of custom kinds say that there is no more.
        meta["continue"] = Value::from("");
    }
    let meta = serde_json::to_vec(&meta).map_err(Status::internal)?;
    let mut head =
        format!(r#"{{"kind":"{list_kind}","apiVersion":"{}","metadata":"#, kind.api_version()).into_bytes();
    head.extend_from_slice(&meta);
    head.extend_from_slice(br#","items":["#);
    let length = found.objects.iter().map(|object| item_length(object)).sum::<usize>()
        // Commas stand between items.
        + found.objects.len().saturating_sub(1);
    let mut first = true;
    let items = found.objects.into_iter().map(move |object| item(&object, std::mem::take(&mut first)));
    Ok(stream("application/json", Pieces::new(head, items, length, b"]}\n")))
}

/// A list in protobuf, whose items are encoded once and shared.
fn protobuf(
    kind: &GroupVersionKind,
    meta: &ListMeta,
    objects: &[Arc<Object>],
    of: TypeRef,
) -> Result<Answer, Status> {
    let items: Vec<(Vec<u8>, Bytes)> = objects
        .iter()
        .map(|object| {
            let message = Bytes::clone(&forms::protobuf(object, of));
            (wire::protobuf::item_head(message.len()), message)
        })
        .collect();
    let length = items.iter().map(|(head, message)| head.len() + message.len()).sum();
    let meta = serde_json::to_value(meta).map_err(Status::internal)?;
    let list_kind = format!("{}List", kind.kind);
    let head = wire::protobuf::list_head(&kind.api_version(), &list_kind, &meta, length);
    let pieces = Pieces::new(head, items.into_iter(), length, &wire::protobuf::ENVELOPE_END);
    Ok(stream("application/vnd.kubernetes.protobuf", pieces))
}

/// The bytes of a list: short ones at once, long ones in pieces. The length is known beforehand either way, so that a
/// client can tell a list from the first half of one.
fn stream<I, H>(content_type: &'static str, mut pieces: Pieces<I>) -> Answer
where
    I: Iterator<Item = (H, Bytes)> + Unpin + Send + 'static,
    H: AsRef<[u8]>,
{
    let mut answer = respond::bytes(200, content_type, Bytes::new());
    *answer.body_mut() =
        if pieces.left < CHUNK { Body::from(pieces.next_piece()) } else { Body::new(pieces) };
    answer
}

/// A list on its way out. An item is what stands before it, and itself.
struct Pieces<I> {
    head: Option<Vec<u8>>,
    items: I,
    tail: &'static [u8],
    /// How many bytes are still to come; 0 is the end.
    left: usize,
}

// === impl Pieces ===

impl<I, H> Pieces<I>
where
    I: Iterator<Item = (H, Bytes)>,
    H: AsRef<[u8]>,
{
    /// `length` is that of all items.
    fn new(head: Vec<u8>, items: I, length: usize, tail: &'static [u8]) -> Self {
        Self { left: head.len() + length + tail.len(), head: Some(head), items, tail }
    }

    fn next_piece(&mut self) -> Bytes {
        let mut piece = BytesMut::with_capacity(self.left.min(CHUNK + CHUNK / 4));
        piece.extend_from_slice(&self.head.take().unwrap_or_default());
        while piece.len() < CHUNK {
            let Some((before, item)) = self.items.next() else {
                piece.put_slice(self.tail);
                break;
            };
            piece.put_slice(before.as_ref());
            piece.put_slice(&item);
        }
        self.left = self.left.saturating_sub(piece.len());
        piece.freeze()
    }
}

impl<I, H> http_body::Body for Pieces<I>
where
    I: Iterator<Item = (H, Bytes)> + Unpin,
    H: AsRef<[u8]>,
{
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Poll::Ready((self.left > 0).then(|| Ok(Frame::data(self.next_piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

/// How much of an object's bytes says what kind it is, up to its metadata: lists leave that out of their items.
fn skipped(object: &Object) -> usize {
    usize::try_from(object.header.extra).ok().filter(|&skip| skip < object.bytes.len()).unwrap_or_default()
}

fn item_length(object: &Object) -> usize {
    match skipped(object) {
        0 => object.bytes.len(),
        skip => object.bytes.len() - skip + 1,
    }
}

/// An object as an item of a list, and what stands before it.
fn item(object: &Object, first: bool) -> (&'static str, Bytes) {
    match (skipped(object), first) {
        (0, true) => ("", object.bytes.clone()),
        (0, false) => (",", object.bytes.clone()),
        (skip, true) => ("{", object.bytes.slice(skip..)),
        (skip, false) => (",{", object.bytes.slice(skip..)),
    }
}

/// The objects a list asks for.
pub(super) async fn find(asked: &Asked, options: &List) -> Result<Found, Status> {
    let storage = &asked.served.storage;
    let cache = storage.cache();
    let namespace = if asked.served.names().namespaced { asked.info.namespace.as_str() } else { "" };
    let prefix = keys::namespace(&storage.prefix, namespace);
    let version = match options.resource_version.as_str() {
        "" => None,
        text => Some(super::parse_version(text).map_err(|why| {
            Status::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: {}: {why}",
                go_quote(text)
            ))
        })?),
    };
    let (snapshot, after) = if options.continuation.is_empty() {
        (snapshot(&cache, version, &options.resource_version_match, options.limit).await?, None)
    } else {
        if version.is_some_and(|version| version != 0) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        resume(&cache, &options.continuation, &prefix).await?
    };
    // The cache's own state is served whole: a limit costs more than it saves.
    let limit =
        if version == Some(0) && options.resource_version_match != "Exact" { 0 } else { options.limit };

    let mut objects = Vec::new();
    let mut last: Option<Arc<str>> = None;
    let (mut more, mut looked_at) = (false, 0);
    for object in candidates(&cache, &snapshot, &prefix, after.as_deref(), options, limit) {
        // Whatever comes after a full page makes another one: it is not looked at whether it will be selected.
        if limit > 0 && objects.len() == limit {
            more = true;
            break;
        }
        looked_at += 1;
        if !matches(&options.labels, &options.fields, &object.header) {
            continue;
        }
        last = Some(Arc::clone(&object.key));
        objects.push(Arc::clone(object));
    }
    asked.served.serve_all_cached(&mut objects).await?;
    let mut found = Found {
        objects,
        looked_at,
        revision: snapshot.revision,
        continuation: String::new(),
        remaining: None,
    };
    if let (true, Some(last)) = (more, last) {
        let start = last.strip_prefix(prefix.as_str()).unwrap_or_default();
        found.continuation = token(snapshot.revision.0, &format!("{start}\0"));
        if options.selects_everything() {
            let rest = snapshot.count_after(&prefix, &last);
            found.remaining = u64::try_from(rest).ok();
        }
    }
    Ok(found)
}

/// From how many objects on a list that wants few of them by a label is worth an index.
const INDEXED_MIN: usize = 1000;

/// The objects to look at, by an index if the selectors allow. Pages are cut from all objects, selected or not.
fn candidates<'a>(
    cache: &Cache,
    snapshot: &'a Snapshot,
    prefix: &str,
    after: Option<&str>,
    options: &List,
    limit: usize,
) -> Box<dyn Iterator<Item = &'a Arc<Object>> + Send + 'a> {
    if limit == 0 && after.is_none() {
        let field = snapshot.index().and_then(|field| options.fields.exact(field));
        let field = field.filter(|value| !value.is_empty());
        if let Some(found) = field.and_then(|value| snapshot.by_index(value, prefix)) {
            return Box::new(found);
        }
        let exact = options.labels.requirements().iter().map(Requirement::key);
        let mut exact = exact.filter_map(|label| Some((label, options.labels.exact(label)?)));
        if let Some((label, value)) = exact.next().filter(|_| snapshot.len() >= INDEXED_MIN) {
            match snapshot.by_label(label, value, prefix) {
                Some(found) => return Box::new(found),
                None => cache.index_label(label),
            }
        }
    }
    Box::new(snapshot.range(prefix, after))
}

async fn snapshot(
    cache: &Cache,
    version: Option<u64>,
    wanted: &str,
    limit: usize,
) -> Result<Snapshot, Status> {
    match (version, wanted) {
        (None, _) => cache.fresh().await.map_err(|error| read_failure(&error)),
        (Some(0), _) => {
            cache.ready().await;
            Ok(cache.snapshot())
        }
        // A limited list at a version without a word on how to match is a list at exactly that version.
        (Some(version), "Exact") => at(cache, version).await,
        (Some(version), "") if limit > 0 => at(cache, version).await,
        (Some(version), _) => {
            read::reach(cache, version).await?;
            Ok(cache.snapshot())
        }
    }
}

async fn at(cache: &Cache, version: u64) -> Result<Snapshot, Status> {
    match cache.at(Revision(version)).await {
        Ok(snapshot) => Ok(snapshot),
        Err(cache::Error::Compacted { .. }) => {
            Err(Status::expired("The resourceVersion for the provided list is too old."))
        }
        Err(error) => Err(read_failure(&error)),
    }
}

/// Where a token says to go on.
async fn resume(cache: &Cache, text: &str, prefix: &str) -> Result<(Snapshot, Option<String>), Status> {
    let invalid = |why: String| Status::bad_request(format!("invalid continue token: {why}"));
    let malformed = |why: &dyn std::fmt::Display| invalid(format!("continue key is not valid: {why}"));
    let bytes = LENIENT.decode(text).map_err(|error| malformed(&error))?;
    let (value, _) = wire::json::decode(&bytes).map_err(|error| malformed(&error))?;
    let token: Token = serde_json::from_value(value).map_err(|error| malformed(&error))?;
    if token.v != "meta.k8s.io/v1" {
        return Err(invalid(format!("server does not recognize this encoded version {}", token.v)));
    }
    if token.rv == 0 {
        return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".to_owned()));
    }
    if token.start.is_empty() {
        return Err(invalid("encoded start key empty (version meta.k8s.io/v1)".to_owned()));
    }
    if token.start.split('/').any(|part| part == ".." || part == ".") || token.start.contains("//") {
        return Err(malformed(&token.start));
    }
    // The key that was last, so that a range after it goes on behind it.
    let after = format!("{prefix}{}", token.start.trim_start_matches('/').trim_end_matches('\0'));
    let Ok(revision) = u64::try_from(token.rv) else {
        // A negative revision continues at whatever is there now.
        let snapshot = cache.fresh().await.map_err(|error| read_failure(&error))?;
        return Ok((snapshot, Some(after)));
    };
    match cache.at(Revision(revision)).await {
        Ok(snapshot) => Ok((snapshot, Some(after))),
        Err(cache::Error::Compacted { .. }) => Err(expired(&token.start)),
        Err(error) => Err(read_failure(&error)),
    }
}

fn token(revision: u64, start: &str) -> String {
    let token = Token {
        v: "meta.k8s.io/v1".to_owned(),
        rv: i64::try_from(revision).unwrap_or(i64::MAX),
        start: start.to_owned(),
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

/// 410 with a token that goes on at the latest state, at the price of consistency.
fn expired(start: &str) -> Status {
    let token = Token { v: "meta.k8s.io/v1".to_owned(), rv: -1, start: start.to_owned() };
    let token = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default());
    Status {
        continuation: token,
        ..Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        )
    }
}

/// Whether selectors let an object through.
pub(super) fn matches(labels: &labels::Selector, fields: &fields::Selector, header: &Header) -> bool {
    (labels.is_everything() || labels.matches(&header.labels))
        && (fields.is_everything() || fields.matches(|field| field_of(header, field)))
}

fn field_of<'a>(header: &'a Header, field: &str) -> std::borrow::Cow<'a, str> {
    match field {
        "metadata.name" => (&*header.name).into(),
        "metadata.namespace" => header.namespace.as_deref().unwrap_or_default().into(),
        other => header.fields.get(other).unwrap_or_default().into(),
    }
}

/// For callers that need the objects themselves.
pub(super) fn values(asked: &Asked, found: &Found) -> Result<Vec<Value>, Status> {
    found.objects.iter().map(|object| read::value(&asked.served, object)).collect()
}
