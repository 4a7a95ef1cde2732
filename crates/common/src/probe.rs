//! One health check over HTTP, for a container that has neither a shell nor curl.
//!
//! It sends one request to a known address, without proxy, redirects or retries, and reads at most the
//! first few KiB of the answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::redirect::Policy;
use reqwest::{Client, Error, Response, StatusCode};
use tokio::runtime::Builder;

/// Time limit of a health check, from connecting to the end of the answer.
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes of the answer that are shown; the reason of a failed check fits.
const MAX_BYTES: usize = 4096;

/// Sends GET `path` to the program that listens on `address`. Blocks; do not call it from async code.
///
/// # Errors
/// Any answer but 200 within `timeout`: its status and text, or the reason why there is none.
pub fn probe(address: SocketAddr, path: &str, timeout: Duration) -> anyhow::Result<()> {
    crate::install_tls_provider();
    let url = format!("http://{}{path}", reachable(address));
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start a runtime")?;
    let answer = runtime.block_on(get(&url, timeout));
    let (status, text) = answer.map_err(|error| explain(error, &url, timeout))?;
    if status != StatusCode::OK {
        bail!("{url} answers {}: {}", status.as_u16(), text.trim());
    }
    Ok(())
}

/// The address to connect to: loopback if the program listens on every interface.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn get(url: &str, timeout: Duration) -> Result<(StatusCode, String), Error> {
    let client = Client::builder()
        .timeout(timeout)
        .no_proxy()
        .redirect(Policy::none())
        .build()?;
    let response = client.get(url).send().await?;
    Ok((response.status(), text(response).await?))
}

async fn text(mut response: Response) -> Result<String, Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= MAX_BYTES {
            bytes.truncate(MAX_BYTES);
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn explain(error: Error, url: &str, timeout: Duration) -> anyhow::Error {
    let what = if error.is_timeout() {
        format!("{url} does not answer within {timeout:?}")
    } else if error.is_connect() {
        format!("{url} cannot be reached; check that the program runs and listens there")
    } else {
        format!("{url} does not answer as an HTTP server")
    };
    anyhow::Error::new(error.without_url()).context(what)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// A server that answers one request with these bytes and passes on the request's head; the
    /// connection is open until the stream is dropped.
    fn server(answer: &'static str) -> (SocketAddr, mpsc::Receiver<(String, TcpStream)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, heads) = mpsc::channel();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            let _ = sender.send((String::from_utf8(head).unwrap(), stream));
        });
        (address, heads)
    }

    fn message(outcome: anyhow::Result<()>) -> String {
        format!("{:#}", outcome.unwrap_err())
    }

    #[test]
    fn ok_is_healthy_and_the_request_names_host_and_path() {
        let (address, heads) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        probe(address, "/health/live", TIMEOUT).unwrap();
        let (head, _stream) = heads.recv().unwrap();
        assert!(head.starts_with("GET /health/live HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
    }

    #[test]
    fn any_other_answer_is_shown_with_its_reason() {
        let (address, heads) =
            server("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\nthe disk is full\n");
        let asked = thread::spawn(move || probe(address, "/health/ready", TIMEOUT));
        drop(heads.recv().unwrap());
        assert_eq!(
            message(asked.join().unwrap()),
            format!("http://{address}/health/ready answers 503: the disk is full")
        );
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let (address, _heads) =
            server("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n");
        assert!(message(probe(address, "/", TIMEOUT)).contains("answers 302"));
    }

    #[test]
    fn a_server_of_another_protocol_is_reported() {
        let (address, heads) = server("220 mail.example ESMTP\r\n");
        let asked = thread::spawn(move || probe(address, "/", TIMEOUT));
        drop(heads.recv().unwrap());
        let message = message(asked.join().unwrap());
        assert!(
            message.contains("does not answer as an HTTP server"),
            "{message}"
        );
    }

    #[test]
    fn a_server_that_never_answers_times_out() {
        let (address, _heads) = server("");
        let message = message(probe(address, "/", Duration::from_millis(50)));
        assert!(message.contains("does not answer within 50ms"), "{message}");
    }

    #[test]
    fn an_answer_that_never_ends_times_out() {
        let (address, _heads) = server("HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nslow");
        let message = message(probe(address, "/", Duration::from_millis(50)));
        assert!(message.contains("does not answer within 50ms"), "{message}");
    }

    #[test]
    fn a_refused_connection_names_the_address() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let message = message(probe(address, "/", TIMEOUT));
        assert!(
            message.starts_with(&format!("http://{address}/ cannot be reached")),
            "{message}"
        );
    }

    #[test]
    fn an_unspecified_address_is_reached_over_loopback() {
        let asked = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:8000"), "127.0.0.1:8000");
        assert_eq!(asked("[::]:8000"), "[::1]:8000");
        assert_eq!(asked("10.1.2.3:8000"), "10.1.2.3:8000");
    }
}
