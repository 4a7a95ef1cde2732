//! The message for a Slack incoming webhook: one layout for alerts and incidents. Programs that parse messages use
//! `WEBHOOK_FORMAT=json`.
//!
//! Slack refuses messages beyond its limits, so every text is cut to fit. Limits and escaping: <https://docs.slack.dev/reference/block-kit>.

use serde::Serialize;

use crate::store::Content;

mod alert;
mod incident;
#[cfg(test)]
mod tests;

/// Characters of a header.
const MAX_HEADER: usize = 150;

/// Characters of any other text, and of the line that notifications show.
const MAX_TEXT: usize = 3000;

/// Characters of a field.
const MAX_FIELD: usize = 2000;

/// Fields of a section.
const MAX_FIELDS: usize = 10;

/// What a message says, before it is cut and escaped.
struct Layout {
    header: String,
    sentence: String,
    fields: Vec<(&'static str, String)>,
    context: Vec<String>,
    /// The bar beside the message; none for an alert.
    colour: Option<&'static str>,
}

/// The body of the POST. A link is added where the address of this service is known.
pub(super) fn body(content: &Content, public_url: Option<&str>) -> Vec<u8> {
    let layout = match content {
        Content::Alert(alert) => alert::layout(alert),
        Content::Incident(message) => incident::layout(message),
    };
    let text = escaped(&format!("{}: {}", layout.header, layout.sentence), MAX_TEXT);
    let blocks = blocks(&layout, content.link(public_url));
    let message = match layout.colour {
        None => Message::Plain { text, blocks },
        Some(colour) => Message::Coloured {
            text,
            attachments: [Attachment { colour, blocks }],
        },
    };
    serde_json::to_vec(&message).expect("text can always be written")
}

fn blocks(layout: &Layout, link: Option<String>) -> Vec<Block> {
    let header = Text::Plain {
        text: escaped(&layout.header, MAX_HEADER),
        emoji: false,
    };
    let mut blocks = vec![
        Block::Header { text: header },
        Block::Section {
            text: Text::mrkdwn(escaped(&layout.sentence, MAX_TEXT)),
        },
    ];
    let fields = layout.fields.iter().take(MAX_FIELDS);
    let fields: Vec<_> = fields.map(|(name, value)| field(name, value)).collect();
    if !fields.is_empty() {
        blocks.push(Block::Fields { fields });
    }
    let context = layout.context.iter();
    let mut elements: Vec<_> = context
        .map(|text| Text::mrkdwn(escaped(text, MAX_FIELD)))
        .collect();
    elements.extend(link.and_then(|link| linked(&link)));
    blocks.push(Block::Context { elements });
    blocks
}

fn linked(link: &str) -> Option<Text> {
    // Within a link `|` begins its text.
    let link = escaped(link, usize::MAX).replace('|', "%7C");
    // Omit a link that is too long; a cut one would not work.
    (link.len() < MAX_FIELD).then(|| Text::mrkdwn(format!("<{link}|open it>")))
}

fn field(name: &str, value: &str) -> Text {
    Text::mrkdwn(format!("*{name}*\n{}", escaped(value, MAX_FIELD - 100)))
}

/// The text with Slack's three special characters escaped, cut between characters to at most `max` of them.
fn escaped(text: &str, max: usize) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut length = 0;
    for character in text.chars() {
        let mut buffer = [0; 4];
        let piece = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            other => other.encode_utf8(&mut buffer),
        };
        length += piece.chars().count();
        // Keep room for the ellipsis.
        if length >= max {
            escaped.push('…');
            break;
        }
        escaped.push_str(piece);
    }
    escaped
}

#[derive(Serialize)]
#[serde(untagged)]
enum Message {
    Plain {
        /// What a notification shows.
        text: String,
        blocks: Vec<Block>,
    },
    /// Only attachments have a colour.
    Coloured {
        text: String,
        attachments: [Attachment; 1],
    },
}

#[derive(Serialize)]
struct Attachment {
    #[serde(rename = "color")]
    colour: &'static str,
    blocks: Vec<Block>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Header {
        text: Text,
    },
    Section {
        text: Text,
    },
    #[serde(rename = "section")]
    Fields {
        fields: Vec<Text>,
    },
    Context {
        elements: Vec<Text>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Text {
    #[serde(rename = "plain_text")]
    Plain { text: String, emoji: bool },
    /// Verbatim: no name in it becomes a link or a mention.
    Mrkdwn { text: String, verbatim: bool },
}

impl Text {
    const fn mrkdwn(text: String) -> Self {
        Self::Mrkdwn {
            text,
            verbatim: true,
        }
    }
}
