//! Arguments and results in each format

use core::fmt::Debug;

use bytes::Bytes;
use flyrpc_driver::{
    Borsh, Context, Decode, Encode, FormatError, IntoPayload as _, Json, MsgPack, Outcome, Postcard,
    Protobuf, RemoteError, Router, State,
};

use crate::common::{Fake, error, ready};

#[derive(
    Clone,
    PartialEq,
    serde::Serialize,
    serde::Deserialize,
    borsh::BorshSerialize,
    borsh::BorshDeserialize,
    prost::Message,
)]
struct Point {
    #[prost(int32, tag = "1")]
    x: i32,
    #[prost(string, tag = "2")]
    name: String,
}

fn point() -> Point {
    Point { x: -7, name: "hi".to_owned() }
}

fn text(error: &FormatError) -> String {
    let text = error.to_string();
    assert!(format!("{error:?}").contains(&text));
    text
}

fn round<T: Encode + Decode + PartialEq + Debug>(value: T, wanted: &[u8]) {
    let payload = value.encode().unwrap();
    assert_eq!(payload, wanted);
    assert_eq!(T::decode(&payload).unwrap(), value);
    assert_eq!((&value).into_payload().unwrap().as_ref(), wanted);
    // Neither less nor more than the whole is a value.
    for end in 0..payload.len() {
        // Protobuf's fields may be missing: a message cut between two of them is one.
        if let Ok(less) = T::decode(&payload.slice(..end)) {
            assert!(less.encode().unwrap().len() <= end);
        }
    }
    let more = [wanted, b"\xff"].concat();
    let error = T::decode(&more.into()).unwrap_err();
    assert!(text(&error).starts_with(&format!("not {} for ", error.format())));
}

#[test]
fn values_come_back_as_they_went() {
    round(Json(point()), br#"{"x":-7,"name":"hi"}"#);
    round(MsgPack(point()), b"\x82\xa1x\xf9\xa4name\xa2hi");
    round(Protobuf(point()), b"\x08\xf9\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x02hi");
    round(Borsh(point()), b"\xf9\xff\xff\xff\x02\0\0\0hi");
    round(Postcard(point()), b"\x0d\x02hi");
    // The fields of a struct in order, without their names, are read too.
    assert_eq!(MsgPack::<Point>::decode(&Bytes::from_static(b"\x92\xf9\xa2hi")).unwrap().0, point());
    // Lent values can be written.
    let (value, wanted) = (point(), Json(point()).encode());
    assert_eq!(Json(&value).encode(), wanted);
    assert_eq!(MsgPack(&value).encode(), MsgPack(point()).encode());
    assert_eq!(Borsh(&value).encode(), Borsh(point()).encode());
    assert_eq!(Postcard(&value).encode(), Postcard(point()).encode());
}

#[test]
fn values_that_are_cut_short_are_none() {
    for end in 0..20 {
        assert!(Json::<Point>::decode(&Json(point()).encode().unwrap().slice(..end)).is_err());
    }
    for end in 0..9 {
        assert!(MsgPack::<Point>::decode(&MsgPack(point()).encode().unwrap().slice(..end)).is_err());
        assert!(Borsh::<Point>::decode(&Borsh(point()).encode().unwrap().slice(..end)).is_err());
    }
    for end in 0..4 {
        assert!(Postcard::<Point>::decode(&Postcard(point()).encode().unwrap().slice(..end)).is_err());
    }
    assert!(Protobuf::<Point>::decode(&Protobuf(point()).encode().unwrap().slice(..13)).is_err());
}

/// A request whose payload is not what it should be
fn bad(outcome: Outcome, format: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.code, "BAD_PAYLOAD");
    let details = String::from_utf8(error.details).unwrap();
    let start = format!("not {format} for router::formats::Point: ");
    assert!(details.starts_with(&start), "{details}");
}

