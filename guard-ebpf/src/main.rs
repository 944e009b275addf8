//! guard's kernel half: facts in, verdict out. No logic here: the attributes, the modules, the licence.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(internal_features, reason = "atomic read-modify-write has no other spelling on the BPF target")]

mod address;
mod approval;
mod ask;
mod budget;
mod cgroups;
mod confine;
mod emit;
mod glide;
mod heard;
mod hold;
mod hooks;
mod judge;
mod judge_key;
mod kernel;
mod known;
mod launcher;
mod maps;
mod near;
mod object;
mod packet;
mod passed;
mod rejoin;
mod spent;
mod storage;
mod subject;
mod walk;
mod whose;

/// LSM programs must be GPL-compatible.
// SAFETY: the loader reads the section by name; nothing else links to the symbol.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: the verifier refuses a program that can come here without returning.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
