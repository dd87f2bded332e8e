//! What can be sent

use bytes::{Bytes, BytesMut};
use flyrpc_driver::{Encode, FormatError, IntoPayload, Payload};

fn sent<'a>(payload: impl IntoPayload<'a>) -> Payload<'a> {
    payload.into_payload().unwrap()
}

#[test]
fn lent_bytes_are_not_copied() {
    let (text, bytes) = ("hi".to_owned(), b"hi".to_vec());
    for (payload, at) in [
        (sent("hi"), None),
        (sent(b"hi"), None),
        (sent(&b"hi"[..]), None),
        (sent(&text), Some(text.as_ptr())),
        (sent(text.as_str()), Some(text.as_ptr())),
        (sent(&bytes), Some(bytes.as_ptr())),
        (sent(bytes.as_slice()), Some(bytes.as_ptr())),
        (sent(Payload::Borrowed(&bytes)), Some(bytes.as_ptr())),
    ] {
        assert!(matches!(payload, Payload::Borrowed(b"hi")));
        assert!(at.is_none_or(|at| payload.as_ref().as_ptr() == at));
    }
    assert!(matches!(sent(()), Payload::Borrowed(b"")));
}

#[test]
fn owned_bytes_are_not_copied_either() {
    let (text, bytes) = ("hi".to_owned(), Bytes::from_static(b"hi"));
    let at = text.as_ptr();
    assert_eq!(sent(text).into_bytes().as_ptr(), at);
    let vec = b"hi".to_vec();
    let at = vec.as_ptr();
    assert_eq!(sent(vec).into_bytes().as_ptr(), at);
    assert_eq!(sent(&bytes).into_bytes().as_ptr(), bytes.as_ptr());
    assert_eq!(sent(bytes.clone()).into_bytes().as_ptr(), bytes.as_ptr());
    assert_eq!(sent(BytesMut::from("hi")).as_ref(), b"hi");
}

#[test]
fn whatever_encodes_can_be_sent_lent_or_not() {
    struct Own(bool);
    impl Encode for Own {
        fn encode(&self) -> Result<Bytes, FormatError> {
            match self.0 {
                true => Ok(Bytes::from_static(b"hi")),
                false => Err(FormatError::writing::<str>("OWN", "no")),
            }
        }
    }
    let kept = Own(true);
    assert_eq!(sent(&kept).as_ref(), b"hi");
    assert_eq!(sent(kept).as_ref(), b"hi");
    assert_eq!(Own(false).into_payload().unwrap_err().to_string(), "str has no form in OWN: no");
}

#[test]
fn p22_payloads_show_their_length_only() {
    assert_eq!(format!("{:?}", sent("hunter2")), "Payload(7 bytes)");
    assert_eq!(format!("{:?}", sent("hunter2".to_owned())), "Payload(7 bytes)");
    assert!(sent("").is_empty() && !sent("x").is_empty());
    assert_eq!(sent("hunter2").into_bytes(), "hunter2");
}
