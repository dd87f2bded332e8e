//! What a call can end with instead of an answer, and what that says

use core::error::Error as _;

use flyrpc_blocking::{
    Address, Bytes, Client, Error, Limits, Refusal, RemoteError, Request, UnreadableReply,
};

use crate::common::{RESPONSE, Raw, SOON, bounded, connect, echo, listen, noise};

fn remote(code: &str, details: &[u8]) -> Result<Bytes, Error> {
    Err(Error::Remote(RemoteError::new(code).details(details)))
}

#[test]
fn errors_of_handlers_reach_the_caller() {
    bounded(|| {
        let server = listen(
            echo()
                .handle("lamp", || RemoteError::new("NO_SUCH_LAMP").details("lamp 7"))
                .handle("empty", || RemoteError::new("").details("hidden"))
                .handle("nul", || RemoteError::new("A\0B"))
                .handle("long", || RemoteError::new("x".repeat(2000)))
                .handle("word", || Err::<(), _>(RemoteError::from("WORD")))
                .handle("text", |request: &Request| request.text().map(str::to_uppercase)),
        );
        let client = connect(Client::new(), &server);
        assert_eq!(client.call("missing", ()), remote("NOT_FOUND", b""));
        assert_eq!(client.call("lamp", ()), remote("NO_SUCH_LAMP", b"lamp 7"));
        assert_eq!(client.call("word", ()), remote("WORD", b""));
        for code in ["empty", "nul", "long"] {
            let Err(Error::Remote(error)) = client.call(code, ()) else { panic!("{code} is no error") };
            assert_eq!(error.code, "ERROR", "{code}");
        }
        assert_eq!(client.call("text", "é"), Ok("É".into()));
        let Err(Error::Remote(error)) = client.call("text", &[0xff]) else { panic!("no error") };
        assert_eq!(error.code, "BAD_PAYLOAD");
        assert_eq!(client.call("echo", b"alive"), Ok("alive".into()));
    });
}

#[test]
fn a_panic_stays_within_its_request() {
    // Without the hook that would print it.
    fn panics(_: &Request) {
        std::panic::resume_unwind(Box::new("in a handler"));
    }
    bounded(|| {
        let server = listen(echo().handle("panic", panics));
        let client = connect(Client::new(), &server);
        for _ in 0..3 {
            client.send("panic", ()).unwrap();
            assert_eq!(client.call("panic", ()), remote("HANDLER_PANIC", b""));
        }
        assert_eq!(client.call("echo", b"alive"), Ok("alive".into()));
        // Messages are still taken too.
        client.send("echo", ()).unwrap();
        assert_eq!(client.call("echo", b"alive"), Ok("alive".into()));
    });
}

#[test]
fn a_handler_may_pass_the_errors_of_its_own_calls_on() {
    bounded(|| {
        let server = listen(
            echo()
                .handle("up", |request: &Request| request.peer().call("fail", ()))
                .handle("refused", |request: &Request| request.peer().call("a\0b", b"secret")),
        );
        let client = Client::new().handle("fail", || RemoteError::new("DEEP").details("down"));
        let client = connect(client, &server);
        assert_eq!(client.call("up", ()), remote("DEEP", b"down"));
        let Err(Error::Remote(error)) = client.call("refused", ()) else { panic!("no error") };
        assert_eq!(error.code, "ERROR");
    });
}

#[test]
fn codes_that_cant_be_sent_are_refused() {
    bounded(|| {
        let server = listen(echo());
        let client = connect(Client::new(), &server);
        for code in ["a\0b", &"x".repeat(1025)] {
            assert_eq!(client.call(code, ()), Err(Error::Refused(Refusal::BadMethod)));
            assert_eq!(client.send(code, ()), Err(Error::Refused(Refusal::BadMethod)));
        }
        assert_eq!(client.call("echo", b"alive"), Ok("alive".into()));
    });
}

/// The error, its sources, and both their forms
fn all_it_says(error: &Error) -> String {
    let mut said = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        said += &format!(" {error} {error:?}");
        source = error.source();
    }
    said
}

