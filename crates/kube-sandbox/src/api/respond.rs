//! Responses: whole JSON documents, plain text, and streams.

use std::convert::Infallible;

use bytes::Bytes;
use futures::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::store::ApiError;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(super) type Reply = Response<Body>;

pub(super) const JSON: &str = "application/json";

/// A response with a body that is at hand.
pub(super) fn whole(code: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// A JSON document.
pub(super) fn json(code: u16, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => whole(code, JSON, body),
        Err(error) => failure(&ApiError::internal(format!("response cannot be written: {error}"))),
    }
}

/// A failure as a `Status` object.
pub(super) fn failure(error: &ApiError) -> Reply {
    let mut response = json(error.code, &error.status());
    let headers = response.headers_mut();
    if let Some(seconds) = error.details.as_ref().and_then(|details| details.retry_after_seconds) {
        headers.insert("Retry-After", HeaderValue::from(seconds));
    }
    if error.code == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A body that is made while it is sent. The stream is only asked for more when the client has taken what it got.
pub(super) fn stream(content_type: &str, chunks: impl Stream<Item = Bytes> + Send + 'static) -> Reply {
    use futures::StreamExt;
    let frames = chunks.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// Adds `Warning` headers, which kubectl prints.
pub(super) fn warn(response: &mut Reply, warnings: &[String]) {
    for warning in warnings.iter().take(16) {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append("Warning", value);
        }
    }
}
