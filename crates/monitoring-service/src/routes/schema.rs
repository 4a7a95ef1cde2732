//! Schemas of values from other crates: form, limits, example. Those crates do not know the contract, so a member of such a type names
//! its schema: `#[schema(value_type = schema::Minute)]`.

use std::borrow::Cow;

use detection::{Direction, PolicyName, Severity, State, Suppression};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, schema::Type},
};

pub(crate) use crate::alerts::json::At as Instant;
use crate::alerts::{Origin, Subject, incident_update::EventSuppression};

/// The documented forms; some other forms of ISO 8601 are accepted too.
const TIMESTAMP: &str = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)?$";

/// Implements the schema of a type.
macro_rules! schema {
    ($name:ident, $about:literal, $form:expr) => {
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $form.description(Some($about)).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

/// Defines schemas as types that are only used by name.
macro_rules! schemas {
    ($($name:ident: $about:literal = $form:expr;)+) => {$(
        pub(crate) enum $name {}

        schema!($name, $about, $form);
    )+};
}

schema!(
    Instant,
    "An instant, in UTC, with milliseconds.",
    date_time("2025-07-12T13:46:00.250Z")
);

schemas! {
    Minute: "A minute of event time: its start, in UTC." = date_time("2025-07-12T13:45:00Z");
    Timestamp: "A date and time, with `T` or a space between, with or without seconds, with or without a zone (UTC if without). Where a \
        minute is meant, it is the one that contains the instant. In a query `+` is written `%2B`."
        // No example: the same one at both ends would be an empty range.
        = ObjectBuilder::new().schema_type(Type::String).pattern(Some(TIMESTAMP));
    StreamName: "The name of a stream: one independent flow of minutes." = pattern(r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$", "default");
    StreamPattern: "The name of a stream, or a pattern: `*` stands for any characters." = pattern(r"^[A-Za-z0-9*][A-Za-z0-9._:*-]{0,127}$", "day*");
    WeeklyTimes: "Days (`mon` to `sun`, or `daily`), start and end, and the offset from UTC if it is not 0. A window that ends at or \
        before its start ends on the next day."
        = pattern(r"^(daily|(mon|tue|wed|thu|fri|sat|sun)(,(mon|tue|wed|thu|fri|sat|sun)){0,6}) ([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)( [+-]([01]\d|2[0-3]):[0-5]\d)?$", "sat,sun 01:00-03:00");
    StatusName: "The name of a status, monitored or not." = pattern(r"^[a-z][a-z0-9_]{0,63}$", "denied");
    MonitoredStatus: "A monitored status." = one_of(detection::MonitoredStatus::ALL.map(detection::MonitoredStatus::name));
    SeverityName: "The severity of a count." = one_of([Severity::Normal, Severity::Warning, Severity::Critical].map(Severity::name));
    AlertSeverity: "The severity of an alert." = one_of([Severity::Warning, Severity::Critical].map(Severity::name));
    StateName: "A severity, or why there is none. LEARNING: too few observed minutes to evaluate; STALE: the stream has no new minutes; \
        NOT_JUDGED: too late, or not monitored." = one_of(State::ALL.map(State::name));
    Policy: "The policy that evaluated the count." = one_of([PolicyName::Adaptive, PolicyName::ZScore].map(PolicyName::name));
    AdaptiveTest: "The test that gave the score." = one_of(["window", "minute"]);
    SuppressionReason: "Why an alert is not notified: it repeats another one, a silence covers it, its minute is too old, there is no \
        receiver, it is only a WARNING, or its policy runs in shadow." = one_of(Suppression::REASONS);
    DirectionName: "`up`: more than expected; `down`: fewer." = one_of([Direction::Up, Direction::Down].map(Direction::name));
    AlertTypeName: "The subject of an alert: a count, or the monitor itself." = one_of(Subject::TYPES);
    OriginName: "The origin of an alert: a minute of a stream, a submission to /alerts/evaluate, the monitor itself."
        = one_of([Origin::Stream, Origin::Evaluate, Origin::Monitor].map(Origin::name));
    BaselineKind: "`missing`: the window has only zeros; `flat`: it has no deviation; `spread`: it has one."
        = one_of(["missing", "flat", "spread"]);
    DeliveryState: "`pending`: not delivered yet; `delivered`: the receiver accepted it; `dead`: given up; `superseded`: not sent, a later message \
        replaces it; `summarized`: not sent by itself, a summary counts it." = one_of(crate::store::DeliveryState::ALL.map(crate::store::DeliveryState::name));
    IncidentState: "The state of an incident." = one_of(["resolved", "open"]);
    IncidentKindName: "`anomaly`: counts left their range; `stale_stream`: no new minutes; `ingest_down`: Kafka or a partition of it cannot be read; \
        `ingest_rejecting`: most messages are dead letters; `group`: several with one cause."
        = one_of(["stale_stream", "ingest_down", "ingest_rejecting", "group", "anomaly"]);
    IncidentEventName: "`opened`, also again soon after its end; `escalated`: it became worse, or nobody acknowledged it; `acknowledged`: a \
        person took it over; `resolved`: it is over." = one_of(["escalated", "acknowledged", "resolved", "opened"]);
    EndReasonName: "`recovered`: usual again; `new_level`: its counts are usual from now on; `by_hand`: a person resolved it; `retired`: its \
        stream was retired; `policy_off`: its policy no longer alerts."
        = one_of(["new_level", "by_hand", "retired", "policy_off", "recovered"]);
    EventSuppressionReason: "Why an event is not notified: it waits for others, alerts are notified instead, there is no receiver, it is only \
        a WARNING, its minutes are too old, silences cover it, its group is notified, or its opening was not notified."
        = one_of(EventSuppression::REASONS);
    VerdictName: "`real`: there was trouble; `false_alarm`: there was none." = one_of(["real", "false_alarm"]);
    Id: "The id of an alert, an incident or a silence." = text("0190a7b2-6c1e-7d3f-9a44-5b0e1c2d3f4a")
        .format(Some(SchemaFormat::Custom("uuid".to_owned())));
    CursorText: "The position of the next page: `next_cursor` of the page before." = pattern(r"^p[0-9a-fA-F]{1,15}$", "p1f4");
}

fn text(example: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .examples([example])
}

fn date_time(example: &str) -> ObjectBuilder {
    text(example).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

pub(super) fn pattern(pattern: &str, example: &str) -> ObjectBuilder {
    text(example).pattern(Some(pattern))
}

/// A closed set of names; the last is the example.
pub(super) fn one_of<const N: usize>(names: [&'static str; N]) -> ObjectBuilder {
    text(names[N - 1]).enum_values(Some(names))
}
