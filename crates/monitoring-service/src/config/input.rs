//! The settings of the input: what a message is, and how its fields are read.

use std::time::Duration;

use detection::{
    Mapping,
    mapping::{Pointer, StatusAliases},
    open_minutes,
};
use jiff::tz::TimeZone;

use super::values::{choice, duration};
use crate::{clock::milliseconds, ingest::KafkaInput};

const INPUTS: [(&str, KafkaInput); 3] = [
    ("minutes", KafkaInput::Minutes),
    ("updates", KafkaInput::Updates),
    ("transactions", KafkaInput::Transactions),
];

/// What messages are, and how they are read.
#[derive(Clone, Debug, clap::Args)]
pub struct InputConfig {
    /// What a Kafka message is: the counts of one closed minute, counts that grow until their minute closes, or one transaction
    #[arg(long, env, value_parser = choice(&INPUTS), default_value = "minutes")]
    pub kafka_input: KafkaInput,

    /// Inputs updates and transactions: a minute closes this long after its end, so messages may be out of order by as much (0s to 10m)
    #[arg(long, env, value_parser = duration("0s", "10m"), default_value = "10s")]
    pub close_after: Duration,

    /// JSON pointer to the time in a message: RFC 3339, a local time, or an epoch time in s, ms, us or ns
    #[arg(long, env, default_value = "/timestamp")]
    pub transaction_timestamp: Pointer,

    /// JSON pointer to the status: in a transaction, or in a member of the list `transactions`
    #[arg(long, env, default_value = "/status")]
    pub transaction_status: Pointer,

    /// JSON pointer to the stream, such as /merchant_id; the default may be absent, another one is required in every message
    #[arg(long, env, default_value = "/stream")]
    pub transaction_stream: Pointer,

    /// JSON pointer to the number of transactions; without it, a single transaction is 1, and a member of `transactions` has /count
    #[arg(long, env)]
    pub transaction_count: Option<Pointer>,

    /// Other names of statuses: SUCCEEDED=approved,DECLINED=denied,...; `*=ignore` counts and drops names that are neither listed nor monitored, `*=keep` stores them
    #[arg(long, env, default_value = "", hide_default_value = true)]
    pub status_aliases: StatusAliases,

    /// Time zone of times without one: an offset such as -03:00, or a name such as America/Sao_Paulo
    #[arg(long, env, value_parser = transaction_csv::parse_timezone, default_value = "UTC")]
    pub timestamp_timezone: TimeZone,

    /// Refuse messages with unknown fields instead of counting the fields (inputs minutes and updates)
    #[arg(long, env, value_parser = choice(&[("true", true), ("false", false)]), default_value = "false")]
    pub strict_messages: bool,
}

impl InputConfig {
    /// How messages are read.
    pub fn mapping(&self) -> Mapping {
        Mapping {
            timestamp: self.transaction_timestamp.clone(),
            stream: self.transaction_stream.clone(),
            status: self.transaction_status.clone(),
            count: self.transaction_count.clone(),
            aliases: self.status_aliases.clone(),
            timezone: self.timestamp_timezone.clone(),
            strict: self.strict_messages,
        }
    }

    /// When open minutes close; a pause of `stale_after` or longer is not zero but stale.
    pub fn open_minutes(&self, stale_after: Duration) -> open_minutes::Settings {
        open_minutes::Settings {
            close_after_ms: milliseconds(self.close_after),
            max_pause_minutes: milliseconds(stale_after) / 60_000,
        }
    }
}
