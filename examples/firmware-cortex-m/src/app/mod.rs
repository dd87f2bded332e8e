//! What the device answers and says of itself
//!
//! | request | payload | answer |
//! |---|---|---|
//! | `led` | `1` or `on`, `0` or `off`; nothing asks | its state, `1` or `0` |
//! | `adc` | a channel, `0` to `3` | a number from 0 to 4095 |
//! | `echo` | anything | the same |
//! | `time` | | what the host answers to `host.time` |
//! | `press` | | how often the button was pressed; the host is told `button` with that number first |
//! | `button` | `on` or `off` | the same; while on, the button is pressed once a second |
//! | `slow` | milliseconds | the same, that much later |
//! | `ask` | milliseconds, a code, a payload, with a space between | what the host answers within that time |
//! | `burst` | a number up to 4 | a digit for each of so many calls of the host's `echo` at once: `1` if it was right |
//! | `pulse` | | `alive`, when the host has answered a ping |
//! | `heard` | | how many messages came, a space, and the latest `note` |
//! | `cancelled` | | how many requests the host has cancelled |
//! | `reset` | | none: the device starts anew |
//!
//! Payloads are text. An unknown request is answered `NOT_FOUND`, an unreadable payload `BAD_PAYLOAD`, and what the
//! host does not answer in time `TIMEOUT`. Messages: `note` is kept, others are only counted.

mod text;

use core::time::Duration;

use flyrpc_embedded::{Calls, Event, Instant, Link, Peer, Raw, Refusal, Refused, Reply, Token, codes};
use text::{Decimal, number, word};

/// Calls of the device's own at the same time
pub const CALLS: usize = 4;

/// The other end of a line, as the application sees it
pub type Host<'m, L> = Peer<'m, L, Calls<Tag, CALLS>, Raw>;

/// What the application wants from the hardware
pub trait Hardware {
    /// Switches the light
    fn set_led(&mut self, on: bool);

    /// Starts the device anew; where that can't be, nothing happens
    fn reset(&mut self);
}

/// What is to be done with the answer to a call of the device's
#[derive(Debug)]
pub enum Tag {
    /// It answers this request
    Pass(Token),
    /// It says that the host lives
    Pulse(Token),
    /// It is one of the calls that `burst` has started
    Burst(u8),
}

/// The application, for one line
#[derive(Debug)]
pub struct App<H> {
    hardware: H,
    led: bool,
    presses: u32,
    /// When the button is pressed next
    next_press: Option<Instant>,
    samples: u32,
    messages: u32,
    note: heapless::Vec<u8, 64>,
    cancelled: u32,
    slow: heapless::Vec<Slow, SLOW>,
    burst: Option<Burst>,
}

/// Slow requests at the same time; as many as a node lets wait for their answers
const SLOW: usize = 8;
/// How long the host may take where the request does not say
const PATIENCE: Duration = Duration::from_secs(2);
const PRESS: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Slow {
    token: Token,
    due: Instant,
    millis: u32,
}

#[derive(Debug)]
struct Burst {
    token: Token,
    digits: heapless::Vec<u8, CALLS>,
    left: usize,
}

impl<H: Hardware> App<H> {
    /// A device that was just switched on
    #[must_use]
    pub const fn new(hardware: H) -> Self {
        Self {
            hardware,
            led: false,
            presses: 0,
            next_press: None,
            samples: 0,
            messages: 0,
            note: heapless::Vec::new(),
            cancelled: 0,
            slow: heapless::Vec::new(),
            burst: None,
        }
    }

    /// Deals with one thing that came
    pub fn handle<L: Link>(&mut self, host: &mut Host<'_, L>, event: Event<'_, Tag>) {
        match event {
            Event::Request { code, payload, token } => self.request(host, code, payload, token),
            Event::Message { code, payload } => {
                self.messages = self.messages.wrapping_add(1);
                if code == b"note" {
                    self.note.clear();
                    // What is longer is cut.
                    self.note.extend(payload.iter().copied().take(64));
                }
            }
            Event::Reply { tag, code, payload, .. } => self.answered(host, tag, code, payload),
            Event::Pong { tag, .. } => self.answered(host, tag, b"", b"alive"),
            Event::TimedOut { tag, .. } => self.answered(host, tag, codes::TIMEOUT.as_bytes(), b""),
            Event::Cancelled { sequence } => {
                self.cancelled = self.cancelled.wrapping_add(1);
                if let Some(at) = self.slow.iter().position(|slow| slow.token.sequence() == sequence) {
                    host.abandon(self.slow.swap_remove(at).token);
                }
            }
            Event::Ended { .. } => {
                // Nobody waits for these answers any more.
                self.slow.clear();
                self.burst = None;
                self.next_press = None;
            }
            // Who waited for the answers to lost calls is lost too.
            Event::Lost { .. } | _ => {}
        }
    }

