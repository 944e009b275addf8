//! Addresses of kernel variables.

use std::fs;

/// The address of a kernel variable, if the kernel shows it: `/proc/kallsyms` reads as zeros without
/// privilege.
pub(crate) fn address(name: &str) -> Option<u64> {
    let symbols = fs::read_to_string("/proc/kallsyms").ok()?;
    symbols
        .lines()
        .find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (address, _, symbol) = (words.next()?, words.next()?, words.next()?);
            (symbol == name && words.next().is_none())
                .then(|| u64::from_str_radix(address, 16).ok())
                .flatten()
        })
        .filter(|address| *address != 0)
}
