//! What the API says after a round.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{input::Counts, site::Site};

/// What differs between runs: times of recording, traces, and where a notification is.
const ALERT_EXCEPT: [&str; 3] = ["recorded_at", "trace_id", "span_id"];
const INCIDENT_FACTS: [&str; 10] = [
    "id",
    "title",
    "severity",
    "opened_at",
    "ended_at",
    "end_reason",
    "sequence",
    "statuses",
    "missing_approvals",
    "excess_problems",
];

/// A notification: the id of an alert, or that of an incident and the number of its event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    pub(crate) id: String,
    pub(crate) sequence: u64,
}

impl Subject {
    pub(crate) fn of(message: &Value) -> Self {
        Self {
            id: message["id"].as_str().unwrap_or_default().to_owned(),
            sequence: message["sequence"].as_u64().unwrap_or(0),
        }
    }
}

/// A notification as the service sees it.
pub(crate) struct Delivery {
    pub(crate) subject: Subject,
    pub(crate) state: String,
    /// True if it is about one incident, or sums up several.
    pub(crate) is_incident: bool,
    /// True if it began to be sent and the service saw no answer: also after a kill before the first byte or before the refusal was read.
    pub(crate) may_have_arrived: bool,
}

pub(crate) struct Facts {
    pub(crate) counts: Counts,
    /// The rows with the findings of each policy.
    pub(crate) findings: Vec<String>,
    /// The alerts of the streams.
    pub(crate) alerts: Vec<String>,
    pub(crate) incidents: Vec<String>,
    /// The incidents that have ended.
    pub(crate) ended: BTreeSet<String>,
    /// Every alert, and those that are notified.
    pub(crate) recorded: BTreeSet<String>,
    pub(crate) notified: BTreeSet<String>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) gaps: Vec<Value>,
    pub(crate) health: Value,
}

impl Facts {
    pub(crate) async fn read(site: &Site, streams: &[&str]) -> Result<Self> {
        let (mut counts, mut findings) = (Counts::new(), Vec::new());
        for stream in streams {
            for policy in ["zscore", "adaptive"] {
                let path = format!("/transactions?stream={stream}&policy={policy}");
                for row in site.list(&path, "transactions").await? {
                    if let Some(count) = row["count"].as_u64().filter(|count| *count > 0) {
                        let text =
                            |member: &str| row[member].as_str().unwrap_or_default().to_owned();
                        counts.insert(
                            ((*stream).to_owned(), text("minute"), text("status")),
                            count,
                        );
                    }
                    findings.push(format!("{stream} {row}"));
                }
            }
        }
        let all = site.list("/alerts", "alerts").await?;
        let ids = |alerts: &mut dyn Iterator<Item = &Value>| {
            alerts.map(|alert| Subject::of(alert).id).collect()
        };
        let recorded = ids(&mut all.iter());
        // A summary of what was not sent is checked with the incidents that it sums up.
        let is_notified =
            |alert: &&Value| alert["suppressed"].is_null() && alert["type"] != "receiver.summary";
        let notified = ids(&mut all.iter().filter(is_notified));
        let streams = all.into_iter().filter(|alert| alert["origin"] == "stream");
        let incidents = site.list("/incidents", "incidents").await?;
        let ended = incidents
            .iter()
            .filter(|incident| !incident["ended_at"].is_null());
        let deliveries = site.list("/deliveries", "deliveries").await?;
        Ok(Self {
            counts,
            findings,
            alerts: sorted(streams.map(without)),
            ended: ended.map(|incident| Subject::of(incident).id).collect(),
            incidents: sorted(incidents.iter().map(only)),
            recorded,
            notified,
            deliveries: deliveries.iter().map(delivery).collect::<Result<_>>()?,
            gaps: site.list("/offset-gaps", "offset_gaps").await?,
            health: site.get("/health").await?,
        })
    }
}

fn sorted(entries: impl Iterator<Item = String>) -> Vec<String> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable();
    entries
}

fn without(mut alert: Value) -> String {
    if let Some(members) = alert.as_object_mut() {
        members.retain(|name, _| !ALERT_EXCEPT.contains(&name.as_str()));
    }
    alert.to_string()
}

fn only(incident: &Value) -> String {
    INCIDENT_FACTS
        .map(|name| incident[name].to_string())
        .join(" ")
}

fn delivery(entry: &Value) -> Result<Delivery> {
    let is_incident = !entry["incident"].is_null();
    let subject = Subject::of(&entry[if is_incident { "incident" } else { "alert" }]);
    let state = entry["state"]
        .as_str()
        .context("a delivery has a state")?
        .to_owned();
    Ok(Delivery {
        subject,
        state,
        is_incident: is_incident || entry["alert"]["type"] == "receiver.summary",
        may_have_arrived: entry["may_have_arrived"]
            .as_bool()
            .context("a delivery says whether it may have arrived")?,
    })
}
