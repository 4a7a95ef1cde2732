//! What both programs must know of the Kafka client they are built with. It makes no client and knows no topic.

/// An error if these librdkafka settings need TLS or SCRAM and the build is without (cargo feature `kafka-tls`): librdkafka's
/// own words would not say how to get it. No value is repeated.
pub fn require_tls<'a>(
    properties: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> anyhow::Result<()> {
    match properties
        .into_iter()
        .find(|(key, value)| needs_tls(key, value))
    {
        Some((key, _)) if !cfg!(feature = "kafka-tls") => anyhow::bail!(
            "KAFKA_PROPERTIES: {key} needs TLS or SCRAM, which this build is without; build with `--features kafka-tls`, or use the image"
        ),
        _ => Ok(()),
    }
}

/// True for a setting that librdkafka needs OpenSSL for.
fn needs_tls(key: &str, value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    match key {
        "security.protocol" => value.ends_with("ssl"),
        "sasl.mechanism" | "sasl.mechanisms" => value.starts_with("scram"),
        key => key.starts_with("ssl.") || key == "enable.ssl.certificate.verification",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_openssl_is_known_and_the_rest_is_not_held_up() {
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
    fn a_build_without_tls_names_the_feature_and_no_secret() {
        let asked = [
            ("sasl.password", "hunter2"),
            ("security.protocol", "SASL_SSL"),
        ];
        let error = require_tls(asked).unwrap_err().to_string();
        assert!(
            error.contains("security.protocol") && error.contains("kafka-tls"),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
}
