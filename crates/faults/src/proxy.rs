//! A TCP proxy before the broker, which can be cut, stalled and slowed down. The addresses in the broker's answers are replaced with the
//! proxy's own; nothing else is changed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Answers that contain the addresses of brokers.
const METADATA: i16 = 3;
const FIND_COORDINATOR: i16 = 10;

/// The hosts of a broker on this machine. Only the port is replaced in its answers.
const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

/// What the proxy lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Free,
    BytesPerSecond(u32),
    /// Connections stay, and nothing moves.
    Stalled,
    /// Connections are closed, and new ones too.
    Cut,
}

/// Dropping it closes every connection.
pub(crate) struct Proxy {
    pub(crate) address: String,
    flow: watch::Sender<Flow>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(broker: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("a port for the proxy")?;
        let own = listener.local_addr()?.port();
        let (sender, flow) = watch::channel(Flow::Free);
        let addresses = Addresses::new(broker, own)?;
        let broker = broker.to_owned();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if *flow.borrow() != Flow::Cut {
                    connections.spawn(connection(
                        client,
                        broker.clone(),
                        addresses.clone(),
                        flow.clone(),
                    ));
                }
            }
        });
        Ok(Self {
            address: format!("127.0.0.1:{own}"),
            flow: sender,
            _tasks: tasks,
        })
    }

    pub(crate) fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }
}

async fn connection(
    client: TcpStream,
    broker: String,
    addresses: Addresses,
    flow: watch::Receiver<Flow>,
) {
    let Ok(server) = TcpStream::connect(broker).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = Requests::default();
    let note = |frame: &mut Vec<u8>| requests.note(frame);
    let replace = |frame: &mut Vec<u8>| {
        if requests.names_brokers(frame) {
            addresses.replace(frame);
        }
    };
    let mut cut = flow.clone();
    tokio::select! {
        _ = pump(from_client, to_server, note, flow.clone()) => {}
        _ = pump(from_server, to_client, replace, flow) => {}
        _ = cut.wait_for(|flow| *flow == Flow::Cut) => {}
    }
}

/// Passes frames on, each a length and as many bytes.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    change: impl Fn(&mut Vec<u8>),
    mut flow: watch::Receiver<Flow>,
) -> std::io::Result<()> {
    loop {
        let length = from.read_u32().await?;
        let mut frame = vec![0; length as usize];
        from.read_exact(&mut frame).await?;
        change(&mut frame);
        frame.splice(..0, length.to_be_bytes());
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            let now = *flow.borrow_and_update();
            let size = match now {
                Flow::Free => rest.len(),
                Flow::BytesPerSecond(speed) => (speed as usize / 50).clamp(1, rest.len()),
                Flow::Stalled | Flow::Cut => {
                    flow.changed().await.map_err(std::io::Error::other)?;
                    continue;
                }
            };
            to.write_all(&rest[..size]).await?;
            rest = &rest[size..];
            if let Flow::BytesPerSecond(speed) = now {
                tokio::time::sleep(
                    Duration::from_secs(1) * u32::try_from(size).unwrap_or(u32::MAX) / speed,
                )
                .await;
            }
        }
    }
}

/// The kinds of the requests that have no answer yet, by correlation id.
#[derive(Default)]
struct Requests(Mutex<HashMap<[u8; 4], i16>>);

impl Requests {
    fn note(&self, request: &[u8]) {
        if let [key_high, key_low, _, _, id @ ..] = request
            && let Some(id) = id.first_chunk()
        {
            let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            open.insert(*id, i16::from_be_bytes([*key_high, *key_low]));
        }
    }

    fn names_brokers(&self, answer: &[u8]) -> bool {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let request = answer.first_chunk().and_then(|id| open.remove(id));
        matches!(request, Some(METADATA | FIND_COORDINATOR))
    }
}

/// The address of the broker as it is in its answers, host and then port, and the port of the proxy.
#[derive(Clone)]
struct Addresses {
    advertised: Arc<[Vec<u8>]>,
    own: [u8; 4],
}

impl Addresses {
    fn new(broker: &str, own: u16) -> Result<Self> {
        let (host, port) = broker.rsplit_once(':').context("the broker is host:port")?;
        ensure!(
            LOCAL.contains(&host),
            "{host} is another machine; use a broker on localhost or 127.0.0.1"
        );
        let port: u16 = port
            .parse()
            .with_context(|| format!("{port} is not a port"))?;
        let address = |host: &str| [host.as_bytes(), &u32::from(port).to_be_bytes()].concat();
        Ok(Self {
            advertised: LOCAL.map(address).into(),
            own: u32::from(own).to_be_bytes(),
        })
    }

    fn replace(&self, answer: &mut [u8]) {
        for address in self.advertised.iter() {
            let found = answer
                .windows(address.len())
                .position(|bytes| bytes == address);
            if let Some(at) = found {
                let end = at + address.len();
                answer[end - 4..end].copy_from_slice(&self.own);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_port_of_the_broker_is_replaced() {
        let addresses = Addresses::new("localhost:9092", 40_000).expect("an address");
        let answer = |port: u32| [b"\x09127.0.0.1", &port.to_be_bytes()[..], b"rest"].concat();
        for (port, expected) in [(9092, 40_000), (9093, 9093)] {
            let mut found = answer(port);
            addresses.replace(&mut found);
            assert_eq!(found, answer(expected));
        }
        assert!(Addresses::new("kafka.example.com:9092", 40_000).is_err());
    }
}
