//! Variables that look like settings of the service and are none, such as a misspelled one.

use std::collections::{BTreeSet, HashSet};

use clap::Command;

use super::action::command;

/// A variable that has no effect.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// The most similar variable that has one.
    pub nearest: String,
}

/// Beginnings that other programs share: those of Rust, OpenTelemetry and `HTTP_PROXY`.
const SHARED: [&str; 4] = ["RUST", "OTEL", "HTTP", "GRAFANA"];

/// The variables of this process that begin like ours and are unknown. Empty ones count as not set.
pub fn unknown_variables() -> Vec<UnknownVariable> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    let names = set.filter_map(|(name, _)| name.into_string().ok());
    unknown(&command(), names)
}

fn unknown(command: &Command, names: impl Iterator<Item = String>) -> Vec<UnknownVariable> {
    let known = known(command);
    let words: HashSet<_> = known.iter().filter_map(|name| first_word(name)).collect();
    let begins_like_ours = |name: &String| {
        first_word(name).is_some_and(|word| words.contains(word) && !SHARED.contains(&word))
    };
    let suspects: BTreeSet<_> = names
        .filter(|name| !known.contains(name) && begins_like_ours(name) && !is_service_link(name))
        .collect();
    suspects
        .into_iter()
        .map(|name| UnknownVariable {
            nearest: nearest(&name, &known),
            name,
        })
        .collect()
}

/// The variable of each setting, and for a secret that of its file.
fn known(command: &Command) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for arg in command.get_arguments() {
        let Some(name) = arg.get_env().and_then(|name| name.to_str()) else {
            continue;
        };
        known.insert(name.to_owned());
        if arg.is_hide_env_values_set() {
            known.insert(format!("{name}_FILE"));
        }
    }
    known
}

/// `ALERT` of `ALERT_WEBHOOK_URL`; a name of one word has none.
fn first_word(name: &str) -> Option<&str> {
    name.split_once('_').map(|(word, _)| word)
}

/// Kubernetes and Docker describe every other service to a container: `KAFKA_SERVICE_HOST`, `KAFKA_PORT_9092_TCP`.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_PORT")
        || ["_SERVICE_", "_PORT_"]
            .iter()
            .any(|part| name.contains(part))
}

fn nearest(name: &str, known: &BTreeSet<String>) -> String {
    let similarity = |other: &&String| strsim::jaro_winkler(name, other);
    let nearest = known
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    nearest.cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_variables_are_found_with_the_nearest_name() {
        let found = |name: &str| {
            let found = unknown(&command(), [name.to_owned()].into_iter());
            found.into_iter().next().map(|one| one.nearest)
        };
        for (name, nearest) in [
            ("ALERT_WEBHOK_URL", "ALERT_WEBHOOK_URL"),
            ("ALERT_WEBHOOK_URI_FILE", "ALERT_WEBHOOK_URL_FILE"),
            ("WEBHOOK_FORMATS", "WEBHOOK_FORMAT"),
            ("DATABASE_PAHT", "DATABASE_PATH"),
            ("KAFKA_TOPIC_FILE", "KAFKA_TOPIC"),
        ] {
            assert_eq!(found(name).as_deref(), Some(nearest), "{name}");
        }
        for name in [
            "ALERT_WEBHOOK_URL",
            "API_TOKEN_FILE",
            "RUST_BACKTRACE",
            "OTEL_TRACES_SAMPLER",
            "HTTP_PROXY",
            "KAFKA_SERVICE_HOST",
            "KAFKA_PORT_9092_TCP",
            "GRAFANA_PASSWORD",
            "PATH",
            "HOME",
            "PAGER",
        ] {
            assert_eq!(found(name), None, "{name}");
        }
    }
}
