//! How a call can fail

use core::fmt;

use bytes::Bytes;
use flyrpc_core::fly::codes;
use flyrpc_core::fly::zip::ZipError;
use flyrpc_core::{BadReply, CloseReason, ProtocolError, Refusal};

use crate::{Decode, Encode};

/// Why a call gave no result
///
/// [`source`](core::error::Error::source) says more where there is more to say. No text holds a byte of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The peer answered with an error
    Remote(RemoteError),
    /// The deadline passed before the answer came
    TimedOut,
    /// The call was cancelled on this side
    Cancelled,
    /// The connection ended before the answer came
    Lost(CloseReason),
    /// The connection ended before the answer came, because the peer broke the protocol: how, and at which byte
    Protocol(ProtocolError),
    /// The call was not sent
    Refused(Refusal),
    /// The answer can't be read; other calls are not affected
    UnreadableReply(UnreadableReply),
    /// The argument has no form in its format; nothing was sent
    Unencodable(FormatError),
}

impl Error {
    /// What the calls of a connection that ended fail with
    #[must_use]
    pub const fn lost(why: CloseReason) -> Self {
        if let CloseReason::Protocol(error) = why { Self::Protocol(error) } else { Self::Lost(why) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(error) => write!(f, "the peer answered with an error: {error}"),
            Self::TimedOut => f.write_str("the answer did not come in time"),
            Self::Cancelled => f.write_str("the call was cancelled"),
            Self::Lost(_) | Self::Protocol(_) => f.write_str("the connection ended before the answer came"),
            Self::Refused(_) => f.write_str("the call was not sent"),
            Self::UnreadableReply(_) => f.write_str("the answer can't be read"),
            Self::Unencodable(_) => f.write_str("the argument can't be sent"),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Lost(why) => Some(why),
            Self::Protocol(why) => Some(why),
            Self::Refused(why) => Some(why),
            Self::UnreadableReply(UnreadableReply::Bad(why)) => Some(why),
            Self::UnreadableReply(UnreadableReply::Zip(why)) => Some(why),
            Self::UnreadableReply(UnreadableReply::Format(why)) | Self::Unencodable(why) => Some(why),
            // Its text holds that of the RemoteError: there is no source to be shown behind it
            Self::Remote(_) | Self::TimedOut | Self::Cancelled => None,
        }
    }
}

impl From<RemoteError> for Error {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

impl From<Refusal> for Error {
    fn from(why: Refusal) -> Self {
        Self::Refused(why)
    }
}

impl From<UnreadableReply> for Error {
    fn from(why: UnreadableReply) -> Self {
        Self::UnreadableReply(why)
    }
}

/// What is wrong with an answer
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnreadableReply {
    /// It passes a limit
    Bad(BadReply),
    /// It does not inflate
    Zip(ZipError),
    /// It is not what its format and type ask for
    Format(FormatError),
}

/// Bytes that don't fit their format and type, or a value that has no form in its format
///
/// Libraries quote what they could not read. This error does not (P22): its text is made of the names of format and type,
/// a fixed phrase and a position, never of anything that was in a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    format: &'static str,
    text: String,
    reading: bool,
}

impl FormatError {
    /// A payload can't be read as a `T`; `why` ends up in the text and must not hold anything of the payload
    #[must_use]
    pub fn reading<T: ?Sized>(format: &'static str, why: impl fmt::Display) -> Self {
        let text = format!("not {format} for {}: {why}", core::any::type_name::<T>());
        Self { format, text, reading: true }
    }

    /// A `T` can't be written; `why` ends up in the text and must not hold anything of the value
    #[must_use]
    pub fn writing<T: ?Sized>(format: &'static str, why: impl fmt::Display) -> Self {
        let text = format!("{} has no form in {format}: {why}", core::any::type_name::<T>());
        Self { format, text, reading: false }
    }

