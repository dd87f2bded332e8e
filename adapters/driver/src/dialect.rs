//! The dialects that a connection may speak, behind one type
//!
//! A connection's dialect is chosen when it is made, by its address or by an option, so `Link`, `Peer`, `Router` and `Server`
//! are the same for all of them, and one server may serve several at once. What differs above the core is here: what
//! is done to a payload on its way, and how an error is said.

use core::fmt;
use std::borrow::Cow;

use flyrpc_core::fly::zip::{Packed, ZipMode, Zipper};
use flyrpc_core::fly::{self, Fly, Zip};
use flyrpc_core::jsonrpc::{self, JsonRpc};
use flyrpc_core::{
    Call, Connection, Decoded, Dialect, Fault, Limits, Message, NoRoom, Refusal, Reject, Reply, ReplyToken,
    Sink, Slots,
};

use crate::{Outcome, RemoteError, codes};

/// What a connection speaks
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// FlyRPC packets
    #[default]
    FlyRpc,
    /// JSON-RPC 2.0
    JsonRpc,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FlyRpc => "FlyRPC",
            Self::JsonRpc => "JSON-RPC",
        })
    }
}

/// One of the dialects; which, does not change while a connection lives
#[derive(Clone, Debug)]
pub enum AnyDialect {
    /// FlyRPC
    Fly(Fly),
    /// JSON-RPC 2.0
    Json(Box<JsonRpc>),
}

/// What is said about method and body beside their bytes
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// FlyRPC: what is compressed
    pub zip: Zip,
    /// JSON-RPC: what is escaped, and the number of an error
    pub notes: jsonrpc::Notes,
}

impl From<Zip> for Meta {
    fn from(zip: Zip) -> Self {
        Self { zip, notes: jsonrpc::Notes::default() }
    }
}

impl From<jsonrpc::Notes> for Meta {
    fn from(notes: jsonrpc::Notes) -> Self {
        Self { zip: Zip::NONE, notes }
    }
}

/// The small packets of either
#[derive(Debug)]
pub enum Control {
    /// FlyRPC's
    Fly(fly::Control),
    /// JSON-RPC's
    Json(jsonrpc::Control),
}

impl AnyDialect {
    /// Which it is
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        match self {
            Self::Fly(_) => Protocol::FlyRpc,
            Self::Json(_) => Protocol::JsonRpc,
        }
    }

    /// FlyRPC, with what it knows of the peer
    #[must_use]
    pub const fn fly(&self) -> Option<&Fly> {
        match self {
            Self::Fly(fly) => Some(fly),
            Self::Json(_) => None,
        }
    }

    /// What the peer said of itself in `$hello`
    #[must_use]
    pub fn capabilities(&self) -> fly::Capabilities {
        self.fly().map(Fly::peer).copied().unwrap_or_default()
    }

    /// Takes note of what the peer said of itself, where the protocol has a way to
    pub fn learn(&mut self, list: &[u8]) {
        if let Self::Fly(fly) = self {
            fly.learn(list);
        }
    }
}

/// A message of one dialect as one of both
macro_rules! lift {
    ($decoded:expr, $control:path, $key:expr) => {
        match $decoded {
            Decoded::NeedMore { at_least } => Decoded::NeedMore { at_least },
            Decoded::Skip { consumed } => Decoded::Skip { consumed },
            Decoded::Message { consumed, message } => Decoded::Message {
                consumed,
                message: match message {
                    Message::Request { key, method, body, meta } => {
                        Message::Request { key: $key(key), method, body, meta: meta.into() }
                    }
                    Message::Notification { method, body, meta } => {
                        Message::Notification { method, body, meta: meta.into() }
                    }
                    Message::Reply { sequence, code, body, meta } => {
                        Message::Reply { sequence, code, body, meta: meta.into() }
                    }
                    Message::Cancel { key } => Message::Cancel { key: $key(key) },
                    Message::Invalid { answer, body } => {
                        Message::Invalid { answer: answer.map($control), body }
                    }
                    Message::Control(answer) => Message::Control(answer.map($control)),
                    // Messages of later versions of the core.
                    _ => Message::Control(None),
                },
            },
        }
    };
}

/// A call or reply with the meta of one dialect
macro_rules! with_meta {
    (call $call:expr, $meta:expr) => {
        Call { method: $call.method, body: $call.body, meta: $meta, deadline: $call.deadline }
    };
    (reply $reply:expr, $meta:expr) => {
        Reply { code: $reply.code, body: $reply.body, meta: $meta }
    };
}

impl Dialect for AnyDialect {
    /// FlyRPC: the sequence
    type Key = u32;
    type Meta = Meta;
    type Control = Control;

    #[inline]
    fn sequence_mask(&self) -> u32 {
        match self {
            Self::Fly(fly) => fly.sequence_mask(),
            Self::Json(json) => json.sequence_mask(),
        }
    }

