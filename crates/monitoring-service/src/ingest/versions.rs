//! The versions of the streams in memory: a commit names those that it goes on from, so that it is refused if another instance, or a
//! retirement, has changed a stream since it was loaded.

use std::collections::{HashMap, HashSet};

use detection::Stream;

use crate::store::{Store, StoreError};

/// The versions of the streams in memory.
pub(super) struct Versions {
    store: Store,
    /// As of the commit in flight.
    known: HashMap<Stream, i64>,
    /// Streams that were compared with the store for the requests at hand.
    checked: HashSet<Stream>,
}

impl Versions {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            known: HashMap::new(),
            checked: HashSet::new(),
        }
    }

    /// Notes the version of a stream that was loaded.
    pub(super) fn set(&mut self, stream: Stream, version: i64) {
        self.known.insert(stream, version);
    }

    pub(super) fn forget(&mut self, stream: &Stream) {
        self.known.remove(stream);
    }

    pub(super) fn forget_all(&mut self) {
        self.known.clear();
    }

    /// Compares streams with the store again, each before the next request about it. Call it when no commit is in flight.
    pub(super) fn check_again(&mut self) {
        self.checked.clear();
    }

    /// True if a stream in memory is as it is stored. Once a request about it was observed, its commit tells.
    pub(super) fn is_current(&mut self, stream: &Stream) -> Result<bool, StoreError> {
        if !self.store.is_shared() || !self.checked.insert(stream.clone()) {
            return Ok(true);
        }
        let stored = self.store.stream_version(stream.as_str())?;
        Ok(stored.or(Some(0)) == self.known.get(stream).copied())
    }

    /// The versions that the streams of a commit go on from. From now on they count as changed.
    pub(super) fn advance<'s>(
        &mut self,
        streams: impl Iterator<Item = &'s Stream>,
    ) -> HashMap<Stream, i64> {
        let advance = |stream: &'s Stream| {
            let version = self.known.get_mut(stream)?;
            *version += 1;
            Some((stream.clone(), *version - 1))
        };
        streams.filter_map(advance).collect()
    }
}
