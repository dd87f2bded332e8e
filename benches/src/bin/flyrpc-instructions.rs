//! Counts instructions and allocations per operation; see `flyrpc_benches::instructions` for the arguments

use std::process::ExitCode;

/// Counts while a profiler is there; else it adds some 50 instructions to an allocation
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() -> ExitCode {
    flyrpc_benches::instructions::main(flyrpc_benches::cases())
}
