//! WebSockets, as far as a server needs them that talks and does not listen: the handshake, frames out, and of what comes
//! in only pings and the end (RFC 6455).
//!
//! The handshake is as strict as the one upstream uses for watches: an `Origin` must be given, and at most one
//! subprotocol, which is taken.

use std::io;

use aws_lc_rs::digest;
use axum::body::Body;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use super::respond::Answer;

/// What the key of a handshake is hashed with.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How long a message of a client may be; nothing is expected from it.
const RECEIVED_MAX: usize = 64 * 1024;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The status of a connection that ends because all is said.
const NORMAL: u16 = 1000;

/// Whether the client wants to go on with WebSockets.
pub fn is_asked(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, word: &str| {
        let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|it| it.trim().eq_ignore_ascii_case(word)))
    };
    has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade")
}

/// The answer to a handshake: 101 if it is a good one.
///
/// # Errors
/// The answer to a bad one: 400 or 403, in the words of upstream's library.
pub fn accept(headers: &HeaderMap) -> Result<Answer, Box<Answer>> {
    let text =
        |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    let key = text(header::SEC_WEBSOCKET_KEY);
    if key.is_empty() {
        return Err(refused(400, "mismatch challenge/response"));
    }
    if text(header::SEC_WEBSOCKET_VERSION) != "13" {
        let mut answer = refused(400, "missing or bad WebSocket Version");
        answer.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(answer);
    }
    let origin = text(header::ORIGIN);
    if origin.is_empty() || origin.parse::<Uri>().is_err() {
        return Err(refused(403, ""));
    }
    let mut answer = empty(101);
    let protocol = text(header::SEC_WEBSOCKET_PROTOCOL);
    if protocol.contains(',') {
        return Err(refused(400, ""));
    }
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.headers_mut().insert(name, value);
        }
    };
    if !protocol.is_empty() {
        set(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    set(header::UPGRADE, "websocket");
    set(header::CONNECTION, "Upgrade");
    set(header::SEC_WEBSOCKET_ACCEPT, &hashed(key));
    Ok(answer)
}

fn refused(code: u16, why: &'static str) -> Box<Answer> {
    let mut answer = empty(code);
    *answer.body_mut() = Body::from(why);
    Box::new(answer)
}

fn empty(code: u16) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
    answer
}

fn hashed(key: &str) -> String {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    BASE64_STANDARD.encode(hash)
}

/// A connection after the handshake.
#[derive(Debug)]
pub struct Socket {
    reader: ReadHalf<TokioIo<Upgraded>>,
    writer: WriteHalf<TokioIo<Upgraded>>,
    read: BytesMut,
}

/// A message on its way to the client.
#[derive(Clone, Debug)]
pub enum Message {
    /// Text.
    Text(Bytes),
    /// Anything else.
    Binary(Bytes),
    /// The answer to [`Received::Ping`], with what that carried.
    Pong(Bytes),
}

/// What a client has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// It leaves, or has left.
    Gone,
    /// It asks whether anybody is there.
    Ping(Bytes),
}

// === impl Socket ===

impl Socket {
    /// Over this connection.
    pub fn new(connection: Upgraded) -> Self {
        let (reader, writer) = tokio::io::split(TokioIo::new(connection));
        Self { reader, writer, read: BytesMut::new() }
    }

