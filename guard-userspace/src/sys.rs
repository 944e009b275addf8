//! System calls that neither aya nor nix offers, each behind a safe function. The only module with `unsafe`.

#![expect(unsafe_code, reason = "this is the module for it")]

pub(crate) mod bpf;
