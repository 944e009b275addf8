//! guard's tests by concern. `guest` runs inside the guests that `cargo xtask test` boots; `demo` is what `cargo
//! xtask demo` shows there.
#![deny(unsafe_code)]

pub mod demo;
pub mod fuzz;
pub mod guest;
pub mod oracle;