#[test]
fn handlers_take_and_give_them() {
    fn next(point: Point) -> Point {
        Point { x: point.x + 1, ..point }
    }
    async fn with_all(
        State(by): State<i32>,
        Json(point): Json<Point>,
        context: Context<Fake>,
    ) -> Result<Json<Point>, RemoteError> {
        assert_eq!(context.remote(), "memory");
        Ok(Json(Point { x: point.x + *by, ..point }))
    }
    let router = Router::<Fake>::new()
        .state(1)
        .handle("json", |Json(point): Json<Point>| Json(next(point)))
        .handle("msgpack", |MsgPack(point): MsgPack<Point>| MsgPack(next(point)))
        .handle("protobuf", async |Protobuf(point): Protobuf<Point>| Protobuf(next(point)))
        .handle("borsh", |point: Borsh<Point>| async { Borsh(next(point.0)) })
        .handle("postcard", |point: Postcard<Point>, _: &[u8]| Ok::<_, RemoteError>(Postcard(next(point.0))))
        .handle("all", with_all)
        .handle("option", |point: Option<Json<Point>>| Json(point.map(|point| point.x)));
    let after = next(point());
    assert_eq!(ready(&router, "json", Json(point()).encode().unwrap()), Ok(Json(&after).encode().unwrap()));
    assert_eq!(ready(&router, "all", Json(point()).encode().unwrap()), Ok(Json(&after).encode().unwrap()));
    let got = ready(&router, "msgpack", MsgPack(point()).encode().unwrap());
    assert_eq!(got, Ok(MsgPack(&after).encode().unwrap()));
    let got = ready(&router, "protobuf", Protobuf(point()).encode().unwrap());
    assert_eq!(got, Ok(Protobuf(after.clone()).encode().unwrap()));
    let got = ready(&router, "borsh", Borsh(point()).encode().unwrap());
    assert_eq!(got, Ok(Borsh(&after).encode().unwrap()));
    let got = ready(&router, "postcard", Postcard(point()).encode().unwrap());
    assert_eq!(got, Ok(Postcard(&after).encode().unwrap()));
    assert_eq!(ready(&router, "option", "no"), Ok("null".into()));
    for (code, format) in [
        ("json", "JSON"),
        ("all", "JSON"),
        ("msgpack", "MessagePack"),
        ("protobuf", "Protobuf"),
        ("borsh", "Borsh"),
        ("postcard", "postcard"),
    ] {
        bad(ready(&router, code, &b"\x17\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..]), format);
    }
}

#[test]
fn json_errors_say_where() {
    let said = |payload: &'static str| text(&Json::<Point>::decode(&payload.into()).map(drop).unwrap_err());
    let start = "not JSON for router::formats::Point: ";
    assert_eq!(said("{"), format!("{start}it ends too early, at line 1 column 1"));
    assert_eq!(said("{\n  x"), format!("{start}not valid, at line 2 column 3"));
    assert_eq!(said("[1]"), format!("{start}another shape or range, at line 1 column 3"));
    assert_eq!(said("{\"x\":1,\"name\":\"\"} x"), format!("{start}not valid, at line 1 column 19"));
}

/// Takes nothing for an answer but quotes what it got, and is never written
#[derive(Debug)]
struct Quotes;

impl<'de> serde::Deserialize<'de> for Quotes {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let text = String::deserialize(reader)?;
        Err(serde::de::Error::custom(format!("missing field `{text}`")))
    }
}

impl serde::Serialize for Quotes {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("hunter2"))
    }
}

impl borsh::BorshDeserialize for Quotes {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let text = String::deserialize_reader(reader)?;
        Err(borsh::io::Error::new(borsh::io::ErrorKind::InvalidData, text))
    }
}

impl borsh::BorshSerialize for Quotes {
    fn serialize<W: borsh::io::Write>(&self, _: &mut W) -> borsh::io::Result<()> {
        Err(borsh::io::Error::other("hunter2"))
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "never made")]
struct Strict {
    kind: Kind,
    number: u8,
}

