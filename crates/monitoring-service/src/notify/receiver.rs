//! A receiver: its name, its client and its format.

use super::{
    alertmanager,
    client::{WebhookClient, WebhookError},
    json, pagerduty, slack,
    template::Template,
};
use crate::store::Content;

/// A receiver of notifications.
pub(crate) struct Receiver {
    /// Its name in the outbox, in logs and in `/health`.
    pub(crate) name: String,
    /// The client of its address.
    pub(crate) client: WebhookClient,
    /// The format of its messages.
    pub(crate) format: Format,
}

/// The format of messages.
pub(crate) enum Format {
    /// JSON of this service, for programs.
    Json,
    /// A message for a Slack incoming webhook.
    Slack,
    /// A PagerDuty event.
    PagerDuty {
        /// The integration key, a secret.
        routing_key: String,
    },
    /// Alerts for the API of an Alertmanager.
    Alertmanager,
    /// What a template of the operator makes of the JSON.
    Template(Box<Template>),
}

impl Receiver {
    /// The body of the POST.
    pub(super) fn body(
        &self,
        content: &Content,
        public_url: Option<&str>,
    ) -> Result<Vec<u8>, WebhookError> {
        Ok(match &self.format {
            Format::Json => json::body(content, public_url),
            Format::Slack => slack::body(content, public_url),
            Format::PagerDuty { routing_key } => pagerduty::body(content, routing_key, public_url),
            Format::Alertmanager => alertmanager::body(content, public_url),
            Format::Template(template) => template
                .body(content, public_url)
                .map_err(|reason| WebhookError::Template { reason })?,
        })
    }
}
