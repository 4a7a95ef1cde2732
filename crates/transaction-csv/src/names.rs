//! Names of statuses and streams as numbers: each spelling is checked once, and rows of a name share it.

use std::collections::HashMap;
use std::hash::Hash;

use detection::{Status, Stream};

use crate::faults::{FaultKind, Refusal};

/// `Backend Reversed` is `backend_reversed`: case, spaces and hyphens do not matter.
pub(crate) fn status_name(text: &str) -> String {
    text.trim().to_ascii_lowercase().replace([' ', '-'], "_")
}

/// The names of one column, numbered in the order of the file.
#[derive(Debug)]
pub(crate) struct Names<T> {
    /// In order of their numbers.
    pub(crate) all: Vec<T>,
    numbers: HashMap<T, u32>,
    spellings: HashMap<Box<[u8]>, u32>,
    newest: (Vec<u8>, u32),
}

impl<T: Clone + Eq + Hash> Names<T> {
    pub(crate) fn new() -> Self {
        Self {
            all: Vec::new(),
            numbers: HashMap::new(),
            spellings: HashMap::new(),
            newest: (Vec::new(), 0),
        }
    }

    /// The number of a valid name.
    pub(crate) fn number(&mut self, name: T) -> u32 {
        *self.numbers.entry(name).or_insert_with_key(|name| {
            self.all.push(name.clone());
            u32::try_from(self.all.len() - 1).expect("fewer than four billion names")
        })
    }

    fn find(
        &mut self,
        field: &[u8],
        parse: impl FnOnce(&str) -> Result<T, Refusal>,
        invalid: FaultKind,
    ) -> Result<u32, Refusal> {
        if !self.all.is_empty() && self.newest.0 == field {
            return Ok(self.newest.1);
        }
        let number = if let Some(number) = self.spellings.get(field) {
            *number
        } else {
            let text = std::str::from_utf8(field).map_err(|_| (invalid, "not UTF-8".to_owned()))?;
            let name = parse(text)?;
            let number = self.number(name);
            self.spellings.insert(field.into(), number);
            number
        };
        self.newest.0.clear();
        self.newest.0.extend_from_slice(field);
        self.newest.1 = number;
        Ok(number)
    }
}

impl Names<Status> {
    pub(crate) fn read(&mut self, field: &[u8]) -> Result<u32, Refusal> {
        let parse = |text: &str| {
            Status::parse(text)
                .or_else(|_| Status::parse(&status_name(text)))
                // The error names the status as it is in the file.
                .map_err(|_| (FaultKind::Status, status_error(text)))
        };
        self.find(field, parse, FaultKind::Status)
    }
}

fn status_error(text: &str) -> String {
    Status::parse(text).map_or_else(|error| error.to_string(), |status| status.to_string())
}

impl Names<Stream> {
    pub(crate) fn read(&mut self, field: &[u8]) -> Result<u32, Refusal> {
        let parse = |text: &str| {
            text.parse::<Stream>()
                .map_err(|error| (FaultKind::Stream, error.to_string()))
        };
        self.find(field, parse, FaultKind::Stream)
    }
}
