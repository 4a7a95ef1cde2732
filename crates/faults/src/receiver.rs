//! The receiver of notifications: it logs everything, and answers as badly as it is asked to.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};

/// Longer than `WEBHOOK_TIMEOUT` of the services.
const HANGING: Duration = Duration::from_secs(5);
const SLOW: Duration = Duration::from_millis(700);

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Accept,
    /// 503.
    Refuse,
    /// Accepts after most of the time that it has.
    Slow,
    /// Reads the message and does not answer in time.
    Hang,
    /// Reads the message and closes the connection.
    Close,
}

/// The result of an attempt as its sender sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted,
    Refused,
    Unanswered,
}

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    pub(crate) at: Instant,
    /// The path of the request: the instance that sent it, where several do.
    pub(crate) path: String,
    pub(crate) webhook_id: String,
    pub(crate) body: Value,
    pub(crate) outcome: Outcome,
}

#[derive(Default)]
struct Log {
    manner: Option<Manner>,
    receipts: Vec<Receipt>,
}

/// Dropping it closes the port.
pub(crate) struct Receiver {
    pub(crate) url: String,
    log: Arc<Mutex<Log>>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("a port for the receiver")?;
        let url = format!("http://{}/", listener.local_addr()?);
        let log = Arc::new(Mutex::new(Log::default()));
        let (mut tasks, shared) = (JoinSet::new(), Arc::clone(&log));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(serve(connection, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            url,
            log,
            _tasks: tasks,
        })
    }

    pub(crate) fn set(&self, manner: Manner) {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .manner = Some(manner);
    }

    pub(crate) fn newest(&self) -> Option<Receipt> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.receipts.last().cloned()
    }

    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .receipts
            .clone()
    }
}

/// Reads one request, logs it and answers.
async fn serve(connection: TcpStream, log: Arc<Mutex<Log>>) {
    let mut connection = BufStream::new(connection);
    let Ok(mut receipt) = read(&mut connection).await else {
        return;
    };
    let manner = {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let manner = log.manner.unwrap_or(Manner::Accept);
        receipt.outcome = match manner {
            Manner::Accept | Manner::Slow => Outcome::Accepted,
            Manner::Refuse => Outcome::Refused,
            Manner::Hang | Manner::Close => Outcome::Unanswered,
        };
        log.receipts.push(receipt);
        manner
    };
    let status = match manner {
        Manner::Accept => "200 OK",
        Manner::Refuse => "503 Service Unavailable",
        Manner::Slow => {
            tokio::time::sleep(SLOW).await;
            "200 OK"
        }
        Manner::Hang => return tokio::time::sleep(HANGING).await,
        Manner::Close => return,
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    // The service may have been killed.
    let _ = connection.write_all(answer.as_bytes()).await;
    let _ = connection.flush().await;
}

async fn read(connection: &mut BufStream<TcpStream>) -> io::Result<Receipt> {
    let mut request = String::new();
    connection.read_line(&mut request).await?;
    let path = request.split_whitespace().nth(1).unwrap_or_default();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    connection.read_exact(&mut body).await?;
    Ok(Receipt {
        at: Instant::now(),
        path: path.trim_start_matches('/').to_owned(),
        webhook_id: headers.remove("webhook-id").unwrap_or_default(),
        body: serde_json::from_slice(&body)?,
        outcome: Outcome::Unanswered,
    })
}
