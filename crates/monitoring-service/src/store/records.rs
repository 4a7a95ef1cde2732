//! What the store keeps and gives back, as types. No SQL here.

use detection::{Alert, Baseline, Direction, Disposition, Minute, MonitoredStatus, Severity};
use serde::Serialize;
use uuid::Uuid;

/// What an alert tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum AlertType {
    /// A count left its range.
    #[serde(rename = "transaction.anomaly")]
    Anomaly,
    /// Live streams went quiet.
    #[serde(rename = "stream.stale")]
    StreamStale,
    /// Quiet streams have minutes again.
    #[serde(rename = "stream.resumed")]
    StreamResumed,
    /// Nothing is read from Kafka, so nothing is being watched.
    #[serde(rename = "ingest.down")]
    IngestDown,
    /// It is read again.
    #[serde(rename = "ingest.up")]
    IngestUp,
    /// Somebody wanted to see that alerts arrive.
    #[serde(rename = "alert.test")]
    Test,
}

impl AlertType {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Anomaly,
        Self::StreamStale,
        Self::StreamResumed,
        Self::IngestDown,
        Self::IngestUp,
        Self::Test,
    ];

    /// The name in payloads, the API and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anomaly => "transaction.anomaly",
            Self::StreamStale => "stream.stale",
            Self::StreamResumed => "stream.resumed",
            Self::IngestDown => "ingest.down",
            Self::IngestUp => "ingest.up",
            Self::Test => "alert.test",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where an alert comes from. Cooldowns of the two never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A minute consumed from Kafka.
    Stream,
    /// A submission to `POST /alerts/evaluate`; its count is in no baseline and no total.
    Evaluate,
    /// The monitor watching its own feed.
    Monitor,
}

impl Origin {
    /// `stream`, `evaluate` or `monitor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Evaluate => "evaluate",
            Self::Monitor => "monitor",
        }
    }

    /// The origin of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Stream, Self::Evaluate, Self::Monitor]
            .into_iter()
            .find(|origin| origin.name() == name)
    }
}

/// An alert as it is recorded: everything a page, a list and an investigation show.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRecord {
    /// The same at every retry and every replay (random for a submission).
    pub id: Uuid,
    /// What it tells.
    pub alert_type: AlertType,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was recorded, milliseconds since 1970.
    pub recorded_at_ms: i64,
    /// How bad.
    pub severity: Severity,
    /// One sentence for people.
    pub message: String,
    /// The count that left its range; none for the monitor's own alerts.
    pub anomaly: Option<Anomaly>,
    /// The streams that an alert about several of them names (the first 20).
    pub streams: Vec<String>,
    /// What held it back; none if it was dispatched.
    pub suppressed_by: Option<SuppressedBy>,
    /// Alerts of the same key held back since the last one that went out.
    pub suppressed_before: u32,
    /// Why no page was sent for a dispatched alert, where that was decided.
    pub not_paged: Option<NotPaged>,
    /// The trace of the message or request that caused it, 32 hex digits.
    pub trace_id: Option<String>,
    /// The span within it that recorded the alert, 16 hex digits; none where the trace is not sampled, so that there is nothing
    /// to link to.
    pub span_id: Option<String>,
}

/// The count that left its range, and what it was judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// Whose minute.
    pub stream: String,
    /// Which status.
    pub status: MonitoredStatus,
    /// Which way.
    pub direction: Direction,
    /// The minute judged.
    pub minute: Minute,
    /// Its count.
    pub count: u32,
    /// Standard deviations from the mean, where the baseline has a spread.
    pub z_score: Option<f64>,
    /// What was usual.
    pub baseline: Baseline,
    /// The limit that was passed, in standard deviations.
    pub threshold: f64,
    /// True if the minute was not the newest when it was judged.
    pub late: bool,
}

impl Anomaly {
    /// `stream/status/direction`: alerts of one key are one matter, for a pager's grouping.
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.stream, self.status, self.direction.name())
    }
}

/// What held an alert back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuppressedBy {
    /// The cooldown of this alert of the same key, which had just gone out.
    Alert(Uuid),
    /// This silence, which people asked for.
    Silence(Uuid),
}

impl SuppressedBy {
    /// The id of the alert or the silence.
    pub const fn id(self) -> Uuid {
        match self {
            Self::Alert(id) | Self::Silence(id) => id,
        }
    }

    /// `cooldown` or `silence`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Alert(_) => "cooldown",
            Self::Silence(_) => "silence",
        }
    }
}

/// Why a dispatched alert was not paged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotPaged {
    /// Its minute was older than `PAGE_MAX_AGE` when it was recorded.
    TooOld,
    /// No receiver is configured.
    NoWebhook,
    /// Only CRITICAL alerts page.
    Warning,
}

impl NotPaged {
    /// `too_old`, `no_webhook` or `warning`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::NoWebhook => "no_webhook",
            Self::Warning => "warning",
        }
    }

    /// For people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::TooOld => "its minute was older than PAGE_MAX_AGE when it was recorded",
            Self::NoWebhook => "no receiver is configured (ALERT_WEBHOOK_URL)",
            Self::Warning => "only CRITICAL alerts page",
        }
    }

    /// The reason of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::TooOld, Self::NoWebhook, Self::Warning]
            .into_iter()
            .find(|reason| reason.name() == name)
    }
}

