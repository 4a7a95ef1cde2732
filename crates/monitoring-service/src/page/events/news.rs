//! Gathers what happened, once a second, into one event of each kind at most: during a backlog that is thousands of minutes and hundreds
//! of alerts a second.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use detection::Suppression;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    sync::{broadcast, broadcast::error::TryRecvError},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Feed, Kind};
use crate::{
    alerts::{Alert, incident_update::RecordedEvent},
    context::Context,
    routes::health::Condition,
    store::Newest,
};

/// Alerts, incidents or streams that an event names; more are `null`.
const MAX_NAMED: usize = 20;

const INTERVAL: Duration = Duration::from_secs(1);

/// Passes between two checks of the health.
const HEALTH_PASSES: u32 = 5;

/// Publishes what happened, once a second, until the stop.
pub(crate) async fn run(
    feed: Feed,
    context: Context,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut alerts = context.announcer.subscribe();
    let mut incidents = context.announcer.subscribe_incidents();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seen, mut health, mut pass) = (0, None, 0_u32);
    let mut newest = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let news = [
            (Kind::Alert, gather(&mut alerts, of_alert)),
            (
                Kind::Incident,
                gather(&mut incidents, |event: &RecordedEvent| {
                    Some((event.message.id, event.message.stream.clone()))
                }),
            ),
            (Kind::Minute, minutes(&context, &mut seen)),
        ];
        for (kind, data) in news {
            if let Some(data) = data {
                feed.publish(kind, &data);
            }
        }
        if context.store.is_shared() && feed.live.receiver_count() > 0 {
            publish_others(&feed, &context, &mut newest).await;
        }
        if pass.is_multiple_of(HEALTH_PASSES) && feed.live.receiver_count() > 0 {
            publish_health(&feed, &context, &mut health).await;
        }
        pass = pass.wrapping_add(1);
    }
}

/// The streams with a commit since the last pass; none if there was no commit.
fn minutes(context: &Context, seen: &mut u64) -> Option<Value> {
    let commits = context.snapshots.commits();
    let changed = (commits != *seen).then(|| context.snapshots.changed_since(*seen))?;
    *seen = commits;
    // A commit without a snapshot of a stream may have changed any.
    let streams = (!changed.is_empty()).then(|| changed.into_iter().collect::<Named>());
    Some(json!({"streams": streams}))
}

/// Names that an event has, unless there are too many.
#[derive(Serialize)]
#[serde(transparent)]
struct Named(Option<BTreeSet<String>>);

impl Default for Named {
    fn default() -> Self {
        Self(Some(BTreeSet::new()))
    }
}

impl Named {
    fn add(&mut self, name: Option<String>) {
        self.0 = match (self.0.take(), name) {
            (Some(mut names), Some(name)) => {
                names.insert(name);
                (names.len() <= MAX_NAMED).then_some(names)
            }
            _ => None,
        };
    }
}

impl FromIterator<String> for Named {
    fn from_iter<T: IntoIterator<Item = String>>(names: T) -> Self {
        let mut all = Self::default();
        names.into_iter().for_each(|name| all.add(Some(name)));
        all
    }
}

/// What an alert or an incident is about: its id, and its stream, none where it is of several.
type Subject = (Uuid, Option<String>);

/// Alerts that neither repeat another one nor are of the policy in shadow.
fn of_alert(alert: &Alert) -> Option<Subject> {
    let is_news = !alert.is_muted() && alert.suppression != Some(Suppression::Shadow);
    let stream = alert
        .anomaly()
        .map(|anomaly| anomaly.key.stream.to_string());
    is_news.then_some((alert.id, stream))
}

/// One event about everything of a kind that was announced since the last pass; none if that is nothing.
fn gather<T>(
    announced: &mut broadcast::Receiver<Arc<T>>,
    about: fn(&T) -> Option<Subject>,
) -> Option<Value> {
    let (mut ids, mut streams, mut is_news) = (Named::default(), Named::default(), false);
    loop {
        let (id, stream) = match announced.try_recv() {
            Ok(event) => match about(&event) {
                Some((id, stream)) => (Some(id.to_string()), stream),
                None => continue,
            },
            // So many that the oldest are gone.
            Err(TryRecvError::Lagged(_)) => (None, None),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        };
        is_news = true;
        ids.add(id);
        streams.add(stream);
    }
    is_news.then(|| json!({"ids": ids, "streams": streams}))
}

/// What other instances on the database may have recorded since the last pass. It is not named, and what this one recorded is repeated.
async fn publish_others(feed: &Feed, context: &Context, last: &mut Option<Newest>) {
    let Ok(now) = context.store.newest().await else {
        return;
    };
    let Some(before) = last.replace(now) else {
        return;
    };
    let unnamed = json!({"ids": null, "streams": null});
    let news = [
        (Kind::Alert, now.alert != before.alert, &unnamed),
        (Kind::Incident, now.incident != before.incident, &unnamed),
        (
            Kind::Minute,
            now.arrival_ms != before.arrival_ms,
            &json!({"streams": null}),
        ),
    ];
    for (kind, is_new, data) in news {
        if is_new {
            feed.publish(kind, data);
        }
    }
}

/// The health as text, so that any change is one.
async fn publish_health(feed: &Feed, context: &Context, last: &mut Option<Condition>) {
    let now = crate::routes::health::check(context).await.status;
    if last.replace(now).is_some_and(|last| last != now) {
        feed.publish(Kind::Health, &json!({"status": now}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An announcement: its number and its stream, if it is news.
    type Announced = Option<(u128, Option<&'static str>)>;

    fn gathered(announced: &[Announced]) -> Option<Value> {
        let (sender, mut receiver) = broadcast::channel(64);
        for one in announced {
            sender.send(Arc::new(*one)).unwrap();
        }
        gather(&mut receiver, |one: &Announced| {
            one.map(|(id, stream)| (Uuid::from_u128(id), stream.map(str::to_owned)))
        })
    }

    #[test]
    fn a_second_is_one_event() {
        let [one, two] = [1, 2].map(|id| Uuid::from_u128(id).to_string());
        let announced = [Some((2, Some("b"))), None, Some((1, Some("a")))];
        let again = [Some((2, Some("b")))];
        assert_eq!(
            gathered(&[&announced[..], &again].concat()),
            Some(json!({"ids": [one, two], "streams": ["a", "b"]}))
        );
        assert_eq!(gathered(&[None]), None, "a repeated alert is no news");
    }

    #[test]
    fn what_cannot_be_named_is_null() {
        let many: Vec<Announced> = (0..=20).map(|id| Some((id, Some("a")))).collect();
        assert_eq!(
            gathered(&many),
            Some(json!({"ids": null, "streams": ["a"]}))
        );
        let lost: Vec<Announced> = (0..65).map(|_| Some((1, Some("a")))).collect();
        let of_all = Some(json!({"ids": null, "streams": null}));
        assert_eq!(gathered(&lost), of_all, "the oldest is gone");
        let of_several = gathered(&[Some((1, Some("a"))), Some((2, None))]).unwrap();
        assert_eq!(of_several["streams"], Value::Null);
    }
}
