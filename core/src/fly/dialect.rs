//! FlyRPC as a [`Dialect`]

use super::control::{self, Control, Kind};
use super::utf8::is_utf8;
use super::wire::{Flag, Head, Zip, decode_head, encode_head, has_nul, write_head};
use super::{Capabilities, codes};
use crate::dialect::{Body, Call, Decoded, Dialect, Fault, Message, Reject, Reply};
use crate::{Limits, NoRoom, Refusal, Sink};

/// FlyRPC as this library speaks it
///
/// It answers `$hello` and pings of up to 8 bytes of payload itself; longer pings come out as ordinary requests for
/// `$ping`, to be answered with their payload. Compressed codes and payloads come out as they are, with
/// [`Zip`] to say so: the core does not inflate unasked, since that takes memory. [`zip`](super::zip) does it.
pub type Fly = Grammar<true, true>;

/// [`Fly`] for an owner that does not inflate: `$hello` says so, and requests with compressed parts are answered `BAD_ZIP`
pub type Raw = Grammar<true, false>;

/// FlyRPC without this library's additions, for little flash: packets and pings
///
/// `$hello` and `$cancel` come out like any other code, compressed parts are answered `BAD_ZIP`, and codes are not checked to be
/// UTF-8: what is no name of a handler is not found.
pub type Base = Grammar<false, false>;

/// The grammar of FlyRPC, with (`HELLO`) or without `$hello` and `$cancel`, and with (`ZIP`) or without an owner that inflates
///
/// By its names: [`Fly`], [`Raw`], [`Base`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grammar<const HELLO: bool, const ZIP: bool> {
    peer: Capabilities,
}

impl<const HELLO: bool, const ZIP: bool> Grammar<HELLO, ZIP> {
    /// Nothing is known of the peer yet; as `default`
    #[must_use]
    pub const fn new() -> Self {
        Self { peer: Capabilities::NONE }
    }

    /// What the peer said of itself; nothing, until a `$hello` went one way or the other
    #[must_use]
    pub const fn peer(&self) -> &Capabilities {
        &self.peer
    }

    /// Takes note of what the peer said of itself: the payload of its answer to our `$hello`
    pub fn learn(&mut self, list: &[u8]) {
        self.peer = Capabilities::parse(list);
    }

    /// Does the peer take a payload of `len` bytes? For one that is compressed its inflated length counts too, which only
    /// its owner knows
    ///
    /// # Errors
    /// [`Refusal::TooLarge`]
    #[inline]
    pub fn check_length(&self, len: u64) -> Result<(), Refusal> {
        match self.peer.max_payload.map(u64::from) {
            Some(limit) if HELLO && len > limit => Err(Refusal::TooLarge { len, limit }),
            _ => Ok(()),
        }
    }

    #[inline(always)]
    fn decode_payload<'i>(&mut self, head: Head<'i>, body: Body<'i>) -> Message<'i, Self> {
        let Head { flag, sequence, code, ascii, .. } = head;
        let meta = flag.zip();
        if flag.is_response() {
            return Message::Reply { sequence: u32::from(sequence), code, body, meta };
        }
        let fault = if !ZIP && meta.any() {
            Some(control::BAD_ZIP)
        } else if HELLO && !meta.code && !ascii && !is_utf8(code) {
            Some(control::BAD_CODE)
        } else {
            None
        };
        if let Some(code) = fault {
            let answer = flag.is_request().then_some(Control::error(sequence, code));
            return Message::Invalid { answer, body };
        }
        if code.first() == Some(&b'$')
            && !meta.any()
            && let Some(message) = self.decode_own(flag, sequence, code, body)
        {
            return message;
        }
        if flag.is_request() {
            Message::Request { key: sequence, method: code, body, meta }
        } else {
            Message::Notification { method: code, body, meta }
        }
    }

    /// The reserved codes that the core answers itself
    #[cold]
    fn decode_own<'i>(
        &mut self,
        flag: Flag,
        sequence: u16,
        code: &[u8],
        body: Body<'i>,
    ) -> Option<Message<'i, Self>> {
        let Body::Whole(payload) = body else { return None };
        if flag.is_request() && code == codes::PING.as_bytes() {
            return Control::pong(sequence, payload).map(|pong| Message::Control(Some(pong)));
        }
        if HELLO && flag.is_request() && code == codes::HELLO.as_bytes() {
            self.learn(payload);
            return Some(Message::Control(Some(Control::hello(sequence))));
        }
        if HELLO && !flag.is_request() && code == codes::CANCEL.as_bytes() {
            return Some(match *payload {
                [high, low] => Message::Cancel { key: u16::from_be_bytes([high, low]) },
                _ => Message::Invalid { answer: None, body },
            });
        }
        None
    }
}

impl<const HELLO: bool, const ZIP: bool> Dialect for Grammar<HELLO, ZIP> {
    type Key = u16;
    type Meta = Zip;
    type Control = Control;

    #[inline(always)]
    fn sequence_mask(&self) -> u32 {
        0xffff
    }

