//! postcard, by the `postcard` crate

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Decode, Encode, wrapper};
use crate::FormatError;

const FORMAT: &str = "postcard";

wrapper! {
    /// A value in postcard; nothing may follow it
    ///
    /// ```
    /// use flyrpc_driver::{Caller, Decode, Encode, Postcard, Router};
    ///
    /// fn router<P: Caller>() -> Router<P> {
    ///     Router::new().handle("sum", |Postcard((x, y)): Postcard<(u16, u16)>| Postcard(x + y))
    /// }
    ///
    /// let payload = Postcard((1_u16, 200_u16)).encode()?;
    /// assert_eq!(payload, [1, 200, 1][..]);
    /// assert!(Postcard::<u16>::decode(&payload).is_err());
    /// # Ok::<(), flyrpc_driver::FormatError>(())
    /// ```
    Postcard
}

impl<T: DeserializeOwned> Decode for Postcard<T> {
    fn decode(payload: &Bytes) -> Result<Self, FormatError> {
        match postcard::take_from_bytes(payload) {
            Ok((value, [])) => Ok(Self(value)),
            Ok((_, rest)) => {
                let at = payload.len() - rest.len();
                let why = format_args!("something follows the value, at byte {at}");
                Err(FormatError::reading::<T>(FORMAT, why))
            }
            // The library's texts are fixed ones: no payload can be in them.
            Err(error) => Err(FormatError::reading::<T>(FORMAT, error)),
        }
    }
}

impl<T: Serialize> Encode for Postcard<T> {
    fn encode(&self) -> Result<Bytes, FormatError> {
        postcard::to_stdvec(&self.0)
            .map(Bytes::from)
            .map_err(|error| FormatError::writing::<T>(FORMAT, error))
    }
}
