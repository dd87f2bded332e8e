#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flyrpc_tests::fuzz::serial_line(data));
