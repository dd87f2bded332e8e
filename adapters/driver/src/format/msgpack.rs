//! MessagePack, by `rmp-serde`

use core::marker::PhantomData;

use bytes::Bytes;
use rmp_serde::decode::Error;
use serde::Serialize;
use serde::de::{Deserialize as _, DeserializeOwned, DeserializeSeed, IgnoredAny};

use super::{Decode, Encode, wrapper};
use crate::FormatError;

const FORMAT: &str = "MessagePack";

wrapper! {
    /// A value in MessagePack; structs are maps with the names of their fields, as Go's are
    ///
    /// Structs that come as arrays are read too. Nothing may follow the value.
    ///
    /// ```
    /// use flyrpc_driver::{Caller, Decode, Encode, MsgPack, Router};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Point { x: i32, y: i32 }
    ///
    /// fn router<P: Caller>() -> Router<P> {
    ///     Router::new().handle("sum", |MsgPack(p): MsgPack<Point>| MsgPack(p.x + p.y))
    /// }
    ///
    /// let payload = MsgPack(Point { x: 1, y: 2 }).encode()?;
    /// assert_eq!(payload, b"\x82\xa1x\x01\xa1y\x02"[..]);
    /// assert!(MsgPack::<Point>::decode(&payload.slice(..3)).is_err());
    /// # Ok::<(), flyrpc_driver::FormatError>(())
    /// ```
    MsgPack
}

impl<T: DeserializeOwned> Decode for MsgPack<T> {
    fn decode(payload: &Bytes) -> Result<Self, FormatError> {
        read::<T, _>(PhantomData::<T>, payload).map(Self)
    }
}

/// What `seed` makes of the payload; an error calls it a `T`
pub(super) fn read<'de, T, S: DeserializeSeed<'de>>(
    seed: S,
    payload: &'de [u8],
) -> Result<S::Value, FormatError> {
    let bad = |what| FormatError::reading::<T>(FORMAT, what);
    let mut reader = rmp_serde::Deserializer::from_read_ref(payload);
    let value = seed.deserialize(&mut reader).map_err(|error| bad(phrase(&error)))?;
    // The reader doesn't say where it stands; at the end there is no marker to be read.
    match IgnoredAny::deserialize(&mut reader) {
        Err(Error::InvalidMarkerRead(_)) => Ok(value),
        Ok(_) | Err(_) => Err(bad("something follows the value")),
    }
}

/// The library's own texts quote markers, lengths, members and variants of the payload
const fn phrase(error: &Error) -> &'static str {
    match error {
        Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_) => "it ends too early",
        Error::Utf8Error(_) => "a string is not UTF-8",
        Error::DepthLimitExceeded => "too deep",
        Error::TypeMismatch(_)
        | Error::OutOfRange
        | Error::LengthMismatch(_)
        | Error::Uncategorized(_)
        | Error::Syntax(_) => "another shape or range",
    }
}

impl<T: Serialize> Encode for MsgPack<T> {
    fn encode(&self) -> Result<Bytes, FormatError> {
        rmp_serde::to_vec_named(&self.0)
            .map(Bytes::from)
            .map_err(|_| FormatError::writing::<T>(FORMAT, "a length is not known or its own code says no"))
    }
}
