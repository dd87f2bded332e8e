//! Times every case of this crate, and shows each beside its group's `memcpy` of the same run

use core::cell::Cell;
use core::time::Duration;
use std::time::Instant;

use criterion::Criterion;
use flyrpc_benches::{MEMCPY, cases};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .without_plots()
        .configure_from_args();
    let mut fastest: Vec<(&str, String, f64)> = Vec::new();
    for case in cases() {
        let (mut run, best) = (None, Cell::new(f64::INFINITY));
        criterion.benchmark_group(case.group).bench_function(&case.name, |bencher| {
            let run = run.get_or_insert_with(|| case.build());
            bencher.iter_custom(|times| {
                let time = time(|| run(times));
                best.set(best.get().min(time.as_secs_f64() * 1e9 / times as f64));
                time
            });
        });
        if run.is_some() {
            fastest.push((case.group, case.name, best.get()));
        }
    }
    print_ratios(&fastest);
}

#[expect(clippy::disallowed_methods, reason = "to take the time is what a benchmark is for")]
fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The fastest sample of each case, which other work on the machine disturbs least
fn print_ratios(fastest: &[(&str, String, f64)]) {
    println!("\n| group | case | ns | x memcpy |\n|---|---|---:|---:|");
    for (group, name, ns) in fastest {
        let base = fastest.iter().find(|(other, name, _)| other == group && name == MEMCPY);
        let times = base.map_or_else(String::new, |(_, _, base)| format!("{:.2}", ns / base));
        println!("| {group} | {name} | {ns:.1} | {times} |");
    }
}
