//! One JSON-RPC request through jsonrpsee and through plain `serde_json`, counted as `flyrpc-instructions` counts
//!
//! The cases of flyrpc that stand beside these have the same groups and the same texts: see `benches/jsonrpc.sh`.

#[expect(dead_code, unreachable_pub, reason = "a part of flyrpc-benches, whose targets are not used here")]
#[path = "../../../src/case.rs"]
mod case;
#[expect(unreachable_pub, reason = "a part of flyrpc-benches")]
#[path = "../../../src/instructions.rs"]
mod instructions;
mod plain;
mod seen;
#[path = "../../../src/jsonrpc/texts.rs"]
mod texts;

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use case::Case;
use texts::{CALL, ECHO, ECHOED, MULTIPLY, PRODUCT, SERVE_ECHO, SERVE_MULTIPLY};

/// Counts while a profiler is there
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() -> ExitCode {
    instructions::main(vec![
        Case::memcpy(SERVE_ECHO, ECHO.into()),
        Case::new(SERVE_ECHO, "jsonrpsee", || seen::serve(ECHO, ECHOED)),
        Case::new(SERVE_ECHO, "serde_json", || plain::serve(ECHO, ECHOED)),
        Case::memcpy(SERVE_MULTIPLY, MULTIPLY.into()),
        Case::new(SERVE_MULTIPLY, "jsonrpsee", || seen::serve(MULTIPLY, PRODUCT)),
        Case::new(SERVE_MULTIPLY, "serde_json", || plain::serve(MULTIPLY, PRODUCT)),
        Case::memcpy(CALL, ECHO.into()),
        Case::new(CALL, "jsonrpsee", seen::call),
        Case::new(CALL, "serde_json", plain::call),
    ])
}

#[derive(Clone, Serialize, Deserialize)]
struct Args {
    #[serde(rename = "A")]
    a: i64,
    #[serde(rename = "B")]
    b: i64,
}
