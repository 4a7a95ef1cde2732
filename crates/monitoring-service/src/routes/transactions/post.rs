//! `POST /transactions`: takes the counts of closed minutes, as a Kafka message has them. Ingest observes and stores them; this file
//! reads the body and writes the answer.

use std::{collections::HashMap, fmt, sync::Arc};

use axum::{
    Json,
    extract::{Request, State},
    response::IntoResponse,
};
use detection::{
    Mapping,
    mapping::ReadMinute,
    message::{MAX_STATUSES, MessageError},
};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, ObjectBuilder, RefOr, Schema,
        schema::{AdditionalProperties, AnyOfBuilder, Type},
    },
};

use super::observed::{CountFinding, PostedMinute};
use crate::{
    ingest::requests::{Refused, Work},
    routes::{
        AppState,
        error::{Kind, Problem},
        extract::{check_json, read},
        fields::reference,
        given::suggestion,
        openapi, schema,
    },
};

/// Maximum minutes of one request.
const MAX_MINUTES: usize = 1000;

/// Maximum length of the body: two KiB for each minute.
const MAX_BODY_BYTES: usize = MAX_MINUTES * 2 * 1024;

/// What was stored.
#[derive(Serialize, ToSchema)]
struct Posted {
    /// The worst state of the minutes; null if no count was evaluated.
    #[schema(value_type = Option<schema::StateName>)]
    state: Option<detection::State>,
    /// The counts that are WARNING or CRITICAL, in the order of the request.
    findings: Vec<CountFinding>,
    /// Every minute, in the order of the request.
    minutes: Vec<PostedMinute>,
    trace_id: Option<String>,
}

/// Stores and evaluates the counts of a closed minute, or of a list of at most 1,000 of them.
///
/// At most 2 MB, as a Kafka message has them. They are totals, so sending a minute again changes nothing, and other counts correct it. All of
/// them are stored in one transaction, or none if one is refused.
#[utoipa::path(
    post,
    path = "/transactions",
    operation_id = "post_transactions",
    tag = "transactions",
    request_body(content = PostedBody, example = json!({
        "timestamp": "2025-07-12T13:45:00Z", "stream": "acquirer-7",
        "transactions": [{"status": "approved", "count": 118}, {"status": "denied", "count": 6}]
    })),
    responses((status = 200, description = "All minutes are stored", body = Posted), openapi::WithBody)
)]
pub(in crate::routes) async fn post(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let bytes = check_json(&request, MAX_BODY_BYTES)?;
    let requests = &state.requests;
    let _place = requests.place(bytes).await.map_err(problem)?;
    let body = read(request, MAX_BODY_BYTES).await?;
    let (minutes, is_list) = minutes(&requests.mapping, &body)?;
    let span = current_span();
    let trace_id = span.is_valid().then(|| span.trace_id().to_string());
    let done = requests.ask(Work::Minutes(minutes), span).await;
    let done = done.map_err(|refused| match refused {
        Refused::Minute {
            index,
            field,
            detail,
        } => of_minute(is_list.then_some(index), &field, &detail),
        other => problem(other),
    })?;
    let observed = done.minutes();
    let (minutes, findings): (Vec<_>, Vec<_>) = observed
        .map(|(observed, alerts)| PostedMinute::of(observed, alerts))
        .unzip();
    Ok(Json(Posted {
        state: minutes.iter().filter_map(|minute| minute.state).max(),
        findings: findings.into_iter().flatten().collect(),
        minutes,
        trace_id,
    }))
}

/// The span of the request; not valid without tracing.
pub(in crate::routes) fn current_span() -> SpanContext {
    Span::current().context().span().span_context().clone()
}

/// The answer to a request that ingest did not serve.
pub(in crate::routes) fn problem(refused: Refused) -> Problem {
    match refused {
        Refused::Store(error) => error.into(),
        Refused::Overloaded => Problem::new(Kind::Overloaded, "too many minutes wait to be stored")
            .fix("try again in a second"),
        Refused::NotAnswered => Problem::new(
            Kind::Unavailable,
            "ingest did not answer in time; the minutes may be stored later",
        )
        .fix("send them again: totals count once; GET /health shows the reason"),
        Refused::Minute { detail, .. } | Refused::NotPossible(detail) => {
            Problem::new(Kind::Conflict, detail)
        }
        Refused::Unknown => Problem::new(Kind::NotFound, "it does not exist"),
    }
}

/// Reads the minutes of a body; true if they are a list.
fn minutes(mapping: &Mapping, body: &[u8]) -> Result<(Vec<ReadMinute>, bool), Problem> {
    let is_list = body.trim_ascii_start().starts_with(b"[");
    let List(items) = if is_list {
        serde_json::from_slice(body)
    } else {
        serde_json::from_slice(body).map(|one| List(vec![one]))
    }
    .map_err(|error| not_minutes(&error))?;
    if items.is_empty() {
        let problem = Problem::new(
            Kind::InvalidValue,
            "the list is empty: nothing would be stored",
        );
        return Err(problem.field("body").fix(
            "send the minutes that have closed, with counts of 0 for what did not occur; send no request while there is none",
        ));
    }
    let read = |(index, json): (usize, &RawValue)| {
        let index = is_list.then_some(index);
        match mapping.minute(json.get().as_bytes()) {
            Ok(minute) => match minute.unknown_fields.first() {
                Some(name) => Err(unknown_field(mapping, index, name)),
                None => Ok(minute),
            },
            Err(error) => Err(not_a_minute(mapping, index, json, &error)),
        }
    };
    let minutes: Vec<_> = items
        .into_iter()
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()?;
    refuse_parts(mapping, &minutes)?;
    Ok((minutes, is_list))
}