#[test]
fn p22_errors_show_no_payload() {
    // As text, and as a list of numbers.
    let secrets = ["hunter2", "104, 117, 110", "0x68"];
    bounded(move || {
        let (mut raw, client) = Raw::with(Client::new().limits(Limits::new().max_payload(64)));
        let mut errors = Vec::new();
        let answers: [(u8, &str, &[u8]); 3] = [
            (RESPONSE, "LAMP", b"hunter2"),
            (RESPONSE, "", &[b"hunter2".as_slice(), &[b' '; 100]].concat()),
            (RESPONSE | 0x04, "", b"hunter2"),
        ];
        for (flag, code, payload) in answers {
            let call = client.start("x", b"hunter2", SOON).unwrap();
            assert!(!format!("{call:?}").contains("hunter2"));
            let seq = raw.read().seq;
            raw.send(flag, seq, code, payload);
            errors.push(call.wait().unwrap_err());
        }
        assert!(matches!(errors[1], Error::UnreadableReply(UnreadableReply::Bad(_))));
        assert!(matches!(errors[2], Error::UnreadableReply(UnreadableReply::Zip(_))));

        let call = client.start("x", (), SOON).unwrap();
        let seq = raw.read().seq;
        raw.send(RESPONSE, seq, "", b"hunter2");
        let response = call.response().unwrap();
        assert_eq!(response.payload, "hunter2");
        for secret in secrets {
            assert!(!format!("{response:?}").contains(secret));
        }

        errors.push(client.call("a\0b", b"hunter2").unwrap_err());
        let lost = client.start("x", b"hunter2", SOON).unwrap();
        // Not even the bytes that break the protocol.
        raw.write([&[0x83, 0, 1][..], b"hunter2\0", &[0xff; 8], b"hunter2"].concat());
        errors.push(lost.wait().unwrap_err());
        assert!(matches!(errors[4], Error::Protocol(_)), "{:?}", errors[4]);
        errors.push(client.call("x", b"hunter2").unwrap_err());
        for error in errors {
            let said = all_it_says(&error);
            for secret in secrets {
                assert!(!said.contains(secret), "{said}");
            }
        }
    });
}

#[test]
fn p07_an_answer_that_is_too_long_fails_its_own_call_only() {
    bounded(|| {
        let server = listen(echo().handle("long", || noise(2000)));
        let client = connect(Client::new().limits(Limits::new().max_payload(1000)), &server);
        for _ in 0..3 {
            let failed = client.call("long", ());
            assert!(matches!(failed, Err(Error::UnreadableReply(UnreadableReply::Bad(_)))), "{failed:?}");
            assert_eq!(client.call("echo", b"alive"), Ok("alive".into()));
        }
        // A server that has been told does not even try.
        client.hello().unwrap();
        assert_eq!(client.call("long", ()), remote("TOO_LARGE", b""));
        assert_eq!(client.call("echo", b"alive"), Ok("alive".into()));
    });
}

#[test]
fn addresses_that_are_none_say_why() {
    bounded(|| {
        for (text, why) in [
            ("", "the port is missing"),
            ("localhost", "the port is missing"),
            ("localhost:http", "the port is not a number"),
            ("localhost:65536", "the port is not a number"),
            (":7000", "the host is missing"),
            ("ftp://localhost:80", "the scheme is unknown"),
            ("unix:", "the path is missing"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("unix:/path"), "{error}");
            for error in
                [Client::new().connect(text).unwrap_err(), echo().listen(text).map(drop).unwrap_err()]
            {
                assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
                assert!(error.to_string().contains(why), "{error}");
            }
        }
        for text in ["127.0.0.1:7000", "[::1]:7000", "localhost:0", "unix:/a/b"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        for (text, why) in [
            ("http://localhost:80", "FlyRPC is not carried by it"),
            ("fly+connect://localhost:80", "FlyRPC is not carried by it"),
            ("jsonrpc+https://localhost:80", "TLS is not spoken yet"),
            ("jsonrpc+http://localhost:80", "flyrpc-tokio or flyrpc-smol"),
        ] {
            for error in
                [Client::new().connect(text).unwrap_err(), echo().listen(text).map(drop).unwrap_err()]
            {
                assert!(error.to_string().contains(why), "{error}");
            }
        }
        assert_eq!("tcp://h:1".parse::<Address>().unwrap().to_string(), "h:1");
    });
}

#[test]
fn addresses_where_nobody_listens_are_refused() {
    bounded(|| {
        let server = listen(echo());
        let taken = echo().listen(server.address()).map(drop).unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
        let address = server.address();
        drop(server);
        let error = Client::new().connect(address).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        let error = Client::new().connect("host.invalid:1").unwrap_err();
        assert_ne!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    });
}
