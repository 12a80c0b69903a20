//! What goes to the API server: told at log level trace, so that `chaos rbac` can be held against it, and a place to die at for [`crash_point`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request};
use kube::client::Body;
use tower::{Layer, Service};

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

/// Whether a request changes nothing: a review is a question that is asked by POST.
fn only_asks(request: &Request<Body>) -> bool {
    request.method() == Method::GET || request.uri().path().starts_with("/apis/authorization.k8s.io/")
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        tracing::trace!("{} {}", request.method(), request.uri());
        if only_asks(&request) {
            return Box::pin(self.inner.call(request));
        }
        let what = format!("{} {}", request.method(), request.uri().path());
        crash_point(|| format!("before {what}"));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            crash_point(|| format!("after {what}"));
            answer
        })
    }
}
