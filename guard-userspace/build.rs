//! Embeds the eBPF object that `cargo xtask build-ebpf` made.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

fn main() {
    println!("cargo:rerun-if-env-changed=GUARD_BPF_OBJECT");
    let object = match env::var_os("GUARD_BPF_OBJECT") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/guard-ebpf.o"),
    };
    println!("cargo:rerun-if-changed={}", object.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("guard-ebpf.o");
    if let Err(error) = fs::copy(&object, &out) {
        eprintln!(
            "guard-userspace embeds the eBPF object {}, which could not be read ({error}): run `cargo xtask build-ebpf` first",
            object.display()
        );
        process::exit(1);
    }
}
