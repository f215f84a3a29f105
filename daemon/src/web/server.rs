//! Takes connections, and answers one request on each.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::{Ask, Page, Pages, WebError, guard};

/// A browser opens six, Prometheus one.
const CONNECTIONS_MAX: usize = 16;

/// Bytes of a request with all its headers; hyper takes no less.
const REQUEST_MAX: usize = 8192;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// How long a reader may take for its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection lasts, the answer included.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long nobody is let in after the operating system refused a connection, for want of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves as long as it is kept.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl WebServer {
    /// Listens on a loopback address. Must be called within a runtime.
    pub fn bind(address: SocketAddr, pages: Pages) -> Result<Self, WebError> {
        if !address.ip().is_loopback() {
            return Err(WebError::NotLoopback(address));
        }
        let listen = |source| WebError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let listener = TcpListener::from_std(listener).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self { address, task: tokio::spawn(accept(listener, pages)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, pages: Pages) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                connections.spawn(timeout(CONNECTION_TIMEOUT, serve(stream, pages.clone())));
            }
            Ok(_) => tracing::debug!(CONNECTIONS_MAX, "a web connection was refused: too many are open"),
            Err(error) => {
                tracing::warn!("a web connection was refused: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, pages: Pages) {
    let answer = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(respond(&request, &pages))));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(REQUEST_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!("a web connection broke: {error}");
    }
}

fn respond(request: &Request<Incoming>, pages: &Pages) -> Response<Full<Bytes>> {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let ask = Ask { path: request.uri().path(), accept };
    let Page { status, content_type, policy, body } = guard::objection(request).unwrap_or_else(|| pages(&ask));
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
