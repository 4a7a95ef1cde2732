//! A backlog of single transactions: from process start until all are counted, and every minute that closed is evaluated. The floor is
//! reading them from the same broker and parsing them, in turns with the service.

use std::{rc::Rc, time::Duration};

use anyhow::Context as _;
use detection::{Mapping, MonitoredStatus, Status};
use jiff::Timestamp;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    producer::Producer as _,
};

use super::{
    Args, Topic, median, minute_counts, now, produce, producer, rate, say, service::Service,
};

/// The limit of memory that is aimed at, MiB.
const MAX_RESIDENT_MIB: u64 = 64;

pub(super) fn transactions(args: &Args) -> anyhow::Result<()> {
    of(args, "one stream, one partition", 1, 1)?;
    of(args, "500 streams, 8 partitions", 500, 8)
}

fn of(args: &Args, name: &str, streams: u64, partitions: i32) -> anyhow::Result<()> {
    let topic = Topic::create(&args.brokers, partitions)?;
    let sent = fill(args, &topic, streams)?;
    let (mut floors, mut rates, mut ratios, mut peak) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..args.runs {
        let floor = rate(sent, read_and_parse(args, &topic, partitions, sent)?);
        let folder = Rc::new(tempfile::tempdir()?);
        let input = [("KAFKA_INPUT", "transactions")];
        let mut service = Service::start_on(folder, &args.brokers, &topic.name, &input)?;
        service.until_ready()?;
        let stored = rate(sent, service.until_stored(sent)?);
        peak = peak.max(service.peak_resident_mib()?);
        floors.push(floor);
        rates.push(stored);
        ratios.push(stored / floor);
    }
    say(&format!(
        "transactions, {name}: {:.0}/s of {sent} from process start to last commit (median of {})",
        median(&mut rates),
        args.runs
    ))?;
    say(&format!(
        "  read and parse alone: {:.0}/s; the service reaches {:.2} of it",
        median(&mut floors),
        median(&mut ratios)
    ))?;
    say(&format!(
        "  peak resident memory {peak} MiB; the aim is {MAX_RESIDENT_MIB}"
    ))
}

/// Sends whole minutes, each transaction as one message, in order of time; returns how many.
fn fill(args: &Args, topic: &Topic, streams: u64) -> anyhow::Result<u64> {
    let producer = producer(&args.brokers, "5")?;
    let mut sent = 0;
    for number in 0.. {
        let minute: Vec<_> = (0..streams)
            .map(|stream| minute_counts(stream, streams, number))
            .collect();
        let mut all = Vec::new();
        for counts in &minute {
            let start_ms = counts.minute().start().as_millisecond();
            for of in counts.transactions() {
                let at_ms = |at: u32| start_ms + i64::from(at) * 60_000 / i64::from(of.count);
                all.extend((0..of.count).map(|at| (at_ms(at), counts.stream(), &of.status)));
            }
        }
        all.sort_by_key(|(at_ms, ..)| *at_ms);
        for (at_ms, stream, status) in &all {
            let at = Timestamp::from_millisecond(*at_ms)?;
            let payload =
                format!(r#"{{"timestamp":"{at}","stream":"{stream}","status":"{status}"}}"#);
            produce(&producer, topic, stream.as_str(), payload.as_bytes())?;
        }
        sent += all.len() as u64;
        if sent >= args.transactions {
            break;
        }
    }
    producer.flush(Duration::from_mins(2))?;
    Ok(sent)
}

fn read_and_parse(
    args: &Args,
    topic: &Topic,
    partitions: i32,
    sent: u64,
) -> anyhow::Result<Duration> {
    let watch = now();
    // As the service reads.
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &args.brokers)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.wait.max.ms", "100")
        .set("queued.min.messages", "5000")
        .set("queued.max.messages.kbytes", "4096")
        .create()?;
    let mut assigned = TopicPartitionList::new();
    for partition in 0..partitions {
        assigned.add_partition_offset(&topic.name, partition, Offset::Beginning)?;
    }
    consumer.assign(&assigned)?;
    let (mapping, mut read, mut approved) = (Mapping::default(), 0, 0);
    while read < sent {
        let message = consumer
            .poll(Duration::from_secs(30))
            .context("no message for 30 s")??;
        let transaction = mapping.transaction(message.payload().context("no payload")?)?;
        read += 1;
        let is_approved = Some(Status::from(MonitoredStatus::Approved));
        approved += u64::from(transaction.status == is_approved);
    }
    anyhow::ensure!(approved > sent / 2, "{approved} of {sent} were approved");
    Ok(watch.elapsed())
}
