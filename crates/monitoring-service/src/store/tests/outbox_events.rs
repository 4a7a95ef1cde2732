//! Deliveries of incident events.

use super::{open, wait};
use crate::{
    alerts::{Recipients, incident::IncidentMessage},
    notify::incident_examples::{opened, resolved},
    store::{
        Content, DeliveryFilter, DeliveryState, Store, StoreError, outbox, writer::Transaction,
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
            let text = serde_json::to_string(&message).expect("JSON");
            transaction.sql.execute(
                "INSERT INTO incident_events (incident_id, sequence, kind, recorded_at_ms, message) VALUES (?1, ?2, ?4, 0, ?3)",
                (
                    message.id.to_string(),
                    message.sequence,
                    text,
                    <&str>::from(message.event),
                ),
            )?;
            let event_id = transaction.sql.last_insert_rowid();
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
