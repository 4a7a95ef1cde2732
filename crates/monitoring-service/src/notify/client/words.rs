//! The words of a receiver, made safe to keep: short, one line, without secrets.

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// Characters that are kept.
const MAX_WORDS: usize = 200;

/// Shorter parts of an address are no secrets, and would garble the words.
const MIN_SECRET: usize = 6;

/// `: ` and the beginning of an answer in one line, with each secret replaced; nothing for an empty answer.
pub(super) fn clean(answer: &str, secrets: &[String]) -> String {
    let mut words = answer.to_owned();
    let mut secrets: Vec<_> = secrets
        .iter()
        .filter(|secret| secret.len() >= MIN_SECRET)
        .collect();
    // The longest first: one may contain another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        words = words.replace(secret.as_str(), "***");
    }
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let words: String = words.chars().map(visible).collect();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() {
        return words;
    }
    let cut: String = words.chars().take(MAX_WORDS).collect();
    let more = if cut.len() < words.len() { "…" } else { "" };
    format!(": {cut}{more}")
}

/// The value of a header, the credentials behind its scheme (`Bearer ...`), and those that are encoded (`Basic ...`).
pub(super) fn secrets_of_header(value: &str) -> Vec<String> {
    let mut secrets = vec![value.to_owned()];
    let Some((scheme, credentials)) = value.split_once(' ') else {
        return secrets;
    };
    secrets.push(credentials.trim().to_owned());
    secrets.extend(
        credentials
            .split([' ', ',', '=', '"'])
            .map(ToOwned::to_owned),
    );
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = BASE64_STANDARD.decode(credentials.trim()).ok();
        let decoded = decoded.and_then(|decoded| String::from_utf8(decoded).ok());
        secrets.extend(
            decoded
                .iter()
                .flat_map(|pair| pair.splitn(2, ':'))
                .map(ToOwned::to_owned),
        );
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_short_line() {
        assert_eq!(
            clean(" invalid\r\n\tpayload\u{1b}[31m ", &[]),
            ": invalid payload [31m"
        );
        assert_eq!(clean("\n", &[]), "");
        let long = clean(&"é".repeat(300), &[]);
        assert_eq!((long.chars().count(), long.ends_with('…')), (203, true));
    }

    #[test]
    fn an_address_that_is_repeated_is_hidden() {
        let secrets = ["/services/T000/hunter2", "hunter2", "id"].map(ToOwned::to_owned);
        assert_eq!(
            clean("no POST /services/T000/hunter2, id hunter2", &secrets),
            ": no POST ***, id ***"
        );
    }

    #[test]
    fn the_credentials_of_a_header_are_hidden() {
        let hidden = |header: &str, answer: &str| clean(answer, &secrets_of_header(header));
        assert_eq!(
            hidden("Bearer hunter22", "no Bearer of hunter22"),
            ": no Bearer of ***"
        );
        assert_eq!(
            hidden("Token token=\"hunter22\"", "no token hunter22"),
            ": no token ***"
        );
        let basic = format!("Basic {}", BASE64_STANDARD.encode("monitor:hunter22"));
        assert_eq!(
            hidden(&basic, "monitor may not log in with hunter22"),
            ": *** may not log in with ***"
        );
        assert_eq!(hidden("hunter22", "bad key hunter22"), ": bad key ***");
    }
}
