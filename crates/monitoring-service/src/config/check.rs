//! Rules that involve more than one setting.

use detection::{Thresholds, detector::adaptive::AdaptiveSettings};

use super::{Config, ReceiverSettings, Shadow, WebhookFormat};
use crate::ingest::KafkaInput;

impl Config {
    /// Refuses settings that do not go together.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self {
            warning_threshold: warning,
            critical_threshold: critical,
            min_history,
            baseline_window,
            ..
        } = self;
        if Thresholds::try_new(*warning, *critical).is_err() {
            return Err(format!(
                "WARNING_THRESHOLD is {warning} and CRITICAL_THRESHOLD is {critical}: give 0 < warning < critical"
            ));
        }
        if self.kafka_brokers().is_none() && self.input.kafka_input != KafkaInput::Minutes {
            return Err(
                "KAFKA_BOOTSTRAP_SERVERS=none reads no messages, so KAFKA_INPUT says nothing; leave it out: POST /transactions takes minutes"
                    .to_owned(),
            );
        }
        if min_history > baseline_window {
            return Err(format!(
                "MIN_HISTORY is {min_history} and BASELINE_WINDOW is {baseline_window}: a baseline never has more minutes than its window; give MIN_HISTORY from 1 to {baseline_window}"
            ));
        }
        AdaptiveSettings::try_new(self.adaptive_critical).map_err(|error| error.to_string())?;
        if self.shadow_policy == Some(Shadow(Some(self.detection_policy))) {
            return Err(format!(
                "SHADOW_POLICY equals DETECTION_POLICY, {}: it would judge everything twice; give the other policy, or none",
                self.detection_policy
            ));
        }
        let is_pagerduty = self.webhook_format == WebhookFormat::PagerDuty;
        if is_pagerduty != self.webhook_routing_key.is_some() {
            return Err(
                "WEBHOOK_FORMAT=pagerduty and WEBHOOK_ROUTING_KEY need each other; give both or neither"
                    .to_owned(),
            );
        }
        let is_template = self.webhook_format == WebhookFormat::Template;
        if is_template != self.webhook_template_file.is_some() {
            return Err(
                "WEBHOOK_FORMAT=template and WEBHOOK_TEMPLATE_FILE need each other; give both or neither"
                    .to_owned(),
            );
        }
        self.check_fallback()?;
        let receivers = self.receivers();
        let shared = |one: &&ReceiverSettings| Some(&one.url) == self.log_webhook_url.as_ref();
        if let Some(receiver) = receivers.iter().find(shared) {
            return Err(format!(
                "LOG_WEBHOOK_URL is the address of the receiver {:?} (ALERT_WEBHOOK_URL, FALLBACK_WEBHOOK_URL, RECEIVERS_FILE), which expects alerts only; give another address",
                receiver.name
            ));
        }
        Ok(())
    }
}
