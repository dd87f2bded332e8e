//! What flyrpc costs: cases that the timer, the instruction counter and the allocation counter share
//!
//! `NOTES.md` beside this crate says what each case does, what was measured and what the targets are. A [`Case`] is
//! built once and then run any number of times; criterion (`cargo bench -p flyrpc-benches`) and the binary
//! `flyrpc-instructions` run the same code.

mod call;
mod case;
mod codec;
mod in_flight;
pub mod instructions;
mod jsonrpc;
mod timeout;
mod zip;

pub use case::{Case, MEMCPY, Run, Target};

/// All cases, by group
#[must_use]
pub fn cases() -> Vec<Case> {
    [codec::cases(), call::cases(), in_flight::cases(), timeout::cases(), zip::cases(), jsonrpc::cases()]
        .into_iter()
        .flatten()
        .collect()
}

/// A payload of `len` bytes
fn payload(len: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(len).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{MEMCPY, Target, cases};

    #[test]
    fn every_case_runs_more_than_once() {
        for case in cases() {
            let mut run = case.build();
            run(3);
            run(20);
        }
    }

    #[test]
    fn names_are_unique_and_every_yardstick_exists() {
        let ids: Vec<String> = cases().iter().map(super::Case::id).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        for case in cases() {
            let yardstick = match case.target {
                Some(Target::Times(_, name)) => name,
                _ => MEMCPY,
            };
            assert!(ids.contains(&format!("{}/{yardstick}", case.group)), "{case:?}");
        }
    }
}
