#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tds_sqlite::fuzz::packets(bytes));
