use super::*;
use alloc::string::String;
use alloc::vec::Vec;

const DEPTH: u8 = 128;

fn scan(text: &str) -> Outcome {
    Scan::default().run(text.as_bytes(), true, DEPTH)
}

/// What a scanner says that gets the text byte by byte
fn scan_slowly(text: &[u8]) -> Outcome {
    let mut scan = Scan::default();
    for end in 0..text.len() {
        match scan.run(&text[..end], false, DEPTH) {
            Outcome::More => {}
            other @ (Outcome::Done(_) | Outcome::Bad(_)) => return other,
        }
        assert!(scan.position() <= end);
    }
    scan.run(text, true, DEPTH)
}

#[test]
fn p18_values_are_read_whole_and_byte_by_byte() {
    let good = [
        "0",
        "-0",
        "12",
        "-1.5e+10",
        "1E2",
        "0.0",
        "true",
        "false",
        "null",
        r#""""#,
        r#""a b""#,
        r#""\u00e9\n\"\\\/""#,
        "\"é😀日本語 текст\"",
        "[]",
        "[ ]",
        "{}",
        "{ }",
        "[1,2 , [3]]",
        r#"{"a":1,"b":{"c":[{}]}}"#,
        " \t\r\n[ 1 , { \"a\" : null } ]",
        "\"a string of more than sixteen bytes, é, and then some more\"",
        r#"["\ud800"]"#,
    ];
    for text in good {
        assert_eq!(scan(text), Outcome::Done(text.len()), "{text}");
        assert_eq!(scan_slowly(text.as_bytes()), Outcome::Done(text.len()), "{text}");
    }
}

#[test]
fn p18_what_is_not_json_is_found_at_the_same_byte_however_it_comes() {
    let bad: [(&[u8], usize); 34] = [
        (b"hello", 0),
        (b"trua", 3),
        (b"nul]", 3),
        (b"01", 1),
        (b"-", 1),
        (b"-a", 1),
        (b"1.", 2),
        (b"1.x", 2),
        (b"1e", 2),
        (b"1e+]", 3),
        (b".5", 0),
        (b"+1", 0),
        (b"[1,]", 3),
        (b"[,1]", 1),
        (b"[1 2]", 3),
        (b"[1}", 2),
        (b"{\"a\":1]", 6),
        (b"{a:1}", 1),
        (b"{\"a\" 1}", 5),
        (b"{\"a\":}", 5),
        (b"{\"a\":1,}", 7),
        (b"{,}", 1),
        (b"\"\x01\"", 1),
        (b"\"\n\"", 1),
        (b"\"\\x\"", 2),
        (b"\"\\u12g4\"", 5),
        (b"\"\xff\"", 1),
        (b"\"ab\xc3\"", 3),
        (b"\"\xe2\x82\"", 1),
        (b"\"\xed\xa0\x80\"", 1),
        (b"\"\xc0\x80\"", 1),
        (b"]", 0),
        (b"}", 0),
        (b"\"0123456789\x1f\"", 11),
    ];
    for (text, at) in bad {
        let shown = String::from_utf8_lossy(text);
        if text == b"01" {
            // At the top level a number ends where its grammar ends it.
            assert_eq!(Scan::default().run(text, true, DEPTH), Outcome::Done(1));
            continue;
        }
        assert_eq!(Scan::default().run(text, true, DEPTH), Outcome::Bad(at), "{shown}");
        assert_eq!(scan_slowly(text), Outcome::Bad(at), "{shown}");
    }
}

#[test]
fn a_text_that_is_cut_is_not_complete() {
    let text = r#" {"key":[1,-2.5e3,"a\u00e9\n é",true,null,{"x":{}}],"id":"7"}"#.as_bytes();
    for cut in 0..text.len() {
        assert_eq!(Scan::default().run(&text[..cut], false, DEPTH), Outcome::More, "cut at {cut}");
        assert_eq!(Scan::default().run(&text[..cut], true, DEPTH), Outcome::Bad(cut), "cut at {cut}");
    }
    assert_eq!(Scan::default().run(b"12", false, DEPTH), Outcome::More, "a number may go on");
    assert_eq!(Scan::default().run(b"12 ", false, DEPTH), Outcome::Done(2));
}

