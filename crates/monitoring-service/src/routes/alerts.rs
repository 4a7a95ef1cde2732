//! `GET /alerts` and `GET /alerts/{id}`: recorded alerts and their deliveries.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use detection::{MonitoredStatus, Severity, Stream};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    AppState,
    error::Problem,
    extract::{Fields, PathId, QueryParams},
    openapi,
    params::{self, Cursor, Limit, named, page},
    schema,
    views::{AlertDetailView, AlertView, DeliveryView},
};
use crate::{alerts::Origin, store::AlertFilter};

/// Which alerts to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AlertsQuery {
    /// Only of this stream.
    #[param(value_type = schema::StreamName, required = false)]
    stream: Option<Stream>,
    /// Only this status.
    #[param(value_type = schema::MonitoredStatus, required = false)]
    #[serde(default, deserialize_with = "status")]
    status: Option<MonitoredStatus>,
    /// Only this severity.
    #[param(value_type = schema::AlertSeverity, required = false)]
    #[serde(default, deserialize_with = "severity")]
    severity: Option<Severity>,
    /// Only from there.
    #[param(value_type = schema::OriginName, required = false)]
    #[serde(default, deserialize_with = "origin")]
    origin: Option<Origin>,
    /// Only those that were notified (true), or only those that were suppressed (false).
    #[param(value_type = bool, required = false)]
    notified: Option<bool>,
    /// Entries of a page.
    #[param(value_type = u32, minimum = 1, maximum = 500, default = 50, required = false)]
    #[serde(default)]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = schema::CursorText, required = false)]
    cursor: Option<Cursor>,
}

impl Fields for AlertsQuery {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("stream", params::STREAM_FIX),
        ("status", params::STATUS_FIX),
        ("severity", "use WARNING or CRITICAL"),
        ("origin", "use stream, evaluate or monitor"),
        ("notified", "use true or false"),
        ("limit", params::LIMIT_FIX),
        ("cursor", params::CURSOR_FIX),
    ];
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MonitoredStatus>, D::Error> {
    named(deserializer, "a monitored status", |name| name.parse().ok())
}

fn severity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Severity>, D::Error> {
    named(deserializer, "the severity of an alert", |name| {
        [Severity::Warning, Severity::Critical]
            .into_iter()
            .find(|severity| severity.name() == name)
    })
}

fn origin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Origin>, D::Error> {
    named(deserializer, "the origin of an alert", |name| {
        name.parse().ok()
    })
}

/// A page of alerts, newest first.
#[derive(Serialize, ToSchema)]
struct AlertsView {
    alerts: Vec<AlertView>,
    next_cursor: Option<String>,
}

/// The recorded alerts, notified or suppressed.
#[utoipa::path(
    get,
    path = "/alerts",
    operation_id = "list_alerts",
    tag = "alerts",
    params(AlertsQuery),
    responses((status = 200, description = "A page of alerts, newest first", body = AlertsView), openapi::Query)
)]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<AlertsQuery>,
) -> Result<impl IntoResponse, Problem> {
    let filter = AlertFilter {
        stream: query.stream.map(|stream| stream.to_string()),
        status: query.status,
        severity: query.severity,
        origin: query.origin,
        notified: query.notified,
        before: query.cursor.map(|Cursor(seq)| seq),
        limit: query.limit.probe(),
    };
    let (alerts, next_cursor) = page(
        state.store.alerts(filter).await?,
        query.limit,
        |(seq, _)| *seq,
    );
    Ok(Json(AlertsView {
        alerts: alerts
            .into_iter()
            .map(|(_, alert)| AlertView::from(&alert))
            .collect(),
        next_cursor,
    }))
}

/// One alert with its evidence and its deliveries.
#[utoipa::path(
    get,
    path = "/alerts/{id}",
    operation_id = "get_alert",
    tag = "alerts",
    params(("id" = schema::Id, Path, description = "From a list of them")),
    responses((status = 200, description = "The alert", body = AlertDetailView), openapi::OfOne)
)]
pub(super) async fn one(
    State(state): State<Arc<AppState>>,
    PathId(id): PathId<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    let Some((alert, deliveries)) = state.store.alert(id).await? else {
        return Err(Problem::not_found(format!("there is no alert {id}"))
            .field("id")
            .value(&*id.to_string())
            .fix("GET /alerts lists the alerts that are kept"));
    };
    let deliveries = deliveries.into_iter().map(DeliveryView::from).collect();
    Ok(Json(AlertDetailView {
        alert: AlertView::from(&alert),
        deliveries,
    }))
}
