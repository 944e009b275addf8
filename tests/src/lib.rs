//! guard's tests by concern. `guest` runs inside the guests that `cargo xtask test` boots.
#![forbid(unsafe_code)]

pub mod guest;
