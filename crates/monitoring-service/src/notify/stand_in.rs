//! The fallback: what it gets of what failing receivers owe, and what its messages say about that. Who it is, and after which time it
//! stands in, is decided by the settings.

use std::borrow::Cow;

use super::{Delivery, Receiver, board::Gate};
use crate::{
    alerts::incident_text,
    store::{Content, Owed, StoreError},
};

impl Delivery {
    /// Gives the fallback what failing receivers owe of what is new and open.
    pub(super) async fn stand_in(&self) -> Result<(), StoreError> {
        let (now_ms, board) = (self.context.clock.now_ms(), &self.context.receivers);
        let Some(fallback) = &self.context.notify.fallback else {
            return Ok(());
        };
        for (receiver, _) in board.replaced_by(fallback, now_ms) {
            let oldest_ms = self.context.notify.max_age_ms.map_or(0, |age| now_ms - age);
            let owed = Owed {
                receiver: receiver.clone(),
                fallback: fallback.receiver.clone(),
                oldest_ms,
                // After a time without deliveries, the next one shows first whether the receiver still fails. What was given up is not
                // attempted again.
                pending: matches!(board.gate(&receiver, now_ms), Gate::ClosedUntil(_)),
            };
            let deliveries = self.context.store.stand_in(owed, now_ms).await?;
            if deliveries > 0 {
                let fallback = &fallback.receiver;
                tracing::warn!(
                    receiver,
                    fallback,
                    deliveries,
                    "receiver fails; its messages go to the fallback, too"
                );
            }
        }
        Ok(())
    }

    /// The content as this receiver gets it: to the fallback it says whom it stands in for.
    pub(super) fn explained<'a>(
        &self,
        receiver: &Receiver,
        content: &'a Content,
    ) -> Cow<'a, Content> {
        let fallback = self.context.notify.fallback.as_ref();
        let Some(fallback) = fallback.filter(|fallback| fallback.receiver == receiver.name) else {
            return Cow::Borrowed(content);
        };
        let now_ms = self.context.clock.now_ms();
        let replaced = self.context.receivers.replaced_by(fallback, now_ms);
        let Some(why) = why(&replaced, now_ms) else {
            return Cow::Borrowed(content);
        };
        let mut content = content.clone();
        let message = match &mut content {
            Content::Alert(alert) => &mut alert.message,
            Content::Incident(incident) => &mut incident.message,
        };
        let end = if message.ends_with('.') { "" } else { "." };
        *message = format!("{message}{end} {why}");
        Cow::Owned(content)
    }
}

/// Why the fallback is sent something, in a sentence; none if no receiver fails.
fn why(failing: &[(String, i64)], now_ms: i64) -> Option<String> {
    let names: Vec<_> = failing.iter().map(|(name, _)| name.as_str()).collect();
    let since_ms = failing.iter().map(|(_, since_ms)| *since_ms).min()?;
    let length = incident_text::length((now_ms - since_ms) / 60_000);
    let (receivers, have) = match names.len() {
        1 => ("receiver", "has"),
        _ => ("receivers", "have"),
    };
    let names = names.join(" and ");
    Some(format!(
        "This is the fallback: the {receivers} {names} {have} not accepted notifications for {length}."
    ))
}
