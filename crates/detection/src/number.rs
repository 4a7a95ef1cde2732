//! Formats numbers for sentences: grouped thousands, and enough digits for small numbers. Not for machine formats.

/// A whole number with a comma between thousands: `168,000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of 0 or more: whole from 10 on, else with two significant digits and no trailing zeros (`6.2`, `6`, `0.02`).
pub(crate) fn short(number: f64) -> String {
    if number >= 9.95 {
        return grouped(rounded(number));
    }
    let decimals = decimals(number, 2);
    let text = format!("{number:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A number with one decimal, or with two significant digits where it lies between -1 and 1 (`118.0`, `0.017`, `0.02`).
pub(crate) fn decimal(number: f64) -> String {
    if number.abs() >= 1.0 || number == 0.0 {
        return format!("{number:.1}");
    }
    let decimals = decimals(number.abs(), 2);
    let text = format!("{number:.decimals$}");
    let trimmed = text.trim_end_matches('0');
    if trimmed.ends_with('.') {
        format!("{trimmed}0")
    } else {
        trimmed.to_owned()
    }
}

/// A number of 0 or more, rounded to three significant digits and grouped.
pub(crate) fn about(number: f64) -> String {
    let magnitude = 10_f64.powf((number.max(1.0).log10().floor() - 2.0).max(0.0));
    grouped(rounded((number / magnitude).round() * magnitude))
}

/// Decimals that show this many significant digits, at most 12.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0 to 12"
)]
fn decimals(number: f64, significant: u32) -> usize {
    if number <= 0.0 {
        return 0;
    }
    (f64::from(significant - 1) - number.log10().floor()).clamp(0.0, 12.0) as usize
}

/// The nearest whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates at the ends of u64"
)]
fn rounded(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1180, "1,180"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn small_numbers_keep_two_digits() {
        let texts = [0.0, 0.0234, 0.5, 5.97, 6.23, 9.96, 45.2, 1180.4].map(short);
        assert_eq!(
            texts,
            ["0", "0.023", "0.5", "6", "6.2", "10", "45", "1,180"]
        );
    }

    #[test]
    fn decimals_suit_the_size() {
        let texts = [118.04, 1.0, 0.999, 0.5, 0.0167, 0.02, 0.0, -0.25].map(decimal);
        assert_eq!(
            texts,
            [
                "118.0", "1.0", "1.0", "0.5", "0.017", "0.02", "0.0", "-0.25"
            ]
        );
    }

    #[test]
    fn about_keeps_three_digits() {
        let texts = [0.4, 12.6, 999.6, 1234.0, 168_432.0].map(about);
        assert_eq!(texts, ["0", "13", "1,000", "1,230", "168,000"]);
    }
}