    /// Waits for the client to leave or to ask whether anybody is there. May be dropped and called again.
    pub async fn receive(&mut self) -> Received {
        loop {
            match take(&mut self.read) {
                Ok(Some((PING, payload))) => return Received::Ping(payload),
                Ok(Some((CLOSE, _))) | Err(TooLong) => return Received::Gone,
                // What it says is not listened to.
                Ok(Some(_)) => {}
                Ok(None) => match self.reader.read_buf(&mut self.read).await {
                    Ok(0) | Err(_) => return Received::Gone,
                    Ok(_) => {}
                },
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Of the connection.
    pub async fn send(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Text(payload) => self.frame(TEXT, &payload).await,
            Message::Binary(payload) => self.frame(BINARY, &payload).await,
            Message::Pong(payload) => self.frame(PONG, &payload).await,
        }
    }

    /// Says goodbye and ends the connection.
    pub async fn close(mut self) {
        // The client may be gone already.
        let _gone = self.frame(CLOSE, &NORMAL.to_be_bytes()).await;
        let _gone = self.writer.shutdown().await;
    }

    async fn frame(&mut self, code: u8, payload: &[u8]) -> io::Result<()> {
        self.writer.write_all(&head(code, payload.len())).await?;
        self.writer.write_all(payload).await?;
        self.writer.flush().await
    }
}

/// The head of a whole message from a server, which does not mask.
fn head(code: u8, length: usize) -> Vec<u8> {
    const WHOLE: u8 = 0x80;
    let mut head = vec![WHOLE | code];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => head.push(short),
        (_, Ok(middle)) => {
            head.push(126);
            head.extend(middle.to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend((length as u64).to_be_bytes());
        }
    }
    head
}

/// A message that is longer than anything a client has to say.
#[derive(Debug, PartialEq, Eq)]
struct TooLong;

/// Takes a frame out of what was read, if it is there whole: its code and what it carries.
fn take(read: &mut BytesMut) -> Result<Option<(u8, Bytes)>, TooLong> {
    let &[first, second, ref rest @ ..] = &**read else { return Ok(None) };
    let (code, masked, length) = (first & 0x0f, second & 0x80 != 0, second & 0x7f);
    let (length, extended) = match (length, rest) {
        (126, &[a, b, ..]) => (u64::from(u16::from_be_bytes([a, b])), 2),
        (127, &[a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 8),
        (126 | 127, _) => return Ok(None),
        (short, _) => (u64::from(short), 0),
    };
    let length = usize::try_from(length).ok().filter(|&it| it <= RECEIVED_MAX).ok_or(TooLong)?;
    let start = 2 + extended + if masked { 4 } else { 0 };
    if read.len() < start + length {
        return Ok(None);
    }
    let head = read.split_to(start);
    let mut payload = read.split_to(length);
    if masked {
        let mask: Vec<u8> = head.iter().rev().take(4).rev().copied().collect();
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
    }
    Ok(Some((code, payload.freeze())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(change: &[(&'static str, Option<&'static str>)]) -> (u16, Answer) {
        let mut headers = HeaderMap::new();
        let usual = [
            ("upgrade", Some("websocket")),
            ("connection", Some("keep-alive, Upgrade")),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ==")),
            ("sec-websocket-version", Some("13")),
            ("origin", Some("http://localhost")),
        ];
        for (name, value) in usual.iter().chain(change) {
            match value {
                Some(value) => headers.insert(*name, HeaderValue::from_static(value)),
                None => headers.remove(*name),
            };
        }
        let answer = accept(&headers).unwrap_or_else(|refused| *refused);
        (answer.status().as_u16(), answer)
    }

    #[test]
    fn a_handshake_is_answered_with_the_hash_of_its_key() {
        let (code, answer) = handshake(&[("sec-websocket-protocol", Some("v4.channel.k8s.io"))]);
        assert_eq!(code, 101);
        let header = |name| answer.headers().get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        assert_eq!(header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(header("sec-websocket-protocol"), "v4.channel.k8s.io");
        assert_eq!((header("upgrade"), header("connection")), ("websocket", "Upgrade"));
    }

    #[test]
    fn a_bad_handshake_is_refused() {
        for (change, code) in [
            (("origin", None), 403),
            (("sec-websocket-key", None), 400),
            (("sec-websocket-version", Some("8")), 400),
            (("sec-websocket-protocol", Some("a, b")), 400),
        ] {
            assert_eq!(handshake(&[change]).0, code, "{change:?}");
        }
    }

    #[test]
    fn frames_are_as_long_as_their_heads_say() {
        assert_eq!(head(TEXT, 5), [0x81, 5]);
        assert_eq!(head(BINARY, 126), [0x82, 126, 0, 126]);
        assert_eq!(head(TEXT, 70_000), [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }

    #[test]
    fn a_clients_frames_are_unmasked_once_they_are_whole() {
        let whole = [0x89, 0x83, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, b'c' ^ 3, 0x88, 0x80, 0, 0, 0, 0];
        for cut in 0..9 {
            let mut part = BytesMut::from(whole.get(..cut).unwrap());
            assert_eq!(take(&mut part), Ok(None), "{cut}");
        }
        let mut read = BytesMut::from(&whole[..]);
        assert_eq!(take(&mut read), Ok(Some((PING, Bytes::from_static(b"abc")))));
        assert_eq!(take(&mut read), Ok(Some((CLOSE, Bytes::new()))));
        assert_eq!(take(&mut read), Ok(None));
        assert_eq!(take(&mut BytesMut::from(&[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0][..])), Err(TooLong));
    }
}
