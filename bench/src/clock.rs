//! Clocks. Under instruction counting all of them count instructions: a nanosecond is one.

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

fn read(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// What everything on the machine has used.
pub(crate) fn wall() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// What this process and the children it has waited for have used.
pub(crate) fn own() -> Result<u64> {
    let children = getrusage(UsageWho::RUSAGE_CHILDREN).context("ask for the children's time")?;
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64;
    let children = micros(children.user_time()) + micros(children.system_time());
    Ok(read(ClockId::CLOCK_PROCESS_CPUTIME_ID) + children * 1_000)
}

/// What another process has used, 0 if it is gone.
pub(crate) fn of(process: u32) -> u64 {
    nix::time::clock_getcpuclockid(Pid::from_raw(process.cast_signed())).map_or(0, read)
}