/// Refuses two entries for one minute of a stream: the first would be evaluated with a zero for what only the second names.
fn refuse_parts(mapping: &Mapping, minutes: &[ReadMinute]) -> Result<(), Problem> {
    let mut known = HashMap::new();
    for (index, ReadMinute { counts, .. }) in minutes.iter().enumerate() {
        if let Some(first) = known.insert((counts.stream(), counts.minute()), index) {
            let (minute, stream) = (counts.minute(), counts.stream());
            let detail = format!("{minute} of the stream {stream} is minute {first}, too");
            let refused = of_minute(Some(index), &mapping.timestamp.to_string(), &detail);
            return Err(
                refused.fix("send all counts of a minute in one entry: what it does not name is 0")
            );
        }
    }
    Ok(())
}

fn not_minutes(error: &serde_json::Error) -> Problem {
    let problem = if error.is_data() {
        Problem::new(Kind::InvalidValue, error.to_string())
    } else {
        Problem::new(Kind::Unparsable, format!("the body is not JSON: {error}"))
    };
    problem.field("body").fix(format!(
        "send the counts of a minute, or a list of at most {MAX_MINUTES} of them"
    ))
}

/// Refuses a minute; the field is a JSON pointer into the body.
fn of_minute(index: Option<usize>, field: &str, detail: &str) -> Problem {
    let (place, which) = match index {
        Some(index) => (
            format!("/{index}{field}"),
            format!("minute {index} of the list: "),
        ),
        None => (field.to_owned(), String::new()),
    };
    Problem::invalid(place, None, format!("{which}{detail}"))
        .fix("correct it and send all of them again: nothing is stored")
}

fn not_a_minute(
    mapping: &Mapping,
    index: Option<usize>,
    json: &RawValue,
    error: &MessageError,
) -> Problem {
    let message = serde_json::from_str(json.get());
    let unknown = message.map(|message| mapping.unknown_fields(&message));
    match unknown.unwrap_or_default().first() {
        // A misspelled field is missing under its right name.
        Some(name) if error.hint().is_none() => unknown_field(mapping, index, name),
        _ => of_minute(index, error.field().unwrap_or_default(), &error.to_string()),
    }
}

fn unknown_field(mapping: &Mapping, index: Option<usize>, name: &str) -> Problem {
    let fix = match name.strip_prefix("transactions/") {
        Some(of_count) => suggestion(of_count, mapping.count_fields()),
        None => suggestion(name, mapping.message_fields()),
    };
    let detail = format!("there is no field {name} here");
    of_minute(index, &format!("/{name}"), &detail).fix(fix)
}

/// A list of JSON values, not longer than a request may be.
struct List<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for List<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;

        impl<'de> Visitor<'de> for Items {
            type Value = List<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of minutes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    if items.len() == MAX_MINUTES {
                        let error = format_args!("the list has more than {MAX_MINUTES} minutes");
                        return Err(A::Error::custom(error));
                    }
                    items.push(item);
                }
                Ok(List(items))
            }
        }

        deserializer.deserialize_seq(Items)
    }
}

/// The body: the counts of a minute, or a list of them.
pub(in crate::routes) enum PostedBody {}

impl PartialSchema for PostedBody {
    fn schema() -> RefOr<Schema> {
        let list = ArrayBuilder::new()
            .items(reference::<MinuteCounts>())
            .min_items(Some(1))
            .max_items(Some(MAX_MINUTES));
        AnyOfBuilder::new()
            .item(reference::<MinuteCounts>())
            .item(list)
            .into()
    }
}

impl ToSchema for PostedBody {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((MinuteCounts::name().into_owned(), MinuteCounts::schema()));
    }
}

/// The counts of one minute, with the fields at their default places (`TRANSACTION_TIMESTAMP` and the like move them).
enum MinuteCounts {}

impl ToSchema for MinuteCounts {}

impl PartialSchema for MinuteCounts {
    fn schema() -> RefOr<Schema> {
        let number = || ObjectBuilder::new().schema_type(Type::Number);
        let integer = || {
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(0))
        };
        let text = |pattern| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some(pattern))
        };
        let null = ObjectBuilder::new().schema_type(Type::Null);
        let timestamp = AnyOfBuilder::new()
            .item(reference::<schema::Timestamp>())
            .item(number())
            .item(text(r"^\d{1,19}$"))
            .description(Some(
                "An instant in the minute; a number is an epoch time in s, ms, us or ns.",
            ));
        let stream = AnyOfBuilder::new()
            .item(reference::<schema::StreamName>())
            .item(integer())
            .item(null)
            .description(Some("Default: `default`."));
        let count = AnyOfBuilder::new()
            .item(integer().maximum(Some(u32::MAX)))
            .item(text(r"^\s*\+?\d{1,10}\s*$"))
            .description(Some("Transactions in the minute."));
        let of_status = object()
            .property("status", text(r"^\s*[A-Za-z][A-Za-z0-9_ -]{0,63}\s*$"))
            .property("count", count)
            .required("status")
            .required("count");
        let counts = ArrayBuilder::new()
            .items(of_status)
            .max_items(Some(MAX_STATUSES));
        object()
            .description(Some(
                "The totals of one closed minute of one stream. A monitored status that the first message of a minute does not name is 0.",
            ))
            .property("timestamp", timestamp)
            .property("stream", stream)
            .property("transactions", counts)
            .required("timestamp")
            .required("transactions")
            .into()
    }
}

/// An object without other members.
fn object() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
}
