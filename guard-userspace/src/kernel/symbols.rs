//! Addresses of kernel variables.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use guard_common::abi::offsets::{INIT_NSPROXY, MOUNT_LOCK, RENAME_LOCK};
use tracing::debug;

use crate::sys::bpf;

/// The addresses of kernel variables, if the kernel shows them: without privilege it does not.
///
/// A program is asked, because the kernel writes `/proc/kallsyms` anew for each reader, half a thousand million
/// instructions long. That list is read where the program cannot be run.
pub(crate) fn addresses<const N: usize>(names: [&str; N]) -> [Option<u64>; N] {
    asked(names).unwrap_or_else(|error| {
        debug!(%error, "no program may be asked for symbols: reading the list");
        listed(names)
    })
}

/// Do the program and the list find the same? For a test: where the program cannot be run, nothing else would tell.
pub fn ways_agree() -> io::Result<bool> {
    let names = [RENAME_LOCK, MOUNT_LOCK, INIT_NSPROXY, "no_variable_of_any_kernel"];
    let asked = asked(names)?;
    Ok(asked == listed(names) && asked[..3].iter().all(Option::is_some))
}

/// By a program that looks up one name after the other and writes what it finds into its context.
fn asked<const N: usize>(names: [&str; N]) -> io::Result<[Option<u64>; N]> {
    let mut found = [0; N];
    bpf::run(&look_up(&names)?, &mut found)?;
    Ok(found.map(|address| (address != 0).then_some(address)))
}

/// Longest name, its NUL included.
const NAME: usize = 40;

/// `bpf_kallsyms_lookup_name`.
const LOOK_UP: i32 = 179;

/// The program. Each name is put on the stack, and above it lies what is found.
fn look_up(names: &[&str]) -> io::Result<Vec<u64>> {
    const FOUND: i16 = -8;
    const BYTES: i16 = FOUND - NAME as i16;
    let mut code = vec![instruction(MOVE, 6, 1, 0, 0)];
    for (n, name) in names.iter().enumerate() {
        if name.len() >= NAME {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is too long a name")));
        }
        let mut bytes = [0; NAME];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        code.push(instruction(STORE_LONG, 10, 0, FOUND, 0));
        for (word, at) in bytes.chunks_exact(4).zip((BYTES..).step_by(4)) {
            let word = word.try_into().map_or(0, i32::from_le_bytes);
            code.push(instruction(STORE, 10, 0, at, word));
        }
        code.extend([
            instruction(MOVE, 1, 10, 0, 0),
            instruction(ADD, 1, 0, 0, BYTES.into()),
            instruction(SET, 2, 0, 0, name.len() as i32 + 1),
            instruction(SET, 3, 0, 0, 0),
            instruction(MOVE, 4, 10, 0, 0),
            instruction(ADD, 4, 0, 0, FOUND.into()),
            instruction(CALL, 0, 0, 0, LOOK_UP),
            instruction(LOAD, 1, 10, FOUND, 0),
            instruction(WRITE, 6, 1, n as i16 * 8, 0),
        ]);
    }
    code.extend([instruction(SET, 0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    Ok(code)
}

/// To a register from a register.
const MOVE: u8 = 0xbf;
/// To a register from the immediate value.
const SET: u8 = 0xb7;
const ADD: u8 = 0x07;
/// From memory to a register, eight bytes.
const LOAD: u8 = 0x79;
/// From a register to memory, eight bytes.
const WRITE: u8 = 0x7b;
/// The immediate value to memory, four bytes and eight.
const STORE: u8 = 0x62;
const STORE_LONG: u8 = 0x7a;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    let [low, high] = offset.to_le_bytes();
    let [a, b, c, d] = value.to_le_bytes();
    u64::from_le_bytes([code, to | from << 4, low, high, a, b, c, d])
}

/// From the list, which is read once for all names, and no further than need be.
fn listed<const N: usize>(names: [&str; N]) -> [Option<u64>; N] {
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
    use super::{look_up, names_it};

    #[test]
    fn only_the_kernels_own_symbol_is_meant() {
        assert!(names_it(b"ffffffff82a00000 D rename_lock\n", "rename_lock"));
        assert!(!names_it(b"ffffffff82a00000 D s_rename_lock\n", "rename_lock"));
        assert!(!names_it(b"ffffffff82a00000 D rename_lock_x\n", "rename_lock"));
        assert!(!names_it(b"ffffffffc0a00000 d x\t[rename_lock]\n", "rename_lock"));
        assert!(!names_it(b"ffffffffc0a00000 d rename_lock\t[module]\n", "rename_lock"));
    }

    #[test]
    fn a_name_that_does_not_fit_is_not_cut() {
        assert!(look_up(&["a_name_of_forty_bytes_or_more_is_no_variable"]).is_err());
    }
}
