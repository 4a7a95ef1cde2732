//! Serves a router over HTTP/1.1, within limits that hold against slow, silent and greedy clients.
//!
//! It knows no route and reads no request. `axum::serve` has no time limit for the head of a request,
//! so hyper is used directly.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

mod head;
mod linger;
mod pool;
mod response_memory;
#[cfg(test)]
mod tests;

pub use crate::response_memory::ResponseMemory;

use crate::head::Prompt;
use crate::linger::Lingering;
use crate::pool::{Activity, Pool};

/// A client that reads nothing of its response for this long is disconnected.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest head of a request; hyper answers 431 to a larger one.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Time limit for requests in flight after the stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Wait after an accept that failed for lack of resources, such as file descriptors.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Serves until `stop` is cancelled. Then it accepts no more connections, lets requests in flight
/// end, and after three seconds closes the connections of those that did not.
///
/// A connection is closed when it was idle for `keep_alive` after a request. A new one has five
/// seconds to send the head of its first request.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    keep_alive: Duration,
    stop: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let mut pool = Pool::default();
    loop {
        let next = async {
            let stream = accept(&listener).await;
            pool.make_room().await;
            stream
        };
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            stream = next => stream,
        };
        let activity = pool.activity();
        let served = graceful.watch(connection(
            stream,
            router.clone(),
            keep_alive,
            Arc::clone(&activity),
        ));
        pool.spawn(activity, async {
            // An error is the client's: it disconnected, was too slow or did not speak HTTP.
            let _ = served.await;
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await;
    if drained.is_err() {
        let connections = pool.len();
        tracing::warn!(
            connections,
            "closing connections with unfinished requests, {DRAIN_TIMEOUT:?} after the stop"
        );
    }
}

/// Raises the limit of open files to the most that this process is allowed: each connection needs
/// one, and the usual limit is no higher than the limit of connections. A failure changes nothing.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, raised);
}

/// The next connection. Safe to cancel.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if client_is_gone(&error) => {}
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
}

/// Whether the client disconnected before it was accepted.
fn client_is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

fn connection(
    stream: TcpStream,
    router: Router,
    keep_alive: Duration,
    activity: Arc<Activity>,
) -> impl GracefulConnection<Output = hyper::Result<()>> {
    // Responses are small and written at once; waiting to fill a packet would only delay them. This
    // fails only if the client is gone, which the next read reports.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let socket = Lingering::new(Box::pin(stream), Arc::clone(&activity));
    let socket = Prompt::new(socket, Arc::clone(&activity), keep_alive);
    let router = TowerToHyperService::new(router);
    http1::Builder::new()
        // `head` has the limits of time.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(
            TokioIo::new(socket),
            service_fn(move |request| answer(router.clone(), Arc::clone(&activity), request)),
        )
}

async fn answer(
    router: TowerToHyperService<Router>,
    activity: Arc<Activity>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let request_guard = activity.begin_request();
    let Ok(response) = router.call(request).await;
    Ok(request_guard.until_sent(response))
}
