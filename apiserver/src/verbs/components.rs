//! `componentstatuses`: nothing is stored, the components are asked.

use std::sync::Arc;

use api_types::{object::ObjectExt, status::Status};
use store::cache::Header;

use super::{
    Asked, list,
    options::List,
    shape::{self, Shape},
};
use crate::{columns::ListMeta, http::respond::Answer, server::Server};

pub(super) async fn run(server: &Arc<Server>, asked: Asked) -> Result<Answer, Status> {
    if asked.info.named_by_path {
        let shown = server.components.one(&asked.info.name).await?;
        return asked.answer(server, 200, &shown);
    }
    let options = List::read(&asked.query, asked.served.resource.as_ref(), false)?;
    let schema = asked.served.resource.schema();
    let mut items = Vec::new();
    for object in server.components.all().await {
        let header = Header { name: Arc::from(object.name()), ..Header::default() };
        if list::matches(&options.labels, &options.fields, &header) {
            items.push(shape::encode(&object, schema));
        }
    }
    Shape::of(&asked)?.answer_list(&items, &ListMeta::default(), server.runtime.clock.now())
}
