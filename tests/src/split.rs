//! P18: the same bytes give the same events however they are split

use flyrpc_core::fly::Fly;
use flyrpc_core::{CloseReason, Connection, Incoming, Instant, Limits, Table, What};

/// Everything that a connection says of some input, as text, and the bytes it consumed
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// A line for each event; the pieces of a streamed body are one
    pub events: Vec<String>,
    /// Bytes consumed
    pub consumed: usize,
    /// What the connection wants sent
    pub sent: Vec<u8>,
    /// What it says when the stream ends here
    pub end: Option<CloseReason>,
}

/// Feeds `input` to a new connection in pieces that end at `cuts`; calls that replies may answer are made by `prepare`
///
/// Each piece is added to what is left of those before, as a socket's reader does.
pub fn feed(limits: &Limits, prepare: &dyn Fn(&mut Conn), input: &[u8], cuts: &[usize]) -> Seen {
    let mut conn = Conn::new(Fly::default(), limits.clone());
    prepare(&mut conn);
    let mut seen = Seen { events: Vec::new(), consumed: 0, sent: Vec::new(), end: None };
    let mut start = 0;
    for end in cuts.iter().copied().chain([input.len()]) {
        debug_assert!(start <= end, "cuts are in order");
        start = end;
        if !drain(&mut conn, &input[..end], &mut seen) {
            break;
        }
    }
    conn.handle_eof(Instant::ZERO);
    seen.end = conn.close_reason();
    seen
}

/// The connection that [`feed`] feeds
pub type Conn = Connection<Fly, Table<u32>>;

/// False once the connection has failed
fn drain(conn: &mut Conn, input: &[u8], seen: &mut Seen) -> bool {
    loop {
        let step = match conn.handle_input(Instant::ZERO, &input[seen.consumed..]) {
            Ok(step) => step,
            Err(error) => {
                seen.events.push(format!("{error}"));
                return false;
            }
        };
        seen.consumed += step.consumed;
        match step.what {
            What::NeedMore { at_least } => {
                assert!(at_least > input.len() - seen.consumed.min(input.len()), "asks for what it has");
                return true;
            }
            What::Blocked | What::Handled => {}
            What::Incoming(Incoming::Piece { bytes, left }) => push_piece(&mut seen.events, bytes, left),
            What::Incoming(Incoming::Request { method, body, meta, token }) => {
                seen.events.push(format!(
                    "request {} {method:x?} {meta:?} {body:?} {:x?}",
                    token.key(),
                    body.bytes()
                ));
                conn.abandon(token);
            }
            What::Incoming(Incoming::Notification { method, body, meta }) => {
                seen.events.push(format!("notification {method:x?} {meta:?} {body:?} {:x?}", body.bytes()));
            }
            What::Incoming(Incoming::Reply { call, tag, code, body, meta }) => {
                seen.events.push(format!("{call:?} #{tag} {code:x?} {meta:?} {body:?} {:x?}", body.bytes()));
            }
            What::Incoming(other) => seen.events.push(format!("{other:?}")),
        }
        while let Ok(Some(_)) = conn.poll_transmit(&mut seen.sent) {}
    }
}

/// Pieces of one body are joined: how they are cut follows from how the input is
fn push_piece(events: &mut Vec<String>, bytes: &[u8], left: u64) {
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    let (mut len, mut total) = (bytes.len() as u64, sum);
    if let Some(rest) = events.last().and_then(|last| last.strip_prefix("body ")) {
        let mut numbers = rest.split(' ').filter_map(|word| word.parse::<u64>().ok());
        if let (Some(old_len), Some(old_total), Some(old_left)) =
            (numbers.next(), numbers.next(), numbers.next())
            && old_left == left + len
        {
            (len, total) = (len + old_len, total + old_total);
            events.pop();
        }
    }
    events.push(format!("body {len} {total} {left}"));
}

/// Asserts that `input` gives the same events whole, byte by byte, at every single cut, and with trailing bytes
///
/// Inputs longer than 600 bytes are cut at a prime stride instead of everywhere. Returns what they all gave.
///
/// # Panics
/// When two ways of feeding differ.
pub fn assert_invariant(name: &str, limits: &Limits, prepare: &dyn Fn(&mut Conn), input: &[u8]) -> Seen {
    let whole = feed(limits, prepare, input, &[]);
    let stride = if input.len() <= 600 { 1 } else { (input.len() / 97) | 1 };
    let cuts: Vec<usize> = (0..=input.len()).step_by(stride).collect();
    assert_eq!(feed(limits, prepare, input, &cuts), whole, "{name}: byte by byte");
    for cut in cuts {
        assert_eq!(feed(limits, prepare, input, &[cut]), whole, "{name}: cut at {cut}");
    }
    if whole.end == Some(CloseReason::PeerClosed) {
        let mut longer = input.to_vec();
        longer.extend(b"\x40\x00");
        let mut trailing = feed(limits, prepare, &longer, &[]);
        assert_eq!(trailing.end, Some(CloseReason::CutShort), "{name}: an end inside a packet");
        trailing.end = whole.end;
        assert_eq!(trailing, whole, "{name}: with the start of another packet behind");
    }
    whole
}
