//! What listeners to `/events` cost while a backlog is consumed: the same backlog without any, and with as many as are allowed.

use std::{rc::Rc, time::Duration};

use rdkafka::producer::Producer as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::{
    Args, ROWS_A_MESSAGE, Topic, minute_counts, produce, producer, queries, rate, say,
    service::{ADDRESS, Service},
    wait,
};

const STREAMS: u64 = 200;

/// As many as the service takes.
const LISTENERS: usize = 1000;

pub(super) fn listeners(args: &Args) -> anyhow::Result<()> {
    let topic = Topic::create(&args.brokers, 8)?;
    let producer = producer(&args.brokers, "5")?;
    for at in 0..args.messages {
        let counts = minute_counts(at % STREAMS, STREAMS, at / STREAMS);
        let key = counts.stream().as_str();
        produce(&producer, &topic, key, &counts.to_json())?;
    }
    producer.flush(Duration::from_mins(1))?;
    say(&format!(
        "listeners: a backlog of {} messages of {STREAMS} streams; load {}",
        args.messages,
        queries::load()?
    ))?;
    for _ in 0..args.runs {
        for listeners in [0, LISTENERS] {
            of(args, &topic, listeners)?;
        }
    }
    Ok(())
}

fn of(args: &Args, topic: &Topic, listeners: usize) -> anyhow::Result<()> {
    let folder = Rc::new(tempfile::tempdir()?);
    let mut service = Service::start_on(folder, &args.brokers, &topic.name, &[])?;
    service.until_ready()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut reading = JoinSet::new();
    for _ in 0..listeners {
        reading.spawn_on(listen(), runtime.handle());
    }
    let time = service.until_stored(args.messages)?;
    let (used, peak) = (service.processor_time()?, service.peak_resident_mib()?);
    // What was gathered last is sent within a second.
    wait(Duration::from_secs(2));
    drop(service);
    let (mut events, mut bytes) = (0, 0);
    for read in runtime.block_on(reading.join_all()) {
        let (of_one, bytes_of_one) = read?;
        events += of_one;
        bytes += bytes_of_one;
    }
    say(&format!(
        "  {listeners:4} listeners: {:.0} rows/s from process start to last commit, processor {:.1} s, peak resident memory {peak} MiB, \
         {events} events, {} kB",
        rate(args.messages * ROWS_A_MESSAGE, time),
        used.as_secs_f64(),
        bytes / 1000
    ))
}

/// Reads events until the end of the service; returns how many events and bytes they were.
async fn listen() -> anyhow::Result<(usize, usize)> {
    let mut socket = TcpStream::connect(ADDRESS).await?;
    socket
        .write_all(b"GET /events HTTP/1.1\r\nhost: bench\r\n\r\n")
        .await?;
    let (mut events, mut bytes, mut buffer) = (0, 0, vec![0; 16 * 1024]);
    loop {
        match socket.read(&mut buffer).await {
            // Its process is killed.
            Ok(0) | Err(_) => return Ok((events, bytes)),
            Ok(read) => {
                bytes += read;
                // One that the buffer cuts is not counted.
                events += count(&buffer[..read]);
            }
        }
    }
}

fn count(bytes: &[u8]) -> usize {
    bytes
        .windows(7)
        .filter(|window| window == b"\nevent:")
        .count()
}
