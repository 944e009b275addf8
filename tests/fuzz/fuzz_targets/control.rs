#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| guard_tests::fuzz::control(bytes));
