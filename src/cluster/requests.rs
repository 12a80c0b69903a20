//! What goes to the API server: told at log level trace, so that `chaos rbac` can be held against it, and a place to die at for [`crash_point`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

use super::crash_point;

/// Tells every request, and puts a crash point on either side of each that changes the cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observe;

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner }
    }
}

/// The service of [`Observe`].
pub(super) struct Observed<S> {
    inner: S,
}

/// A server that has accepted a request and says nothing is given up on. Longer than it waits for an admission webhook itself.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// Whether the answer to a request may begin whenever there is something to tell.
fn streams(request: &Request<Body>) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "follow=true")))
}

async fn answered<T>(answer: impl Future<Output = Result<T, BoxError>>, limit: Option<Duration>) -> Result<T, BoxError> {
    match limit {
        None => answer.await,
        Some(limit) => match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("the API server did not answer within {} s", limit.as_secs()).into()),
        },
    }
}

/// Whether a request changes nothing: a review is a question that is asked by POST.
fn only_asks(request: &Request<Body>) -> bool {
    request.method() == Method::GET || request.uri().path().starts_with("/apis/authorization.k8s.io/")
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        tracing::trace!("{} {}", request.method(), request.uri());
        let limit = if streams(&request) { None } else { Some(ANSWERED_WITHIN) };
        if only_asks(&request) {
            return Box::pin(answered(self.inner.call(request), limit));
        }
        let what = format!("{} {}", request.method(), request.uri().path());
        crash_point(|| format!("before {what}"));
        let answer = answered(self.inner.call(request), limit);
        Box::pin(async move {
            let answer = answer.await;
            crash_point(|| format!("after {what}"));
            answer
        })
    }
}
