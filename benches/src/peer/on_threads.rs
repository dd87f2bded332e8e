//! `flyrpc-blocking`: a thread for each outstanding call

use core::time::Duration;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use flyrpc_blocking::{Client, Connected, Limits, Overload, Peer, Server};

use crate::kit::{
    FIRST_CONNECTIONS, Failure, Histogram, Load, Tally, check_length, is_over, listen_on, now, opened,
    serve_until_quit, session,
};
use crate::{MAX_CONNECTIONS, port_of};

/// Of a caller's thread, in bytes; there are up to 1,024
const STACK: usize = 256 * 1024;

pub(crate) fn serve(addresses: u8) -> Result<(), Failure> {
    let (_servers, port) = listen_on(addresses, |address| {
        let server = Server::new()
            // Nobody is answered `BUSY`: who is too early waits.
            .limits(Limits::new().max_unanswered(64).overload(Overload::Wait))
            .max_connections(MAX_CONNECTIONS, Overload::Refuse)
            .handle("echo1", |payload: Bytes| payload)
            .listen(address)?;
        let port = port_of(&server.address())?;
        Ok((server, port))
    })?;
    serve_until_quit(port)
}

pub(crate) fn run_client(load: Load) -> Result<(), Failure> {
    if load.conns > 0 {
        let first = open_many(FIRST_CONNECTIONS, load)?;
        return session(|| {
            let began = now();
            let held = open_many(load.conns, load)?;
            Ok(((first, held), opened(load.conns, began)))
        });
    }
    let client = open(load)?;
    phase(&client.peer(), load, load.warm())?;
    session(|| {
        let tally = phase(&client.peer(), load, load.time())?;
        Ok((client, tally))
    })
}

fn open(load: Load) -> Result<Connected, Failure> {
    let client = Client::new().connect(load.addr)?;
    check_length(load.payload, client.call("echo1", load.bytes())?.len())?;
    Ok(client)
}

fn open_many(connections: usize, load: Load) -> Result<Vec<Connected>, Failure> {
    (0..connections).map(|index| open(load.for_idle(index))).collect()
}

fn phase(peer: &Peer, load: Load, time: Duration) -> Result<Tally, Failure> {
    let (payload, began) = (load.bytes(), now());
    let mut histogram = Histogram::new();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..load.conc)
            .map(|_| {
                let caller = thread::Builder::new().stack_size(STACK);
                caller.spawn_scoped(scope, || repeat(peer, &payload, began, time))
            })
            .collect::<Result<_, _>>()?;
        for caller in callers {
            histogram.add(&caller.join().map_err(|_| "a caller panicked")??);
        }
        Ok::<_, Failure>(())
    })?;
    Ok(Tally { histogram, time: now().duration_since(began) })
}

/// One caller: call after call until the time is up
fn repeat(peer: &Peer, payload: &Bytes, began: Instant, time: Duration) -> Result<Histogram, Failure> {
    let (mut histogram, mut called) = (Histogram::new(), began);
    while !is_over(began, called, time) {
        check_length(payload.len(), peer.call("echo1", payload)?.len())?;
        let answered = now();
        histogram.record(answered.duration_since(called), 1);
        called = answered;
    }
    Ok(histogram)
}
