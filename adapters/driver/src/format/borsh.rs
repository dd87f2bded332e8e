//! Borsh, by the `borsh` crate

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use super::{Decode, Encode, wrapper};
use crate::FormatError;

const FORMAT: &str = "Borsh";

wrapper! {
    /// A value in Borsh; nothing may follow it
    ///
    /// ```
    /// use flyrpc_driver::{Borsh, Caller, Decode, Encode, Router};
    ///
    /// fn router<P: Caller>() -> Router<P> {
    ///     Router::new().handle("sum", |Borsh((x, y)): Borsh<(u16, u16)>| Borsh(x + y))
    /// }
    ///
    /// let payload = Borsh((1_u16, 2_u16)).encode()?;
    /// assert_eq!(payload, [1, 0, 2, 0][..]);
    /// assert!(Borsh::<u16>::decode(&payload).is_err());
    /// # Ok::<(), flyrpc_driver::FormatError>(())
    /// ```
    Borsh
}

impl<T: BorshDeserialize> Decode for Borsh<T> {
    fn decode(payload: &Bytes) -> Result<Self, FormatError> {
        // The library's own texts hold tags of the payload.
        let mut rest = &payload[..];
        let read = T::deserialize(&mut rest);
        let at = payload.len() - rest.len();
        let what = match read {
            Ok(value) if rest.is_empty() => return Ok(Self(value)),
            Ok(_) => "something follows the value",
            Err(_) => "not valid, or it ends too early",
        };
        Err(FormatError::reading::<T>(FORMAT, format_args!("{what}, at byte {at}")))
    }
}

impl<T: BorshSerialize> Encode for Borsh<T> {
    fn encode(&self) -> Result<Bytes, FormatError> {
        borsh::to_vec(&self.0)
            .map(Bytes::from)
            .map_err(|_| FormatError::writing::<T>(FORMAT, "a length is too great or its own code says no"))
    }
}
