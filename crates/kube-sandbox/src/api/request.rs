//! What a request says: path, query, accepted formats, body.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use hyper::{HeaderMap, Method, Request};
use serde_json::Value;

use super::protobuf;
use crate::store::ApiError;

/// The real server's limit.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// How long a client may take to send its body.
const BODY_WAIT: Duration = Duration::from_secs(30);

/// A request whose head has been read.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) segments: Vec<String>,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    body: Option<Incoming>,
}

impl Call {
    pub(super) fn new(request: Request<Incoming>) -> Result<Call, ApiError> {
        let (head, body) = request.into_parts();
        let segments = head.uri.path().split('/').filter(|segment| !segment.is_empty()).map(|segment| decode(segment, false));
        let segments = segments.collect::<Option<Vec<_>>>().ok_or_else(|| ApiError::bad_request("malformed path"))?;
        let query = Query::parse(head.uri.query().unwrap_or_default())?;
        Ok(Call { method: head.method, segments, query, headers: head.headers, body: Some(body) })
    }

    /// The body, read to its end.
    pub(super) async fn bytes(&mut self) -> Result<Bytes, ApiError> {
        let Some(body) = self.body.take() else {
            return Ok(Bytes::new());
        };
        let read = tokio::time::timeout(BODY_WAIT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
        let read = read.map_err(|_| ApiError::new(408, "Timeout", "the request body did not arrive in time"))?;
        match read {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let message = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
                Err(ApiError::new(413, "RequestEntityTooLarge", message))
            }
            Err(error) => Err(ApiError::bad_request(format!("the request body could not be read: {error}"))),
        }
    }

    /// The body as an object, refused when it says that it is anything but JSON or Kubernetes' protobuf.
    pub(super) async fn json(&mut self) -> Result<Value, ApiError> {
        let media = self.media_type();
        let bytes = self.bytes().await?;
        match media.as_str() {
            "" | "application/json" => parse(&bytes),
            protobuf::MEDIA => protobuf::parse(&bytes),
            other => {
                let known = "application/json, application/vnd.kubernetes.protobuf";
                let message =
                    format!("the body of the request was in an unknown format - accepted media types include: {known} (got {other})");
                Err(ApiError::new(415, "UnsupportedMediaType", message))
            }
        }
    }

    /// Whether there is no body at all.
    pub(super) fn is_empty(&self) -> bool {
        self.body.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    /// The content type without its parameters.
    pub(super) fn media_type(&self) -> String {
        self.header(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    fn header(&self, name: hyper::header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The format that the client likes best among those that exist.
    pub(super) fn format(&self) -> Result<Format, ApiError> {
        let accept = self.header(ACCEPT);
        if accept.is_empty() {
            return Ok(Format::Json);
        }
        accept.split(',').find_map(Format::of).ok_or_else(|| {
            let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/json;stream=watch";
            ApiError::new(406, "NotAcceptable", message)
        })
    }

    /// Whether the client accepts this media type by name.
    pub(super) fn accepts(&self, media: &str) -> bool {
        self.header(ACCEPT).contains(media)
    }

    /// The raw `Accept` header.
    pub(super) fn accept(&self) -> &str {
        self.header(ACCEPT)
    }

    /// Whether nothing is to be kept. Only `All` is known; anything else is refused, since ignoring it would change the cluster.
    pub(super) fn dry_run(&self) -> Result<bool, ApiError> {
        dry_run(self.query.get("dryRun"))
    }

    /// Who writes, as field ownership records it.
    pub(super) fn manager(&self) -> String {
        let agent = self.header(USER_AGENT).split(['/', ' ']).next().unwrap_or_default();
        let name = self.query.get("fieldManager").unwrap_or(agent);
        let name: String = name.chars().filter(|letter| !letter.is_control()).take(128).collect();
        if name.is_empty() { "unknown".to_owned() } else { name }
    }
}

/// Reads `dryRun` of a query or a body.
pub(super) fn dry_run(value: Option<&str>) -> Result<bool, ApiError> {
    match value {
        None | Some("") => Ok(false),
        Some("All") => Ok(true),
        Some(other) => Err(ApiError::bad_request(format!("dryRun: Unsupported value: {other:?}: supported values: \"All\""))),
    }
}

/// Reads a JSON document.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Err(ApiError::bad_request("the request body is empty"));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::bad_request(format!("the object provided is unrecognized (must be JSON): {error}")))
}

/// How objects are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// As they are.
    Json,
    /// As the rows of a table.
    Table,
    /// Their metadata alone.
    Metadata,
}

impl Format {
    fn of(offer: &str) -> Option<Format> {
        let mut parts = offer.split(';').map(str::trim);
        if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
            return None;
        }
        let parameters: Vec<&str> = parts.collect();
        let has = |wanted: &str| parameters.contains(&wanted);
        match parameters.iter().find_map(|parameter| parameter.strip_prefix("as=")) {
            None => Some(Format::Json),
            Some("Table") if has("g=meta.k8s.io") && has("v=v1") => Some(Format::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if has("g=meta.k8s.io") && has("v=v1") => Some(Format::Metadata),
            Some(_) => None,
        }
    }
}

/// The query, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Result<Query, ApiError> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name, true)?, decode(value, true)?))
        });
        pairs.collect::<Option<Vec<_>>>().map(Query).ok_or_else(|| ApiError::bad_request("malformed query"))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    pub(super) fn on(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1" | "True" | "t"))
    }

    /// A number, refused when it is none.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| ApiError::bad_request(format!("{name}: Invalid value: {text:?}: must be a number")))
    }
}

/// Undoes percent encoding; `None` when it is malformed or not UTF-8.
fn decode(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b'+' if plus => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok()
}
