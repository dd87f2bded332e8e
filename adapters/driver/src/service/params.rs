//! Arguments on their way: in order, by name, or one alone

use core::fmt;
use core::marker::PhantomData;

use bytes::Bytes;
use serde::de::value::Error as Missing;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize, forward_to_deserialize_any};

use super::serve::Value;
use crate::format::Shape;
use crate::{FormatError, WireFormat};

/// What both ends know of a method
#[derive(Debug)]
pub struct Method {
    /// Its own name, or the whole code
    pub name: &'static str,
    /// Is that the whole code?
    pub full: bool,
    /// What it is called under
    pub code: &'static str,
    /// The names of its parameters
    pub params: &'static [&'static str],
    /// How arguments are sent
    pub style: Style,
    /// Has it no result? Then the payload of its answer is empty
    pub returns_nothing: bool,
}

/// How arguments are sent
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// As an array: `[7, 2]`
    Positional,
    /// As an object: `{"a": 7, "b": 2}`
    Named,
    /// The only one, as it is: `7`
    Single,
}

/// Parameters as a tuple, to be read
///
/// Whoever sends them may choose: an array holds them in order, an object by name; a single one may also come as it is.
pub trait Params: for<'de> Deserialize<'de> {
    /// How many
    const COUNT: usize;

    /// From an array; those at the end that may be left out are
    fn in_order<'de, S: SeqAccess<'de>>(list: S) -> Result<Self, S::Error>;

    /// From an object: unknown members are passed over, and of two with the same name the last counts
    fn by_name<'de, M: MapAccess<'de>>(map: M, names: &[&str]) -> Result<Self, M::Error>;

    /// Of nothing at all
    fn absent() -> Option<Self>;

    /// The only one as it is; `None` if there are more, or none
    fn alone(format: WireFormat, payload: &Bytes) -> Option<Result<Self, FormatError>> {
        let _ = (format, payload);
        None
    }
}

/// Arguments as a tuple, to be sent
pub trait Arguments: Serialize {
    /// How many
    const COUNT: usize;

    /// As the members of an object
    fn by_name<M: SerializeMap>(&self, map: &mut M, names: &[&str]) -> Result<(), M::Error>;

    /// The only one as it is; `None` if there are more, or none
    fn alone(&self, format: WireFormat) -> Option<Result<Bytes, FormatError>> {
        let _ = format;
        None
    }
}

/// Reads what a method is called with
pub(super) fn read<A: Params>(
    method: &Method,
    format: WireFormat,
    payload: &Bytes,
) -> Result<A, FormatError> {
    let in_order = || format.read::<A, _>(InOrder::<A>(PhantomData), payload);
    let by_name = || format.read::<A, _>(ByName::<A>(method.params, PhantomData), payload);
    let alone = || A::alone(format, payload);
    let another = || FormatError::reading::<A>(format.name(), "another shape");
    match (format.shape(payload), method.style) {
        #[cfg(feature = "postcard")]
        (Shape::Unknown, _) => format.decode(payload),
        (Shape::Nothing, _) => A::absent().ok_or_else(another),
        (Shape::List, Style::Single) => first_of(alone(), in_order),
        (Shape::List, Style::Positional | Style::Named) => in_order(),
        (Shape::Map, Style::Named) => by_name(),
        // An object is the argument, as in net/rpc, and holds it by name where it can't be read as that.
        (Shape::Map, Style::Positional | Style::Single) => first_of(alone(), by_name),
        (Shape::Other, _) if A::COUNT == 0 => format.decode(payload),
        (Shape::Other, _) => alone().unwrap_or_else(|| Err(another())),
    }
}

/// The first if it is good, else the second if that is, else the first's error
fn first_of<A>(
    first: Option<Result<A, FormatError>>,
    second: impl FnOnce() -> Result<A, FormatError>,
) -> Result<A, FormatError> {
    match first {
        None => second(),
        Some(Ok(good)) => Ok(good),
        Some(Err(error)) => second().map_err(|_| error),
    }
}

/// Writes what a method is called with; nothing at all where it has no parameters
pub(super) fn write<A: Arguments>(
    method: &Method,
    format: WireFormat,
    arguments: &A,
) -> Result<Bytes, FormatError> {
    if A::COUNT == 0 {
        return Ok(Bytes::new());
    }
    match method.style {
        Style::Named if format.describes_itself() => format.encode(&Members(arguments, method.params)),
        Style::Single => arguments.alone(format).unwrap_or_else(|| format.encode(arguments)),
        Style::Positional | Style::Named => format.encode(arguments),
    }
}

