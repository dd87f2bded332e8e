//! Closed-loop load: so many callers on one connection, each with one call outstanding

use core::marker::PhantomData;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use super::{Failure, Histogram, Runtime, Tally, check_length, is_over, now};

/// What a client is to do: its command line
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Load {
    /// Where the server listens
    #[arg(long)]
    pub(crate) addr: SocketAddr,
    /// Bytes
    #[arg(long)]
    pub(crate) payload: usize,
    /// Calls outstanding
    #[arg(long)]
    pub(crate) conc: usize,
    #[arg(long)]
    warm_ms: u64,
    #[arg(long)]
    time_ms: u64,
    /// Connections to open and hold, instead of measuring calls; 0 for none
    #[arg(long)]
    pub(crate) conns: usize,
    /// The server listens on so many addresses, from `addr` on, which these connections use in turn
    #[arg(long, default_value_t = 1)]
    addresses: u8,
}

/// Connections opened before those that count, so that what is paid once is not counted
pub(crate) const FIRST_CONNECTIONS: usize = 50;

/// A client whose clones may call at the same time on one connection
pub(crate) trait Caller: Clone + Send + Sync + 'static {
    /// Connects; TCP_NODELAY is to be set
    fn connect(address: SocketAddr) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Calls `echo1` once; gives the answer's length
    fn echo(&self, payload: Bytes) -> impl Future<Output = Result<usize, Failure>> + Send;
}

/// A connection that bears load by itself
pub(crate) trait Bench: Sized + Send + 'static {
    /// Connects and makes at least one call
    fn open(load: Load) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Makes calls until the time is up and all are answered
    fn phase(&mut self, load: Load, time: Duration) -> impl Future<Output = Result<Tally, Failure>> + Send;
}

/// Makes a [`Bench`] of a [`Caller`]: a task for each outstanding call
pub(crate) struct Calls<R, C> {
    caller: C,
    runtime: PhantomData<fn() -> R>,
}

impl Load {
    pub(crate) const fn warm(&self) -> Duration {
        Duration::from_millis(self.warm_ms)
    }

    pub(crate) const fn time(&self) -> Duration {
        Duration::from_millis(self.time_ms)
    }

    /// Letters, which are the same in every encoding
    pub(crate) fn bytes(&self) -> Bytes {
        (b'a'..=b'z').cycle().take(self.payload).collect()
    }

    /// What is asked of the so-manieth of many connections: one small call
    pub(crate) fn for_idle(self, index: usize) -> Self {
        let mut addr = self.addr;
        if let IpAddr::V4(first) = addr.ip() {
            let turn = index % usize::from(self.addresses.max(1));
            addr.set_ip(Ipv4Addr::from_bits(first.to_bits() + turn as u32).into());
        }
        Self { addr, payload: 16, conc: 1, ..self }
    }
}

/// What is told of opened connections: how many, and how long one took on average
pub(crate) fn opened(connections: usize, since: Instant) -> Tally {
    let time = now().duration_since(since);
    let connections = u32::try_from(connections).unwrap_or(u32::MAX);
    let mut histogram = Histogram::new();
    histogram.record(time / connections.max(1), connections);
    Tally { histogram, time }
}

impl<R: Runtime, C: Caller> Bench for Calls<R, C> {
    async fn open(load: Load) -> Result<Self, Failure> {
        let caller = C::connect(load.addr).await?;
        check_length(load.payload, caller.echo(load.bytes()).await?)?;
        Ok(Self { caller, runtime: PhantomData })
    }

    async fn phase(&mut self, load: Load, time: Duration) -> Result<Tally, Failure> {
        let (histogram, payload) = (Arc::new(Mutex::new(Histogram::new())), load.bytes());
        let began = now();
        let tasks: Vec<_> = (0..load.conc)
            .map(|_| R::spawn(repeat(self.caller.clone(), payload.clone(), histogram.clone(), began, time)))
            .collect();
        for task in tasks {
            task.await?;
        }
        let time = now().duration_since(began);
        let histogram = Arc::into_inner(histogram).ok_or("a caller is still at work")?;
        Ok(Tally { histogram: histogram.into_inner().unwrap_or_else(PoisonError::into_inner), time })
    }
}

/// One caller: call after call until the time is up
async fn repeat<C: Caller>(
    caller: C,
    payload: Bytes,
    histogram: Arc<Mutex<Histogram>>,
    began: Instant,
    time: Duration,
) -> Result<(), Failure> {
    let mut called = began;
    while !is_over(began, called, time) {
        check_length(payload.len(), caller.echo(payload.clone()).await?)?;
        let answered = now();
        let took = answered.duration_since(called);
        histogram.lock().unwrap_or_else(PoisonError::into_inner).record(took, 1);
        called = answered;
    }
    Ok(())
}
