//! Changing and reading files: every road to bytes, names and metadata that the policy does not give.

mod fds;
mod meta;
mod moves;
mod names;
mod open;
mod paths;
mod spaces;

pub(super) use open::open;

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
    Test::new("no root, namespace or lost mount hides a forbidden file", || try_all(spaces::VIEWS))
        .within(200),
    Test::new("no change through a stacked file system is overlooked or judged twice", || {
        try_all(spaces::STACKED)
    })
    .within(200),
    Test::new("no read through a stacked file system is overlooked or judged twice", || {
        try_all(spaces::STACKED_READS)
    })
    .within(200),
    Test::new("nothing is moved or linked out of the reach of its rule", moves::out_of_its_rule).within(200),
    Test::new("no strange name or path hides a forbidden file", || try_all(paths::STRANGE)).within(200),
];
