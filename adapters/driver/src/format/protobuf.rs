//! Protocol Buffers, by `prost`

use bytes::Bytes;
use prost::Message;

use super::{Decode, Encode, wrapper};
use crate::FormatError;

wrapper! {
    /// A message in Protocol Buffers
    ///
    /// ```
    /// use flyrpc_driver::{Caller, Decode, Encode, Protobuf, Router};
    ///
    /// #[derive(Clone, PartialEq, prost::Message)]
    /// struct Point {
    ///     #[prost(int32, tag = "1")]
    ///     x: i32,
    ///     #[prost(int32, tag = "2")]
    ///     y: i32,
    /// }
    ///
    /// fn router<P: Caller>() -> Router<P> {
    ///     Router::new().handle("mirror", |Protobuf(p): Protobuf<Point>| Protobuf(Point { x: p.y, y: p.x }))
    /// }
    ///
    /// let payload = Protobuf(Point { x: 1, y: 2 }).encode()?;
    /// assert_eq!(payload, [8, 1, 16, 2][..]);
    /// assert!(Protobuf::<Point>::decode(&payload.slice(..3)).is_err());
    /// # Ok::<(), flyrpc_driver::FormatError>(())
    /// ```
    ///
    /// A call that keeps its message sends `&Protobuf(message)`.
    Protobuf
}

impl<T: Message + Default> Decode for Protobuf<T> {
    fn decode(payload: &Bytes) -> Result<Self, FormatError> {
        // prost's own texts hold keys and lengths of the payload. A Bytes, so that fields of bytes share it.
        T::decode(payload.clone())
            .map(Self)
            .map_err(|_| FormatError::reading::<T>("Protobuf", "not valid, or it ends too early"))
    }
}

impl<T: Message> Encode for Protobuf<T> {
    fn encode(&self) -> Result<Bytes, FormatError> {
        Ok(self.0.encode_to_vec().into())
    }
}
