//! Words that lie in the programs' sections of data, and what becomes of them where programs of another build have them
//! already. A section of data is an array map of one value, into which aya writes what the object has there, also where
//! the map was pinned and running programs depend on it; so the object is given what is to be there.

use guard_common::abi::Site;
use guard_common::limits::CGROUP_FILTER_BITS;
use zerocopy::IntoBytes;

use super::Pins;
use super::error::{LoadError, pin_error};
use crate::sys::bpf;

/// Bytes of the filter of cgroups.
const FILTER: usize = CGROUP_FILTER_BITS as usize / 8;

/// What the object calls a map: a section of data has the section's name.
pub(super) fn section(name: &'static str) -> &'static str {
    match name {
        "SITES" => ".data.sites",
        "CGROUP_FILTER" => ".data.filter",
        "MOVED" => ".data.moved",
        "CLOSED" => ".data.closed",
        "DOWN" => ".data.down",
        "FOREIGN" => ".data.foreign",
        "EPOCH" => ".data.epoch",
        "GENERATION" => ".data.generation",
        "CHANGES" => ".data.changes",
        name => name,
    }
}

/// What the sections are to begin with, by their symbols. Words that say that something has happened do so from then on,
/// and each cgroup may be governed, until the filter is narrowed again: another value could be older than what running
/// programs write meanwhile. An epoch of 0 is always right, and so is a generation of 0.
pub(super) fn kept(pins: &Pins) -> Result<Vec<(&'static str, Vec<u8>)>, LoadError> {
    if !pins.map("LABELS").exists() {
        return Ok(Vec::new());
    }
    let mut kept = vec![("CGROUP_FILTER", vec![0xff; FILTER])];
    kept.extend(["MOVED", "CLOSED", "DOWN", "FOREIGN"].map(|name| (name, 1u64.as_bytes().to_vec())));
    for (name, length) in [("SITES", Site::COUNT * 8), ("CHANGES", 8)] {
        if let Ok(map) = bpf::open_pin(&pins.map(name)) {
            let mut bytes = vec![0; length];
            let found = bpf::lookup(std::os::fd::AsFd::as_fd(&map), 0u32.as_bytes(), &mut bytes);
            found.map_err(|source| pin_error("read", &pins.map(name), source))?;
            kept.push((name, bytes));
        }
    }
    Ok(kept)
}

/// The filter as it is, if there is one.
pub(super) fn filter(pins: &Pins) -> Option<Vec<u64>> {
    let map = bpf::open_pin(&pins.map("CGROUP_FILTER")).ok()?;
    let mut words = vec![0u64; FILTER / 8];
    let found =
        bpf::lookup(std::os::fd::AsFd::as_fd(&map), 0u32.as_bytes(), words.as_mut_slice().as_mut_bytes());
    found.ok().map(|_| words)
}
