//! Many measurements, told in one table

use core::fmt::{self, Display, Formatter, Write};
use core::time::Duration;

use crate::Cell;
use crate::children::{Measured, Peer};

/// What all others are compared with
pub(crate) const RAW: &str = "raw-tokio";
/// Cores that a pair of processes uses
const CORES: f64 = 2.0;

/// What the project asks of its tokio adapter: a share of what raw sockets reach
const TARGETS: [(Cell, f64); 6] = [
    (Cell { payload: 16, calls: 1 }, 0.97),
    (Cell { payload: 16, calls: 64 }, 0.80),
    (Cell { payload: 16, calls: 1024 }, 0.30),
    (Cell { payload: 4 << 10, calls: 64 }, 0.60),
    (Cell { payload: 64 << 10, calls: 64 }, 0.90),
    (Cell { payload: 1 << 20, calls: 1 }, 0.66),
];
const TARGETED: &str = "flyrpc";

/// One peer in one cell
pub(crate) struct Row {
    pub(crate) cell: Cell,
    pub(crate) peer: Peer,
    /// One for each repetition, until it failed
    pub(crate) samples: Vec<Sample>,
    pub(crate) failed: Option<String>,
}

/// One measurement
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Calls per second
    pub(crate) per_s: f64,
    p50_us: f64,
    p99_us: f64,
    /// Of each call
    client_cpu_us: f64,
    server_cpu_us: f64,
    client_allocs: f64,
    server_allocs: f64,
    /// What others used of both cores
    noise: f64,
}

impl Row {
    pub(crate) const fn new(cell: Cell, peer: Peer) -> Self {
        Self { cell, peer, samples: Vec::new(), failed: None }
    }

    fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of).collect())
    }

    /// Each sample beside the one of raw sockets of the same repetition
    fn to_raw(&self, raw: &Self) -> f64 {
        median(self.samples.iter().zip(&raw.samples).map(|(own, raw)| own.per_s / raw.per_s).collect())
    }
}

impl Sample {
    /// `others_us`: what others used while it was measured, which took so long
    pub(crate) fn new(measured: &Measured, others_us: u64, took: Duration) -> Self {
        let Measured { client, server_before, server_after } = measured;
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / client.calls.max(1) as f64;
        Self {
            per_s: if client.secs > 0.0 { client.calls as f64 / client.secs } else { 0.0 },
            p50_us: client.p50_us,
            p99_us: client.p99_us,
            client_cpu_us: each(client.before.cpu_us, client.after.cpu_us),
            server_cpu_us: each(server_before.cpu_us, server_after.cpu_us),
            client_allocs: each(client.before.allocs, client.after.allocs),
            server_allocs: each(server_before.allocs, server_after.allocs),
            noise: others_us as f64 / (CORES * took.as_micros().max(1) as f64),
        }
    }
}

/// Markdown: medians of the repetitions
pub(crate) fn render(rows: &[Row]) -> String {
    let mut out = String::from(
        "| cell | peer | calls/s | x raw | at least | p50 us | p99 us | CPU us/call, client + server | allocations/call, client + server | noise |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let (cell, peer) = (row.cell, &row.peer.name);
        if row.samples.is_empty() {
            let why = row.failed.as_deref().unwrap_or("not measured");
            write(&mut out, format_args!("| {cell} | {peer} | {why} | | | | | | | |\n"));
            continue;
        }
        let raw = rows.iter().find(|raw| raw.cell == cell && raw.peer.name == RAW);
        let ratio = raw.map(|raw| row.to_raw(raw));
        let target =
            TARGETS.iter().find(|target| target.0 == cell && peer == TARGETED).map(|target| target.1);
        let met = match (target, ratio) {
            (Some(least), Some(ratio)) if ratio >= least => format!("{least:.2} met"),
            (Some(least), _) => format!("{least:.2} missed"),
            (None, _) => String::new(),
        };
        let failed = if row.failed.is_some() { ", then failed" } else { "" };
        write(
            &mut out,
            format_args!(
                "| {cell} | {peer} | {:.0}{failed} | {} | {met} | {:.1} | {:.1} | {:.2} + {:.2} | {:.2} + {:.2} | {:.0} % |\n",
                row.median(|sample| sample.per_s),
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}")),
                row.median(|sample| sample.p50_us),
                row.median(|sample| sample.p99_us),
                row.median(|sample| sample.client_cpu_us),
                row.median(|sample| sample.server_cpu_us),
                row.median(|sample| sample.client_allocs),
                row.median(|sample| sample.server_allocs),
                100.0 * row.median(|sample| sample.noise),
            ),
        );
    }
    out
}

/// A string takes whatever is written
fn write(out: &mut String, line: fmt::Arguments<'_>) {
    out.write_fmt(line).expect("a string has room");
}

/// Of none: not a number
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len().saturating_sub(1) / 2..=values.len() / 2).unwrap_or_default();
    middle.iter().sum::<f64>() / middle.len() as f64
}

impl Display for Cell {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = match self.payload {
            bytes if bytes >= 1 << 20 && bytes % (1 << 20) == 0 => {
                format!("{} MiB x{}", bytes >> 20, self.calls)
            }
            bytes if bytes >= 1 << 10 && bytes % (1 << 10) == 0 => {
                format!("{} KiB x{}", bytes >> 10, self.calls)
            }
            bytes => format!("{bytes} B x{}", self.calls),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const CELL: Cell = Cell { payload: 16, calls: 64 };

    fn row(name: &str, per_s: &[f64]) -> Row {
        let mut row = Row::new(CELL, Peer { name: name.to_owned(), exe: PathBuf::new() });
        row.samples = per_s.iter().map(|per_s| Sample { per_s: *per_s, ..Sample::default() }).collect();
        row
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn ratios_are_of_the_same_repetition() {
        // The machine was half as fast the second time: the ratio of medians would be another.
        let (raw, own) = (row(RAW, &[100.0, 50.0, 100.0]), row("flyrpc", &[90.0, 45.0, 30.0]));
        assert_eq!(own.to_raw(&raw), 0.9);
    }

    #[test]
    fn a_target_is_met_or_missed() {
        let table = |per_s| render(&[row(RAW, &[100.0]), row("flyrpc", &[per_s])]);
        assert!(table(80.0).contains("| 16 B x64 | flyrpc | 80 | 0.800 | 0.80 met |"), "{}", table(80.0));
        assert!(table(79.0).contains("| 0.790 | 0.80 missed |"), "{}", table(79.0));
    }

    #[test]
    fn what_failed_says_why() {
        let mut failed = row("flyrpc", &[]);
        failed.failed = Some("a process has ended".to_owned());
        assert!(render(&[failed]).contains("| flyrpc | a process has ended |"));
    }

    #[test]
    fn cells_are_read_and_told() {
        for (text, told) in [("16:64", "16 B x64"), ("4096:1", "4 KiB x1"), ("1048576:2", "1 MiB x2")] {
            assert_eq!(text.parse::<Cell>().unwrap().to_string(), told);
        }
        for bad in ["16", "16:0", "a:1", ":", "16:64:1"] {
            assert!(bad.parse::<Cell>().is_err(), "{bad}");
        }
    }
}
