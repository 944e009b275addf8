//! What the kernel's clock says, in wall-clock time.

use nix::time::{ClockId, clock_gettime};

use super::line::PAIRS;

/// A jump of the wall clock that is told in a record of its own, in nanoseconds.
const JUMP: i64 = 1_000_000_000;

/// CLOCK_BOOTTIME → wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Wall clock at boot, in nanoseconds since 1970.
    boot: i64,
}

impl Clock {
    /// Reads both clocks.
    pub fn now() -> nix::Result<Self> {
        let wall = nanoseconds(ClockId::CLOCK_REALTIME)?;
        Ok(Self { boot: wall - nanoseconds(ClockId::CLOCK_BOOTTIME)? })
    }

    /// A clock on which the host booted at `boot`, in nanoseconds since 1970.
    pub const fn booted_at(boot: i64) -> Self {
        Self { boot }
    }

    /// Reads both clocks again. A jump of the wall clock is given back, in nanoseconds.
    pub fn refresh(&mut self) -> nix::Result<Option<i64>> {
        let jump = Self::now()?.boot - self.boot;
        self.boot += jump;
        Ok((jump.abs() >= JUMP).then_some(jump))
    }

    /// The wall-clock time, in nanoseconds since 1970, of a time since boot.
    pub const fn wall(&self, boottime: u64) -> u64 {
        (self.boot as u64).wrapping_add(boottime)
    }

    /// CLOCK_BOOTTIME now, in nanoseconds.
    pub fn boottime() -> nix::Result<u64> {
        nanoseconds(ClockId::CLOCK_BOOTTIME).map(|time| time as u64)
    }
}

fn nanoseconds(clock: ClockId) -> nix::Result<i64> {
    let time = clock_gettime(clock)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

/// Length of [`timestamp`].
pub(super) const LENGTH: usize = 30;

/// `2026-03-01T09:30:00.000000000Z`, of nanoseconds since 1970.
pub fn timestamp(nanoseconds: u64) -> String {
    let mut out = Vec::with_capacity(LENGTH);
    Timestamps::default().push(&mut out, nanoseconds);
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes timestamps; the whole seconds of the last one are kept, because the next one mostly shares them.
#[derive(Debug, Default)]
pub(super) struct Timestamps {
    second: Option<u64>,
    text: [u8; 20],
}

impl Timestamps {
    pub(super) fn push(&mut self, out: &mut Vec<u8>, nanoseconds: u64) {
        let second = nanoseconds / 1_000_000_000;
        if self.second != Some(second) {
            self.text = seconds(second);
            self.second = Some(second);
        }
        out.extend_from_slice(&self.text);
        let mut fraction = [b'Z'; 10];
        let mut rest = nanoseconds % 1_000_000_000;
        // Two digits at a time from the end, and the first alone.
        for pair in fraction[1..9].as_chunks_mut::<2>().0.iter_mut().rev() {
            *pair = PAIRS[(rest % 100) as usize];
            rest /= 100;
        }
        fraction[0] = b'0' + rest as u8;
        out.extend_from_slice(&fraction);
    }
}

/// `2026-03-01T09:30:00.`
fn seconds(second: u64) -> [u8; 20] {
    let (year, month, day) = date(second / 86_400);
    let clock = second % 86_400;
    let mut text = *b"0000-00-00T00:00:00.";
    let mut put = |at: usize, width: usize, mut value: u64| {
        for digit in text[at..at + width].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, clock / 3600);
    put(14, 2, clock / 60 % 60);
    put(17, 2, clock % 60);
    text
}

/// Year, month and day of a day since 1970, in eras of 400 years that begin in March, so that the leap day comes last.
const fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + (month <= 2) as u64, month, day)
}

/// The other way: nanoseconds since 1970 of a timestamp, its fraction and the parts from the hour on optional.
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (day, clock) = text.split_once(['T', ' ']).unwrap_or((text, "0:0:0"));
    let number = |part: &str| part.parse().ok().filter(|_: &u64| !part.starts_with('+'));
    let mut parts = day.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.splitn(3, ':').map(number);
    let (hour, minute) = (parts.next()??, parts.next().unwrap_or(Some(0))?);
    let second = parts.next().unwrap_or(Some(0))?;
    if !(1970..=2500).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
        || fraction.len() > 9
    {
        return None;
    }
    let nanoseconds = fraction.parse::<u64>().ok()? * 10_u64.pow(9 - fraction.len() as u32);
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    // 31 February would be a day in March.
    if date(days) != (year, month, day) {
        return None;
    }
    Some(((days * 24 + hour) * 3600 + minute * 60 + second) * 1_000_000_000 + nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_say_what_date_says() {
        // `date -u -d @N +%FT%TZ`.
        let known = [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000000Z"),
            (1_772_357_400, "2026-03-01T09:30:00.000000000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
        ];
        for (second, text) in known {
            assert_eq!(timestamp(second * 1_000_000_000), text);
        }
        assert_eq!(timestamp(1_000_000_042), "1970-01-01T00:00:01.000000042Z");
    }

    #[test]
    fn timestamps_are_read_back() {
        for day in 0..60_000 {
            let time = day * 86_400_000_000_000 + 1_234_567_890;
            assert_eq!(parse(&timestamp(time)), Some(time));
        }
        assert_eq!(parse("2026-03-01"), Some(1_772_323_200_000_000_000));
        assert_eq!(parse("2026-03-01T09:30"), Some(1_772_357_400_000_000_000));
        assert_eq!(parse("2026-03-01 09:30:00.5"), Some(1_772_357_400_500_000_000));
        for wrong in [
            "yesterday",
            "2026-02-31",
            "2026-02-29",
            "2026-04-31",
            "2026-03-01T24:30",
            "2026-+3-01",
            "2026-03",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
