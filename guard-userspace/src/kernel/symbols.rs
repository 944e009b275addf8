//! Addresses of kernel variables.

use std::fs::File;
use std::io::{BufRead, BufReader};

/// The addresses of kernel variables, if the kernel shows them: `/proc/kallsyms` reads as zeros without privilege.
/// The list is long and dear to make, so it is read once for all names, and no further than need be.
pub(crate) fn addresses<const N: usize>(names: [&str; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    let Ok(file) = File::open("/proc/kallsyms") else { return found };
    let mut list = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    while found.contains(&None) {
        line.clear();
        match list.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let Some(at) = names.iter().position(|name| names_it(&line, name)) else { continue };
        found[at] = line
            .split(|byte| *byte == b' ')
            .next()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .filter(|address| *address != 0);
    }
    found
}

/// `ffffffff82a00000 D rename_lock`: the symbol is the third word and the last; a module's has a fourth.
fn names_it(line: &[u8], name: &str) -> bool {
    line.strip_suffix(b"\n")
        .unwrap_or(line)
        .strip_suffix(name.as_bytes())
        .is_some_and(|front| front.ends_with(b" ") && front.iter().filter(|byte| **byte == b' ').count() == 2)
}

#[cfg(test)]
mod tests {
    use super::names_it;

    #[test]
    fn only_the_kernels_own_symbol_is_meant() {
        assert!(names_it(b"ffffffff82a00000 D rename_lock\n", "rename_lock"));
        assert!(!names_it(b"ffffffff82a00000 D s_rename_lock\n", "rename_lock"));
        assert!(!names_it(b"ffffffff82a00000 D rename_lock_x\n", "rename_lock"));
        assert!(!names_it(b"ffffffffc0a00000 d x\t[rename_lock]\n", "rename_lock"));
        assert!(!names_it(b"ffffffffc0a00000 d rename_lock\t[module]\n", "rename_lock"));
    }
}
