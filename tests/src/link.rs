//! A byte stream between two connections: it delays, re-chunks, stalls, half-closes and cuts, but loses nothing

use core::time::Duration;
use std::collections::VecDeque;

use flyrpc_core::Instant;

use crate::Rng;

/// How a [`Link`] behaves
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Shortest time that a chunk takes
    pub latency: Duration,
    /// Up to how much longer a chunk may take; order is kept
    pub jitter: Duration,
    /// Longest chunk that is delivered in one piece, in bytes; chunks are of random length up to it
    pub max_chunk: usize,
}

impl Default for LinkConfig {
    /// 50 us one way, bytes in the pieces they were sent in
    fn default() -> Self {
        Self { latency: Duration::from_micros(50), jitter: Duration::ZERO, max_chunk: usize::MAX }
    }
}

/// Both directions of a stream
#[derive(Clone, Debug)]
pub struct Link {
    config: LinkConfig,
    rng: Rng,
    ways: [Way; 2],
}

/// One direction
#[derive(Clone, Debug, Default)]
struct Way {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    last_due: Instant,
    stalled: bool,
    /// The sender has closed; told once all chunks are delivered
    closed: bool,
    cut: bool,
}

/// What comes out of a link
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Bytes
    Bytes(Vec<u8>),
    /// The end of the stream
    Eof,
}

impl Link {
    /// A link whose chunks and delays follow from `seed`
    #[must_use]
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self { config, rng: Rng::new(seed), ways: [Way::default(), Way::default()] }
    }

    /// Takes bytes into way 0 (a to b) or 1 (b to a)
    pub fn send(&mut self, now: Instant, way: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.ways[way].cut && !self.ways[way].closed {
            let limit = self.config.max_chunk.min(rest.len());
            let len = if limit == rest.len() && self.config.max_chunk == usize::MAX {
                limit
            } else {
                1 + self.rng.below(limit as u64) as usize
            };
            let (chunk, behind) = rest.split_at(len);
            let jitter = Duration::from_micros(self.rng.below(self.config.jitter.as_micros() as u64 + 1));
            let way = &mut self.ways[way];
            way.last_due = way.last_due.max(now + self.config.latency + jitter);
            way.chunks.push_back((way.last_due, chunk.to_vec()));
            rest = behind;
        }
    }

    /// The next chunk of a way that is due, or its end
    pub fn deliver(&mut self, now: Instant, way: usize) -> Option<Delivery> {
        let way = &mut self.ways[way];
        if way.cut {
            way.cut = false;
            way.closed = true;
            way.chunks.clear();
            way.last_due = Instant::FAR;
            return Some(Delivery::Eof);
        }
        match way.chunks.front() {
            Some((due, _)) if *due <= now && !way.stalled => {
                way.chunks.pop_front().map(|(_, bytes)| Delivery::Bytes(bytes))
            }
            None if way.closed && way.last_due != Instant::FAR => {
                way.last_due = Instant::FAR;
                Some(Delivery::Eof)
            }
            _ => None,
        }
    }

    /// When the next chunk is due
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.ways
            .iter()
            .filter(|way| !way.stalled)
            .filter_map(|way| way.chunks.front())
            .map(|(due, _)| *due)
            .min()
    }

    /// Holds a way's chunks back, or lets them go
    pub const fn stall(&mut self, way: usize, stalled: bool) {
        self.ways[way].stalled = stalled;
    }

    /// The sender of a way closes it: what is under way still arrives, then the end
    pub const fn half_close(&mut self, way: usize) {
        self.ways[way].closed = true;
    }

    /// Both ways end at once; what is under way is gone
    pub const fn cut(&mut self) {
        self.ways[0].cut = true;
        self.ways[1].cut = true;
    }

    /// Bytes under way
    #[must_use]
    pub fn in_transit(&self, way: usize) -> usize {
        self.ways[way].chunks.iter().map(|(_, bytes)| bytes.len()).sum()
    }
}