#[derive(Debug, serde::Deserialize)]
enum Kind {
    One,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Inner {
    #[prost(message, optional, tag = "1")]
    point: Option<Point>,
}

fn refused<T: Decode + Debug>(payload: impl Into<Bytes>) -> FormatError {
    T::decode(&payload.into()).unwrap_err()
}

#[test]
fn p22_format_errors_quote_nothing() {
    let word = "hunter2".to_owned();
    let packed = |value: &serde_json::Value| MsgPack(value).encode().unwrap();
    let mut errors = Vec::new();
    for payload in [
        r#""hunter2""#,
        r#"{"hunter2":1}"#,
        r#"{"kind":"hunter2"}"#,
        r#"{"number":"hunter2"}"#,
        r#"{"number":31337}"#,
        r#"{"number":-31337}"#,
        r#"{"hunter2"#,
        "hunter2",
    ] {
        errors.push(refused::<Json<Strict>>(payload));
        errors.push(refused::<Json<Quotes>>(payload));
        if let Ok(value) = serde_json::from_str(payload) {
            errors.push(refused::<MsgPack<Strict>>(packed(&value)));
            errors.push(refused::<MsgPack<Quotes>>(packed(&value)));
        }
        errors.push(refused::<MsgPack<Strict>>(payload));
        errors.push(refused::<Protobuf<Point>>(payload));
        errors.push(refused::<Protobuf<Inner>>(payload));
        errors.push(refused::<Borsh<Kind2>>(payload));
        errors.push(refused::<Borsh<u8>>(payload));
        errors.push(refused::<Postcard<Kind>>(payload));
        errors.push(refused::<Postcard<u8>>(payload));
        errors.push(refused::<()>(payload));
    }
    errors.push(refused::<Borsh<Quotes>>(Borsh(&word).encode().unwrap()));
    errors.push(refused::<Postcard<Quotes>>(Postcard(&word).encode().unwrap()));
    errors.push(refused::<Protobuf<Inner>>(&b"\x0a\x09\x12\x07hunter\xff"[..]));
    errors.push(refused::<Protobuf<Inner>>(&b"\xca\xa7\x0fhunter2"[..]));
    // A key of 31337000000000
    errors.push(refused::<Protobuf<Inner>>(&b"\x80\xb4\x83\xb6\x83\x90\x07"[..]));
    errors.push(refused::<String>(&b"hunter2\xff"[..]));
    errors.push(Json(Quotes).encode().unwrap_err());
    errors.push(MsgPack(Quotes).encode().unwrap_err());
    errors.push(Borsh(Quotes).encode().unwrap_err());
    errors.push(Postcard(Quotes).encode().unwrap_err());
    for error in errors {
        let said = format!(
            "{error} {error:?} {}",
            String::from_utf8_lossy(&RemoteError::from(error.clone()).details)
        );
        for secret in ["hunter", "104, 117, 110", "0x68", "31337", "116", "`"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

#[derive(Debug, borsh::BorshDeserialize)]
enum Kind2 {
    One,
}

#[test]
fn a_result_that_has_no_form_is_an_error() {
    let router = Router::<Fake>::new()
        .handle("json", || Json(Quotes))
        .handle("async", async || MsgPack(Quotes))
        .handle("result", || Ok::<_, RemoteError>(Postcard(Quotes)));
    for (code, format) in [("json", "JSON"), ("async", "MessagePack"), ("result", "postcard")] {
        let error = ready(&router, code, "").unwrap_err();
        assert_eq!(error.code, "ERROR");
        let details = String::from_utf8(error.details).unwrap();
        assert!(
            details.starts_with(&format!("router::formats::Quotes has no form in {format}: ")),
            "{details}"
        );
    }
    assert_eq!(ready(&router, "none", ""), error("NOT_FOUND", ""));
}

#[test]
fn p17_a_length_field_alone_takes_no_memory() {
    // Each says that four thousand million bytes or elements follow.
    assert!(MsgPack::<String>::decode(&Bytes::from_static(b"\xdb\xff\xff\xff\xffhi")).is_err());
    assert!(MsgPack::<Vec<u64>>::decode(&Bytes::from_static(b"\xdd\xff\xff\xff\xff\x01")).is_err());
    assert!(Borsh::<Vec<u64>>::decode(&Bytes::from_static(b"\xff\xff\xff\xff\x01")).is_err());
    assert!(Borsh::<String>::decode(&Bytes::from_static(b"\xff\xff\xff\xffhi")).is_err());
    assert!(Postcard::<Vec<u64>>::decode(&Bytes::from_static(b"\xff\xff\xff\xff\x0f\x01")).is_err());
    assert!(Protobuf::<Point>::decode(&Bytes::from_static(b"\x12\xff\xff\xff\xff\x0fhi")).is_err());
}

#[test]
fn details_of_an_error_are_encoded_and_decoded() {
    let error = RemoteError::new("NO_SUCH_LAMP").encoded(&Json(7));
    assert_eq!(error.details, b"7");
    assert_eq!(error.details_as::<Json<u8>>().unwrap().0, 7);
    error.details_as::<Json<String>>().unwrap_err();
    assert!(RemoteError::new("NO_SUCH_LAMP").encoded(&Json(Quotes)).details.is_empty());
}
