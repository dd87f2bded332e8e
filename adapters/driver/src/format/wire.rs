//! Formats that are chosen while the program runs

#[cfg(feature = "service")]
use bytes::Bytes;
#[cfg(feature = "service")]
use serde::{
    Serialize,
    de::{DeserializeOwned, DeserializeSeed},
};

#[cfg(feature = "service")]
use super::{Decode, Encode, json};
#[cfg(feature = "service")]
use crate::{FormatError, Json};

/// The format of the arguments and results of a connection's services
///
/// Both ends must mean the same one: it is not said on the wire. Connections that speak JSON-RPC always have JSON.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum WireFormat {
    /// JSON
    #[default]
    Json,
    /// MessagePack
    #[cfg(feature = "msgpack")]
    MsgPack,
    /// postcard, which knows arguments only by their order
    #[cfg(feature = "postcard")]
    Postcard,
}

/// What kind of value a payload begins with
#[cfg(feature = "service")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// There is none
    Nothing,
    /// An array
    List,
    /// An object
    Map,
    /// Anything else, or no value of the format
    Other,
    /// The format does not say
    #[cfg(feature = "postcard")]
    Unknown,
}

#[cfg(feature = "service")]
impl WireFormat {
    /// The value in this format
    ///
    /// # Errors
    /// The value has no form in it.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, FormatError> {
        match self {
            Self::Json => Json(value).encode(),
            #[cfg(feature = "msgpack")]
            Self::MsgPack => crate::MsgPack(value).encode(),
            #[cfg(feature = "postcard")]
            Self::Postcard => crate::Postcard(value).encode(),
        }
    }

    /// The payload as a value of this format, all of it
    ///
    /// # Errors
    /// It is something else.
    pub fn decode<T: DeserializeOwned>(self, payload: &Bytes) -> Result<T, FormatError> {
        match self {
            Self::Json => Json::decode(payload).map(|Json(value)| value),
            #[cfg(feature = "msgpack")]
            Self::MsgPack => crate::MsgPack::decode(payload).map(|crate::MsgPack(value)| value),
            #[cfg(feature = "postcard")]
            Self::Postcard => crate::Postcard::decode(payload).map(|crate::Postcard(value)| value),
        }
    }

    /// The format's name in errors
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            #[cfg(feature = "msgpack")]
            Self::MsgPack => "MessagePack",
            #[cfg(feature = "postcard")]
            Self::Postcard => "postcard",
        }
    }

    /// Do values say what they are, so that members have names and some may be left out?
    pub(crate) const fn describes_itself(self) -> bool {
        match self {
            Self::Json => true,
            #[cfg(feature = "msgpack")]
            Self::MsgPack => true,
            #[cfg(feature = "postcard")]
            Self::Postcard => false,
        }
    }

    /// What the payload's first byte tells; what follows may still be wrong
    pub(crate) fn shape(self, payload: &[u8]) -> Shape {
        match self {
            Self::Json => {
                let first = payload.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
                match first {
                    None => Shape::Nothing,
                    Some(b'[') => Shape::List,
                    Some(b'{') => Shape::Map,
                    Some(_) => Shape::Other,
                }
            }
            #[cfg(feature = "msgpack")]
            Self::MsgPack => match payload.first() {
                None => Shape::Nothing,
                Some(0x90..=0x9f | 0xdc | 0xdd) => Shape::List,
                Some(0x80..=0x8f | 0xde | 0xdf) => Shape::Map,
                Some(_) => Shape::Other,
            },
            #[cfg(feature = "postcard")]
            Self::Postcard => Shape::Unknown,
        }
    }

    /// What `seed` makes of the payload, in a format that describes itself; an error calls it a `T`
    pub(crate) fn read<'de, T, S: DeserializeSeed<'de>>(
        self,
        seed: S,
        payload: &'de [u8],
    ) -> Result<S::Value, FormatError> {
        match self {
            Self::Json => json::read::<T, S>(seed, payload),
            #[cfg(feature = "msgpack")]
            Self::MsgPack => super::msgpack::read::<T, S>(seed, payload),
            #[cfg(feature = "postcard")]
            Self::Postcard => Err(FormatError::reading::<T>("postcard", "it does not describe itself")),
        }
    }
}
