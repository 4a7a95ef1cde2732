//! The words of a receiver, made safe to keep: short, one line, without secrets.

/// Characters that are kept.
const MAX_WORDS: usize = 200;

/// Shorter parts of an address are no secrets, and would garble the words.
const MIN_SECRET: usize = 6;

/// `: ` and the beginning of an answer in one line, with each secret replaced; nothing for an empty answer.
pub(super) fn clean(answer: &str, secrets: &[&str]) -> String {
    let mut words = answer.to_owned();
    let mut secrets: Vec<_> = secrets
        .iter()
        .filter(|secret| secret.len() >= MIN_SECRET)
        .collect();
    // The longest first: one may contain another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        words = words.replace(*secret, "***");
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
        let secrets = ["/services/T000/hunter2", "hunter2", "id"];
        assert_eq!(
            clean("no POST /services/T000/hunter2, id hunter2", &secrets),
            ": no POST ***, id ***"
        );
    }
}
