//! Calls that are sent together

use core::task::Waker;
use core::time::Duration;

use flyrpc_core::{Refusal, Sink};

use crate::dialect::AnyDialect;
use crate::link::State;
use crate::{Error, FormatError, IntoPayload, Payload, Peer, PendingCall, Protocol};

/// Calls and messages that go to the peer together: see [`Peer::batch`]
#[derive(Debug)]
#[must_use = "nothing is sent until `start`"]
pub struct Batch<'a> {
    peer: &'a Peer,
    elements: Vec<Element<'a>>,
    within: Duration,
}

#[derive(Debug)]
struct Element<'a> {
    code: &'a str,
    payload: Result<Payload<'a>, FormatError>,
    is_call: bool,
}

impl Peer {
    /// Gathers calls and messages, to be sent together: as one array on a connection that speaks JSON-RPC, so that HTTP POST takes
    /// one exchange for all of them; one behind the other elsewhere
    ///
    /// ```
    /// use flyrpc_driver::{Error, Peer};
    ///
    /// async fn both(peer: &Peer) -> Result<Vec<String>, Error> {
    ///     let calls = peer.batch().call("upper", r#"["a"]"#).call("upper", r#"["b"]"#).send("note", ()).start()?;
    ///     let mut answers = Vec::new();
    ///     for call in calls {
    ///         answers.push(call.wait_as().await?);
    ///     }
    ///     Ok(answers)
    /// }
    /// ```
    pub fn batch(&self) -> Batch<'_> {
        Batch { peer: self, elements: Vec::new(), within: self.link.options.limits.get_call_timeout() }
    }
}

impl<'a> Batch<'a> {
    /// Adds a call
    pub fn call(mut self, code: &'a str, payload: impl IntoPayload<'a>) -> Self {
        self.elements.push(Element { code, payload: payload.into_payload(), is_call: true });
        self
    }

    /// Adds a message, which is not answered
    pub fn send(mut self, code: &'a str, payload: impl IntoPayload<'a>) -> Self {
        self.elements.push(Element { code, payload: payload.into_payload(), is_call: false });
        self
    }

    /// The time after which its calls give up; [`Limits::call_timeout`](crate::Limits::call_timeout) by default
    pub const fn within(mut self, timeout: Duration) -> Self {
        self.within = timeout;
        self
    }

    /// Sends all of it now, and gives its calls, in the order they were added
    ///
    /// # Errors
    /// As [`Peer::start`], for any of its elements; then nothing is sent.
    pub fn start(self) -> Result<Vec<PendingCall>, Error> {
        let link = &self.peer.link;
        let mut calls = Vec::new();
        let mut guard = link.lock();
        let state = &mut *guard;
        link.check_room(state)?;
        let now = link.now();
        let deadline = now + self.within;
        if let AnyDialect::Json(json) = state.conn.dialect_mut() {
            json.begin_batch();
        }
        // The elements by themselves; they are not to be sent yet.
        let (out, unsent) = (core::mem::take(&mut state.out), state.unsent);
        let encoded = self.elements.iter().try_for_each(|element| {
            if !state.out.is_empty() && link.info.protocol == Protocol::JsonRpc {
                state.out.sink(None).packet(0, b",", b"").map_err(Refusal::from)?;
            }
            let payload = element.payload.as_ref().map_err(|error| Error::Unencodable(error.clone()))?;
            if element.is_call {
                let (code, waker) = (element.code, Waker::noop());
                let place = link.call(state, now, code, payload.as_ref(), None, deadline, waker)?;
                calls.push(PendingCall::new(link, place));
            } else {
                link.notify(state, now, element.code, payload.as_ref(), None)?;
            }
            Ok(())
        });
        state.unsent = unsent;
        let elements = core::mem::replace(&mut state.out, out);
        let sent = join(state, if encoded.is_ok() { elements.small() } else { &[] });
        if let Err(error) = encoded.and_then(|()| sent.map_err(Error::Refused)) {
            // Dropping the calls cancels them, which takes the lock.
            drop(guard);
            return Err(error);
        }
        link.encoded(guard, false);
        Ok(calls)
    }
}

/// Puts what the elements have become into the outgoing buffer
fn join(state: &mut State, written: &[u8]) -> Result<(), Refusal> {
    let before = state.out.len();
    let out = &mut state.out.sink(None);
    match state.conn.dialect_mut() {
        AnyDialect::Json(json) if written.is_empty() => {
            // Nothing is sent, but what follows is no part of a batch.
            json.end_batch(written, &mut Vec::new())?;
        }
        AnyDialect::Json(json) => drop(json.end_batch(written, out)?),
        AnyDialect::Fly(_) => drop(out.packet(0, written, &[])?),
    }
    state.unsent += state.out.len() - before;
    Ok(())
}
