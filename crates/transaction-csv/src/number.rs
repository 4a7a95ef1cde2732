//! Counts as people write them: `118`, `118.0`, `"1,003"`, `1 003`. A text that could mean two numbers is refused.

/// The count of a field. `delimiter` is that of the file.
pub(crate) fn parse_count(field: &[u8], delimiter: u8) -> Result<u32, String> {
    plain(field)
        .or_else(|| with_separators(field, delimiter))
        .ok_or_else(|| {
            let text = String::from_utf8_lossy(field);
            let text: String = text.chars().take(80).collect();
            format!("{text:?} is not a whole number from 0 to {}", u32::MAX)
        })
}

fn plain(digits: &[u8]) -> Option<u32> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all_digits.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

/// `1,003` and `118.0`. Where a comma separates values, a point is decimal. Otherwise either may be:
/// `1.003` and `118,0` are read, too, and `118.000` is refused, because it is 118 or 118000.
fn with_separators(field: &[u8], delimiter: u8) -> Option<u32> {
    if let Some(spaced) = spaced(field) {
        return number(&spaced, b' ', b'.').or_else(|| number(&spaced, b' ', b','));
    }
    let with_point = number(field, b',', b'.');
    if delimiter == b',' {
        return with_point;
    }
    match (with_point, number(field, b'.', b',')) {
        (Some(a), Some(b)) if a != b => None,
        (a, b) => a.or(b),
    }
}

/// The field with a space between its groups, if there is a space of any kind or an apostrophe between them.
fn spaced(field: &[u8]) -> Option<Vec<u8>> {
    let is_separator = |c: char| {
        matches!(
            c,
            ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}' | '\'' | '\u{2019}'
        )
    };
    let text = std::str::from_utf8(field).ok()?;
    let spaced = text.contains(is_separator);
    spaced.then(|| text.replace(is_separator, " ").into_bytes())
}

/// Groups of three digits, and a fraction of zeros.
fn number(field: &[u8], grouping: u8, decimal: u8) -> Option<u32> {
    let mut parts = field.splitn(2, |byte| *byte == decimal);
    let whole = parts.next()?;
    if let Some(fraction) = parts.next()
        && (fraction.is_empty() || fraction.iter().any(|byte| *byte != b'0'))
    {
        return None;
    }
    let mut groups = whole.split(|byte| *byte == grouping);
    let first = groups.next()?;
    let mut digits = first.to_vec();
    for group in groups {
        if group.len() != 3 || first.is_empty() || first.len() > 3 {
            return None;
        }
        digits.extend_from_slice(group);
    }
    plain(&digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_people_write_them() {
        for (text, delimiter, count) in [
            ("0", b',', 0),
            ("4294967295", b',', u32::MAX),
            ("118.0", b',', 118),
            ("118.000", b',', 118),
            ("1,003", b',', 1003),
            ("1,234,567.00", b'\t', 1_234_567),
            ("118.0", b';', 118),
            ("118,0", b';', 118),
            ("1,003", b'\t', 1003),
            ("1.003", b';', 1003),
            ("12.345.678,00", b';', 12_345_678),
            ("1 003", b',', 1003),
            ("1\u{202f}234\u{a0}567,0", b';', 1_234_567),
            ("1'003", b';', 1003),
        ] {
            assert_eq!(parse_count(text.as_bytes(), delimiter), Ok(count), "{text}");
        }
    }

    #[test]
    fn what_is_no_whole_number_is_refused() {
        for (text, delimiter) in [
            ("", b','),
            ("-1", b','),
            ("+1", b','),
            ("4294967296", b','),
            ("1.5", b','),
            ("1.", b','),
            ("1,03", b','),
            ("1,0003", b','),
            (",003", b','),
            ("1003,000", b','),
            ("1e3", b','),
            ("1.003", b','),
            ("118,000", b';'),
            ("118.000", b'\t'),
            ("n/a", b','),
            ("1 03", b','),
            ("1 003,5", b';'),
        ] {
            let error = parse_count(text.as_bytes(), delimiter).unwrap_err();
            assert!(
                error.contains("is not a whole number from 0 to"),
                "{text}: {error}"
            );
        }
    }
}
