//! Counts of instructions and allocations per operation, and times
//!
//! What `flyrpc-instructions` does with its arguments:
//!
//! * `list`: the cases.
//! * `run CASE N`: does a case's operation N times, for callgrind or perf to watch.
//! * `table [PART]`: a Markdown table of all cases, or of those with PART in their names. Runs itself under valgrind,
//!   twice per case; the difference leaves out what preparing costs.
//! * `time [PART]`: the fastest of 50 runs of each, beside its group's `memcpy`.

use core::error::Error;
use std::env;
use std::io::ErrorKind;
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::case::{Case, MEMCPY, Target};

const USAGE: &str = "usage: list | run CASE N | table [PART] | time [PART]";
/// Of each case, to find the fastest
const RUNS: usize = 50;
const NO_VALGRIND: &str =
    "valgrind is not installed; instructions are counted with it (Debian: apt-get install valgrind)";

/// Does what the process's arguments say; `cases` are those that there are
///
/// Allocations are counted where `dhat::Alloc` is the process's allocator.
pub fn main(cases: Vec<Case>) -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match *args {
        ["list"] => {
            cases.iter().for_each(|case| println!("{}", case.id()));
            Ok(())
        }
        ["run", id, times] => run(cases, id, times),
        ["table"] => table(cases, ""),
        ["table", part] => table(cases, part),
        ["time"] => time(&cases, ""),
        ["time", part] => time(&cases, part),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cases: Vec<Case>, id: &str, times: &str) -> Result<(), Box<dyn Error>> {
    let times = times.parse().map_err(|_| USAGE)?;
    let case = cases.into_iter().find(|case| case.id() == id).ok_or("no such case; see `list`")?;
    case.build()(times);
    Ok(())
}

/// Other work on the machine disturbs the fastest run least
fn time(cases: &[Case], part: &str) -> Result<(), Box<dyn Error>> {
    let fastest = |case: &Case| {
        let mut run = case.build();
        let runs = (0..RUNS).map(|_| {
            let start = now();
            run(case.operations);
            start.elapsed().as_secs_f64() * 1e9 / case.operations as f64
        });
        runs.fold(f64::INFINITY, f64::min)
    };
    println!("| group | case | ns | x memcpy |\n|---|---|---:|---:|");
    let mut base = f64::NAN;
    for case in cases {
        let wanted = case.id().contains(part);
        if wanted || case.name == MEMCPY {
            let ns = fastest(case);
            base = if case.name == MEMCPY { ns } else { base };
            if wanted {
                println!("| {} | {} | {ns:.1} | {:.2} |", case.group, case.name, ns / base);
            }
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "measuring time is what this is for")]
fn now() -> Instant {
    Instant::now()
}

/// One line of the table
struct Row {
    case: Case,
    instructions: f64,
    allocations: f64,
}

fn table(cases: Vec<Case>, part: &str) -> Result<(), Box<dyn Error>> {
    let mut rows: Vec<Row> = Vec::new();
    for case in cases {
        // A group is measured against its yardstick, whatever part is asked for.
        if case.id().contains(part) || case.name == MEMCPY {
            let (instructions, allocations) = (instructions(&case)?, allocations(&case));
            rows.push(Row { case, instructions, allocations });
        }
    }
    println!("| group | case | instructions | x memcpy | allocations | at most | |");
    println!("|---|---|---:|---:|---:|---:|---|");
    for row in rows.iter().filter(|row| row.case.id().contains(part)) {
        let Row { case, instructions, allocations } = row;
        let times = of(&rows, case.group, MEMCPY)
            .map_or_else(String::new, |base| format!("{:.2}", instructions / base));
        let target = case.target.map_or_else(String::new, |target| target.to_string());
        let met = match case.target.and_then(|target| most(&rows, case.group, target)) {
            Some(most) if *instructions <= most => "met",
            Some(_) => "missed",
            None => "",
        };
        println!(
            "| {} | {} | {instructions:.1} | {times} | {allocations:.2} | {target} | {met} |",
            case.group, case.name
        );
    }
    Ok(())
}

/// What a target comes to, where the case that it names was measured
fn most(rows: &[Row], group: &str, target: Target) -> Option<f64> {
    match target {
        Target::Instructions(most) => Some(f64::from(most)),
        Target::Memcpy(times) => of(rows, group, MEMCPY).map(|base| times * base),
        Target::Times(times, name) => of(rows, group, name).map(|base| times * base),
    }
}

fn of(rows: &[Row], group: &str, name: &str) -> Option<f64> {
    rows.iter().find(|row| row.case.group == group && row.case.name == name).map(|row| row.instructions)
}

/// Per operation
fn instructions(case: &Case) -> Result<f64, Box<dyn Error>> {
    let few = case.operations / 10;
    let (less, more) = (collected(case, few)?, collected(case, few + case.operations)?);
    Ok((more - less) / case.operations as f64)
}

/// Instructions of a process that does the operation so many times
fn collected(case: &Case, times: u64) -> Result<f64, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(["run", &case.id(), &times.to_string()])
        .output()
        .map_err(|error| -> Box<dyn Error> {
            if error.kind() == ErrorKind::NotFound { NO_VALGRIND.into() } else { error.into() }
        })?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let count = told.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    match count {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("{} did not run under valgrind:\n{told}", case.id()).into()),
    }
}

/// Per operation, once it has its buffers
fn allocations(case: &Case) -> f64 {
    let mut run = case.build();
    run(case.operations / 10);
    let profiler = dhat::Profiler::builder().testing().build();
    run(case.operations);
    let blocks = dhat::HeapStats::get().total_blocks;
    drop(profiler);
    blocks as f64 / case.operations as f64
}
