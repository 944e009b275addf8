//! Changing and reading files: every road to bytes, names and metadata that the policy does not give.

mod fds;
mod meta;
mod names;
mod open;
mod paths;

use super::Test;

use super::row::try_all;

pub(super) const TESTS: &[Test] = &[
    Test::new("no way to open a forbidden file writes to it", || try_all(open::WRITES)).within(200),
    Test::new("no way to open a forbidden file reads it", || try_all(open::READS)).within(200),
    Test::new("no way to make a name makes one where it is forbidden", || try_all(names::MAKES)).within(200),
    Test::new("no way to remove or move a name works where it is forbidden", || try_all(names::MOVES))
        .within(200),
    Test::new("no io_uring request changes what is forbidden", || try_all(names::URING)).within(200),
    Test::new("no way to change metadata works where it is forbidden", || try_all(meta::MODES)).within(200),
    Test::new("no descriptor from outside writes what is forbidden", || try_all(fds::INHERITED)).within(200),
    Test::new("no strange name or path hides a forbidden file", || try_all(paths::STRANGE)).within(200),
];