/// Who gets a page.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paging {
    /// True if a receiver is configured.
    pub webhook: bool,
    /// Older minutes are not paged; none: every age is.
    pub max_age_ms: Option<i64>,
}

impl Paging {
    /// Why an alert of this severity and minute would not be paged now; none if it would.
    pub fn refuses(
        &self,
        severity: Severity,
        minute: Option<Minute>,
        now_ms: i64,
    ) -> Option<NotPaged> {
        let age_ms = minute.map_or(0, |minute| now_ms - minute.start().as_millisecond());
        if severity != Severity::Critical {
            Some(NotPaged::Warning)
        } else if !self.webhook {
            Some(NotPaged::NoWebhook)
        } else if self.max_age_ms.is_some_and(|max| age_ms > max) {
            Some(NotPaged::TooOld)
        } else {
            None
        }
    }
}

impl AlertRecord {
    /// The record of an alert of the fold, not traced yet.
    pub fn of_stream(alert: Alert, paging: &Paging, now_ms: i64) -> Self {
        let Alert {
            id,
            key,
            minute,
            count,
            verdict,
            threshold,
            late,
            disposition,
            cooldown: _,
        } = alert;
        let (suppressed_by, suppressed_before) = match disposition {
            Disposition::Dispatched { suppressed_before } => (None, suppressed_before),
            Disposition::Cooldown { by } => (Some(SuppressedBy::Alert(by)), 0),
            Disposition::Silenced { by } => (Some(SuppressedBy::Silence(by)), 0),
        };
        Self {
            id,
            alert_type: AlertType::Anomaly,
            origin: Origin::Stream,
            recorded_at_ms: now_ms,
            severity: key.severity,
            message: verdict.reason(key.status.name(), count),
            not_paged: suppressed_by
                .is_none()
                .then(|| paging.refuses(key.severity, Some(minute), now_ms))
                .flatten(),
            anomaly: Some(Anomaly {
                stream: key.stream.to_string(),
                status: key.status,
                direction: key.direction,
                minute,
                count,
                z_score: verdict.z_score.map(detection::ZScore::get),
                baseline: verdict.baseline,
                threshold,
                late,
            }),
            streams: Vec::new(),
            suppressed_by,
            suppressed_before,
            trace_id: None,
            span_id: None,
        }
    }

    /// True if it goes out: not held back.
    pub const fn is_dispatched(&self) -> bool {
        self.suppressed_by.is_none()
    }

    /// True if it needs a delivery: it goes out, and nothing speaks against a page.
    pub const fn is_paged(&self) -> bool {
        self.is_dispatched() && self.not_paged.is_none()
    }
}

/// An alert on its way to the receiver.
#[derive(Clone, Debug)]
pub struct DueDelivery {
    /// Its number.
    pub id: i64,
    /// Tries so far.
    pub attempts: u32,
    /// When the alert was recorded, or the delivery was asked for again: what giving up counts from. Milliseconds since 1970.
    pub created_at_ms: i64,
    /// What to send.
    pub alert: AlertRecord,
}

/// How a try to deliver ended, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The receiver took it.
    Delivered,
    /// Try again.
    Retry {
        /// When, milliseconds since 1970.
        at_ms: i64,
    },
    /// Given up; can be asked for again.
    Dead,
}

/// One try to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What follows.
    pub outcome: DeliveryOutcome,
    /// When it ended, milliseconds since 1970.
    pub at_ms: i64,
    /// The HTTP status of the answer, if there was one.
    pub http_status: Option<u16>,
    /// What went wrong, without any URL.
    pub error: Option<String>,
}

/// A message that could not be used, kept as it came.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Where it stands.
    pub topic: String,
    /// Where it stands.
    pub partition: i32,
    /// Where it stands.
    pub offset: i64,
    /// A short stable name of the reason.
    pub reason: &'static str,
    /// What exactly is wrong.
    pub detail: String,
    /// Its payload, cut at 64 KiB; none for a null payload.
    pub payload: Option<Vec<u8>>,
    /// How long the payload was.
    pub payload_bytes: usize,
    /// Its headers as a JSON object of text.
    pub headers: String,
    /// When it was read, milliseconds since 1970.
    pub received_at_ms: i64,
}

/// Kafka offsets that were lost before they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetGap {
    /// Which topic.
    pub topic: String,
    /// Which partition.
    pub partition: i32,
    /// The first offset lost.
    pub from_offset: i64,
    /// The first offset after the loss.
    pub to_offset: i64,
    /// Why.
    pub reason: OffsetGapReason,
    /// When it was seen, milliseconds since 1970.
    pub detected_at_ms: i64,
}

/// Why offsets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OffsetGapReason {
    /// The broker deleted records before they were read.
    Retention,
    /// The topic was deleted and made again: its offsets started anew.
    Recreated,
}

impl OffsetGapReason {
    /// `retention` or `recreated`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Recreated => "recreated",
        }
    }
}
