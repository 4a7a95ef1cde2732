//! The speed of a replay, as a multiple of real time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How fast the minutes of the file are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// A multiple of real time, between 0.001 and 1,000,000.
    Times(f64),
    /// Without waiting.
    Max,
}

impl Speed {
    /// Ten minutes of data per second.
    pub const DEFAULT: Self = Self::Times(600.0);
    const MIN_TIMES: f64 = 0.001;
    const MAX_TIMES: f64 = 1_000_000.0;

    /// Double the speed, up to the largest multiple.
    pub(crate) fn faster(self) -> Self {
        match self {
            Self::Times(times) => Self::Times((times * 2.0).min(Self::MAX_TIMES)),
            Self::Max => Self::Max,
        }
    }

    /// Half the speed; [`Speed::Max`] becomes 6000.
    pub(crate) fn slower(self) -> Self {
        match self {
            Self::Times(times) => Self::Times((times / 2.0).max(Self::MIN_TIMES)),
            Self::Max => Self::Times(6000.0),
        }
    }

    /// The real time in which `data_ms` milliseconds of data are sent; 0 if it is negative.
    pub(crate) fn takes(self, data_ms: i64) -> Duration {
        match self {
            Self::Times(times) => {
                let data_ms = u64::try_from(data_ms).unwrap_or(0);
                Duration::from_millis(data_ms).div_f64(times)
            }
            Self::Max => Duration::ZERO,
        }
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse() {
            Ok(times) if (Self::MIN_TIMES..=Self::MAX_TIMES).contains(&times) => Ok(Self::Times(times)),
            _ => Err("give a multiple of real time from 0.001 to 1000000 (600: ten minutes of data per second), or max"
                .into()),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}"),
            Self::Max => f.write_str("max"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_multiple_in_range_or_max() {
        assert_eq!("600".parse(), Ok(Speed::DEFAULT));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for text in ["0", "-1", "nan", "inf", "1e9", "fast", ""] {
            assert!(
                text.parse::<Speed>().unwrap_err().contains("or max"),
                "{text:?} must be refused"
            );
        }
    }

    #[test]
    fn speeds_double_and_halve_within_their_range() {
        assert_eq!(Speed::DEFAULT.faster(), Speed::Times(1200.0));
        assert_eq!(Speed::DEFAULT.slower(), Speed::Times(300.0));
        assert_eq!(Speed::Times(900_000.0).faster(), Speed::Times(1_000_000.0));
        assert_eq!(Speed::Times(0.001).slower(), Speed::Times(0.001));
    }
}
