//! What errors say, and what they don't

use core::error::Error as _;

use bytes::Bytes;
use flyrpc_core::fly::zip::ZipError;
use flyrpc_core::{BadReply, CloseReason, ProtocolError, Refusal, WireError};
use flyrpc_driver::{Error, FormatError, Packet, RemoteError, Router, UnreadableReply};

use crate::common::{Fake, dispatch, error};

const BROKEN: ProtocolError = ProtocolError { what: WireError::MethodTooLong, offset: 3, limit: 9 };

#[test]
fn texts_and_sources() {
    let format = FormatError::reading::<u8>("JSON", "not valid, at line 1 column 2");
    let long = BadReply::TooLarge { len: 9, limit: 8 };
    for (error, text, source) in [
        (RemoteError::new("LAMP").into(), "the peer answered with an error: LAMP", None),
        (Error::TimedOut, "the answer did not come in time", None),
        (Error::Cancelled, "the call was cancelled", None),
        (
            Error::lost(CloseReason::PeerClosed),
            "the connection ended before the answer came",
            Some("the peer closed the connection"),
        ),
        (
            Error::lost(CloseReason::Protocol(BROKEN)),
            "the connection ended before the answer came",
            Some(
                "the peer broke the protocol at byte 3: the code has no end (0x00) within its limit of 9 bytes",
            ),
        ),
        (Refusal::Draining.into(), "the call was not sent", Some("the connection is draining")),
        (
            UnreadableReply::Bad(long).into(),
            "the answer can't be read",
            Some("the answer of 9 bytes is longer than the limit of 8 bytes"),
        ),
        (
            UnreadableReply::Zip(ZipError::BadCode).into(),
            "the answer can't be read",
            Some(&*ZipError::BadCode.to_string()),
        ),
        (
            UnreadableReply::Format(format.clone()).into(),
            "the answer can't be read",
            Some("not JSON for u8: not valid, at line 1 column 2"),
        ),
        (
            Error::Unencodable(FormatError::writing::<u8>("JSON", "no")),
            "the argument can't be sent",
            Some("u8 has no form in JSON: no"),
        ),
    ] {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.source().map(ToString::to_string).as_deref(), source, "{text}");
        assert!(error.source().and_then(|source| source.source()).is_none());
    }
    assert_eq!(format.format(), "JSON");
    assert_eq!(Error::lost(CloseReason::Protocol(BROKEN)), Error::Protocol(BROKEN));
    assert_eq!(Error::lost(CloseReason::Local), Error::Lost(CloseReason::Local));
}

#[test]
fn what_a_handler_passes_on() {
    let lamp = RemoteError::new("LAMP").details("7");
    assert_eq!(RemoteError::from(Error::Remote(lamp.clone())), lamp);
    for (passed, wanted) in [
        (Error::TimedOut, error("TIMEOUT", "")),
        (Error::Cancelled, error("CANCELLED", "")),
        (Error::Protocol(BROKEN), error("ERROR", "the connection ended before the answer came")),
        (Error::lost(CloseReason::Local), error("ERROR", "the connection ended before the answer came")),
        (Error::Refused(Refusal::Closed), error("ERROR", "the call was not sent")),
        (
            // The fault is the answer's, not the payload's of the request that is passed on.
            Error::UnreadableReply(UnreadableReply::Format(FormatError::reading::<u8>("JSON", "x"))),
            error("ERROR", "the answer can't be read"),
        ),
        (
            Error::Unencodable(FormatError::writing::<u8>("JSON", "x")),
            error("ERROR", "u8 has no form in JSON: x"),
        ),
    ] {
        assert_eq!(Err(RemoteError::from(passed)), wanted);
    }
    let reading = FormatError::reading::<u8>("JSON", "x");
    assert_eq!(Err(reading.into()), error("BAD_PAYLOAD", "not JSON for u8: x"));
}

#[test]
fn p22_nothing_shows_a_payload() {
    let router = Router::<Fake>::new()
        .handle("echo", |payload: Bytes| payload)
        .handle("fail", |text: &str| RemoteError::new("LAMP").details(text));
    let secret = Bytes::from_static(b"hunter2");
    let request = Fake::of(&router).request("fail", &secret);
    let packet: &Packet = request.packet();
    let mut said = format!("{packet:?} {request:?} {:?} ", request.context());
    said += &format!("{:?} ", dispatch(&router, request));
    said += &format!("{:?} ", dispatch(&router, Fake::of(&router).request("echo", &secret)));
    let remote = RemoteError::new("LAMP").details("hunter2");
    said += &format!("{remote} {remote:?} {:?}", Error::from(remote.clone()));
    for secret in ["hunter2", "104, 117, 110", "0x68"] {
        assert!(!said.contains(secret), "{said}");
    }
    assert_eq!(
        format!("{packet:?}", packet = Fake::of(&router).request("echo", &secret).packet()),
        r#"Packet { flag: Flag(0x40), sequence: 3, code: "echo", payload: 7 bytes }"#
    );
}
