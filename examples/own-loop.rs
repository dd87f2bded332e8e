//! FlyRPC in an event loop of your own: many connections on one thread, without a runtime and without an adapter
//!
//! ```text
//! cargo run --example own-loop -- 127.0.0.1:7000
//! cargo run --example hello-client
//! ```
//!
//! A template: replace `mio` by what you have (epoll, a game's frame, a microcontroller's interrupts) and
//! [`Client::request`] by what you answer. The engine, [`Connection`], does no I/O and reads no clock. Its owner
//!
//! 1. hands it the bytes that came ([`Client::take_messages`]),
//! 2. lets it tell what happened without bytes, and write small packets of its own ([`Client::settle`]),
//! 3. writes what it encoded ([`Client::flush`]),
//! 4. waits for bytes, for room to write, or for the engine's next deadline ([`Server::run`]).
//!
//! Back-pressure: what a client has not taken yet is bounded, because nothing more of it is read meanwhile.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};

use flyrpc_core::fly::zip::{Opened, Unzip};
use flyrpc_core::fly::{Fly, codes};
use flyrpc_core::{
    Call, CloseReason, Connection, Event, Incoming, Instant, Limits, Loss, RecvBuf, Reply, ReplyToken, State,
    Table, What,
};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// The state machine of one connection, with a table of calls that grows with the number in flight
type Engine = Connection<Fly, Table<Then>>;

/// What is to be done when a call of ours is over: the engine keeps it with the call, and gives it back exactly once
#[derive(Debug)]
enum Then {
    /// The peer told its name: answer its `greet`
    Greet(ReplyToken<Fly>),
}

/// The longest payload taken: what one client may make us hold is a few times this
const MAX_PAYLOAD: u32 = 1 << 20;
/// Bytes that a client may leave unread before nothing more of it is read
const MAX_UNSENT: usize = 64 << 10;
/// Reads of one client before the others have their turn
const READS: usize = 4;
/// Bytes of a read at the least, and of the buffers of a client that is idle at the most
const BUFFER: usize = 16 << 10;
/// How long a client may take nothing of what is there for it
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to tell its name
const NAME_TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let server = Server::listen(&address)?;
    println!("listening on {}", server.listener.local_addr()?);
    server.run()?;
    Ok(())
}

/// All connections, and what tells whose turn it is
struct Server {
    poll: Poll,
    listener: TcpListener,
    clock: Clock,
    clients: BTreeMap<Token, Client>,
    /// Tokens are not used twice, so an event that comes late finds nobody
    next_token: usize,
    /// Who has something to do now
    ready: BTreeSet<Token>,
    /// Who has something to do later: one entry at the most for each, its [`Client::timer`]
    timers: BTreeSet<(Instant, Token)>,
    /// Inflates what came compressed; its buffers serve all connections
    unzip: Unzip,
}

const LISTENER: Token = Token(0);

