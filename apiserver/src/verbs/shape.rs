//! The last step of an answer: the object as it is, as a row of a table, or its metadata alone.

use std::sync::Arc;

use api_types::{
    schema::{TypeRef, schema},
    status::Status,
};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Asked;
use crate::{
    columns::{self, ListMeta, MetaVersion, TableOptions},
    http::{
        negotiate::{self, Format, Media, Transform},
        respond::{self, Answer},
    },
    registry::{catalogue::Served, strategy::Resource},
};

/// How objects are shown to one caller.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) media: Media,
    table: TableOptions,
    /// The columns' resource, a subresource behind a slash.
    resource: String,
    group: String,
    kind: api_types::kind::GroupVersionKind,
    list_kind: String,
    /// Custom kinds bring their own columns.
    custom: Option<Arc<dyn Resource>>,
}

// === impl Shape ===

impl Shape {
    /// How a request wants objects shown.
    ///
    /// # Errors
    /// 400 for an odd `includeObject`.
    pub(super) fn of(asked: &Asked) -> Result<Self, Status> {
        let version = if asked.media.beta { MetaVersion::V1beta1 } else { MetaVersion::V1 };
        let table = match asked.media.transform {
            Some(Transform::Table) => TableOptions::from_query(asked.query.get("includeObject"), version)?,
            _ => TableOptions { include: columns::Include::Metadata, headers: true, version },
        };
        let resource = asked.served.resource.resource();
        let name = if asked.info.subresource.is_empty() {
            resource.resource
        } else {
            format!("{}/{}", resource.resource, asked.info.subresource)
        };
        Ok(Self {
            media: asked.media,
            table,
            resource: name,
            group: resource.group,
            kind: asked.served.resource.kind(),
            list_kind: asked.served.resource.list_kind(),
            custom: asked.served.resource.custom().map(|_| Arc::clone(&asked.served.resource)),
        })
    }

    /// Whether objects are shown as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.media.transform.is_none()
    }

    /// Whether objects are shown by their metadata alone, in the form that is shared.
    pub(super) fn is_metadata(&self) -> bool {
        self.media.transform == Some(Transform::Metadata) && self.table.version == MetaVersion::V1
    }

    /// Leaves the columns out from now on (later events of a watch).
    pub(super) fn without_headers(&mut self) {
        self.table = self.table.without_headers();
    }

    /// One object, given in JSON and the version it was addressed in.
    ///
    /// # Errors
    /// 406 if a list of metadata was asked for; 500 for damaged objects.
    pub(super) fn object(&self, json: &[u8], now: Timestamp) -> Result<Vec<u8>, Status> {
        match self.media.transform {
            None => Ok(json.to_vec()),
            Some(Transform::Table) => {
                let meta = ListMeta::of_object(json).map_err(Status::internal)?;
                self.rows([json], &meta, now)
            }
            Some(Transform::Metadata) => columns::partial(json, self.table.version).map_err(Status::internal),
            Some(Transform::MetadataList) => Err(columns::not_a_list(&self.kind)),
        }
    }

    /// Many objects.
    ///
    /// # Errors
    /// 406 if the metadata of a single object was asked for; 500 for damaged objects.
    pub(super) fn list<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a [u8]>,
        meta: &ListMeta,
        now: Timestamp,
    ) -> Result<Vec<u8>, Status> {
        match self.media.transform {
            Some(Transform::MetadataList) => {
                columns::partial_list(objects, self.table.version, meta).map_err(Status::internal)
            }
            Some(Transform::Metadata) => Err(columns::not_an_object(&self.kind)),
            Some(Transform::Table) | None => self.rows(objects, meta, now),
        }
    }

    /// An answer of many objects, given in JSON and the version they were addressed in.
    ///
    /// # Errors
    /// As [`Shape::list`].
    pub(super) fn answer_list(
        &self,
        objects: &[Bytes],
        meta: &ListMeta,
        now: Timestamp,
    ) -> Result<Answer, Status> {
        if !self.is_plain() {
            let shown = self.list(objects.iter().map(|bytes| &**bytes), meta, now)?;
            if self.media.format == Format::Json && !self.media.pretty {
                let mut shown = shown;
                shown.push(b'\n');
                return Ok(respond::bytes(200, "application/json", shown));
            }
            return Ok(respond::encoded(200, self.media, &Bytes::from(shown), self.schema(None)));
        }
        let built_in = schema().type_of(&self.kind.group, &self.kind.version, &self.kind.kind).is_some();
        let mut items = Vec::with_capacity(objects.len());
        for object in objects {
            let mut value: Value = serde_json::from_slice(object).map_err(Status::internal)?;
            if let (true, Some(map)) = (built_in, value.as_object_mut()) {
                map.remove("kind");
                map.remove("apiVersion");
            }
            items.push(value);
        }
        let kind = &self.list_kind;
        let schema = schema().type_of(&self.kind.group, &self.kind.version, kind);
        let mut list =
            json!({"kind": kind, "apiVersion": self.kind.api_version(), "metadata": meta, "items": items});
        if self.custom.is_some() && list["metadata"].get("continue").is_none() {
            list["metadata"]["continue"] = json!("");
        }
        Ok(respond::object(200, self.media, &list, schema))
    }

    fn rows<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a [u8]>,
        meta: &ListMeta,
        now: Timestamp,
    ) -> Result<Vec<u8>, Status> {
        let custom = self.custom.as_ref().and_then(|it| it.custom());
        let columns = match custom {
            Some(kind) if !self.resource.ends_with("/scale") => kind.versions.table(kind.at),
            _ => columns::columns_for(&self.group, &self.resource),
        };
        columns::table(columns, objects, self.table, meta, now).map_err(Status::internal)
    }

    /// The schema of what [`Shape::object`] gives, for other formats than JSON.
    pub(super) fn schema(&self, plain: Option<TypeRef>) -> Option<TypeRef> {
        let kind = match self.media.transform {
            None => return plain,
            Some(Transform::Table) => "Table",
            Some(Transform::Metadata) => "PartialObjectMetadata",
            Some(Transform::MetadataList) => "PartialObjectMetadataList",
        };
        schema().by_openapi_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"))
    }

    /// An answer of one object, given in JSON.
    ///
    /// # Errors
    /// As [`Shape::object`].
    pub(super) fn answer(
        &self,
        code: u16,
        json: &Bytes,
        plain: Option<TypeRef>,
        now: Timestamp,
    ) -> Result<Answer, Status> {
        if self.is_plain() {
            if self.custom.is_some() && plain.is_none() && self.media.format == Format::Protobuf {
                return Err(negotiate::no_protobuf("Unstructured"));
            }
            return Ok(respond::encoded(code, self.media, json, plain));
        }
        let shown = Bytes::from(self.object(json, now)?);
        Ok(respond::encoded(code, self.media, &shown, self.schema(plain)))
    }
}

/// The bytes of a cached object in the version it is addressed in.
///
/// # Errors
/// 500 for damaged objects.
pub(super) fn served_bytes(served: &Served, json: &Bytes) -> Result<Bytes, Status> {
    if served.conversion.is_none() {
        return Ok(json.clone());
    }
    let value = serde_json::from_slice(json).map_err(Status::internal)?;
    Ok(encode(&served.serve(value), served.resource.schema()))
}

/// An object in JSON, in field order where the schema is known.
pub(super) fn encode(object: &serde_json::Value, schema: Option<TypeRef>) -> Bytes {
    Bytes::from(match schema {
        Some(schema) => api_types::wire::json::encode(object, schema),
        None => api_types::wire::json::encode_untyped(object),
    })
}
