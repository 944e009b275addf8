//! Sequence numbers: every gap of every CPU's events, once it is certain.
//!
//! A program takes its number before it asks the ring for room, and may be preempted between the two by another
//! one on the same CPU, so numbers of one CPU can come slightly out of order. A missing number is called
//! lost only when it has been missing for a while of the events' own time.

use std::collections::{BTreeMap, VecDeque};

/// How long a number may be missing before it is lost, in nanoseconds of CLOCK_BOOTTIME: longer than a runnable
/// task is kept off its CPU.
const PATIENCE: u64 = 2_000_000_000;
/// Most ranges that one CPU waits for; beyond, the oldest is called lost.
const MOST: usize = 1024;

/// Numbers that one CPU gave and that never came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub cpu: u32,
    pub first: u64,
    pub count: u64,
    /// Times (CLOCK_BOOTTIME) of the events around the gap; `after` is 0 if none was seen before it.
    pub after: u64,
    pub before: u64,
}

#[derive(Debug, Default)]
struct Cpu {
    /// The number that comes next.
    next: u64,
    time: u64,
    missing: VecDeque<Gap>,
}

/// The sequence numbers seen so far.
#[derive(Debug, Default)]
pub struct Sequences {
    cpus: BTreeMap<u32, Cpu>,
}

impl Sequences {
    /// Goes on where another reader stopped: `next` is the first number that it has not seen.
    pub fn resume(&mut self, cpu: u32, next: u64) {
        self.cpus.insert(cpu, Cpu { next, ..Cpu::default() });
    }

    /// The next number of each CPU.
    pub fn next(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.cpus.iter().map(|(cpu, state)| (*cpu, state.next))
    }

    /// Takes note of one event; what is certainly lost by now goes to `lost`.
    ///
    /// The numbers of a CPU begin at 0, so what is missing before the first is lost too.
    pub fn saw(&mut self, cpu: u32, seq: u64, time: u64, lost: &mut Vec<Gap>) {
        let state = self.cpus.entry(cpu).or_default();
        if seq == state.next {
            state.next += 1;
        } else if seq > state.next {
            let (first, count) = (state.next, seq - state.next);
            state.missing.push_back(Gap { cpu, first, count, after: state.time, before: time });
            state.next = seq + 1;
        } else {
            state.late(seq);
        }
        state.time = state.time.max(time);
        while let Some(oldest) = state.missing.front() {
            if oldest.before.saturating_add(PATIENCE) > time && state.missing.len() <= MOST {
                break;
            }
            lost.extend(state.missing.pop_front());
        }
    }

    /// Takes note of how many numbers a CPU had given by `now`, of which all that are in the ring have been seen: what
    /// was lost last has nothing behind it that would show it.
    pub fn gave(&mut self, cpu: u32, given: u64, now: u64) {
        let state = self.cpus.entry(cpu).or_default();
        if given > state.next {
            let (first, count) = (state.next, given - state.next);
            state.missing.push_back(Gap { cpu, first, count, after: state.time, before: now });
            state.next = given;
        }
    }

    /// Calls lost what has been missing at `now`, or everything that is missing if nothing will follow.
    pub fn settle(&mut self, now: Option<u64>, lost: &mut Vec<Gap>) {
        for state in self.cpus.values_mut() {
            while let Some(oldest) = state.missing.front() {
                if now.is_some_and(|now| oldest.before.saturating_add(PATIENCE) > now) {
                    break;
                }
                lost.extend(state.missing.pop_front());
            }
        }
    }
}

impl Cpu {
    /// A number that was missing has come after all.
    fn late(&mut self, seq: u64) {
        let holds = |gap: &Gap| gap.first <= seq && seq < gap.first + gap.count;
        let Some(at) = self.missing.iter().position(holds) else { return };
        let Some(gap) = self.missing.remove(at) else { return };
        let below = seq - gap.first;
        let above = gap.count - below - 1;
        if above > 0 {
            self.missing.insert(at, Gap { first: seq + 1, count: above, ..gap });
        }
        if below > 0 {
            self.missing.insert(at, Gap { count: below, ..gap });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(seen: &[(u32, u64)]) -> Vec<(u32, u64, u64)> {
        let (mut sequences, mut lost) = (Sequences::default(), Vec::new());
        for (time, (cpu, seq)) in seen.iter().enumerate() {
            sequences.saw(*cpu, *seq, time as u64, &mut lost);
        }
        sequences.settle(None, &mut lost);
        lost.iter().map(|gap| (gap.cpu, gap.first, gap.count)).collect()
    }

    #[test]
    fn no_gap_is_seen_where_there_is_none() {
        assert_eq!(gaps(&[(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]), []);
        assert_eq!(gaps(&[(0, 0), (0, 2), (0, 1), (0, 5), (0, 4), (0, 3), (0, 6)]), []);
    }

    #[test]
    fn every_missing_number_is_counted() {
        assert_eq!(gaps(&[(0, 2), (0, 3), (0, 7)]), [(0, 0, 2), (0, 4, 3)]);
        assert_eq!(gaps(&[(3, 0), (3, 9), (3, 4)]), [(3, 1, 3), (3, 5, 4)]);
    }

    #[test]
    fn a_gap_is_certain_after_a_while_and_not_before() {
        let (mut sequences, mut lost) = (Sequences::default(), Vec::new());
        sequences.saw(0, 1, 10, &mut lost);
        sequences.settle(Some(10 + PATIENCE - 1), &mut lost);
        assert_eq!(lost, []);
        sequences.saw(0, 2, 10 + PATIENCE, &mut lost);
        assert_eq!(lost, [Gap { cpu: 0, first: 0, count: 1, after: 0, before: 10 }]);
    }

    #[test]
    fn what_was_lost_last_is_seen_by_the_numbers_given() {
        let (mut sequences, mut lost) = (Sequences::default(), Vec::new());
        sequences.saw(0, 0, 5, &mut lost);
        sequences.gave(0, 1, 6);
        sequences.gave(1, 0, 6);
        sequences.gave(0, 4, 7);
        // Given, and on its way into the ring at that moment.
        sequences.saw(0, 2, 8, &mut lost);
        sequences.settle(Some(7 + PATIENCE - 1), &mut lost);
        assert_eq!(lost, []);
        sequences.settle(Some(7 + PATIENCE), &mut lost);
        assert_eq!(lost.iter().map(|gap| (gap.first, gap.count)).collect::<Vec<_>>(), [(1, 1), (3, 1)]);
        assert_eq!(sequences.next().collect::<Vec<_>>(), [(0, 4), (1, 0)]);
    }

    #[test]
    fn a_reader_that_resumes_sees_what_was_lost_while_nobody_read() {
        let (mut sequences, mut lost) = (Sequences::default(), Vec::new());
        sequences.resume(2, 100);
        sequences.saw(2, 103, 1, &mut lost);
        sequences.settle(None, &mut lost);
        assert_eq!(lost.iter().map(|gap| (gap.first, gap.count)).collect::<Vec<_>>(), [(100, 3)]);
        assert_eq!(sequences.next().collect::<Vec<_>>(), [(2, 104)]);
    }
}
