//! `GET /alerts`, `GET /alerts/{id}` and `POST /alerts/test`: alerts, and whether they were notified.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use detection::{MonitoredStatus, PolicyName, Severity, Stream};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, schema::Type},
};
use uuid::Uuid;

use super::{
    AppState,
    error::Problem,
    extract::{Nothing, PathId, QueryParams},
    fields::{fields, reference},
    openapi,
    parameters::{Page, Range, values},
    schema,
};
use crate::{
    alerts::{Alert, Origin, json::AlertView},
    store::{AlertFilter, DeliveryRecord},
};

fields! {
    /// Which alerts.
    pub(super) struct AlertsQuery {
        /// Only of this stream.
        stream: Option<Stream>,
        /// Only of this status.
        status: Option<MonitoredStatus>,
        /// Only of this policy.
        policy: Option<PolicyName>,
        /// Only of this severity.
        severity: Option<AlertSeverity>,
        /// Only of this origin.
        origin: Option<Origin>,
        /// `true`: only those that were notified; `false`: only those that were suppressed.
        notified: Option<bool>,
        ..range: Range,
        ..page: Page,
    }
}

/// The severity of an alert.
#[derive(Clone, Copy)]
pub(crate) struct AlertSeverity(Severity);

impl From<AlertSeverity> for Severity {
    fn from(AlertSeverity(severity): AlertSeverity) -> Self {
        severity
    }
}

values! {
    AlertSeverity: reference::<schema::AlertSeverity>(),
        |text: &str| match text.parse() {
            Ok(severity @ (Severity::Warning | Severity::Critical)) => Ok(AlertSeverity(severity)),
            _ => Err("is not the severity of an alert".to_owned()),
        },
        "use WARNING or CRITICAL";
    Origin: reference::<schema::OriginName>(),
        |text: &str| text.parse().map_err(|_| "is not the origin of an alert".to_owned()),
        "use stream, evaluate or monitor";
    bool: ObjectBuilder::new().schema_type(Type::Boolean),
        |text: &str| text.parse().map_err(|_| "is not true or false".to_owned()),
        "use true or false";
}

/// A page of alerts, newest first.
#[derive(Serialize, ToSchema)]
struct Alerts {
    alerts: Vec<AlertView>,
    next_cursor: Option<String>,
}

/// The recorded alerts, notified or suppressed.
///
/// A range selects alerts by their minute; alerts of the monitor itself have none and are selected by the time of recording.
#[utoipa::path(
    get,
    path = "/alerts",
    operation_id = "list_alerts",
    tag = "alerts",
    params(AlertsQuery),
    responses((status = 200, description = "A page of alerts, newest first", body = Alerts), openapi::Query)
)]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<AlertsQuery>,
) -> Result<impl IntoResponse, Problem> {
    let (from, to) = query.range.ends()?;
    let filter = AlertFilter {
        stream: query.stream.map(|stream| stream.to_string()),
        status: query.status,
        policy: query.policy,
        severity: query.severity.map(Severity::from),
        origin: query.origin,
        notified: query.notified,
        from,
        to,
        before: query.page.before(),
        limit: query.page.probe(),
    };
    let alerts = state.store.alerts(filter).await?;
    let (alerts, next_cursor) = query.page.cut(alerts, |(seq, _)| *seq);
    Ok(Json(Alerts {
        alerts: alerts.iter().map(|(_, alert)| alert.into()).collect(),
        next_cursor,
    }))
}

/// An alert with its deliveries.
#[derive(Serialize, ToSchema)]
struct AlertDetail {
    #[serde(flatten)]
    alert: AlertView,
    deliveries: Vec<DeliveryRecord>,
}

/// One alert with its evidence and its deliveries.
#[utoipa::path(
    get,
    path = "/alerts/{id}",
    operation_id = "get_alert",
    tag = "alerts",
    params(("id" = schema::Id, Path, description = "From GET /alerts")),
    responses((status = 200, description = "The alert", body = AlertDetail), openapi::OfOne)
)]
pub(super) async fn one(
    State(state): State<Arc<AppState>>,
    PathId(id): PathId<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    let Some((alert, deliveries)) = state.store.alert(id).await? else {
        return Err(Problem::not_found("id", "alert", id).fix("GET /alerts lists the alerts"));
    };
    Ok(Json(AlertDetail {
        alert: (&alert).into(),
        deliveries,
    }))
}

/// Sends one notification, marked as a test, to check that notifications arrive.
#[utoipa::path(
    post,
    path = "/alerts/test",
    operation_id = "send_test_alert",
    tag = "control",
    responses((status = 202, description = "The alert; GET /alerts/{id} shows its delivery", body = AlertView), openapi::Query)
)]
pub(super) async fn test(
    State(state): State<Arc<AppState>>,
    QueryParams(Nothing): QueryParams<Nothing>,
) -> Result<impl IntoResponse, Problem> {
    let alert = Alert::test(&state.notify, state.clock.now_ms());
    state.store.record_alert(alert.clone()).await?;
    state.announcer.announce(&alert);
    Ok((StatusCode::ACCEPTED, Json(AlertView::from(&alert))))
}
