//! Throttling: GCRA, one 64-bit word for each session and rule.
//!
//! The word is the theoretical arrival time: when the budget would be whole again if nobody called any more.
//! Each call moves it one interval on, and a call that would move it further than a burst ahead is over
//! budget. A word of the past says the same as no word at all, so nothing need ever be reset.

/// What a throttle lets through: one call in each `interval`, and as many at once as fit into `burst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Budget {
    /// Nanoseconds; 0 only where the arena holds no such budget, and then nothing fits into it.
    pub interval: u64,
    /// Nanoseconds: the interval times the calls that may come at once.
    pub burst: u64,
    /// Nanoseconds. Where a whole window's calls may come at once, the budget is a quota: it is whole again
    /// at each window's end, and not a bit earlier. 0: it comes back evenly.
    pub window: u64,
    /// Which rule's it is, under whatever generation.
    pub rule: u64,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// It goes on, and the word becomes this.
    Paid(u64),
    /// It is over budget; in so many nanoseconds the next one fits.
    Over(u64),
}

/// Charges one call at `now` to a budget whose word is `word` and whose first window began at `since`.
#[inline(always)]
pub const fn charge(budget: Budget, word: u64, since: u64, now: u64) -> Charge {
    if budget.interval == 0 {
        return Charge::Over(u64::MAX);
    }
    // A quota sees no time but its windows' beginnings.
    let into = if budget.window == 0 { 0 } else { now.saturating_sub(since) % budget.window };
    let clock = now - into;
    let base = if word > clock { word } else { clock };
    let next = base.saturating_add(budget.interval);
    let ahead = next - clock;
    if ahead <= budget.burst && next != u64::MAX {
        return Charge::Paid(next);
    }
    let owed = ahead - budget.burst;
    let rest = budget.window.saturating_sub(into);
    // More than a window is owed only where a reload has made the budget smaller.
    Charge::Over(if rest > owed { rest } else { owed })
}

#[cfg(test)]
mod tests {
    use core::iter::repeat_n;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * SECOND;

    /// How many of the calls at these times go through, and what the last one was told.
    fn run(budget: Budget, times: impl IntoIterator<Item = u64>) -> (u64, Option<u64>) {
        let (mut word, mut since, mut paid, mut told) = (0, None, 0, None);
        for now in times {
            match charge(budget, word, *since.get_or_insert(now), now) {
                Charge::Paid(next) => {
                    word = next;
                    paid += 1;
                    told = None;
                }
                Charge::Over(wait) => told = Some(wait),
            }
        }
        (paid, told)
    }

    fn budget(count: u64, per: u64, burst: u64) -> Budget {
        let interval = if burst == count { per / count } else { per.div_ceil(count) };
        Budget { interval, burst: interval * burst, window: if burst == count { per } else { 0 }, rule: 1 }
    }

    #[test]
    fn of_4800_calls_in_three_minutes_exactly_the_600_of_the_hour_go_through() {
        for start in [1, 7 * SECOND, HOUR - 90 * SECOND, 40 * HOUR + 3] {
            let times = (0..4800).map(|n| start + n * 180 * SECOND / 4800);
            let (paid, told) = run(budget(600, HOUR, 600), times);
            assert_eq!(paid, 600);
            let wait = told.unwrap();
            assert!(wait > HOUR - 181 * SECOND && wait <= HOUR - 179 * SECOND, "{wait}");
        }
    }

    #[test]
    fn a_quota_is_whole_again_when_its_window_ends_and_the_hint_says_when() {
        let hourly = budget(3, HOUR, 3);
        let since = 5 * SECOND;
        let mut word = 0;
        for _ in 0..3 {
            let Charge::Paid(next) = charge(hourly, word, since, since + 1) else { panic!() };
            word = next;
        }
        let Charge::Over(wait) = charge(hourly, word, since, since + 1) else { panic!() };
        assert!(matches!(charge(hourly, word, since, since + wait), Charge::Over(_)));
        assert!(matches!(charge(hourly, word, since, since + 1 + wait), Charge::Paid(_)));
    }

    #[test]
    fn a_smaller_burst_comes_back_evenly_and_the_hint_says_when() {
        for (count, per, burst) in [(10, SECOND, 2), (600, HOUR, 100), (1000, 24 * HOUR, 7), (1, SECOND, 5)] {
            let even = budget(count, per, burst);
            let start = 123_456;
            let (paid, told) = run(even, repeat_n(start, 5000));
            assert_eq!(paid, burst);
            let wait = told.unwrap();
            let again = repeat_n(start, 5000).chain([start + wait - 1, start + wait]);
            assert_eq!(run(even, again).0, burst + 1);
            // Over a long time no more than the rate and one burst.
            let long = (0..50_000).map(|n| start + n * per / 1000);
            assert!(run(even, long).0 <= burst + 50 * count, "{count} per {per}");
        }
    }

    #[test]
    fn windows_from_a_second_to_a_day_let_through_what_is_written() {
        for per in [SECOND, 60 * SECOND, HOUR, 24 * HOUR] {
            for count in [1, 7, 600] {
                let times = (0..12_000).map(|n| 99 * HOUR + n * (per / 4000));
                assert_eq!(run(budget(count, per, count), times).0, 3 * count, "{count} per {per}");
            }
        }
    }

    #[test]
    fn no_budget_and_the_end_of_time_let_nothing_through() {
        let none = Budget { interval: 0, burst: 0, window: 0, rule: 0 };
        assert_eq!(charge(none, 0, 0, 5), Charge::Over(u64::MAX));
        let even = budget(1, SECOND, 1);
        assert!(matches!(charge(even, u64::MAX, 0, 5), Charge::Over(_)));
    }
}
