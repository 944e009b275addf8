//! guard's tests by concern. `guest` runs inside the guests that `cargo xtask test` boots; `demo` is what `cargo
//! xtask demo` shows there.
#![deny(unsafe_code)]

pub mod demo;
pub mod fuzz;
pub mod guest;
pub mod oracle;

/// Processor time that this thread has used: what a bound on time means on a machine that does other work too.
pub fn processor_time() -> std::time::Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or_else(|_| panic!("no clock"), Into::into)
}
