//! Takes connections and speaks HTTP/1.1 on them, within bounds that hold against slow, silent and greedy clients.
//!
//! `axum::serve` has no limit on the time a head may take, so hyper is used directly. Knows no route.

mod linger;

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, http::Request, response::Response};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulConnection, GracefulShutdown},
    service::TowerToHyperService,
};
use linger::Lingering;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    task::JoinSet,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

/// Connections at a time. One more takes the place of the one that has been idle for longest; if none is, it waits, and all
/// after it wait in the backlog of the kernel.
const MAX_CONNECTIONS: usize = 1024;

/// Longest time for a head to arrive, and for a kept connection to be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time in which a client takes nothing of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest head: beyond it hyper answers 431.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// How long requests in flight may take to end after the stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Wait after an accept that failed for lack of resources, such as file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves until `stop` is cancelled, then lets requests in flight end, and cuts those that do not in time.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let (mut connections, mut crowd) = (JoinSet::new(), Crowd::default());
    loop {
        let next = async {
            let stream = accept(&listener).await;
            if permits.available_permits() == 0 {
                crowd.make_room();
            }
            (
                stream,
                Arc::clone(&permits)
                    .acquire_owned()
                    .await
                    .expect("the semaphore is never closed"),
            )
        };
        let (stream, permit) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => next,
        };
        let member = crowd.join();
        let connection = graceful.watch(connection(stream, router.clone(), Arc::clone(&member)));
        connections.spawn(async move {
            tokio::select! {
                // An error is the client's: it went away, was too slow or did not speak HTTP.
                _ = connection => {}
                () = member.leave.notified() => {}
            }
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "connections with requests in flight are cut"
        );
    }
}

/// All connections, so that idle ones can make room: kept ones and silent ones must not shut out a probe.
#[derive(Default)]
struct Crowd {
    members: Vec<Weak<Member>>,
    turn: Arc<AtomicU64>,
}

/// One connection.
struct Member {
    turn: Arc<AtomicU64>,
    /// When it became idle, in turns of all connections; while a request is answered, never.
    idle_since: AtomicU64,
    /// All that came was read and answered.
    at_rest: Arc<AtomicBool>,
    leave: Notify,
}

/// No turn comes after this one.
const NEVER: u64 = u64::MAX;

impl Crowd {
    fn join(&mut self) -> Arc<Member> {
        if self.members.len() >= 2 * MAX_CONNECTIONS {
            self.members.retain(|member| member.strong_count() > 0);
        }
        let (turn, at_rest) = (Arc::clone(&self.turn), Arc::new(AtomicBool::new(false)));
        let member = Arc::new(Member {
            turn,
            idle_since: AtomicU64::new(NEVER),
            at_rest,
            leave: Notify::new(),
        });
        member.rest();
        self.members.push(Arc::downgrade(&member));
        member
    }

    /// Has the connection leave that has been idle for longest, if one is.
    fn make_room(&self) {
        let members = self.members.iter().filter_map(Weak::upgrade);
        let oldest = members.min_by_key(|member| member.idle_since.load(Ordering::Relaxed));
        if let Some(oldest) =
            oldest.filter(|oldest| oldest.idle_since.swap(NEVER, Ordering::Relaxed) != NEVER)
        {
            oldest.leave.notify_one();
        }
    }
}

/// A request of a connection, from its head until its answer is sent.
struct Busy(Arc<Member>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.rest();
    }
}

impl Member {
    fn rest(&self) {
        self.idle_since
            .store(self.turn.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Answers one request.
    async fn answer(
        self: Arc<Self>,
        router: TowerToHyperService<Router>,
        request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        self.idle_since.store(NEVER, Ordering::Relaxed);
        self.at_rest.store(false, Ordering::Relaxed);
        // Idle again when the answer has been sent, or given up: with its body goes this.
        let busy = Busy(Arc::clone(&self));
        let Ok(answer) = router.call(request).await;
        // A refusal may come before all of the request was read.
        self.at_rest
            .store(answer.status().as_u16() < 400, Ordering::Relaxed);
        Ok(answer.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _until_sent = &busy;
                frame
            }))
        }))
    }
}

/// The next connection. Safe to be dropped half-way: nothing is lost.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::warn!(error = %error, "no connection can be accepted now");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// The client was gone before it was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

