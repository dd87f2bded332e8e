//! Arguments and results in a format: what a payload is read as, and what becomes one

use bytes::Bytes;

use crate::FormatError;

#[cfg(feature = "borsh")]
mod borsh;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "msgpack")]
mod msgpack;
#[cfg(feature = "postcard")]
mod postcard;
#[cfg(feature = "protobuf")]
mod protobuf;
mod wire;

#[cfg(feature = "borsh")]
pub use borsh::Borsh;
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "msgpack")]
pub use msgpack::MsgPack;
#[cfg(feature = "postcard")]
pub use postcard::Postcard;
#[cfg(feature = "protobuf")]
pub use protobuf::Protobuf;
#[cfg(feature = "service")]
pub(crate) use wire::Shape;
pub use wire::WireFormat;

/// What a payload can be read as
///
/// Whatever has it can be an argument of a handler, and the answer of a typed call. Implement it for a type of your own:
///
/// ```
/// use bytes::Bytes;
/// use flyrpc_driver::{Caller, Decode, FormatError, Router};
///
/// struct Lamp(u8);
///
/// impl Decode for Lamp {
///     fn decode(payload: &Bytes) -> Result<Self, FormatError> {
///         match payload[..] {
///             [number] => Ok(Self(number)),
///             _ => Err(FormatError::reading::<Self>("a lamp", "one byte is wanted")),
///         }
///     }
/// }
///
/// fn router<P: Caller>() -> Router<P> {
///     Router::new().handle("lamp", |lamp: Lamp| format!("lamp {}", lamp.0))
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a payload can't be read as `{Self}`",
    label = "neither bytes, nor text, nor in a format",
    note = "wrap the type in a format, such as `Json<{Self}>`, or implement `Decode` for it"
)]
pub trait Decode: Sized {
    /// In the parameters of a JSON-RPC request: is the only element of an array meant, where that is an object, and not the
    /// array? So it is for what reads JSON as values; anything else takes parameters as they came
    const TAKES_ELEMENT: bool = false;

    /// Reads the payload, all of it
    ///
    /// # Errors
    /// When it is something else. The text must not quote the payload.
    fn decode(payload: &Bytes) -> Result<Self, FormatError>;

    /// The same of a payload that nobody else wants: what is bytes anyway need not be cloned
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    fn decode_owned(payload: Bytes) -> Result<Self, FormatError> {
        Self::decode(&payload)
    }
}

/// What has a form as a payload, if in a format
///
/// Whatever has it can be sent by a call and be the result of a handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no form as a payload",
    note = "wrap a value in a format, such as `Json(value)`, or implement `Encode` for its type"
)]
pub trait Encode {
    /// The payload
    ///
    /// # Errors
    /// When the value has no form in the format. The text must not quote the value.
    fn encode(&self) -> Result<Bytes, FormatError>;
}

impl<T: Encode> Encode for &T {
    fn encode(&self) -> Result<Bytes, FormatError> {
        T::encode(self)
    }
}

/// As it is
impl Decode for Bytes {
    fn decode(payload: &Bytes) -> Result<Self, FormatError> {
        Ok(payload.clone())
    }

    fn decode_owned(payload: Bytes) -> Result<Self, FormatError> {
        Ok(payload)
    }
}

/// A copy
impl Decode for Vec<u8> {
    fn decode(payload: &Bytes) -> Result<Self, FormatError> {
        Ok(payload.to_vec())
    }
}

/// UTF-8
impl Decode for String {
    fn decode(payload: &Bytes) -> Result<Self, FormatError> {
        text(payload).map(str::to_owned)
    }
}

/// Nothing: an empty payload, or JSON's `null`
impl Decode for () {
    fn decode(payload: &Bytes) -> Result<Self, FormatError> {
        match payload[..] {
            [] | [b'n', b'u', b'l', b'l'] => Ok(()),
            _ => {
                let len = payload.len();
                Err(FormatError::reading::<Self>("empty", format_args!("{len} bytes came")))
            }
        }
    }
}

/// The payload as text
pub(crate) fn text(payload: &[u8]) -> Result<&str, FormatError> {
    core::str::from_utf8(payload).map_err(|error| {
        FormatError::reading::<str>("UTF-8", format_args!("wrong at byte {}", error.valid_up_to()))
    })
}

/// A wrapper that says in which format its value is
#[cfg(any(
    feature = "borsh",
    feature = "json",
    feature = "msgpack",
    feature = "postcard",
    feature = "protobuf"
))]
macro_rules! wrapper {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name<T>(
            /// The value
            pub T,
        );

        impl<T> core::ops::Deref for $name<T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.0
            }
        }

        impl<T> core::ops::DerefMut for $name<T> {
            fn deref_mut(&mut self) -> &mut T {
                &mut self.0
            }
        }

        impl<T> From<T> for $name<T> {
            fn from(value: T) -> Self {
                Self(value)
            }
        }

        /// The value's own form: whoever prints it prints what was in the payload
        impl<T: core::fmt::Debug> core::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.0).finish()
            }
        }
    };
}
#[cfg(any(
    feature = "borsh",
    feature = "json",
    feature = "msgpack",
    feature = "postcard",
    feature = "protobuf"
))]
use wrapper;