    #[inline(always)]
    fn decode<'i>(&mut self, input: &'i [u8], limits: &Limits) -> Result<Decoded<'i, Self>, Fault> {
        let head = match decode_head(input, limits.get_max_method() as usize)? {
            Ok(head) => head,
            Err(at_least) => return Ok(Decoded::NeedMore { at_least }),
        };
        let (consumed, body) = if head.payload_len > u64::from(limits.get_max_payload()) {
            // Not taken whole: the head is the message, and the body follows.
            if head.payload_len > limits.get_max_body() {
                return Err(head.body_too_long());
            }
            (head.len, Body::Streamed(head.payload_len))
        } else {
            // Both may be near the end of a 32-bit address space.
            let end = head.len.saturating_add(head.payload_len as usize);
            match input.get(head.len..end) {
                Some(payload) => (end, Body::Whole(payload)),
                None => return Ok(Decoded::NeedMore { at_least: end }),
            }
        };
        Ok(Decoded::Message { consumed, message: self.decode_payload(head, body) })
    }

    #[inline]
    fn encode_call<O: Sink + ?Sized>(
        &self,
        sequence: u32,
        call: &Call<'_, Zip>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal> {
        self.encode(Flag::REQUEST, sequence as u16, call.method, call.body, call.meta, limits, out)
    }

    #[inline]
    fn encode_notification<O: Sink + ?Sized>(
        &self,
        call: &Call<'_, Zip>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal> {
        self.encode(Flag::MESSAGE, 0, call.method, call.body, call.meta, limits, out)
    }

    #[inline]
    fn encode_reply<O: Sink + ?Sized>(
        &mut self,
        key: u16,
        reply: &Reply<'_, Zip>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal> {
        let code = match reply.code {
            None => b"",
            Some(b"") => codes::ERROR.as_bytes(),
            Some(code) => code,
        };
        self.encode(Flag::RESPONSE, key, code, reply.body, reply.meta, limits, out)
    }

    fn encode_ping<O: Sink + ?Sized>(&self, sequence: u32, len: usize, out: &mut O) -> Result<(), Refusal> {
        if len == 0 {
            // As any request: where no other ping is sent, the rest of this takes no flash.
            let (code, limits) = (codes::PING.as_bytes(), Limits::new());
            return self.encode(
                Flag::REQUEST,
                sequence as u16,
                code,
                Body::Whole(&[]),
                Zip::NONE,
                &limits,
                out,
            );
        }
        self.check_length(len as u64)?;
        let flag = Flag::REQUEST.with(Zip::NONE, len as u64);
        let head = 4 + codes::PING.len() + flag.length_width();
        let packet = out.packet(head.saturating_add(len), &[], &[])?;
        let Some((head, payload)) = packet.split_at_mut_checked(head) else { return Ok(()) };
        write_head(head, flag, sequence as u16, codes::PING.as_bytes(), len as u64);
        // Any bytes do; the alphabet is easy to see in a capture, as in ping(8).
        let mut letter = b'a';
        for byte in payload {
            *byte = letter;
            letter = if letter == b'z' { b'a' } else { letter + 1 };
        }
        Ok(())
    }

    fn encode_control<O: Sink + ?Sized>(
        &mut self,
        control: &Control,
        limits: &Limits,
        out: &mut O,
    ) -> Result<usize, NoRoom> {
        let hello;
        let told;
        let sequence = control.sequence();
        let (flag, sequence, code, payload): (_, _, &str, &[u8]) = match control.kind() {
            Kind::Error(code) => (Flag::RESPONSE, sequence, code, &[]),
            Kind::Hello if HELLO => {
                hello = Capabilities { zip: ZIP, ..Capabilities::ours(limits) }.list();
                (Flag::RESPONSE, sequence, "", &hello)
            }
            Kind::Cancel if HELLO => {
                told = sequence.to_be_bytes();
                (Flag::MESSAGE, 0, codes::CANCEL, &told)
            }
            // Without `$hello` and `$cancel` no other is ever queued.
            Kind::Pong | Kind::Hello | Kind::Cancel => (Flag::RESPONSE, sequence, "", control.echo()),
        };
        let flag = flag.with(Zip::NONE, payload.len() as u64);
        encode_head(flag, sequence, code.as_bytes(), payload.len() as u64, payload, out)?;
        Ok(4 + code.len() + flag.length_width() + payload.len())
    }

    fn reject(&mut self, sequence: u16, why: Reject) -> Option<Control> {
        let code = match why {
            Reject::Busy => control::BUSY,
            Reject::Draining => control::DRAINING,
            Reject::TooLarge => control::TOO_LARGE,
        };
        Some(Control::error(sequence, code))
    }

    fn cancel(&self, sequence: u32) -> Option<Control> {
        (HELLO && self.peer.cancel).then_some(Control::cancel(sequence as u16))
    }
}

impl<const HELLO: bool, const ZIP: bool> Grammar<HELLO, ZIP> {
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the fields of a packet")]
    fn encode<O: Sink + ?Sized>(
        &self,
        flag: Flag,
        sequence: u16,
        code: &[u8],
        body: Body<'_>,
        zip: Zip,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal> {
        let len = body.len();
        self.check_length(len)?;
        if code.len() > limits.get_max_method() as usize || has_nul(code) {
            return Err(Refusal::BadMethod);
        }
        encode_head(flag.with(zip, len), sequence, code, len, body.bytes(), out)?;
        Ok(())
    }
}