/// After an error, such as too many open files, until the next try
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Server {
    fn listen(address: &str) -> Result<Self, Box<dyn core::error::Error>> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address.parse()?)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            clock: Clock::start(),
            clients: BTreeMap::new(),
            next_token: 1,
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            unzip: Unzip::new(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, self.time_left()) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                Err(_) | Ok(()) => {}
            }
            // One reading of the clock for the whole round is enough.
            let now = self.clock.now();
            self.ready.extend(events.iter().map(|event| event.token()));
            while let Some(&(_, token)) = self.timers.first().filter(|(at, _)| *at <= now) {
                self.timers.pop_first();
                self.ready.insert(token);
            }
            // Those who are not done after their turn are in the next round, behind what comes meanwhile.
            for token in core::mem::take(&mut self.ready) {
                if token == LISTENER { self.accept(now) } else { self.turn(token, now) }
            }
        }
    }

    /// How long to wait for events: not at all, until the next timer, or for ever
    fn time_left(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        self.timers.first().map(|(at, _)| *at - self.clock.now())
    }

    fn accept(&mut self, now: Instant) {
        loop {
            let accepted = self.listener.accept().and_then(|(mut socket, address)| {
                socket.set_nodelay(true)?;
                let token = Token(self.next_token);
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut socket, token, interest)?;
                Ok((socket, address, token))
            });
            match accepted {
                Ok((socket, address, token)) => {
                    println!("{address} came");
                    self.next_token += 1;
                    self.clients.insert(token, Client::new(socket, address.to_string()));
                    self.ready.insert(token);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    // No event tells when it is worth trying again.
                    eprintln!("can't accept: {error}");
                    self.timers.insert((now + ACCEPT_PAUSE, LISTENER));
                    return;
                }
            }
        }
    }

    /// Does what there is to do for one client
    fn turn(&mut self, token: Token, now: Instant) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        if let Some(at) = client.timer.take() {
            self.timers.remove(&(at, token));
        }
        match client.turn(now, &mut self.unzip) {
            Turn::Over(why) => {
                println!("{} left: {why}", client.address);
                // Dropping the socket closes it, and takes it out of the poll.
                self.clients.remove(&token);
                return;
            }
            Turn::Again => {
                self.ready.insert(token);
            }
            Turn::Waits => {}
        }
        client.timer = client.next_timeout();
        if let Some(at) = client.timer {
            self.timers.insert((at, token));
        }
    }
}

/// One connection
struct Client {
    socket: TcpStream,
    address: String,
    engine: Engine,
    /// What came and is not handled yet
    input: RecvBuf<Vec<u8>>,
    /// What was encoded, from `sent` on not written yet
    out: Vec<u8>,
    sent: usize,
    /// Since when the socket has taken nothing of what is unsent
    stuck: Option<Instant>,
    /// Nothing more comes from the client
    eof: bool,
    /// What the engine said at last
    ended: Option<CloseReason>,
    /// Where it is in [`Server::timers`]
    timer: Option<Instant>,
}

/// How a turn ended
enum Turn {
    /// For the sake of the others: there is more to do
    Again,
    /// Nothing to do until the socket or the timer says so
    Waits,
    /// The connection has ended, and all is written that can be
    Over(CloseReason),
}

/// Why taking messages stopped
enum Stopped {
    /// The input holds no whole message; it takes at least so many bytes
    NeedsMore(usize),
    /// Too much is unsent
    Full,
    /// The engine takes nothing now
    Blocked,
    /// The engine takes nothing any more
    Ended,
}

impl Client {
    fn new(socket: TcpStream, address: String) -> Self {
        // `Overload::Wait` would have the engine block at the limit of unanswered requests, together with the answers to our
        // own calls that come behind them. This server calls back, so it refuses instead, which is the default.
        let limits = Limits::new().max_payload(MAX_PAYLOAD).max_unanswered(256);
        Self {
            socket,
            address,
            engine: Engine::new(Fly::default(), limits),
            input: RecvBuf::new(Vec::new()),
            out: Vec::new(),
            sent: 0,
            stuck: None,
            eof: false,
            ended: None,
            timer: None,
        }
    }

    /// Everything there is to do, whatever woke us: bytes, room, or time
    ///
    /// `mio` tells only once that a socket is readable or writable. So a turn that ends as [`Turn::Waits`] has read until
    /// there was nothing (or must not read), and written until there was no room; else an event would be missed.
    fn turn(&mut self, now: Instant, unzip: &mut Unzip) -> Turn {
        self.engine.handle_timeout(now);
        if self.stuck.is_some_and(|since| now >= since + WRITE_TIMEOUT) {
            self.lost(Loss::WriteTimeout);
        }
        self.settle();
        for _ in 0..READS {
            let stopped = self.take_messages(now, unzip);
            self.settle();
            self.flush(now);
            if let Some(why) = self.ended {
                return if self.unsent() == 0 { Turn::Over(why) } else { Turn::Waits };
            }
            match stopped {
                Stopped::Full if self.unsent() > MAX_UNSENT => return Turn::Waits,
                Stopped::Full => {}
                // After the end of the input the engine still waits for the answers that are owed.
                Stopped::Blocked | Stopped::Ended => return Turn::Waits,
                Stopped::NeedsMore(at_least) => {
                    if !self.read(now, at_least) {
                        return Turn::Waits;
                    }
                }
            }
        }
        Turn::Again
    }

