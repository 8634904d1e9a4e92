//! Large answers, packed for those who accept it.
//!
//! As upstream: only gzip, only when the word stands alone in `Accept-Encoding`, only answers longer than 128 KiB, at
//! the level that costs least. Packed piece by piece on the way out, so that a long list never stands in memory twice.

use std::{
    io::Write as _,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderValue, header};
use http_body::{Body as _, Frame};

use super::respond::Answer;

/// Answers up to this many bytes are sent as they are.
const THRESHOLD: u64 = 128 * 1024;
/// How many bytes are packed at a time.
const PIECE: usize = 64 * 1024;

/// Packs the answer if its length is known and large, and the client accepts that.
pub fn large(answer: Answer, accept_encoding: &str) -> Answer {
    let accepted = accept_encoding.split(',').any(|word| word.trim() == "gzip");
    let long = answer.body().size_hint().exact().is_some_and(|length| length > THRESHOLD);
    if !accepted || !long || answer.headers().contains_key(header::CONTENT_ENCODING) {
        return answer;
    }
    let mut answer = answer.map(|body| {
        let packer = Some(GzEncoder::new(Vec::new(), Compression::fast()));
        Body::new(Packed { body, rest: Bytes::new(), packer })
    });
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    answer
}

/// A body that is packed as it is read.
struct Packed {
    body: Body,
    /// What was read and is not packed yet.
    rest: Bytes,
    /// `None` at the end.
    packer: Option<GzEncoder<Vec<u8>>>,
}

// === impl Packed ===

impl http_body::Body for Packed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        loop {
            if self.rest.is_empty() {
                match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => self.rest = data,
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    },
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => {
                        let Some(packer) = self.packer.take() else { return Poll::Ready(None) };
                        let last = packer.finish().map(|packed| Frame::data(Bytes::from(packed)));
                        return Poll::Ready(Some(last.map_err(axum::Error::new)));
                    }
                }
            }
            let length = self.rest.len().min(PIECE);
            let piece = self.rest.split_to(length);
            let Some(packer) = &mut self.packer else { return Poll::Ready(None) };
            if let Err(error) = packer.write_all(&piece) {
                return Poll::Ready(Some(Err(axum::Error::new(error))));
            }
            let packed = std::mem::take(packer.get_mut());
            if !packed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(packed)))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::http::respond;

    fn answer(length: usize) -> (Vec<u8>, Answer) {
        let body: Vec<u8> = (0..length).map(|at| u8::try_from(at * at % 251).unwrap_or_default()).collect();
        (body.clone(), respond::bytes(200, "application/json", body))
    }

    #[tokio::test]
    async fn large_answers_are_packed_and_read_the_same() {
        let (body, answer) = answer(1024 * 1024);
        let packed = large(answer, "br, gzip");
        assert_eq!(packed.headers().get(header::CONTENT_ENCODING).unwrap(), "gzip");
        assert_eq!(packed.headers().get(header::VARY).unwrap(), "Accept-Encoding");
        let packed = packed.into_body().collect().await.unwrap().to_bytes();
        assert!(packed.len() < body.len() / 4, "{}", packed.len());
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut read).unwrap();
        assert!(read == body);
    }

    #[test]
    fn small_answers_and_those_for_others_are_sent_as_they_are() {
        for (length, accept) in
            [(128 * 1024, "gzip"), (200 * 1024, ""), (200 * 1024, "deflate"), (200 * 1024, "gzip;q=1")]
        {
            let sent = large(answer(length).1, accept);
            assert_eq!(sent.headers().get(header::CONTENT_ENCODING), None, "{length} {accept}");
        }
    }
}
