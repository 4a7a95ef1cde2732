//! The first minutes of a file whose rows come in any order, so that a few minutes of a large file need
//! little memory.

use std::collections::BTreeSet;

/// The first minutes among those seen so far.
#[derive(Debug)]
pub(crate) struct FirstMinutes {
    most: usize,
    minutes: BTreeSet<i32>,
}

impl FirstMinutes {
    pub(crate) fn new(most: u64) -> Self {
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            minutes: BTreeSet::new(),
        }
    }

    /// True if the minute is one of them; it may take the place of a later one.
    pub(crate) fn admit(&mut self, minute: i32) -> bool {
        if self.minutes.len() == self.most && self.last().is_none_or(|last| last < minute) {
            return false;
        }
        self.minutes.insert(minute);
        if self.minutes.len() > self.most {
            self.minutes.pop_last();
        }
        true
    }

    /// The last of them.
    pub(crate) fn last(&self) -> Option<i32> {
        self.minutes.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_minute_replaces_the_last_one() {
        let mut first = FirstMinutes::new(2);
        let admitted = [9, 3, 9, 5, 9, 3, 7, 1].map(|minute| first.admit(minute));
        assert_eq!(admitted, [true, true, true, true, false, true, false, true]);
        assert_eq!(first.last(), Some(3));
    }
}
