//! Reading a request's body within bounds.

use api_types::status::Status;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// The most a request may carry: upstream's limit for what ends up in one etcd value.
pub const LIMIT: usize = 3 * 1024 * 1024;

/// The whole body.
///
/// # Errors
/// 413 over [`LIMIT`], 400 if the connection breaks off.
pub async fn read(body: Body) -> Result<Bytes, Status> {
    match Limited::new(body, LIMIT).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            Err(Status::too_large(format!("Request entity too large: limit is {LIMIT}")))
        }
        Err(error) => Err(Status::bad_request(format!("the body cannot be read: {error}"))),
    }
}
