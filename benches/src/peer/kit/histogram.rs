//! How long calls took

use core::time::Duration;

/// Buckets for each power of two are `1 << FINE`: each is less than 0.8 % wide
const FINE: u32 = 7;
/// All that 64 bits of nanoseconds need
const BUCKETS: usize = (64 - FINE as usize + 1) << FINE;

/// Durations, counted in buckets that grow with them
pub(crate) struct Histogram {
    buckets: Vec<u32>,
    count: u64,
    longest: u64,
}

/// What a phase of a measurement yields
pub(crate) struct Tally {
    pub(crate) histogram: Histogram,
    /// From its beginning until the last answer
    pub(crate) time: Duration,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, longest: 0 }
    }

    /// So many calls took this long
    pub(crate) fn record(&mut self, took: Duration, times: u32) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(ns)) {
            *bucket += times;
        }
        self.count += u64::from(times);
        self.longest = self.longest.max(ns);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// What this share of the calls did not pass, in microseconds, to 0.8 %
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut passed = 0;
        let bucket = self.buckets.iter().position(|times| {
            passed += u64::from(*times);
            passed >= rank
        });
        bucket.map_or(0.0, |bucket| least_of(bucket) as f64 / 1e3)
    }

    pub(crate) fn longest_us(&self) -> f64 {
        self.longest as f64 / 1e3
    }
}

/// Up to `2 << FINE` each number has its own; from there on the leading `FINE + 1` bits count
fn bucket_of(ns: u64) -> usize {
    let dropped = ns.checked_ilog2().unwrap_or(0).saturating_sub(FINE);
    ((dropped as usize) << FINE) + (ns >> dropped) as usize
}

/// The shortest that falls into a bucket, in nanoseconds
fn least_of(bucket: usize) -> u64 {
    let dropped = (bucket >> FINE).saturating_sub(1);
    ((bucket - (dropped << FINE)) as u64) << dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_less_than_one_percent_wide() {
        let mut ns = 1u64;
        while ns < u64::MAX / 3 {
            for at in [ns - 1, ns, ns + 1, ns + ns / 2] {
                let least = least_of(bucket_of(at));
                assert!(least <= at && (at - least) as f64 <= at as f64 * 0.008, "{at} became {least}");
            }
            ns *= 2;
        }
        assert!(bucket_of(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_are_those_of_the_calls() {
        let mut histogram = Histogram::new();
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us), 1);
        }
        for (share, want) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = histogram.quantile_us(share);
            assert!((got - want).abs() <= want * 0.008, "{share}: {got}");
        }
        assert_eq!((histogram.count(), histogram.longest_us()), (1000, 1000.0));
        assert_eq!(Histogram::new().quantile_us(0.5), 0.0);
    }

    #[test]
    fn histograms_add_up() {
        let (mut all, mut more) = (Histogram::new(), Histogram::new());
        all.record(Duration::from_micros(1), 3);
        more.record(Duration::from_micros(9), 1);
        all.add(&more);
        assert_eq!((all.count(), all.longest_us()), (4, 9.0));
        assert!(all.quantile_us(0.75) < 1.1 && all.quantile_us(0.76) > 8.9);
    }
}
