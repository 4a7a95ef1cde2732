//! Links to the dashboard, the traces and the logs in Grafana, where GRAFANA_URL is set. The dashboard and the data sources are those of
//! `grafana/`.

use url::Url;

use crate::routes::AppState;

/// The dashboard of `grafana/dashboards`.
const DASHBOARD: &str = "monitoring-overview";

/// Grafana at an address.
#[derive(Clone, Copy)]
pub(super) struct Grafana<'a>(&'a str);

impl AppState {
    /// Grafana, if its address is set.
    pub(super) fn grafana(&self) -> Option<Grafana<'_>> {
        self.grafana_url.as_deref().map(Grafana)
    }
}

impl Grafana<'_> {
    /// The dashboard from one instant to another; without an end up to now.
    pub(super) fn dashboard(
        self,
        stream: Option<&str>,
        from_ms: i64,
        to_ms: Option<i64>,
    ) -> String {
        let to = to_ms.map_or_else(|| "now".to_owned(), |to_ms| to_ms.to_string());
        let stream = stream.map(|stream| ("var-stream", stream.to_owned()));
        let range = [("from", from_ms.to_string()), ("to", to)];
        self.at(&format!("d/{DASHBOARD}"), stream.into_iter().chain(range))
    }

    /// A trace.
    pub(super) fn trace(self, id: &str) -> String {
        let query = serde_json::json!({"query": id, "refId": "A"});
        self.explore("jaeger", query)
    }

    /// The log lines of a trace.
    pub(super) fn logs(self, id: &str) -> String {
        let expression = format!("{{job=\"transaction-monitoring\"}} | trace_id = \"{id}\"");
        let query = serde_json::json!({"expr": expression, "refId": "A"});
        self.explore("loki", query)
    }

    fn explore(self, source: &str, mut query: serde_json::Value) -> String {
        query["datasource"] = serde_json::json!({"type": source, "uid": source});
        let panes = serde_json::json!({"a": {
            "datasource": source,
            "queries": [query],
            "range": {"from": "now-24h", "to": "now"},
        }});
        let fixed =
            [("schemaVersion", "1"), ("orgId", "1")].map(|(name, value)| (name, value.to_owned()));
        self.at(
            "explore",
            fixed.into_iter().chain([("panes", panes.to_string())]),
        )
    }

    fn at(self, path: &str, query: impl IntoIterator<Item = (&'static str, String)>) -> String {
        let whole = format!("{}/{path}", self.0);
        Url::parse_with_params(&whole, query).map_or(whole, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const GRAFANA: Grafana<'static> = Grafana("https://pay.example/grafana");

    #[test]
    fn the_dashboard_shows_the_stream_at_that_time() {
        assert_eq!(
            GRAFANA.dashboard(Some("day-1"), 1000, Some(2000)),
            "https://pay.example/grafana/d/monitoring-overview?var-stream=day-1&from=1000&to=2000"
        );
        assert_eq!(
            GRAFANA.dashboard(None, 1000, None),
            "https://pay.example/grafana/d/monitoring-overview?from=1000&to=now"
        );
    }

    /// Path and query of an address below `https://pay.example/grafana`; JSON in the query is compared by its content.
    fn parts(address: &str) -> (String, BTreeMap<String, serde_json::Value>) {
        let url = Url::parse(address).unwrap();
        let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| text.into());
        let query = url.query_pairs();
        let query = query.map(|(name, text)| (name.into_owned(), value(&text)));
        (url.path().to_owned(), query.collect())
    }

    /// The dashboard leads to the same places.
    #[test]
    fn trace_and_logs_are_those_of_the_dashboard() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../grafana/dashboards/monitoring-overview.json"
        );
        let text = std::fs::read_to_string(path).unwrap();
        let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(dashboard["uid"], DASHBOARD);
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (title, ours) in [
            ("Open the trace", GRAFANA.trace(id)),
            ("Logs of the trace", GRAFANA.logs(id)),
        ] {
            let (_, rest) = text.split_once(&format!("\"title\": \"{title}\"")).unwrap();
            let (_, rest) = rest.split_once("\"url\": \"").unwrap();
            let (theirs, _) = rest.split_once('"').unwrap();
            let theirs = format!("{}{}", GRAFANA.0, theirs.replace("${__value.raw}", id));
            assert_eq!(parts(&ours), parts(&theirs), "{title}");
        }
    }
}
