//! What a call takes as its payload

use core::fmt;

use bytes::{Bytes, BytesMut};

use crate::{Encode, FormatError};

/// The bytes of a payload: lent for the time of a call, or shared
#[derive(Clone, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Lent
    Borrowed(&'a [u8]),
    /// Shared
    Shared(Bytes),
}

impl Payload<'_> {
    /// The bytes, where they are shared
    pub(crate) const fn shared(&self) -> Option<&Bytes> {
        match self {
            Self::Borrowed(_) => None,
            Self::Shared(bytes) => Some(bytes),
        }
    }

    /// As bytes that may stay; lent ones are copied
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Shared(bytes) => bytes,
        }
    }

    /// Its length in bytes
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Borrowed(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    /// Has it no bytes?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl AsRef<[u8]> for Payload<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// The length only (P22)
impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

impl Default for Payload<'_> {
    fn default() -> Self {
        Self::Borrowed(&[])
    }
}

/// What can be the payload of a call: nothing (`()`), bytes, text, or anything that [encodes](Encode), such as a `Json<T>`
///
/// Types of your own implement [`Encode`] and so have this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be sent as a payload",
    label = "neither bytes, nor text, nor in a format",
    note = "wrap a value in a format, such as `Json(value)`, or implement `Encode` for it"
)]
pub trait IntoPayload<'a> {
    /// The bytes
    ///
    /// # Errors
    /// When the value has no form in its format.
    fn into_payload(self) -> Result<Payload<'a>, FormatError>;
}

#[diagnostic::do_not_recommend]
impl<'a, T: Encode> IntoPayload<'a> for T {
    fn into_payload(self) -> Result<Payload<'a>, FormatError> {
        self.encode().map(Payload::Shared)
    }
}

macro_rules! into_payload {
    ($($type:ty: $self:ident => $payload:expr;)*) => { $(
        impl<'a> IntoPayload<'a> for $type {
            fn into_payload($self) -> Result<Payload<'a>, FormatError> {
                Ok($payload)
            }
        }
    )* };
}

into_payload! {
    (): self => Payload::default();
    Payload<'a>: self => self;
    &'a [u8]: self => Payload::Borrowed(self);
    &'a str: self => Payload::Borrowed(self.as_bytes());
    &'a String: self => Payload::Borrowed(self.as_bytes());
    &'a Vec<u8>: self => Payload::Borrowed(self);
    &Bytes: self => Payload::Shared(self.clone());
    Bytes: self => Payload::Shared(self);
    BytesMut: self => Payload::Shared(self.freeze());
    Vec<u8>: self => Payload::Shared(self.into());
    String: self => Payload::Shared(self.into());
}

impl<'a, const N: usize> IntoPayload<'a> for &'a [u8; N] {
    fn into_payload(self) -> Result<Payload<'a>, FormatError> {
        Ok(Payload::Borrowed(self))
    }
}
