//! Gzip around the CSV, recognised by its first bytes and not by the file name. No other compression is supported.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// The first bytes of a gzip member (RFC 1952, section 2.3.1).
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The bytes of `input`, decompressed if they are gzip. Members that follow each other are read as one file.
pub(crate) fn decompressed<'a>(input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut input = BufReader::with_capacity(1 << 16, input);
    let is_gzip = input.fill_buf()?.starts_with(&MAGIC);
    Ok(if is_gzip {
        Box::new(Gzip(MultiGzDecoder::new(input)))
    } else {
        Box::new(input)
    })
}

/// Errors of the decoder say only "unexpected end of file" or "corrupt deflate stream"; these say of what.
struct Gzip<R>(MultiGzDecoder<R>);

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let text =
                format!("the gzip data is incomplete or damaged; compress the file again: {error}");
            io::Error::new(error.kind(), text)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<String> {
        io::read_to_string(decompressed(bytes)?)
    }

    #[test]
    fn gzip_is_recognised_by_its_first_bytes() {
        assert_eq!(read(&gzip("a,b\n1,2\n")).unwrap(), "a,b\n1,2\n");
        let members = [gzip("a,b\n"), gzip("1,2\n")].concat();
        assert_eq!(read(&members).unwrap(), "a,b\n1,2\n");
        for plain in ["", "a", "a,b\n1,2\n"] {
            assert_eq!(read(plain.as_bytes()).unwrap(), plain);
        }
    }

    #[test]
    fn damaged_gzip_is_an_error_that_says_so() {
        let whole = gzip("timestamp,status,count\n");
        let mut garbled = whole.clone();
        let checksum = whole.len() - 8;
        garbled[checksum] ^= 1;
        for damaged in [&whole[..whole.len() - 3], &whole[..12], &garbled] {
            let error = read(damaged).unwrap_err().to_string();
            assert!(
                error.contains("gzip data is incomplete or damaged"),
                "{error}"
            );
        }
    }
}
