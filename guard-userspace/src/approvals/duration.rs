//! `90s`, `10m`, `8h`, `1d`.

use std::time::Duration;

/// Not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no length of time: write a number and s, m, h or d, such as 10m")]
pub struct NoDuration(String);

/// Reads a length of time.
pub fn parse_duration(text: &str) -> Result<Duration, NoDuration> {
    let refused = || NoDuration(text.to_owned());
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(refused()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| refused())?;
    let seconds = count.checked_mul(unit).filter(|seconds| *seconds > 0 && *seconds <= 366 * 86_400);
    seconds.map(Duration::from_secs).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_nonsense_is_not() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("8h", 28_800), ("1d", 86_400)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "10", "m", "0s", "-1m", "1.5h", "9999999999999d", "10 m"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
