//! How values of other modules look in the contract: their form, their limits, an example. The crate that defines a value
//! does not know of the contract, so its schema stands here; fields name it with `#[schema(value_type = ...)]`.

use detection::{Direction, Severity, State, Suppression};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, schema::Type},
};

use crate::alerts::{Origin, Subject};

/// The forms that are promised; a few more of ISO 8601 are understood.
const TIMESTAMP: &str = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)?$";

/// Defines a schema without a value: an empty enum that is only ever named.
macro_rules! schema {
    ($name:ident, $object:expr) => {
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $object.into()
            }
        }

        impl ToSchema for $name {}
    };
}

schema!(
    Minute,
    text("A minute of event time: its start, in UTC.")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .examples(["2025-07-12T13:45:00Z"])
);

schema!(
    Instant,
    text("An instant, in UTC, with milliseconds.")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .examples(["2025-07-12T13:46:00.250Z"])
);

schema!(
    Timestamp,
    text(
        "A date and time, with `T` or a space between, seconds or none, a zone or none (then it is UTC). Where a minute is meant, \
         it is the one that holds the instant. In a query `+` is written `%2B`."
    )
    .pattern(Some(TIMESTAMP))
    .examples(["2025-07-12T13:45:00Z"])
);

schema!(
    StreamName,
    text("The name of a stream: one independent flow of minutes.")
        .pattern(Some(r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"))
        .examples(["default"])
);

schema!(
    StatusName,
    text("The name of a status, monitored or not.")
        .pattern(Some(r"^[a-z][a-z0-9_]{0,63}$"))
        .examples(["denied"])
);

schema!(
    MonitoredStatus,
    text("A status that is judged.")
        .enum_values(Some(
            detection::MonitoredStatus::ALL.map(detection::MonitoredStatus::name)
        ))
        .examples([detection::MonitoredStatus::Denied.name()])
);

schema!(
    SeverityName,
    text("How bad it is. LEARNING: the window is too short to judge; STALE: no minute comes any more; NOT_JUDGED: it came too late, or nothing is known.")
        .enum_values(Some(State::ALL.map(State::name)))
        .examples([Severity::Critical.name()])
);

schema!(
    AlertSeverity,
    text("The severity of an alert.")
        .enum_values(Some([Severity::Warning.name(), Severity::Critical.name()]))
        .examples([Severity::Critical.name()])
);

schema!(
    DirectionName,
    text("`up`: more than usual; `down`: fewer.")
        .enum_values(Some([Direction::Up, Direction::Down].map(Direction::name)))
        .examples(["up"])
);

schema!(
    AlertTypeName,
    text("What an alert is about: a count, or the monitor itself.")
        .enum_values(Some(Subject::TYPES))
        .examples([Subject::TYPES[0]])
);

schema!(
    OriginName,
    text("Where an alert comes from: a minute of a stream, a submission to /alerts/evaluate, the monitor itself.")
        .enum_values(Some([Origin::Stream, Origin::Evaluate, Origin::Monitor].map(Origin::name)))
        .examples([Origin::Stream.name()])
);

schema!(
    SuppressionReason,
    text("Why an alert is not notified: the cooldown of its key, a silence, a minute that was too old, no receiver, or only a WARNING.")
        .enum_values(Some(Suppression::REASONS))
        .examples(["cooldown"])
);

schema!(
    ProbeStatus,
    text("What was asked.")
        .enum_values(Some(["alive", "ready"]))
        .examples(["ready"])
);

schema!(
    DeliveryState,
    text("`pending`: on its way; `delivered`: taken by the receiver; `dead`: given up.")
        .enum_values(Some(["pending", "delivered", "dead"]))
        .examples(["delivered"])
);

schema!(
    BaselineKind,
    text("`missing`: the window holds nothing but zeros; `flat`: it has no deviation; `spread`: the ordinary case.")
        .enum_values(Some(["missing", "flat", "spread"]))
        .examples(["spread"])
);

schema!(
    PayloadEncoding,
    text("How the payload is written here.")
        .enum_values(Some(["utf-8", "base64"]))
        .examples(["utf-8"])
);

schema!(
    AnalysisMode,
    text("`stored`: what was said when the minutes came; `recomputed`: what the given settings would have said.")
        .enum_values(Some(["stored", "recomputed"]))
        .examples(["recomputed"])
);

schema!(
    Outcome,
    text("What became of a minute: an alert went out, was held back, or there was none.")
        .enum_values(Some([
            "fired",
            "suppressed",
            "normal",
            "learning",
            "not_judged",
            "unknown"
        ]))
        .examples(["fired"])
);

schema!(
    StepText,
    text("Whole minutes up to a day.")
        .pattern(Some(r"^[0-9 a-z]+$"))
        .examples(["5m"])
);

schema!(
    Id,
    text("The id of an alert or a silence.")
        .format(Some(SchemaFormat::Custom("uuid".to_owned())))
        .examples(["0190a7b2-6c1e-7d3f-9a44-5b0e1c2d3f4a"])
);

schema!(
    CursorText,
    text("Where the next page starts: `next_cursor` of the page before.")
        .pattern(Some(r"^p[0-9a-fA-F]{1,15}$"))
        .examples(["p1f4"])
);

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
}
