//! How the file separates its values, found from its first lines: a byte order mark, a line `sep=;`,
//! and the delimiter. It reads no row.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use csv::ByteRecord;

/// The longest header that is searched for a delimiter.
const MAX_HEADER_BYTES: u64 = 64 * 1024;

/// Delimiters that are recognised; of two that occur equally often, the earlier one.
const DELIMITERS: [u8; 4] = *b",;\t|";

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
    if let Some(advice) = no_csv(&line) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, advice));
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

/// What a file of another kind is, and what to do.
fn no_csv(line: &[u8]) -> Option<&'static str> {
    let begins = |marks: &[&[u8]]| marks.iter().any(|mark| line.starts_with(mark));
    if begins(&UTF16_MARKS) {
        Some("the file is UTF-16; save it again as CSV UTF-8")
    } else if begins(&[b"PK\x03\x04"]) {
        Some(
            "the file is a zip archive or an Excel workbook; unpack it, or save the sheet as CSV UTF-8",
        )
    } else if begins(&[b"PAR1", b"Obj\x01"]) {
        Some("the file is Parquet or Avro; export it as CSV")
    } else if begins(&[b"{", b"["]) {
        Some("the file is JSON; export it as CSV")
    } else {
        None
    }
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
            ("a|b|c\n", b'|', 0, "a|b|c\n"),
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
    fn other_files_are_refused_with_advice() {
        for (file, advice) in [
            (&b"\xff\xfet\0i\0"[..], "save it again as CSV UTF-8"),
            (b"PK\x03\x04\x14\0", "save the sheet as CSV UTF-8"),
            (b"PAR1\x15\x04", "export it as CSV"),
            (b"{\"timestamp\":1}\n", "the file is JSON; export it as CSV"),
        ] {
            let error = detect(file).err().unwrap().to_string();
            assert!(error.contains(advice), "{error}");
        }
    }
}
