//! Whether most of the newest messages are dead letters. Pure.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The newest messages that count.
const NEWEST: usize = 20;

/// Messages that are needed to decide.
const MIN_MESSAGES: usize = 5;

/// Which of the newest messages were dead letters.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    newest: VecDeque<bool>,
    detail: String,
}

/// What the newest messages say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acceptance {
    /// Too few messages since the start.
    #[default]
    Unknown,
    /// Most are stored.
    Accepting,
    /// Most are dead letters: the sentence.
    Rejecting(String),
}

impl Rejections {
    /// Counts the messages of a commit; `detail`: why its last dead letter is one.
    pub(super) fn count(&mut self, stored: usize, dead: usize, detail: Option<&str>) {
        // The order within a commit does not matter for a majority.
        let newest = std::iter::repeat_n(false, stored.min(NEWEST));
        self.newest
            .extend(newest.chain(std::iter::repeat_n(true, dead.min(NEWEST))));
        let excess = self.newest.len().saturating_sub(NEWEST);
        self.newest.drain(..excess);
        if let Some(detail) = detail {
            detail.clone_into(&mut self.detail);
        }
    }

    pub(super) fn acceptance(&self) -> Acceptance {
        let (all, dead) = (
            self.newest.len(),
            self.newest.iter().filter(|dead| **dead).count(),
        );
        if all < MIN_MESSAGES {
            Acceptance::Unknown
        } else if dead * 2 > all {
            let detail = &self.detail;
            Acceptance::Rejecting(format!(
                "{dead} of the newest {all} messages are dead letters, the last one: {detail}"
            ))
        } else {
            Acceptance::Accepting
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_the_newest_messages_decide() {
        let mut rejections = Rejections::default();
        rejections.count(0, 4, Some("no JSON"));
        assert_eq!(rejections.acceptance(), Acceptance::Unknown);
        rejections.count(0, 1, Some("no JSON"));
        let Acceptance::Rejecting(text) = rejections.acceptance() else {
            panic!("5 of 5 are dead letters")
        };
        assert_eq!(
            text,
            "5 of the newest 5 messages are dead letters, the last one: no JSON"
        );
        rejections.count(5, 0, None);
        assert_eq!(rejections.acceptance(), Acceptance::Accepting);
        rejections.count(1000, 0, None);
        for at in 1..=10 {
            rejections.count(0, 1, Some("no JSON"));
            assert_eq!(rejections.acceptance(), Acceptance::Accepting, "{at} of 20");
        }
        rejections.count(0, 1, Some("no JSON"));
        assert!(matches!(rejections.acceptance(), Acceptance::Rejecting(_)));
    }
}