    #[inline]
    fn decode<'i>(&mut self, input: &'i [u8], limits: &Limits) -> Result<Decoded<'i, Self>, Fault> {
        match self {
            Self::Fly(fly) => Ok(lift!(fly.decode(input, limits)?, Control::Fly, u32::from)),
            Self::Json(json) => Ok(lift!(json.decode(input, limits)?, Control::Json, u32::from)),
        }
    }

    #[inline]
    fn taken(&mut self) {
        match self {
            Self::Fly(fly) => fly.taken(),
            Self::Json(json) => json.taken(),
        }
    }

    #[inline]
    fn encode_call<O: Sink + ?Sized>(
        &self,
        sequence: u32,
        call: &Call<'_, Meta>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal> {
        match self {
            Self::Fly(fly) => fly.encode_call(sequence, &with_meta!(call call, call.meta.zip), limits, out),
            Self::Json(json) => {
                json.encode_call(sequence, &with_meta!(call call, call.meta.notes), limits, out)
            }
        }
    }

    #[inline]
    fn encode_notification<O: Sink + ?Sized>(
        &self,
        call: &Call<'_, Meta>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal> {
        match self {
            Self::Fly(fly) => fly.encode_notification(&with_meta!(call call, call.meta.zip), limits, out),
            Self::Json(json) => {
                json.encode_notification(&with_meta!(call call, call.meta.notes), limits, out)
            }
        }
    }

    #[inline]
    fn encode_reply<O: Sink + ?Sized>(
        &mut self,
        key: u32,
        reply: &Reply<'_, Meta>,
        limits: &Limits,
        out: &mut O,
    ) -> Result<(), Refusal> {
        match self {
            Self::Fly(fly) => {
                fly.encode_reply(key as u16, &with_meta!(reply reply, reply.meta.zip), limits, out)
            }
            Self::Json(json) => {
                json.encode_reply(key, &with_meta!(reply reply, reply.meta.notes), limits, out)
            }
        }
    }

    fn encode_ping<O: Sink + ?Sized>(&self, sequence: u32, len: usize, out: &mut O) -> Result<(), Refusal> {
        match self {
            Self::Fly(fly) => fly.encode_ping(sequence, len, out),
            Self::Json(json) => json.encode_ping(sequence, len, out),
        }
    }

    fn encode_control<O: Sink + ?Sized>(
        &mut self,
        control: &Control,
        limits: &Limits,
        out: &mut O,
    ) -> Result<usize, NoRoom> {
        match (self, control) {
            (Self::Fly(fly), Control::Fly(control)) => fly.encode_control(control, limits, out),
            (Self::Json(json), Control::Json(control)) => json.encode_control(control, limits, out),
            // A connection's dialect does not change.
            (Self::Fly(_), Control::Json(_)) | (Self::Json(_), Control::Fly(_)) => Ok(0),
        }
    }

    fn reject(&mut self, key: u32, why: Reject) -> Option<Control> {
        match self {
            Self::Fly(fly) => fly.reject(key as u16, why).map(Control::Fly),
            Self::Json(json) => json.reject(key, why).map(Control::Json),
        }
    }

    fn cancel(&self, sequence: u32) -> Option<Control> {
        match self {
            Self::Fly(fly) => fly.cancel(sequence).map(Control::Fly),
            Self::Json(json) => json.cancel(sequence).map(Control::Json),
        }
    }

    fn abandon(&mut self, key: u32) {
        match self {
            Self::Fly(fly) => fly.abandon(key as u16),
            Self::Json(json) => json.abandon(key),
        }
    }

    #[inline]
    fn is_due(&self) -> bool {
        match self {
            Self::Fly(fly) => fly.is_due(),
            Self::Json(json) => json.is_due(),
        }
    }

    fn encode_due<O: Sink + ?Sized>(
        &mut self,
        limits: &Limits,
        out: &mut O,
    ) -> Result<Option<usize>, NoRoom> {
        match self {
            Self::Fly(fly) => fly.encode_due(limits, out),
            Self::Json(json) => json.encode_due(limits, out),
        }
    }

    #[inline]
    fn held(&self) -> usize {
        match self {
            Self::Fly(fly) => fly.held(),
            Self::Json(json) => json.held(),
        }
    }
}

/// What compresses payloads on their way out, where a connection's dialect and its options have that
#[derive(Debug, Default)]
pub struct Packer(Option<Box<Zipper>>);

impl Packer {
    /// One that compresses as `mode` says
    #[must_use]
    pub fn new(mode: ZipMode) -> Self {
        Self((mode != ZipMode::Off).then(|| Box::new(Zipper::new(mode))))
    }

    /// Method and payload as they are to be sent; what the peer does not take is refused before it is compressed, since the
    /// peer counts what it inflates
    ///
    /// # Errors
    /// [`Refusal::TooLarge`]
    #[inline]
    pub fn pack<'a>(
        &'a mut self,
        dialect: &AnyDialect,
        method: &'a [u8],
        payload: &'a [u8],
    ) -> Result<Packed<'a>, Refusal> {
        let Some(fly) = dialect.fly() else { return Ok(Packed { code: method, payload, zip: Zip::NONE }) };
        fly.check_length(payload.len() as u64)?;
        let Some(zipper) = &mut self.0 else { return Ok(Packed { code: method, payload, zip: Zip::NONE }) };
        if fly.peer().zip {
            zipper.peer_unzips();
        }
        Ok(zipper.pack(method, payload))
    }

    /// The peer has sent something compressed
    pub fn peer_unzips(&mut self) {
        self.0.iter_mut().for_each(|zipper| zipper.peer_unzips());
    }

    /// Gives memory back that the next packet gets again
    pub fn release(&mut self) {
        self.0.iter_mut().for_each(|zipper| zipper.release());
    }
}

