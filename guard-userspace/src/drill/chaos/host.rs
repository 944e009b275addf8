//! The host: its clock, its disk, its memory.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

use super::{Cause, count};

/// Forth and back; at the end it is what it would have been.
pub(super) fn jump(cause: &Cause) {
    const HOURS: [i64; 4] = [1, -1, 30 * 24, -365 * 24];
    let Some(before) = offset() else { return };
    for hours in HOURS.into_iter().cycle() {
        let going = cause.pause(Duration::from_millis(700));
        let by = if going { hours * 3600 } else { 0 };
        if set(before + by) && going {
            count(&cause.counts.clock_jumps);
        }
        if !going {
            return;
        }
    }
}

/// How far the clock is before the one that nobody sets, in seconds.
fn offset() -> Option<i64> {
    let real = clock_gettime(ClockId::CLOCK_REALTIME).ok()?;
    let steady = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    Some(real.tv_sec() - steady.tv_sec())
}

fn set(offset: i64) -> bool {
    let Ok(steady) = clock_gettime(ClockId::CLOCK_BOOTTIME) else { return false };
    let time = TimeSpec::new(steady.tv_sec() + offset, steady.tv_nsec());
    clock_settime(ClockId::CLOCK_REALTIME, time).is_ok()
}

/// The disk of the daemon's state, if it is not the one that drills need themselves.
pub(super) fn fill_disk(cause: &Cause) {
    let device = |path| fs::metadata(path).map(|facts| facts.dev()).ok();
    if device(&cause.state) == device(&cause.tree) || device(&cause.state) == device(&cause.run) {
        return;
    }
    let filler = cause.state.join("guard-drill-filler");
    while cause.pause(Duration::from_secs(2)) {
        let full = File::create(&filler).and_then(|mut file| {
            let bytes = vec![0; 64 << 10];
            // Bounded, or a large disk would take all the drill's time.
            (0..64 << 10).try_for_each(|_| file.write_all(&bytes))
        });
        if full.is_err_and(|error| error.raw_os_error() == Some(libc::ENOSPC)) {
            count(&cause.counts.full_disks);
        }
        cause.pause(Duration::from_secs(4));
        let _ = fs::remove_file(&filler);
    }
}

/// Leaves a tenth of the memory, for a moment, again and again.
pub(super) fn fill_memory(cause: &Cause) {
    const PIECE: u64 = 8 << 20;
    while cause.pause(Duration::from_secs(3)) {
        let mut taken = Vec::new();
        while !cause.ended() {
            let (total, left) = memory();
            if left < (total / 10).max(64 << 20) {
                count(&cause.counts.tight_memory);
                break;
            }
            // Written to, for a page that nobody touched is none.
            taken.push(vec![1u8; PIECE as usize]);
        }
        cause.pause(Duration::from_secs(3));
        drop(std::hint::black_box(taken));
    }
}

/// All of it and what is to be had, in bytes.
fn memory() -> (u64, u64) {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) << 10
    };
    (of("MemTotal:"), of("MemAvailable:"))
}