fn connection(
    stream: TcpStream,
    router: Router,
    member: Arc<Member>,
) -> impl GracefulConnection<Output = hyper::Result<()>> {
    // Answers are small and whole: waiting to fill a packet would only delay them. Failing means that the client is gone.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let router = TowerToHyperService::new(router);
    let socket = Lingering::new(Box::pin(stream), Arc::clone(&member.at_rest));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(
            TokioIo::new(socket),
            service_fn(move |request| Arc::clone(&member).answer(router.clone(), request)),
        )
}

#[cfg(test)]
mod tests {
    use std::{future::pending, net::SocketAddr};

    use axum::routing::get;
    use futures_util::FutureExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::Notify,
    };

    use super::*;

    const HUNG: &[u8] = b"GET /hung HTTP/1.1\r\nhost: x\r\n\r\n";

    /// A server whose `/slow` answers once it is let go, and whose `/hung` never answers.
    struct Server {
        address: SocketAddr,
        stop: CancellationToken,
        entered: Arc<Notify>,
        go: Arc<Notify>,
        serving: JoinSet<()>,
    }

    async fn server() -> Server {
        let (entered, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = (Arc::clone(&entered), Arc::clone(&go));
        let hung = Arc::clone(&entered);
        let router = Router::new()
            .route("/quick", get(async || "done"))
            .route(
                "/slow",
                get(async move || {
                    slow.0.notify_one();
                    slow.1.notified().await;
                    "done"
                }),
            )
            .route(
                "/hung",
                get(async move || {
                    hung.notify_one();
                    pending::<()>().await;
                }),
            );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, router, stop.clone()));
        Server {
            address,
            stop,
            entered,
            go,
            serving,
        }
    }

    /// Sends these bytes and reads until the server closes.
    async fn exchange(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_connection_serves_several_requests() {
        let server = server().await;
        let keep = "GET /quick HTTP/1.1\r\nhost: x\r\n\r\n";
        let close = "GET /quick HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = exchange(server.address, format!("{keep}{keep}{close}").as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_and_a_dribbling_client_are_cut_off() {
        let server = server().await;
        assert_eq!(exchange(server.address, b"").await, "");
        assert_eq!(
            exchange(server.address, b"GET /quick HTTP/1.1\r\nx-dribble: ").await,
            ""
        );
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused_and_the_answer_arrives() {
        let server = server().await;
        let request = format!(
            "GET /quick HTTP/1.1\r\nx-large: {}\r\n\r\n",
            "a".repeat(8 * MAX_HEAD_BYTES)
        );
        let answer = exchange(server.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[test]
    fn who_has_been_idle_for_longest_makes_room_and_who_is_answered_does_not() {
        let mut crowd = Crowd::default();
        let members: Vec<_> = (0..3).map(|_| crowd.join()).collect();
        members[0].rest();
        members[1].idle_since.store(NEVER, Ordering::Relaxed);
        let left = |member: &Arc<Member>| member.leave.notified().now_or_never().is_some();
        for leaves in [Some(2), Some(0), None] {
            crowd.make_room();
            let gone: Vec<_> = (0..3).filter(|&at| left(&members[at])).collect();
            assert_eq!(gone, leaves.into_iter().collect::<Vec<_>>());
        }
        drop(members);
        crowd.make_room();
    }

    #[tokio::test]
    async fn more_silent_connections_than_there_is_room_for_do_not_shut_anybody_out() {
        crate::lifecycle::raise_file_limit();
        let server = server().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(TcpStream::connect(server.address).await.unwrap());
        }
        let close = b"GET /quick HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer =
            tokio::time::timeout(HEADER_TIMEOUT / 2, exchange(server.address, close)).await;
        assert!(answer.expect("at once").ends_with("done"));
    }

    #[tokio::test]
    async fn a_request_in_flight_is_answered_after_the_stop_and_no_new_one_is_taken() {
        let mut server = server().await;
        let request = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
        let stop = async {
            server.entered.notified().await;
            server.stop.cancel();
            // The listener is closed before connections are drained.
            while TcpStream::connect(server.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
            server.go.notify_one();
        };
        let (answer, ()) = tokio::join!(exchange(server.address, request), stop);
        assert!(answer.ends_with("done"), "{answer}");
        assert!(server.serving.join_next().await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_end_is_cut_after_the_stop() {
        let mut server = server().await;
        let stop = async {
            server.entered.notified().await;
            server.stop.cancel();
            server.serving.join_next().await.unwrap().unwrap();
        };
        let (answer, ()) = tokio::join!(exchange(server.address, HUNG), stop);
        assert_eq!(answer, "");
    }
}
