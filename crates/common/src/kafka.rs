//! What both programs read of their Kafka settings: `KAFKA_PROPERTIES`, more librdkafka properties, and the name of a topic. Creates no client.

use std::fmt;

/// Properties passed to librdkafka as they are, in the order given. Values may be passwords, so
/// neither `Debug` nor any error shows one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaProperties(Vec<(String, String)>);

impl KafkaProperties {
    /// Parses `key=value,key=value`; `\,` is a comma within a value, and space around keys and
    /// values is dropped. Refuses keys that begin with one of `owned`, which the program sets
    /// itself, and properties that need TLS or SCRAM in a build without the feature `kafka-tls`.
    pub fn parse(text: &str, owned: &[&str]) -> Result<Self, String> {
        // Neither a variable nor an argument can hold NUL, so it can replace an escaped comma.
        let escaped = text.replace("\\,", "\0");
        let entries = escaped.split(',').filter(|entry| !entry.trim().is_empty());
        entries
            .enumerate()
            .map(|(index, entry)| property(index + 1, &entry.replace('\0', ","), owned))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Key and value of each property.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl fmt::Debug for KafkaProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.pairs().map(|(key, _)| (key, format_args!(".."))))
            .finish()
    }
}

/// The broker whose name librdkafka could not resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnresolvedBroker {
    address: String,
    is_advertised: bool,
}

impl UnresolvedBroker {
    /// A broker that is not in `bootstrap.servers`; the others advertise its address, `host:port`.
    pub const fn advertised(address: String) -> Self {
        Self {
            address,
            is_advertised: true,
        }
    }

    /// Reads the reason of librdkafka's error `Resolve`: `host:port/id: what failed`, where the id of
    /// a broker in `bootstrap.servers` is `bootstrap`.
    pub fn from_reason(reason: &str) -> Option<Self> {
        let (name, _) = reason.split_once(": ")?;
        let (address, id) = name.rsplit_once('/')?;
        let address = address.split_once("://").map_or(address, |(_, rest)| rest);
        Some(Self {
            address: address.to_owned(),
            is_advertised: id != "bootstrap",
        })
    }
}

impl fmt::Display for UnresolvedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.address;
        if self.is_advertised {
            write!(
                f,
                "the broker advertises {address}, and this name cannot be resolved here; correct advertised.listeners of the broker, or make the name known to this host"
            )
        } else {
            write!(
                f,
                "the name of {address} cannot be resolved here; check KAFKA_BOOTSTRAP_SERVERS"
            )
        }
    }
}

/// Longest name of a topic.
const MAX_TOPIC_LENGTH: usize = 249;

/// Reads the name of a topic, as Kafka allows it. A carriage return at its end, from a file with other line ends, would be another topic.
pub fn parse_topic(text: &str) -> Result<String, String> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let is_name = !matches!(text, "" | "." | "..") && text.len() <= MAX_TOPIC_LENGTH;
    if is_name && text.bytes().all(is_allowed) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{:?} is no name of a topic; use at most {MAX_TOPIC_LENGTH} letters, digits, dots, underscores and hyphens",
        text.chars().take(80).collect::<String>()
    ))
}

fn property(number: usize, entry: &str, owned: &[&str]) -> Result<(String, String), String> {
    let (key, value) = entry.split_once('=').ok_or_else(|| {
        format!("entry {number} has no '='; give key=value,key=value and write a comma within a value as \\,")
    })?;
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() {
        return Err(format!("entry {number} has no key; give key=value"));
    }
    if owned.iter().any(|owned| key.starts_with(owned)) {
        return Err(format!("{key:?} is set by this program; remove it"));
    }
    // The error of librdkafka would not say how to get a build that has them.
    if !cfg!(feature = "kafka-tls") && needs_tls(key, value) {
        return Err(format!(
            "{key:?} needs TLS or SCRAM, which this build does not have; build with `--features kafka-tls`, or use the image"
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Whether librdkafka needs OpenSSL for this property.
fn needs_tls(key: &str, value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    match key {
        "security.protocol" => value.ends_with("ssl"),
        "sasl.mechanism" | "sasl.mechanisms" => value.starts_with("scram"),
        key => key.starts_with("ssl.") || key == "enable.ssl.certificate.verification",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<KafkaProperties, String> {
        KafkaProperties::parse(text, &["acks", "group."])
    }

    #[test]
    fn a_topic_has_a_name_that_kafka_allows() {
        for name in ["transactions", "a.b-c_D9", &"x".repeat(249)] {
            assert_eq!(parse_topic(name).as_deref(), Ok(name));
        }
        for bad in ["", ".", "..", "trans\r", "a b", "é", &"x".repeat(250)] {
            let error = parse_topic(bad).unwrap_err();
            assert!(error.contains("is no name of a topic"), "{error}");
        }
        assert!(
            parse_topic("trans\r")
                .unwrap_err()
                .starts_with(r#""trans\r""#)
        );
    }

    #[test]
    fn unescaped_commas_separate_entries() {
        let text = r"sasl.username=a, sasl.password=x\,y=z\\,,linger.ms=1";
        let properties = parse(text).unwrap();
        let expected = [
            ("sasl.username", "a"),
            ("sasl.password", r"x,y=z\,"),
            ("linger.ms", "1"),
        ];
        assert_eq!(properties.pairs().collect::<Vec<_>>(), expected);
        assert_eq!(parse("").unwrap(), KafkaProperties::default());
    }

    #[test]
    fn owned_keys_are_refused_by_name() {
        for key in ["acks", "group.id"] {
            let error = parse(&format!("linger.ms=1,{key}=hunter2")).unwrap_err();
            assert!(error.contains(key) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_unresolved_broker_is_advertised_or_configured() {
        let text =
            |reason: &str| UnresolvedBroker::from_reason(reason).map(|broker| broker.to_string());
        for name in ["kafka.internal:9192/1", "sasl_ssl://kafka.internal:9192/1"] {
            let reason = format!("{name}: Failed to resolve 'kafka.internal:9192': (after 0ms)");
            let text = text(&reason).unwrap();
            assert!(text.starts_with("the broker advertises kafka.internal:9192, "));
        }
        let configured = text("kafak:9092/bootstrap: Failed to resolve 'kafak:9092'").unwrap();
        assert!(configured.starts_with("the name of kafak:9092 cannot be resolved"));
        assert_eq!(text("GroupCoordinator: kafka:9192: Failed"), None);
        assert_eq!(text("2/2 brokers are down"), None);
    }

    #[test]
    fn no_value_is_ever_shown() {
        let error = parse("a=1,hunter2").unwrap_err();
        assert!(error.contains("entry 2") && !error.contains("hunter2"));
        assert!(parse("=hunter2").unwrap_err().contains("has no key"));
        assert_eq!(
            format!("{:?}", parse("sasl.password=hunter2").unwrap()),
            r#"{"sasl.password": ..}"#
        );
    }

    #[test]
    fn properties_that_need_openssl_are_known() {
        for (key, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("ssl.ca.location", "/ca.pem"),
        ] {
            assert!(needs_tls(key, value), "{key}");
        }
        for (key, value) in [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("linger.ms", "1"),
        ] {
            assert!(!needs_tls(key, value), "{key}");
        }
    }

    #[cfg(not(feature = "kafka-tls"))]
    #[test]
    fn a_build_without_tls_names_the_feature() {
        let error = parse("sasl.password=hunter2,security.protocol=SASL_SSL").unwrap_err();
        assert!(
            error.contains("security.protocol") && error.contains("kafka-tls"),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
}