    /// When the next turn must be, if nothing else happens before
    fn next_timeout(&self) -> Option<Instant> {
        let stuck = self.stuck.map(|since| since + WRITE_TIMEOUT);
        self.engine.poll_timeout().into_iter().chain(stuck).min()
    }

    fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Hands the input to the engine, message by message
    fn take_messages(&mut self, now: Instant, unzip: &mut Unzip) -> Stopped {
        while self.unsent() <= MAX_UNSENT {
            // From then on it passes over whatever it is handed, and never says that it needs more.
            if self.eof || self.engine.state() == State::Closed {
                return Stopped::Ended;
            }
            // Field by field: what the step found borrows the input, while answers go to engine and output.
            let Self { engine, input, out, .. } = self;
            let Ok(step) = engine.handle_input(now, input.data()) else {
                // The peer broke the protocol: the engine has closed, and `settle` hears why.
                return Stopped::Ended;
            };
            let consumed = step.consumed;
            match step.what {
                What::NeedMore { at_least } => return Stopped::NeedsMore(at_least),
                What::Blocked => {
                    // It has small packets to write first. Where it has none, it waits for an answer of ours.
                    if !self.settle() {
                        return Stopped::Blocked;
                    }
                    continue;
                }
                What::Handled => {}
                What::Incoming(incoming) => Self::incoming(engine, out, unzip, now, incoming),
            }
            self.input.consume(consumed);
        }
        Stopped::Full
    }

    /// What the engine does of itself: packets, and what happened without input; did it write any?
    fn settle(&mut self) -> bool {
        let mut wrote = false;
        loop {
            // A vector always has room.
            while let Ok(Some(_)) = self.engine.poll_transmit(&mut self.out) {
                wrote = true;
            }
            match self.engine.poll_event() {
                None => return wrote,
                Some(Event::TimedOut { tag: Then::Greet(token), .. }) => {
                    answer(&mut self.engine, &mut self.out, token, Reply::error(codes::TIMEOUT, b""));
                }
                // Who asked is gone as well.
                Some(Event::Lost { tag: Then::Greet(token), .. }) => self.engine.abandon(token),
                Some(Event::Closed { why }) => self.ended = Some(why),
                Some(_) => {}
            }
        }
    }

    /// Acts on a message
    fn incoming(
        engine: &mut Engine,
        out: &mut Vec<u8>,
        unzip: &mut Unzip,
        now: Instant,
        incoming: Incoming<'_, Fly, Then>,
    ) {
        // Taken whole: bodies come in pieces only where the limits say `Oversize::Stream`.
        match incoming {
            Incoming::Request { method, body, meta, token } => {
                match unzip.open(method, body.bytes(), meta, engine.limits()) {
                    Ok(request) => Self::request(engine, out, now, &request, token),
                    Err(error) => answer(engine, out, token, Reply::error(error.code(), b"")),
                }
            }
            Incoming::Notification { method, body, meta } => {
                if let Ok(Opened { code, payload }) = unzip.open(method, body.bytes(), meta, engine.limits())
                {
                    println!("message {code}, {} bytes", payload.len());
                }
            }
            Incoming::Reply { tag: Then::Greet(token), code, body, meta, .. } => {
                match unzip.open(code, body.bytes(), meta, engine.limits()) {
                    Ok(Opened { code: "", payload }) => {
                        let greeting = [b"hello, ", payload].concat();
                        answer(engine, out, token, Reply::ok(&greeting));
                    }
                    Ok(Opened { code, payload }) => answer(engine, out, token, Reply::error(code, payload)),
                    Err(error) => answer(engine, out, token, Reply::error(error.code(), b"")),
                }
            }
            Incoming::BadReply { tag: Then::Greet(token), .. } => {
                answer(engine, out, token, Reply::error(codes::TOO_LARGE, b""));
            }
            // Everything here is answered at once, or waits for the one who cancels. Where work takes long, stop it here.
            Incoming::Cancel { .. } => {}
            Incoming::Pong { tag: Then::Greet(token), .. } => engine.abandon(token), // no pings are sent
            Incoming::Piece { .. } | _ => {}
        }
    }

