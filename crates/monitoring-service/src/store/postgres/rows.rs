//! Rows that a query has fetched: all of them, or piece after piece.

use tokio_postgres::Row;

use crate::store::engine::Result;

/// Fetches the next rows; true with the last ones.
type Fetch<'a> = Box<dyn FnMut() -> Result<(Vec<Row>, bool)> + 'a>;

/// The rows of a query.
pub(in crate::store) struct Fetched<'a> {
    rows: std::vec::IntoIter<Row>,
    current: Option<Row>,
    more: Option<Fetch<'a>>,
}

impl<'a> Fetched<'a> {
    pub(super) fn all(rows: Vec<Row>) -> Self {
        Self {
            rows: rows.into_iter(),
            current: None,
            more: None,
        }
    }

    pub(super) fn in_pieces(fetch: impl FnMut() -> Result<(Vec<Row>, bool)> + 'a) -> Self {
        Self {
            rows: Vec::new().into_iter(),
            current: None,
            more: Some(Box::new(fetch)),
        }
    }

    pub(in crate::store) fn next(&mut self) -> Result<Option<&Row>> {
        self.current = self.rows.next();
        if self.current.is_none()
            && let Some(fetch) = &mut self.more
        {
            let (rows, is_last) = fetch()?;
            if is_last {
                self.more = None;
            }
            self.rows = rows.into_iter();
            self.current = self.rows.next();
        }
        Ok(self.current.as_ref())
    }
}
