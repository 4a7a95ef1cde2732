//! How the file separates its values, found from its first lines: a byte order mark, a line `sep=;`,
//! and the delimiter. It reads no row.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use csv::ByteRecord;

/// The longest header that is searched for a delimiter.
const MAX_HEADER_BYTES: u64 = 64 * 1024;

/// Delimiters that are recognised; of two that occur equally often, the earlier one.
const DELIMITERS: [u8; 3] = *b",;\t";

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// How values and lines are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    /// Lines before the header.
    pub(crate) lines_before: u64,
    /// Lines end with CR and LF.
    ends_with_crlf: bool,
}

impl Dialect {
    /// The line of a record, counted from 1 at the top of the file.
    pub(crate) fn line(&self, record: &ByteRecord) -> u64 {
        let line = record.position().map_or(0, csv::Position::line);
        // The reader ends a record at CR, and takes the LF for the begin of the next one.
        line + self.lines_before + u64::from(self.ends_with_crlf)
    }
}

/// The dialect, and the file from its header on.
pub(crate) fn detect<'a>(input: impl Read + 'a) -> io::Result<(Dialect, Box<dyn Read + 'a>)> {
    let mut input = BufReader::with_capacity(crate::BUFFER_BYTES, input);
    let mut line = read_line(&mut input)?;
    if UTF16_MARKS.iter().any(|mark| line.starts_with(mark)) {
        let text = "the file is UTF-16; save it again as CSV UTF-8";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    if line.starts_with(UTF8_MARK) {
        line.drain(..UTF8_MARK.len());
    }
    let stated = stated(&line);
    if stated.is_some() {
        line = read_line(&mut input)?;
    }
    let dialect = Dialect {
        delimiter: stated.unwrap_or_else(|| most_frequent(&line)),
        lines_before: u64::from(stated.is_some()),
        ends_with_crlf: line.ends_with(b"\r\n"),
    };
    Ok((dialect, Box::new(Cursor::new(line).chain(input))))
}

fn read_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input
        .take(MAX_HEADER_BYTES)
        .read_until(b'\n', &mut line)
        .map(|_| line)
}

/// The delimiter of a line `sep=;`, which spreadsheets write and read.
fn stated(line: &[u8]) -> Option<u8> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        [name @ .., delimiter] if name.eq_ignore_ascii_case(b"sep=") => Some(*delimiter),
        _ => None,
    }
}

fn most_frequent(header: &[u8]) -> u8 {
    let mut quoted = false;
    let mut found = [0_usize; DELIMITERS.len()];
    for byte in header {
        quoted ^= *byte == b'"';
        if let Some(i) = DELIMITERS.iter().position(|delimiter| delimiter == byte)
            && !quoted
        {
            found[i] += 1;
        }
    }
    // `max_by_key` returns the last of equals, so the earlier delimiter wins in reverse order.
    let most = (0..DELIMITERS.len()).rev().max_by_key(|i| found[*i]);
    DELIMITERS[most.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_and_marks_are_recognised() {
        for (file, delimiter, lines_before, rest) in [
            ("a,b,c\n1", b',', 0, "a,b,c\n1"),
            ("a;b;c\r\n1", b';', 0, "a;b;c\r\n1"),
            ("a\tb\tc\n", b'\t', 0, "a\tb\tc\n"),
            ("\u{feff}a;b\n", b';', 0, "a;b\n"),
            ("\u{feff}sep=;\r\na;b,c,d\n", b';', 1, "a;b,c,d\n"),
            ("SEP=\t\na\tb\n", b'\t', 1, "a\tb\n"),
            ("\"a;b;c\",d\n", b',', 0, "\"a;b;c\",d\n"),
            ("a\n", b',', 0, "a\n"),
            ("", b',', 0, ""),
        ] {
            let (dialect, input) = detect(file.as_bytes()).unwrap();
            assert_eq!(
                (dialect.delimiter, dialect.lines_before),
                (delimiter, lines_before)
            );
            assert_eq!(io::read_to_string(input).unwrap(), rest, "{file:?}");
        }
    }

    #[test]
    fn utf_16_is_refused_with_advice() {
        let error = detect(&b"\xff\xfet\0i\0"[..]).err().unwrap().to_string();
        assert!(error.contains("save it again as CSV UTF-8"), "{error}");
    }
}
