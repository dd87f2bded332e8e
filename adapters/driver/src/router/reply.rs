//! What a handler may give back

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use crate::{Encode, Error, FormatError, Payload, RemoteError};

/// What a request is answered with: the payload, or the error
pub type Outcome = Result<Bytes, RemoteError>;

/// What a handler may give back
///
/// | result | answer |
/// |---|---|
/// | `()` | empty: the implicit ack |
/// | [`Bytes`], `Vec<u8>`, `String`, `&'static str`, `&'static [u8]`, `[u8; N]`, `Cow` of these | as they are |
/// | `Json<T>` and the other formats, whatever [encodes](Encode) | in their format, or `ERROR` if they have no form in it |
/// | [`RemoteError`], [`Error`], [`FormatError`] | that error |
/// | `Result` of any of these and an error | either |
///
/// With `?` in a closure, say which error: `|text: &str| -> Result<String, RemoteError> { .. }`. A `Result<_, String>`
/// or `Result<_, &str>` answers with the text as the code.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the answer to a request",
    label = "not a reply",
    note = "a handler gives (), bytes, text owned or static, a value in a format such as `Json(value)`, an error, or a \
            `Result` of these whose error is `Into<RemoteError>`"
)]
pub trait IntoReply {
    /// The payload, or the error
    ///
    /// # Errors
    /// What the request is answered with.
    fn into_reply(self) -> Outcome;
}

#[diagnostic::do_not_recommend]
impl<T: Encode> IntoReply for T {
    fn into_reply(self) -> Outcome {
        Ok(self.encode()?)
    }
}

impl<T: IntoReply, E: Into<RemoteError>> IntoReply for Result<T, E> {
    fn into_reply(self) -> Outcome {
        self.map_err(E::into).and_then(T::into_reply)
    }
}

macro_rules! into_reply {
    ($($type:ty: $self:ident => $outcome:expr;)*) => { $(
        impl IntoReply for $type {
            fn into_reply($self) -> Outcome {
                $outcome
            }
        }
    )* };
}

into_reply! {
    (): self => Ok(Bytes::new());
    Bytes: self => Ok(self);
    BytesMut: self => Ok(self.freeze());
    Vec<u8>: self => Ok(self.into());
    String: self => Ok(self.into());
    &'static str: self => Ok(Bytes::from_static(self.as_bytes()));
    &'static [u8]: self => Ok(Bytes::from_static(self));
    Cow<'static, str>: self => match self {
        Cow::Borrowed(text) => text.into_reply(),
        Cow::Owned(text) => text.into_reply(),
    };
    Cow<'static, [u8]>: self => match self {
        Cow::Borrowed(bytes) => bytes.into_reply(),
        Cow::Owned(bytes) => bytes.into_reply(),
    };
    Payload<'static>: self => match self {
        Payload::Borrowed(bytes) => bytes.into_reply(),
        Payload::Shared(bytes) => Ok(bytes),
    };
    RemoteError: self => Err(self);
    Error: self => Err(self.into());
    FormatError: self => Err(self.into());
}

impl<const N: usize> IntoReply for [u8; N] {
    fn into_reply(self) -> Outcome {
        Ok(Bytes::copy_from_slice(&self))
    }
}

impl<const N: usize> IntoReply for &'static [u8; N] {
    fn into_reply(self) -> Outcome {
        Ok(Bytes::from_static(self))
    }
}
