//! Asks a program on this machine over plain HTTP whether it is well: the health check of a container that has neither
//! shell nor curl. It is no HTTP client: one request, no TLS, no redirects, a bounded answer.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// The longest that an answer may take, connecting included.
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// What is read of an answer, in bytes: a reason fits.
const MAX_BYTES: u64 = 4096;

/// GETs `path` of the program that listens on `address`, on this machine where that names no interface.
///
/// # Errors
/// Unless it answers 200 within `timeout`: what it said instead, or why it said nothing.
pub fn probe(address: SocketAddr, path: &str, timeout: Duration) -> anyhow::Result<()> {
    let address = reachable(address);
    let (path, url) = (path.to_owned(), format!("http://{address}{path}"));
    let (tell, told) = mpsc::channel();
    // Timeouts of a socket bound each read; a program that dribbles is bounded by leaving the thread behind.
    thread::spawn(move || tell.send(ask(address, &path, timeout)));
    let answer = told
        .recv_timeout(timeout)
        .with_context(|| format!("{url} does not answer within {timeout:?}"))?;
    let answer = answer.with_context(|| format!("{url} cannot be asked"))?;
    if answer.status != "200" {
        bail!("{url} answers {}: {}", answer.status, answer.body);
    }
    Ok(())
}

/// An address to listen on need not be one to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

struct Answer {
    status: String,
    body: String,
}

fn ask(address: SocketAddr, path: &str, timeout: Duration) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = BufReader::new(stream.take(MAX_BYTES));
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let Some((_, status)) = line.split_once(' ').filter(|_| line.starts_with("HTTP/1.")) else {
        return Err(io::Error::other("this is no HTTP server"));
    };
    let status = status
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    let mut rest = Vec::new();
    answer.read_to_end(&mut rest)?;
    let rest = String::from_utf8_lossy(&rest);
    let body = rest
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body.trim())
        .to_owned();
    Ok(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers one request with these bytes and gives its head; the connection is open until the stream is dropped.
    fn server(answer: &'static str) -> (SocketAddr, mpsc::Receiver<(String, TcpStream)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            let _ = tell.send((String::from_utf8(head).unwrap(), stream));
        });
        (address, told)
    }

    fn message(outcome: anyhow::Result<()>) -> String {
        format!("{:#}", outcome.unwrap_err())
    }

    #[test]
    fn ok_is_well_and_the_request_is_a_whole_one() {
        let (address, told) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let asked = thread::spawn(move || probe(address, "/health/live", TIMEOUT));
        let (head, stream) = told.recv().unwrap();
        drop(stream);
        asked.join().unwrap().unwrap();
        assert_eq!(
            head,
            format!("GET /health/live HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        );
    }

    #[test]
    fn any_other_answer_is_told_with_its_reason() {
        let (address, told) =
            server("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\nthe disk is full\n");
        let asked = thread::spawn(move || probe(address, "/health/ready", TIMEOUT));
        drop(told.recv().unwrap());
        let message = message(asked.join().unwrap());
        assert_eq!(
            message,
            format!("http://{address}/health/ready answers 503: the disk is full")
        );
    }

    #[test]
    fn what_is_no_http_server_is_said_to_be_none() {
        let (address, told) = server("220 mail.example ESMTP\r\n");
        let asked = thread::spawn(move || probe(address, "/", TIMEOUT));
        drop(told.recv().unwrap());
        assert!(message(asked.join().unwrap()).contains("no HTTP server"));
    }

    #[test]
    fn one_that_takes_the_request_and_says_nothing_is_given_up_in_time() {
        let (address, _told) = server("");
        let message = message(probe(address, "/", Duration::from_millis(50)));
        assert!(
            message.contains("does not answer within 50ms") || message.contains("cannot be asked"),
            "{message}"
        );
    }

    #[test]
    fn nobody_there_is_told_with_the_address() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let message = message(probe(address, "/", TIMEOUT));
        assert!(
            message.starts_with(&format!("http://{address}/ cannot be asked")),
            "{message}"
        );
    }

    #[test]
    fn an_address_of_no_interface_is_asked_on_this_machine() {
        let asked = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:8000"), "127.0.0.1:8000");
        assert_eq!(asked("[::]:8000"), "[::1]:8000");
        assert_eq!(asked("10.1.2.3:8000"), "10.1.2.3:8000");
    }
}