/// Answers a request with what its handler gave, or with why that can't be sent
#[inline]
pub fn reply<S: Slots, O: Sink>(
    conn: &mut Connection<AnyDialect, S>,
    packer: &mut Packer,
    token: ReplyToken<AnyDialect>,
    outcome: &Outcome,
    out: &mut O,
) {
    let sent = match outcome {
        Ok(payload) => match packer.pack(conn.dialect(), b"", payload) {
            Ok(packed) => conn.reply(token, Reply::ok(packed.payload).meta(packed.zip.into()), out),
            Err(_) => reply_error(conn, token, &RemoteError::new(codes::TOO_LARGE), out),
        },
        Err(error) => reply_error(conn, token, error, out),
    };
    if let Err(refused) = sent {
        // The caller is told why it gets nothing else.
        let why = match refused.why {
            Refusal::TooLarge { .. } => RemoteError::new(codes::TOO_LARGE),
            Refusal::BadPayload => RemoteError::new(codes::ERROR)
                .number(jsonrpc::codes::INTERNAL_ERROR)
                .details("the handler's result is not JSON"),
            Refusal::BadMethod
            | Refusal::Closed
            | Refusal::Draining
            | Refusal::TooManyInFlight { .. }
            | _ => RemoteError::new(codes::ERROR).details("the handler's error code can't be sent"),
        };
        if let Err(refused) = reply_error(conn, refused.back, &why, out) {
            conn.abandon(refused.back);
        }
    }
}

fn reply_error<S: Slots, O: Sink>(
    conn: &mut Connection<AnyDialect, S>,
    token: ReplyToken<AnyDialect>,
    error: &RemoteError,
    out: &mut O,
) -> Result<(), flyrpc_core::Refused<ReplyToken<AnyDialect>>> {
    match conn.dialect().protocol() {
        Protocol::FlyRpc => conn.reply(token, Reply::error(&error.code, &error.details), out),
        Protocol::JsonRpc => {
            let (number, message) = in_json(error);
            let data = json_data(&error.details);
            let notes = jsonrpc::Notes { error: Some(number), ..Default::default() };
            conn.reply(token, Reply::error(message, &data).meta(notes.into()), out)
        }
    }
}

/// Number and message of an error in JSON-RPC
fn in_json(error: &RemoteError) -> (i64, &str) {
    let known = number_of(&error.code);
    let number = error.number.or(known).unwrap_or(jsonrpc::codes::SERVER_ERROR);
    // One of our own words becomes the standard's text.
    if known.is_some() || error.code == codes::ERROR {
        (number, jsonrpc::codes::message(number))
    } else {
        (number, &error.code)
    }
}

/// The number that JSON-RPC has for one of FlyRPC's codes
pub(crate) fn number_of(code: &str) -> Option<i64> {
    Some(match code {
        codes::NOT_FOUND => jsonrpc::codes::METHOD_NOT_FOUND,
        codes::BAD_PAYLOAD => jsonrpc::codes::INVALID_PARAMS,
        codes::HANDLER_PANIC => jsonrpc::codes::INTERNAL_ERROR,
        codes::BUSY | codes::DRAINING => jsonrpc::codes::BUSY,
        codes::CANCELLED => jsonrpc::codes::CANCELLED,
        _ => return None,
    })
}

/// Is `number` what JSON-RPC says for one of FlyRPC's codes?
pub(crate) fn is_number_of(number: i64, code: &str) -> bool {
    number_of(code) == Some(number) || code == codes::NOT_FOUND && number == jsonrpc::codes::SERVICE_NOT_FOUND
}

/// Details as JSON: as they are if they are JSON, as a string if they are other text
fn json_data(details: &[u8]) -> Cow<'_, [u8]> {
    if details.is_empty() || jsonrpc::is_json(details) {
        return Cow::Borrowed(details);
    }
    Cow::Owned(jsonrpc::quote(&String::from_utf8_lossy(details)).into_bytes())
}

/// An error that the peer answered with, in JSON-RPC
pub fn remote_error(code: &[u8], data: &[u8], notes: jsonrpc::Notes) -> RemoteError {
    let message = method_name(code, notes);
    RemoteError {
        code: String::from_utf8_lossy(&message).into_owned(),
        number: notes.error,
        details: data.to_vec(),
    }
}

/// A method's name, or an error's message, without its escapes
#[must_use]
pub fn method_name(raw: &[u8], notes: jsonrpc::Notes) -> Cow<'_, [u8]> {
    if notes.escaped {
        Cow::Owned(jsonrpc::unescape(raw).into_owned().into_bytes())
    } else {
        Cow::Borrowed(raw)
    }
}