#[test]
fn p17_depth_and_numbers_are_limited() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert_eq!(scan(&nested(128)), Outcome::Done(256));
    assert_eq!(scan(&nested(129)), Outcome::Bad(128));
    assert_eq!(Scan::default().run(nested(255).as_bytes(), true, 255), Outcome::Done(510));
    let mixed = "{\"a\":[".repeat(60) + &"]}".repeat(60);
    assert_eq!(scan(&mixed), Outcome::Done(mixed.len()));
    assert_eq!(scan(&"7".repeat(1024)), Outcome::Done(1024));
    assert_eq!(scan(&"7".repeat(1025)), Outcome::Bad(1024));
    assert_eq!(Scan::default().run("7".repeat(5000).as_bytes(), false, DEPTH), Outcome::Bad(1024));
}

#[test]
fn p12_members_count_at_their_own_depth_and_the_last_wins() {
    let text = br#"{"x":{"id":1,"method":"no"},"id":2,"params":[{"id":3}],"\u0069d":"4","method":"yes","error" : null}"#;
    let mut scan = Scan::default();
    assert_eq!(scan.run(text, true, DEPTH), Outcome::Done(text.len()));
    let get = |member| scan.get(member, text).map(Vec::from);
    assert_eq!(get(Member::Id).as_deref(), Some(&b"\"4\""[..]));
    assert_eq!(get(Member::Method).as_deref(), Some(&b"\"yes\""[..]));
    assert_eq!(get(Member::Params).as_deref(), Some(&b"[{\"id\":3}]"[..]));
    assert_eq!(get(Member::Error).as_deref(), Some(&b"null"[..]));
    assert_eq!(get(Member::Version), None);
    assert_eq!(get(Member::Result), None);
}

#[test]
fn p18_elements_are_counted_once_however_they_come() {
    for (text, elements) in [
        ("[]", 0),
        ("[ ]", 0),
        ("[1]", 1),
        ("[12345,-1.5,null]", 3),
        ("[[1,2],{\"a\":[3,4]}, 5]", 3),
        ("[\"a,b\",[]]", 2),
    ] {
        let (mut whole, mut pieces) = (Scan::default(), Scan::default());
        assert_eq!(whole.run(text.as_bytes(), true, DEPTH), Outcome::Done(text.len()));
        for end in 0..text.len() {
            assert_eq!(pieces.run(&text.as_bytes()[..end], false, DEPTH), Outcome::More);
        }
        assert_eq!(pieces.run(text.as_bytes(), false, DEPTH), Outcome::Done(text.len()));
        assert_eq!((whole.elements(), pieces.elements()), (elements, elements), "{text}");
    }
}

#[test]
fn every_byte_counts_for_what_it_is_within_a_string_and_behind_a_backslash() {
    for byte in 0..=u8::MAX {
        for place in 0..20 {
            let mut text = [b'"'; 22];
            text[1..21].fill(b'a');
            text[1 + place] = byte;
            let expected = match byte {
                b'"' => Outcome::Done(place + 2),
                b'\\' if place == 19 => Outcome::Bad(22),
                b'\\' => Outcome::Bad(place + 2),
                ..0x20 | 0x80.. => Outcome::Bad(place + 1),
                _ => Outcome::Done(22),
            };
            assert_eq!(Scan::default().run(&text, true, DEPTH), expected, "{byte:#x} at {place}");
        }
        let escape = Scan::default().run(&[b'"', b'\\', byte, b'"'], true, DEPTH);
        let expected = match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Outcome::Done(4),
            b'u' => Outcome::Bad(3),
            _ => Outcome::Bad(2),
        };
        assert_eq!(escape, expected, "{byte:#x} behind a backslash");
    }
}
