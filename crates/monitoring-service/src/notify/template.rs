//! A template of the operator for the body of a webhook. Each value is written as JSON, so text needs no quotes.

use std::path::Path;

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;

use super::json;
use crate::store::Content;

/// Messages as receivers of `json` get them: two alerts, and events of incidents.
const SAMPLES: &str = include_str!("template/samples.json");

/// The only template of its environment.
const NAME: &str = "template";

/// A template that was tried.
pub(crate) struct Template(Environment<'static>);

impl Template {
    /// Reads a template and tries it on samples, with links or without as messages will be; the error names file and line.
    pub(crate) fn read(path: &Path, public_url: Option<&str>) -> anyhow::Result<Self> {
        let tried = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read it: {error}"))
            .and_then(|text| Self::try_new(text, public_url.is_some()));
        tried.map_err(|reason| anyhow::anyhow!("template {}: {reason}", path.display()))
    }

    fn try_new(text: String, links: bool) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Json);
        // A wrong name is an error; a condition may ask for a field that only some messages have.
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment
            .add_template_owned(NAME, text)
            .map_err(|error| in_words(&error))?;
        let template = Self(environment);
        let samples: Vec<Value> = serde_json::from_str(SAMPLES).expect("a test checks them");
        for mut sample in samples {
            if let (false, Some(fields)) = (links, sample.as_object_mut()) {
                fields.remove("links");
            }
            let tried = template.render(&sample);
            tried.map_err(|reason| format!("{reason} (tried on a sample {})", sample["type"]))?;
        }
        Ok(template)
    }

    /// The body for a message; the error is what the template does wrong.
    pub(super) fn body(
        &self,
        content: &Content,
        public_url: Option<&str>,
    ) -> Result<Vec<u8>, String> {
        let message = json::body(content, public_url);
        let message = serde_json::from_slice(&message).expect("written as JSON");
        self.render(&message)
    }

    fn render(&self, message: &Value) -> Result<Vec<u8>, String> {
        let template = self.0.get_template(NAME).expect("added at the start");
        let text = template.render(message).map_err(|error| in_words(&error))?;
        match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Ok(_) => Ok(text.into_bytes()),
            Err(error) => {
                let line = text.lines().nth(error.line().saturating_sub(1));
                let line = line.unwrap_or_default().trim();
                Err(format!("its output is not JSON: {error}: {line}"))
            }
        }
    }
}

fn in_words(error: &minijinja::Error) -> String {
    let detail = error.detail().map(|detail| format!(": {detail}"));
    let line = error.line().unwrap_or(1);
    format!(
        "line {line}: {}{}",
        error.kind(),
        detail.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alerts::Subject,
        notify::{incident_examples, json_examples},
    };

    const BASE: &str = "https://monitor.example";

    fn examples() -> Vec<Content> {
        let streams = vec!["a".to_owned(), "b".to_owned()];
        let stale = Subject::StaleStreams { streams };
        let alerts = [
            json_examples::example(),
            json_examples::of_monitor(stale, "2 streams are stale"),
        ];
        let grouped = crate::alerts::incident::IncidentMessage {
            statuses: Vec::new(),
            ..incident_examples::group()
        };
        let incidents = [
            incident_examples::opened(),
            incident_examples::escalated(),
            incident_examples::resolved(),
            grouped,
        ];
        let alerts = alerts.map(|alert| Content::Alert(Box::new(alert)));
        let incidents = incidents.map(|incident| Content::Incident(Box::new(incident)));
        alerts.into_iter().chain(incidents).collect()
    }

    fn value(body: &[u8]) -> Value {
        serde_json::from_slice(body).expect("JSON")
    }

    fn template(text: &str) -> Result<Template, String> {
        Template::try_new(text.to_owned(), true)
    }

    #[test]
    fn the_samples_are_messages_of_today() {
        let today = examples()
            .iter()
            .map(|one| value(&json::body(one, Some(BASE))))
            .collect();
        let samples: Value = serde_json::from_str(SAMPLES).expect("JSON");
        assert_eq!(samples, Value::Array(today));
    }

    #[test]
    fn the_documented_templates_render() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/templates");
        let bodies = |file: &str, base| {
            let template = Template::read(&folder.join(file), base).expect(file);
            let body = |one| value(&template.body(one, base).expect("it was tried"));
            examples().iter().map(body).collect::<Vec<_>>()
        };
        let discord = bodies("discord.json.jinja", Some(BASE));
        let embed = |number: usize| &discord[number]["embeds"][0];
        assert_eq!(embed(0)["title"], "acquirer-7/denied/up");
        assert_eq!(embed(2)["title"], "acquirer-7: denied up");
        assert_eq!(embed(2)["color"], 15_158_332);
        assert_eq!(embed(4)["title"], "Over: acquirer-7: denied up");
        let link = format!("{BASE}/page/incidents/0f8fad5b-d9cb-569f-a165-70867728950e");
        assert_eq!(embed(4)["url"], link);
        assert!(bodies("discord.json.jinja", None)[4]["embeds"][0]["url"].is_null());

        let teams = bodies("teams.json.jinja", Some(BASE));
        let card = |number: usize| &teams[number]["attachments"][0]["content"];
        assert_eq!(card(2)["body"][2]["facts"][0]["value"], "30");
        assert_eq!(card(4)["body"][0]["color"], "Good");
        assert_eq!(card(4)["actions"][0]["url"], link);
        assert!(
            bodies("teams.json.jinja", None)[1]["attachments"][0]["content"]["actions"].is_null()
        );
    }

    #[test]
    fn text_cannot_break_out_of_its_value() {
        let mut message = incident_examples::opened();
        message.message = "\"}, \"x\": {\"\n".to_owned();
        let content = Content::Incident(Box::new(message));
        let body = template("{\"text\": {{ message }}}")
            .expect("right")
            .body(&content, None);
        assert_eq!(value(&body.expect("JSON"))["text"], "\"}, \"x\": {\"\n");
    }

    #[test]
    fn a_wrong_template_is_refused_with_its_line() {
        let cases = [
            ("{\n\"a\": {{ colour }}}", "line 2: undefined value"),
            ("{\n{% if %}", "line 2: syntax error"),
            ("{\"a\": {{ statuses[0].count }}}", "line 1: "),
            ("{\"a\": \"{{ message }}\"}", "its output is not JSON"),
        ];
        for (text, fault) in cases {
            let error = template(text).err().expect(text);
            assert!(error.contains(fault), "{text}: {error}");
        }
        let missing = Template::read(Path::new("/nowhere"), None)
            .err()
            .expect("no file");
        assert!(
            missing
                .to_string()
                .starts_with("template /nowhere: cannot read it")
        );
    }
}
