use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use flyrpc_driver::ws::accept_key;
use tungstenite::{Message, WebSocket as Peer};

use super::*;

/// Nothing here takes long; what hangs fails
const SOON: Duration = Duration::from_secs(20);

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    theirs.set_nodelay(true).unwrap();
    theirs.set_read_timeout(Some(SOON)).unwrap();
    theirs.set_write_timeout(Some(SOON)).unwrap();
    (listener.accept().unwrap().0, theirs)
}

/// One of ours, and tungstenite at the other end
fn connected(role: Role, options: &Options) -> (Stream, Peer<TcpStream>) {
    let (ours, theirs) = pair();
    let ours = Stream::from(ours);
    let (ours, theirs) = if role == Role::Server {
        let client = thread::spawn(|| tungstenite::client("ws://localhost/rpc", theirs).unwrap().0);
        (ours.accept_websocket(options, SOON).unwrap(), client.join().unwrap())
    } else {
        let server = thread::spawn(|| tungstenite::accept(theirs).unwrap());
        (ours.connect_websocket("localhost:80", "/rpc", options, SOON).unwrap(), server.join().unwrap())
    };
    ours.set_read_timeout(Some(SOON)).unwrap();
    ours.set_write_timeout(Some(SOON)).unwrap();
    (ours, theirs)
}

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn unit(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// Sends everything back until the other end closes
fn echo(stream: Stream) -> JoinHandle<(Stream, io::Result<()>)> {
    thread::spawn(move || {
        let mut buf = vec![0; 10_000];
        loop {
            match (&stream).read(&mut buf) {
                Ok(0) => return (stream, Ok(())),
                Ok(n) => (&stream).write_all(&buf[..n]).unwrap(),
                Err(error) => return (stream, Err(error)),
            }
        }
    })
}

#[test]
fn tungstenite_at_the_other_end_gets_everything_back() {
    for role in ROLES {
        for kind in [Kind::Text, Kind::Binary] {
            let (ours, mut theirs) = connected(role, &Options::new().kind(kind));
            let echo = echo(ours);
            for text in ["a", "", "größer", &"日本語".repeat(30_000), &"x".repeat(1 << 20), "end"] {
                let message = match kind {
                    Kind::Text => Message::text(text),
                    Kind::Binary => Message::binary(text.as_bytes().to_vec()),
                };
                theirs.write(Message::Ping(b"there?".to_vec().into())).unwrap();
                theirs.send(message.clone()).unwrap();
                let came: Vec<Message> = (0..2).map(|_| theirs.read().unwrap()).collect();
                assert!(came.contains(&message) && came.contains(&Message::Pong(b"there?".to_vec().into())));
            }
            theirs.close(None).unwrap();
            let (ours, end) = echo.join().unwrap();
            end.unwrap();
            assert_eq!((&ours).write(&unit(b"late")).unwrap(), unit(b"late").len(), "for nobody");
            ours.shutdown(Shutdown::Both);
            loop {
                match theirs.read() {
                    Ok(_) => {}
                    Err(tungstenite::Error::ConnectionClosed) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

#[test]
fn both_directions_go_at_once() {
    let (left, right) = pair();
    let client =
        thread::spawn(|| Stream::from(right).connect_websocket("host", "", &Options::new(), SOON).unwrap());
    let server = Stream::from(left).accept_websocket(&Options::new(), SOON).unwrap();
    let ends = [Arc::new(server), Arc::new(client.join().unwrap())];
    let all: Vec<u8> =
        (0..20_000_u32).flat_map(|n| unit(n.to_string().repeat(1 + n as usize % 50).as_bytes())).collect();
    let all = Arc::new(all);
    let mut threads = Vec::new();
    for end in &ends {
        end.set_write_timeout(Some(SOON)).unwrap();
        end.set_read_timeout(Some(SOON)).unwrap();
        let (end, to_send) = (Arc::clone(end), Arc::clone(&all));
        threads.push(thread::spawn(move || (&*end).write_all(&to_send).unwrap()));
    }
    for end in ends {
        let expected = Arc::clone(&all);
        threads.push(thread::spawn(move || {
            let mut came = vec![0; expected.len()];
            (&*end).read_exact(&mut came).unwrap();
            assert!(came == *expected);
        }));
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn p16_a_write_that_times_out_goes_on_where_it_stopped_and_the_reader_is_never_held_up() {
    for role in ROLES {
        let (ours, mut theirs) = connected(role, &Options::new());
        let ours = Arc::new(ours);
        ours.set_write_timeout(Some(Duration::from_millis(10))).unwrap();
        let message = "x".repeat(1000);
        // Few enough to be taken at once, so that no message is cut when the last write gives up.
        let all = unit(message.as_bytes()).repeat(60);
        // The peer does not read: what it has not taken is offered again, as a link does.
        let (mut batches, mut sent) = (0, 0);
        let mut waited = 0;
        while waited < 3 {
            match (&*ours).write(&all[sent..]) {
                Ok(n) => sent += n,
                Err(error) if is_timeout(&error) => waited += 1,
                Err(error) => panic!("{error}"),
            }
            if sent == all.len() {
                (batches, sent) = (batches + 1, 0);
            }
        }
        // Its ping is read meanwhile; the answer comes when it reads, though nobody writes any more.
        let reader = Arc::clone(&ours);
        let reader = thread::spawn(move || {
            let mut buf = [0; 100];
            let n = (&*reader).read(&mut buf).unwrap();
            buf[..n].to_vec()
        });
        theirs.write(Message::Ping(b"there?".to_vec().into())).unwrap();
        theirs.send(Message::text("read")).unwrap();
        assert_eq!(reader.join().unwrap(), unit(b"read"));
        let mut came = 0;
        loop {
            let message_or_pong = theirs.read().unwrap();
            let Message::Text(text) = message_or_pong else {
                assert_eq!(message_or_pong, Message::Pong(b"there?".to_vec().into()));
                break;
            };
            assert_eq!(text.as_str(), message);
            came += 1;
        }
        // All that was taken has come, and the rest comes when it is offered again.
        ours.set_write_timeout(Some(SOON)).unwrap();
        (&*ours).write_all(&all[sent..]).unwrap();
        let total = (batches + 1) * 60;
        while came < total {
            assert_eq!(theirs.read().unwrap(), Message::text(message.as_str()));
            came += 1;
        }
        ours.shutdown(Shutdown::Write);
        assert!(
            matches!(theirs.read().unwrap(), Message::Close(Some(frame)) if u16::from(frame.code) == 1000)
        );
    }
}

#[test]
fn a_close_of_ours_is_answered_and_is_the_end() {
    for role in ROLES {
        let (ours, mut theirs) = connected(role, &Options::new());
        (&ours).write_all(&unit(b"last words")).unwrap();
        ours.shutdown(Shutdown::Write);
        ours.shutdown(Shutdown::Write);
        assert_eq!(theirs.read().unwrap(), Message::text("last words"));
        assert!(
            matches!(theirs.read().unwrap(), Message::Close(Some(frame)) if u16::from(frame.code) == 1000)
        );
        while theirs.read().is_ok() {}
        assert_eq!((&ours).read(&mut [0; 10]).unwrap(), 0);
    }
}

#[test]
fn what_breaks_the_protocol_is_an_error_and_the_peer_is_told() {
    let (ours, mut theirs) = connected(Role::Server, &Options::new().max_message(10));
    theirs.send(Message::text("eleven byte")).unwrap();
    let error = (&ours).read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(matches!(theirs.read().unwrap(), Message::Close(Some(frame)) if u16::from(frame.code) == 1009));
}

#[test]
fn a_handshake_ends_in_time_however_slow_the_other_end_is() {
    for slow in [false, true] {
        let (ours, mut theirs) = pair();
        let peer = thread::spawn(move || {
            let request = "GET / HTTP/1.1\r\nX: ".bytes().chain(core::iter::repeat(b'x'));
            for byte in request.take(if slow { 10_000 } else { 1 }) {
                if theirs.write_all(&[byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(2));
            }
            // Until ours gives up.
            let _ = theirs.read(&mut [0]);
        });
        let start = now();
        let error =
            Stream::from(ours).accept_websocket(&Options::new(), Duration::from_millis(150)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(5));
        peer.join().unwrap();
    }
}

#[test]
fn a_handshake_that_fails_says_why() {
    let (ours, mut theirs) = pair();
    theirs.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let error = Stream::from(ours).accept_websocket(&Options::new(), SOON).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    let mut answer = String::new();
    theirs.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");

    let (ours, theirs) = pair();
    drop(theirs);
    let error = Stream::from(ours).accept_websocket(&Options::new(), SOON).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);

    let (ours, mut theirs) = pair();
    theirs.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").unwrap();
    let error = Stream::from(ours).connect_websocket("host", "/", &Options::new(), SOON).unwrap_err();
    assert!(error.to_string().contains("403"), "{error}");
}

#[test]
fn what_comes_behind_the_handshake_is_kept() {
    let (ours, mut theirs) = pair();
    let server = thread::spawn(move || {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            theirs.read_exact(&mut byte).unwrap();
            request.extend_from_slice(&byte);
        }
        let request = String::from_utf8(request).unwrap();
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let answer = format!(
            "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n\
             \u{1}\u{2}he\0\u{3}llo",
            accept_key(key)
        );
        let mut answer = answer.into_bytes();
        // The last fragment.
        let at = answer.len() - 5;
        answer[at] = 0x80;
        theirs.write_all(&answer).unwrap();
        theirs
    });
    let ours = Stream::from(ours).connect_websocket("host", "/", &Options::new(), SOON).unwrap();
    let mut came = [0; 9];
    (&ours).read_exact(&mut came).unwrap();
    assert_eq!(came[..], unit(b"hello"));
    drop(server.join().unwrap());
    assert_eq!((&ours).read(&mut came).unwrap(), 0);
}
