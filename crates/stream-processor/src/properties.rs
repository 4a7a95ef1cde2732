//! `KAFKA_PROPERTIES`: more settings for librdkafka. May hold passwords, so neither its `Debug` nor its errors show a value.

use std::fmt;

/// What the program sets itself: everything that "each batch acknowledged, in order" and the bound on memory rest on.
const OWNED_PROPERTIES: [&str; 10] = [
    "acks",
    "bootstrap.servers",
    "delivery.report.only.error",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "metadata.broker.list",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "request.required.acks",
    "transactional.id",
];

/// Settings in the order in which they were given.
#[derive(Clone, Default)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    /// Reads `key=value,...`; a comma inside a value is written `\,`. Empty text is no setting.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let entries = split(text)
            .into_iter()
            .filter(|entry| !entry.trim().is_empty())
            .enumerate();
        entries
            .map(|(index, entry)| property(index, &entry))
            .collect::<anyhow::Result<_>>()
            .map(Self)
    }

    /// The settings.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|(key, _)| key))
            .finish()
    }
}

fn split(text: &str) -> Vec<String> {
    let mut entries = vec![String::new()];
    let mut rest = text;
    while let Some(comma) = rest.find(',') {
        let entry = entries.last_mut().expect("never empty");
        if let Some(escaped) = rest[..comma].strip_suffix('\\') {
            entry.push_str(escaped);
            entry.push(',');
        } else {
            entry.push_str(&rest[..comma]);
            entries.push(String::new());
        }
        rest = &rest[comma + 1..];
    }
    entries.last_mut().expect("never empty").push_str(rest);
    entries
}

fn property(index: usize, entry: &str) -> anyhow::Result<(String, String)> {
    let Some((key, value)) = entry.split_once('=') else {
        anyhow::bail!(
            "KAFKA_PROPERTIES: entry {} has no '='; allowed is key=value,... (a comma in a value as \\,)",
            index + 1
        );
    };
    let key = key.trim();
    anyhow::ensure!(
        !OWNED_PROPERTIES.contains(&key),
        "KAFKA_PROPERTIES: {key} is set by stream-processor itself; leave it out"
    );
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_split_at_commas_that_are_not_escaped() {
        let text = r"sasl.username=a, sasl.password=x\,y=z\\,,linger.ms=1";
        let properties = Properties::parse(text).unwrap();
        let expected = [
            ("sasl.username", "a"),
            ("sasl.password", r"x,y=z\,"),
            ("linger.ms", "1"),
        ];
        assert_eq!(properties.iter().collect::<Vec<_>>(), expected);
        assert_eq!(Properties::parse("").unwrap().iter().count(), 0);
    }

    #[test]
    fn a_key_that_the_program_owns_is_refused_by_name() {
        for key in OWNED_PROPERTIES {
            let error = Properties::parse(&format!("linger.ms=1,{key}=hunter2"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(key) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn no_value_is_ever_shown() {
        let error = Properties::parse("a=1,hunter2").unwrap_err().to_string();
        assert!(
            error.contains("entry 2") && !error.contains("hunter2"),
            "{error}"
        );
        assert_eq!(
            format!("{:?}", Properties::parse("sasl.password=hunter2").unwrap()),
            r#"{"sasl.password"}"#
        );
    }
}
