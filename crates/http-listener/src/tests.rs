//! A real listener with a small router, through a socket.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::*;
use crate::head::HEAD_TIMEOUT;
use crate::pool::MAX_CONNECTIONS;

const KEEP_ALIVE: Duration = Duration::from_secs(75);

const HUNG: &[u8] = b"GET /hung HTTP/1.1\r\nhost: x\r\n\r\n";

/// A server whose `/slow` answers when notified, and whose `/hung` never answers.
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
    serving.spawn(serve(listener, router, KEEP_ALIVE, stop.clone()));
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
async fn silent_and_slow_clients_are_disconnected() {
    let server = server().await;
    assert_eq!(exchange(server.address, b"").await, "");
    assert_eq!(
        exchange(server.address, b"GET /quick HTTP/1.1\r\nx-dribble: ").await,
        ""
    );
}

/// Sends a request and reads its whole answer.
async fn keep_alive(stream: &mut TcpStream) {
    let request = b"GET /quick HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"done") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed");
    }
}

/// Seconds until the server closes.
async fn closed_after(stream: &mut TcpStream) -> u64 {
    let begin = tokio::time::Instant::now();
    let _ = stream.read(&mut [0; 1]).await;
    begin.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_alive() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        keep_alive(&mut stream).await;
        tokio::time::sleep(Duration::from_secs(74)).await;
    }
    keep_alive(&mut stream).await;
    assert_eq!(closed_after(&mut stream).await, KEEP_ALIVE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_begins_late_must_still_be_quick() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(closed_after(&mut stream).await, HEAD_TIMEOUT.as_secs());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    keep_alive(&mut stream).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    stream.write_all(b"GET /quick HTTP/1.1\r\n").await.unwrap();
    let begin = tokio::time::Instant::now();
    let (mut answer, mut request) = stream.split();
    let dribble = async {
        while request.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        pending::<()>().await;
    };
    tokio::select! {
        _ = answer.read_u8() => {}
        () = dribble => {}
    }
    // The head never ends, however often a part of it comes.
    assert_eq!(begin.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_request_in_flight_is_not_idle() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    server.entered.notified().await;
    tokio::time::sleep(2 * KEEP_ALIVE).await;
    server.go.notify_one();
    let mut answer = Vec::new();
    while !answer.ends_with(b"done") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed");
    }
    assert_eq!(closed_after(&mut stream).await, KEEP_ALIVE.as_secs());
}

#[tokio::test]
async fn a_head_too_large_is_answered_with_431() {
    let server = server().await;
    let request = format!(
        "GET /quick HTTP/1.1\r\nx-large: {}\r\n\r\n",
        "a".repeat(8 * MAX_HEAD_BYTES)
    );
    let answer = exchange(server.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn silent_connections_do_not_block_new_ones() {
    raise_file_limit();
    let server = server().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let close = b"GET /quick HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = tokio::time::timeout(HEAD_TIMEOUT / 2, exchange(server.address, close)).await;
    assert!(answer.expect("in time").ends_with("done"));
}

#[tokio::test]
async fn a_stop_answers_requests_in_flight_only() {
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
async fn a_hung_request_is_cut_after_the_stop() {
    let mut server = server().await;
    let stop = async {
        server.entered.notified().await;
        server.stop.cancel();
        server.serving.join_next().await.unwrap().unwrap();
    };
    let (answer, ()) = tokio::join!(exchange(server.address, HUNG), stop);
    assert_eq!(answer, "");
}