    /// The format's name, such as `JSON`
    #[must_use]
    pub const fn format(&self) -> &'static str {
        self.format
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl core::error::Error for FormatError {}

/// An error that the handler of a request answers, or answered, with
///
/// ```
/// use flyrpc_driver::RemoteError;
///
/// let error = RemoteError::new("NO_SUCH_LAMP").details("lamp 7");
/// assert_eq!(error.to_string(), "NO_SUCH_LAMP (6 bytes of details)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteError {
    /// What went wrong, as a word; must not be empty or hold a 0x00, and then is sent as `ERROR`. JSON-RPC: the message
    pub code: String,
    /// JSON-RPC: the code, -32001 where none is given. FlyRPC has none, and does not send it
    pub number: Option<i64>,
    /// Anything more, in whatever form both ends agree on; Go FlyRPC peers neither send nor show it. JSON-RPC: the data, as
    /// it is if it is JSON, else as a string
    pub details: Vec<u8>,
}

impl RemoteError {
    /// An error without details
    pub fn new(code: impl Into<String>) -> Self {
        Self { code: code.into(), number: None, details: Vec::new() }
    }

    /// The same with a number: the code of a JSON-RPC error, which `code` then is the message of
    #[must_use]
    pub const fn number(mut self, number: i64) -> Self {
        self.number = Some(number);
        self
    }

    /// Is this the error that one of [`codes`](crate::codes) stands for, in whichever protocol it came?
    ///
    /// ```
    /// use flyrpc_driver::{RemoteError, codes};
    ///
    /// assert!(RemoteError::new("NOT_FOUND").is(codes::NOT_FOUND));
    /// assert!(RemoteError::new("Method not found").number(-32601).is(codes::NOT_FOUND));
    /// ```
    #[must_use]
    pub fn is(&self, code: &str) -> bool {
        self.code == code || self.number.is_some_and(|number| crate::dialect::is_number_of(number, code))
    }

    /// The same with details
    #[must_use]
    pub fn details(mut self, details: impl Into<Vec<u8>>) -> Self {
        self.details = details.into();
        self
    }

    /// The same with encoded details: `RemoteError::new("NO_SUCH_LAMP").encoded(&Json(lamp))`; without, if they can't be
    /// encoded
    #[must_use]
    pub fn encoded(self, details: &impl Encode) -> Self {
        match details.encode() {
            Ok(details) => self.details(details),
            Err(_) => self,
        }
    }

    /// The details decoded: `error.details_as::<Json<Lamp>>()?`
    ///
    /// # Errors
    /// They are not what the format and the type ask for.
    pub fn details_as<T: Decode>(&self) -> Result<T, FormatError> {
        T::decode(&Bytes::copy_from_slice(&self.details))
    }
}

/// The details are counted, not shown (P22)
impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(number) = self.number {
            write!(f, "{number} ")?;
        }
        match self.details.len() {
            0 => f.write_str(&self.code),
            len => write!(f, "{} ({len} bytes of details)", self.code),
        }
    }
}

impl fmt::Debug for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteError({self})")
    }
}

impl core::error::Error for RemoteError {}

/// So that a handler can use `?` on a call of its own: the peer's error is passed on, any other becomes its name
impl From<Error> for RemoteError {
    fn from(error: Error) -> Self {
        match error {
            Error::Remote(error) => error,
            Error::TimedOut => Self::new(codes::TIMEOUT),
            Error::Cancelled => Self::new(codes::CANCELLED),
            Error::Unencodable(why) => why.into(),
            other @ (Error::Lost(_) | Error::Protocol(_) | Error::Refused(_) | Error::UnreadableReply(_)) => {
                Self::new(codes::ERROR).details(other.to_string())
            }
        }
    }
}

/// `BAD_PAYLOAD` when the sender's payload can't be read, `ERROR` when the handler's own value can't be written
impl From<FormatError> for RemoteError {
    fn from(error: FormatError) -> Self {
        let code = if error.reading { codes::BAD_PAYLOAD } else { codes::ERROR };
        Self::new(code).details(error.text)
    }
}

impl From<&str> for RemoteError {
    fn from(code: &str) -> Self {
        Self::new(code)
    }
}

impl From<String> for RemoteError {
    fn from(code: String) -> Self {
        Self::new(code)
    }
}