    /// Answers a request, now or later: whoever keeps the token can answer at any time
    fn request(
        engine: &mut Engine,
        out: &mut Vec<u8>,
        now: Instant,
        request: &Opened<'_>,
        token: ReplyToken<Fly>,
    ) {
        match request.code {
            // Pings too long for the engine, which answers the others itself, come here.
            "echo" | codes::PING => answer(engine, out, token, Reply::ok(request.payload)),
            // A call back to the client. Its answer, or its end, finds the token again: nothing waits.
            "greet" => {
                let call = Call::new("name", b"").deadline(now + NAME_TIMEOUT);
                if let Err(refused) = engine.call(now, call, Then::Greet(token), out) {
                    let Then::Greet(token) = refused.back;
                    answer(engine, out, token, Reply::error(codes::BUSY, b""));
                }
            }
            _ => answer(engine, out, token, Reply::error(codes::NOT_FOUND, b"")),
        }
    }

    /// Reads once; false when there is nothing yet
    fn read(&mut self, now: Instant, at_least: usize) -> bool {
        // It grows with what comes, not with what a header announces.
        self.input.grow(at_least, BUFFER);
        loop {
            match self.socket.read(self.input.space()) {
                Ok(0) => {
                    self.eof = true;
                    self.engine.handle_eof(now);
                    self.settle();
                    return true;
                }
                Ok(len) => {
                    self.input.filled(len);
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Idle: memory of a large packet goes back.
                    self.input.shrink(BUFFER);
                    return false;
                }
                Err(_) => {
                    self.lost(Loss::Reset);
                    return true;
                }
            }
        }
    }

    /// Writes until all is written or the socket takes no more
    fn flush(&mut self, now: Instant) {
        while self.unsent() > 0 {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(len) => {
                    self.sent += len;
                    self.stuck = None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stuck.get_or_insert(now);
                    // What is written goes, now and then, so that the vector does not grow for ever.
                    if self.sent > MAX_UNSENT {
                        self.out.drain(..self.sent);
                        self.sent = 0;
                    }
                    return;
                }
                Err(_) => return self.lost(Loss::Reset),
            }
        }
        self.out.clear();
        self.out.shrink_to(BUFFER);
        self.sent = 0;
    }

    /// The socket is of no use any more
    fn lost(&mut self, loss: Loss) {
        self.engine.handle_loss(loss);
        self.settle();
        self.out.clear();
        (self.sent, self.stuck) = (0, None);
    }
}

/// Answers; a peer that does not take the answer is told so
fn answer(
    engine: &mut Engine,
    out: &mut Vec<u8>,
    token: ReplyToken<Fly>,
    reply: Reply<'_, flyrpc_core::fly::Zip>,
) {
    if let Err(refused) = engine.reply(token, reply, out) {
        let instead = Reply::error(codes::TOO_LARGE, b"");
        if let Err(refused) = engine.reply(refused.back, instead, out) {
            engine.abandon(refused.back);
        }
    }
}

/// The only one who knows the time; the engine is told
struct Clock {
    start: std::time::Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place where this program reads the clock")]
    fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }
}
