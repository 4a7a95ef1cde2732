//! The service as a process, measured from outside, and a connection to it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::{Args, now, wait};

pub(super) const ADDRESS: &str = "127.0.0.1:18999";

/// A running program with its own database. Killed when dropped.
pub(super) struct Service {
    pub(super) child: Child,
    pub(super) folder: Rc<tempfile::TempDir>,
    pub(super) started: Instant,
}

impl Service {
    pub(super) fn start(args: &Args, topic: &str) -> anyhow::Result<Self> {
        let shadow = [("SHADOW_POLICY", args.shadow_policy.as_str())];
        Self::start_on(Rc::new(tempfile::tempdir()?), &args.brokers, topic, &shadow)
    }

    /// On the database in this folder, with more variables.
    pub(super) fn start_on(
        folder: Rc<tempfile::TempDir>,
        brokers: &str,
        topic: &str,
        more: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(
            TcpStream::connect(ADDRESS).is_err(),
            "{ADDRESS} is in use; stop the program that listens there"
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-service"));
        command
            .env_clear()
            .env("DATABASE_PATH", folder.path().join("bench.db"))
            .env("HTTP_ADDR", ADDRESS);
        command
            .env("KAFKA_BOOTSTRAP_SERVERS", brokers)
            .env("KAFKA_TOPIC", topic)
            .env("RUST_LOG", "error");
        command.envs(more.iter().copied());
        let started = now();
        let child = command
            .stdout(Stdio::null())
            .spawn()
            .context("the service cannot be started")?;
        Ok(Self {
            child,
            folder,
            started,
        })
    }

    pub(super) fn until_ready(&self) -> anyhow::Result<Duration> {
        while self.started.elapsed() < Duration::from_secs(30) {
            if matches!(
                Connection::open().and_then(|mut c| c.get("/health/ready")),
                Ok((200, _))
            ) {
                return Ok(self.started.elapsed());
            }
            std::thread::yield_now();
        }
        bail!("the service is not ready after 30 s")
    }

    /// Waits until this many messages are on disk. Reads the file directly, so that the service does no extra work.
    pub(super) fn until_stored(&mut self, messages: u64) -> anyhow::Result<Duration> {
        let database = self.database()?;
        let mut stored =
            database.prepare("SELECT coalesce(sum(last_offset + 1), 0) FROM offsets")?;
        while stored.query_row([], |row| row.get::<_, u64>(0))? < messages {
            anyhow::ensure!(self.child.try_wait()?.is_none(), "the service has ended");
            wait(Duration::from_millis(5));
        }
        Ok(self.started.elapsed())
    }

    pub(super) fn peak_resident_mib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .context("no VmHWM: this needs Linux")?;
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .context("a figure")?
            .parse()?;
        Ok(kib / 1024)
    }

    /// The time of the processor that it has used.
    pub(super) fn processor_time(&self) -> anyhow::Result<Duration> {
        // Of Linux, in ticks of a hundredth of a second. The name before the fields may have spaces.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("no name")?;
        let ticks: Vec<u64> = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
    }

    pub(super) fn database(&self) -> rusqlite::Result<rusqlite::Connection> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        rusqlite::Connection::open_with_flags(self.folder.path().join("bench.db"), flags)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

/// A keep-alive connection with minimal HTTP, so that the load generator costs less than the service.
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(super) fn open() -> anyhow::Result<Self> {
        let socket = TcpStream::connect(ADDRESS)?;
        socket.set_nodelay(true)?;
        Ok(Self(BufReader::new(socket)))
    }

    pub(super) fn get(&mut self, path: &str) -> anyhow::Result<(u16, String)> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes())
    }

    pub(super) fn send(&mut self, request: &[u8]) -> anyhow::Result<(u16, String)> {
        self.0.get_mut().write_all(request)?;
        let (mut status, mut length, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            if let Some(text) = line.strip_prefix("HTTP/1.1 ") {
                status = text[..3].parse()?;
            } else if let Some(text) = line.strip_prefix("content-length: ") {
                length = text.trim().parse()?;
            } else if line == "\r\n" || line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body)?))
    }
}