    /// Does what is due by now
    pub fn tick<L: Link>(&mut self, host: &mut Host<'_, L>) {
        let now = host.now();
        while let Some(at) = self.slow.iter().position(|slow| slow.due <= now) {
            let Slow { token, due, millis } = self.slow.swap_remove(at);
            let answer = Decimal::new(millis);
            if let Err(Refused { why: Refusal::NoRoom { .. }, back, .. }) =
                host.try_reply(token, Reply::ok(answer.as_bytes()))
            {
                // It fits when what waits has been sent. There is a place: it was taken out just now.
                let _ = self.slow.push(Slow { token: back, due, millis });
                return;
            }
        }
        if let Some(due) = self.next_press.filter(|due| *due <= now) {
            self.next_press = Some(due + PRESS);
            self.press(host);
        }
    }

    /// When [`tick`](Self::tick) has something to do
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.slow.iter().map(|slow| slow.due).chain(self.next_press).min()
    }

    fn request<L: Link>(&mut self, host: &mut Host<'_, L>, code: &[u8], payload: &[u8], token: Token) {
        let decimal;
        let reply = match code {
            b"led" => {
                match payload.trim_ascii() {
                    b"" => {}
                    b"1" | b"on" | b"true" => self.switch(true),
                    b"0" | b"off" | b"false" => self.switch(false),
                    _ => return answer(host, token, Reply::error(codes::BAD_PAYLOAD, b"0, 1, on or off")),
                }
                Reply::ok(if self.led { b"1" } else { b"0" })
            }
            b"adc" => match number(payload).and_then(|channel| self.sample(channel)) {
                Some(value) => {
                    decimal = Decimal::new(value);
                    Reply::ok(decimal.as_bytes())
                }
                None => Reply::error(codes::BAD_PAYLOAD, b"a channel is 0 to 3"),
            },
            b"echo" | b"$ping" => Reply::ok(payload),
            b"time" => return pass(host, token, PATIENCE, b"host.time", b""),
            b"press" => {
                self.press(host);
                decimal = Decimal::new(self.presses);
                Reply::ok(decimal.as_bytes())
            }
            b"button" => match payload.trim_ascii() {
                b"on" => {
                    self.next_press = Some(host.now() + PRESS);
                    Reply::ok(b"on")
                }
                b"off" => {
                    self.next_press = None;
                    Reply::ok(b"off")
                }
                _ => Reply::error(codes::BAD_PAYLOAD, b"on or off"),
            },
            b"slow" => return self.start_slow(host, payload, token),
            b"ask" => {
                let (millis, rest) = word(payload);
                let (code, payload) = word(rest);
                match number(millis) {
                    Some(millis) => {
                        return pass(host, token, Duration::from_millis(u64::from(millis)), code, payload);
                    }
                    None => Reply::error(codes::BAD_PAYLOAD, b"milliseconds, code, payload"),
                }
            }
            b"burst" => return self.start_burst(host, payload, token),
            b"pulse" => match host.ping(PATIENCE, Tag::Pulse(token)) {
                Ok(_) => return,
                Err(refused) => return refuse(host, refused.back),
            },
            b"heard" => {
                let mut heard = heapless::Vec::<u8, 80>::new();
                heard.extend(Decimal::new(self.messages).as_bytes().iter().copied());
                heard.extend([b' ']);
                heard.extend(self.note.iter().copied());
                return answer(host, token, Reply::ok(&heard));
            }
            b"cancelled" => {
                decimal = Decimal::new(self.cancelled);
                Reply::ok(decimal.as_bytes())
            }
            b"reset" => {
                self.hardware.reset();
                Reply::error("NO_RESET", b"this device can't start anew")
            }
            _ => Reply::error(codes::NOT_FOUND, b""),
        };
        answer(host, token, reply);
    }

    fn switch(&mut self, on: bool) {
        self.led = on;
        self.hardware.set_led(on);
    }

    /// A sawtooth, of other steepness on each channel
    fn sample(&mut self, channel: u32) -> Option<u32> {
        if channel > 3 {
            return None;
        }
        self.samples = self.samples.wrapping_add(1);
        Some(self.samples.wrapping_mul(100 * (channel + 1)) % 4096)
    }

    fn press<L: Link>(&mut self, host: &mut Host<'_, L>) {
        self.presses = self.presses.wrapping_add(1);
        // Where there is no room for it, the next one tells the number.
        let _ = host.notify(b"button", Decimal::new(self.presses).as_bytes());
    }

    fn start_slow<L: Link>(&mut self, host: &mut Host<'_, L>, payload: &[u8], token: Token) {
        let Some(millis) = number(payload) else {
            return answer(host, token, Reply::error(codes::BAD_PAYLOAD, b"milliseconds"));
        };
        let due = host.now() + Duration::from_millis(u64::from(millis));
        if let Err(slow) = self.slow.push(Slow { token, due, millis }) {
            answer(host, slow.token, Reply::error(codes::BUSY, b""));
        }
    }

    fn start_burst<L: Link>(&mut self, host: &mut Host<'_, L>, payload: &[u8], token: Token) {
        let calls = number(payload).unwrap_or(0) as usize;
        if calls == 0 || calls > CALLS {
            return answer(host, token, Reply::error(codes::BAD_PAYLOAD, b"1 to 4 calls"));
        }
        if self.burst.is_some() {
            return answer(host, token, Reply::error(codes::BUSY, b""));
        }
        let mut digits = heapless::Vec::new();
        digits.extend(core::iter::repeat_n(b'0', calls));
        self.burst = Some(Burst { token, digits, left: calls });
        for call in 0..calls {
            if let Err(refused) =
                host.call(b"echo", &burst_payload(call as u8), PATIENCE, Tag::Burst(call as u8))
            {
                self.answered(host, refused.back, codes::BUSY.as_bytes(), b"");
            }
        }
    }

    /// A call of the device's is over
    fn answered<L: Link>(&mut self, host: &mut Host<'_, L>, tag: Tag, code: &[u8], payload: &[u8]) {
        match tag {
            Tag::Pass(token) if code.is_empty() => answer(host, token, Reply::ok(payload)),
            Tag::Pulse(token) if code.is_empty() => answer(host, token, Reply::ok(b"alive")),
            Tag::Pass(token) | Tag::Pulse(token) => answer(host, token, Reply::error(code, payload)),
            Tag::Burst(call) => {
                let Some(burst) = &mut self.burst else { return };
                if let Some(digit) = burst.digits.get_mut(usize::from(call)) {
                    *digit = if code.is_empty() && payload == burst_payload(call) { b'1' } else { b'0' };
                }
                burst.left -= 1;
                if burst.left == 0
                    && let Some(Burst { token, digits, .. }) = self.burst.take()
                {
                    answer(host, token, Reply::ok(&digits));
                }
            }
        }
    }
}

/// Calls the host, and answers the request of `token` with what it says
fn pass<L: Link>(host: &mut Host<'_, L>, token: Token, within: Duration, code: &[u8], payload: &[u8]) {
    if let Err(refused) = host.call(code, payload, within, Tag::Pass(token)) {
        refuse(host, refused.back);
    }
}

/// A call could not be made
fn refuse<L: Link>(host: &mut Host<'_, L>, tag: Tag) {
    match tag {
        Tag::Pass(token) | Tag::Pulse(token) => answer(host, token, Reply::error(codes::BUSY, b"")),
        Tag::Burst(_) => {}
    }
}

fn answer<L: Link>(host: &mut Host<'_, L>, token: Token, reply: Reply<'_, flyrpc_core::fly::Zip>) {
    // One that is too long has been replaced by an error; one to an earlier life of the line is for nobody.
    let _ = host.reply(token, reply);
}

fn burst_payload(call: u8) -> [u8; 7] {
    [b'b', b'u', b'r', b's', b't', b' ', b'0'.wrapping_add(call)]
}
