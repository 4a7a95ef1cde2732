//! Deliveries of incident events.

use super::{open, wait};
use crate::{
    alerts::{Recipients, incident::IncidentMessage},
    notify::incident_examples::{opened, resolved},
    store::{
        Content, DeliveryFilter, DeliveryState, Store, StoreError, engine::params, outbox,
        writer::Transaction,
    },
};

impl Store {
    /// Stores the event of an incident, with a delivery to each receiver.
    pub(crate) async fn record_event(
        &self,
        message: IncidentMessage,
        receivers: &[&str],
        due_at_ms: i64,
    ) -> Result<(), StoreError> {
        let recipients = Recipients {
            receivers: receivers.iter().map(ToString::to_string).collect(),
            fallback: Some("spare".to_owned()),
        };
        let record = move |transaction: &mut Transaction<'_>| {
            const INCIDENT: &str =
                "INSERT INTO incidents (id, kind, stream, severity, opened_at_ms, recorded_at_ms, message, sequence, ended_at_ms)
                 VALUES (?1, ?2, ?3, 5, 0, 0, ?4, ?5, ?6) ON CONFLICT (id) DO UPDATE SET ended_at_ms = excluded.ended_at_ms";
            const EVENT: &str =
                "INSERT INTO incident_events (incident_id, sequence, kind, recorded_at_ms, message)
                 VALUES (?1, ?2, ?3, 0, ?4) RETURNING id";
            let sql = transaction.sql;
            let text = serde_json::to_string(&message).expect("JSON");
            let id = message.id.to_string();
            let (kind, event) = (<&str>::from(message.kind), <&str>::from(message.event));
            sql.prepare_cached(INCIDENT)?.execute(params![
                id,
                kind,
                message.stream,
                text,
                message.sequence,
                message.ended_at.map(|at| at.0)
            ])?;
            let event_id = sql
                .prepare_cached(EVENT)?
                .query_row(params![id, message.sequence, event, text], |row| row.get(0))?;
            outbox::insert_event(transaction, event_id, &recipients, due_at_ms, due_at_ms)?;
            Ok(())
        };
        self.writer.call(record).await
    }
}

fn tell(store: &Store, message: IncidentMessage, receivers: &[&str], due_at_ms: i64) {
    wait(store.record_event(message, receivers, due_at_ms));
}

#[test]
fn an_event_is_due_at_each_receiver_with_its_message() {
    let (store, _folder) = open();
    tell(&store, opened(), &["default", "pager"], 5);
    let due = |receiver, now_ms| wait(store.due_deliveries(receiver, false, now_ms, 10));
    assert!(due("default", 4).is_empty());
    let both = ["default", "pager"]
        .into_iter()
        .flat_map(|receiver| due(receiver, 5));
    let contents: Vec<_> = both.map(|due| due.content).collect();
    let content = Content::Incident(Box::new(opened()));
    assert_eq!(contents, [content.clone(), content]);
}

#[test]
fn events_are_listed_by_the_stream_of_their_incident() {
    let (store, _folder) = open();
    tell(&store, opened(), &["default"], 1);
    tell(&store, resolved(), &["default"], 1);
    let listed = |stream: &str| {
        let filter = DeliveryFilter {
            stream: Some(stream.to_owned()),
            state: Some(DeliveryState::Pending),
            limit: 10,
            ..DeliveryFilter::default()
        };
        let listed = wait(store.deliveries(filter)).into_iter();
        listed.map(|listed| listed.content).collect::<Vec<_>>()
    };
    let content = |message| Content::Incident(Box::new(message));
    assert_eq!(
        listed("acquirer-7"),
        [content(resolved()), content(opened())]
    );
    assert!(listed("another").is_empty());
}
