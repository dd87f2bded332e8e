//! How a call can fail

use core::fmt;

use flyrpc_core::fly::zip::ZipError;
use flyrpc_core::{BadReply, CloseReason, Refusal};

/// Why a call gave no result
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
    /// The call was not sent
    Refused(Refusal),
    /// The answer can't be read; other calls are not affected
    UnreadableReply(UnreadableReply),
}

/// What is wrong with an answer
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnreadableReply {
    /// It passes a limit
    Bad(BadReply),
    /// It does not inflate
    Zip(ZipError),
}

/// An error that the handler of a request answers, or answered, with
///
/// ```
/// use flyrpc_blocking::RemoteError;
///
/// let error = RemoteError::new("NO_SUCH_LAMP").details("lamp 7");
/// assert_eq!(error.to_string(), "NO_SUCH_LAMP (6 bytes of details)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteError {
    /// What went wrong, as a word; must not be empty or hold a 0x00, and then is sent as `ERROR`
    pub code: String,
    /// Anything more, in whatever form both ends agree on; Go peers neither send nor show it
    pub details: Vec<u8>,
}

impl RemoteError {
    /// An error without details
    pub fn new(code: impl Into<String>) -> Self {
        Self { code: code.into(), details: Vec::new() }
    }

    /// The same with details
    #[must_use]
    pub fn details(mut self, details: impl Into<Vec<u8>>) -> Self {
        self.details = details.into();
        self
    }
}

/// The details are counted, not shown (P22)
impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(error) => write!(f, "the peer answered with an error: {error}"),
            Self::TimedOut => f.write_str("the answer did not come in time"),
            Self::Cancelled => f.write_str("the call was cancelled"),
            Self::Lost(_) => f.write_str("the connection ended before the answer came"),
            Self::Refused(_) => f.write_str("the call was not sent"),
            Self::UnreadableReply(_) => f.write_str("the answer can't be read"),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Lost(why) => Some(why),
            Self::Refused(why) => Some(why),
            Self::UnreadableReply(UnreadableReply::Bad(why)) => Some(why),
            Self::UnreadableReply(UnreadableReply::Zip(why)) => Some(why),
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

/// So that a handler can use `?` on a call of its own: the peer's error is passed on, any other becomes its name
impl From<Error> for RemoteError {
    fn from(error: Error) -> Self {
        use flyrpc_core::fly::codes;
        match error {
            Error::Remote(error) => error,
            Error::TimedOut => Self::new(codes::TIMEOUT),
            Error::Cancelled => Self::new(codes::CANCELLED),
            other @ (Error::Lost(_) | Error::Refused(_) | Error::UnreadableReply(_)) => {
                Self::new(codes::ERROR).details(other.to_string())
            }
        }
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
