//! JSON, by `serde_json`

use core::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_json::error::Category;

use super::{Decode, Encode, wrapper};
use crate::FormatError;

const FORMAT: &str = "JSON";

wrapper! {
    /// A value in JSON
    ///
    /// Nothing may follow it but white space. Duplicate members: the last wins in maps; structs refuse them.
    ///
    /// ```
    /// use flyrpc_driver::{Caller, Decode, Encode, Json, Router};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Point { x: i32, y: i32 }
    ///
    /// fn router<P: Caller>() -> Router<P> {
    ///     Router::new().handle("sum", |Json(p): Json<Point>| Json(p.x + p.y))
    /// }
    ///
    /// let payload = Json(Point { x: 1, y: 2 }).encode()?;
    /// assert_eq!(payload, br#"{"x":1,"y":2}"#[..]);
    /// let error = Json::<Point>::decode(&b"{".as_slice().into()).map(drop).unwrap_err();
    /// assert!(error.to_string().ends_with("it ends too early, at line 1 column 1"));
    /// # Ok::<(), flyrpc_driver::FormatError>(())
    /// ```
    Json
}

impl<T: DeserializeOwned> Decode for Json<T> {
    const TAKES_ELEMENT: bool = true;

    fn decode(payload: &Bytes) -> Result<Self, FormatError> {
        read::<T, _>(PhantomData::<T>, payload).map(Self)
    }
}

/// What `seed` makes of the payload; an error calls it a `T`
pub(super) fn read<'de, T, S: DeserializeSeed<'de>>(
    seed: S,
    payload: &'de [u8],
) -> Result<S::Value, FormatError> {
    let mut reader = serde_json::Deserializer::from_slice(payload);
    let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    // serde_json's own texts quote strings, members and variants of the payload.
    value.map_err(|error| {
        let what = match error.classify() {
            Category::Io | Category::Syntax => "not valid",
            Category::Data => "another shape or range",
            Category::Eof => "it ends too early",
        };
        let (line, column) = (error.line(), error.column());
        FormatError::reading::<T>(FORMAT, format_args!("{what}, at line {line} column {column}"))
    })
}

impl<T: Serialize> Encode for Json<T> {
    fn encode(&self) -> Result<Bytes, FormatError> {
        serde_json::to_vec(&self.0)
            .map(Bytes::from)
            .map_err(|_| FormatError::writing::<T>(FORMAT, "a map key or its own code says no"))
    }
}