struct Members<'a, A>(&'a A, &'static [&'static str]);

impl<A: Arguments> Serialize for Members<'_, A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(A::COUNT))?;
        self.0.by_name(&mut map, self.1)?;
        map.end()
    }
}

struct InOrder<A>(PhantomData<A>);

impl<'de, A: Params> DeserializeSeed<'de> for InOrder<A> {
    type Value = A;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<A, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, A: Params> Visitor<'de> for InOrder<A> {
    type Value = A;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} arguments", A::COUNT)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, list: S) -> Result<A, S::Error> {
        A::in_order(list)
    }
}

struct ByName<A>(&'static [&'static str], PhantomData<A>);

impl<'de, A: Params> DeserializeSeed<'de> for ByName<A> {
    type Value = A;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<A, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, A: Params> Visitor<'de> for ByName<A> {
    type Value = A;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} arguments by name", A::COUNT)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<A, M::Error> {
        A::by_name(map, self.0)
    }
}

/// Which parameter a member is
struct Place<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

/// An argument that did not come: `None` for an `Option`, an error for all else
struct Absent;

impl<'de> Deserializer<'de> for Absent {
    type Error = Missing;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Missing> {
        Err(Missing::custom("missing"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Missing> {
        visitor.visit_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

fn absent<T: Value>() -> Option<T> {
    T::deserialize(Absent).ok()
}

/// The text is not seen by anybody: formats' errors have phrases of their own
fn missing<E: serde::de::Error>() -> E {
    E::custom("an argument is missing")
}

macro_rules! tuple {
    ($count:literal: [$($at:tt $value:ident $type:ident),*] $($alone:ident)?) => {
        impl<$($type: Value),*> Params for ($($type,)*) {
            const COUNT: usize = $count;

            #[allow(unused_mut, reason = "nothing is read where there are no parameters")]
            fn in_order<'de, S: SeqAccess<'de>>(mut list: S) -> Result<Self, S::Error> {
                $(let $value = match list.next_element::<$type>()? {
                    Some(value) => value,
                    None => absent::<$type>().ok_or_else(missing)?,
                };)*
                match list.next_element::<IgnoredAny>()? {
                    Some(_) => Err(S::Error::invalid_length($count + 1, &"fewer arguments")),
                    None => Ok(($($value,)*)),
                }
            }

            fn by_name<'de, M: MapAccess<'de>>(mut map: M, names: &[&str]) -> Result<Self, M::Error> {
                $(let mut $value = None::<$type>;)*
                while let Some(place) = map.next_key_seed(Place(names))? {
                    match place {
                        $(Some($at) => $value = Some(map.next_value()?),)*
                        Some(_) | None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(($($value.or_else(absent).ok_or_else(missing)?,)*))
            }

            fn absent() -> Option<Self> {
                Some(($(absent::<$type>()?,)*))
            }

            $(fn alone(format: WireFormat, payload: &Bytes) -> Option<Result<Self, FormatError>> {
                Some(format.decode::<$alone>(payload).map(|alone| (alone,)))
            })?
        }

        impl<$($type: Serialize),*> Arguments for ($($type,)*) {
            const COUNT: usize = $count;

            fn by_name<M: SerializeMap>(&self, _map: &mut M, _names: &[&str]) -> Result<(), M::Error> {
                $(_map.serialize_entry(_names.get($at).unwrap_or(&""), &self.$at)?;)*
                Ok(())
            }

            $(fn alone(&self, format: WireFormat) -> Option<Result<Bytes, FormatError>> {
                let (alone,): &($alone,) = self;
                Some(format.encode(alone))
            })?
        }
    };
}

tuple!(0: []);
tuple!(1: [0 a A] A);
tuple!(2: [0 a A, 1 b B]);
tuple!(3: [0 a A, 1 b B, 2 c C]);
tuple!(4: [0 a A, 1 b B, 2 c C, 3 d D]);
tuple!(5: [0 a A, 1 b B, 2 c C, 3 d D, 4 e E]);
tuple!(6: [0 a A, 1 b B, 2 c C, 3 d D, 4 e E, 5 f F]);
tuple!(7: [0 a A, 1 b B, 2 c C, 3 d D, 4 e E, 5 f F, 6 g G]);
tuple!(8: [0 a A, 1 b B, 2 c C, 3 d D, 4 e E, 5 f F, 6 g G, 7 h H]);
