//! Which handler a code finds

use bytes::Bytes;
use flyrpc_driver::{Packet, Request, Router, State};

use crate::common::{Fake, dispatch, error, good, ready};

#[test]
fn each_code_finds_its_own_handler() {
    let router = Router::<Fake>::new()
        .handle("a", || "a")
        .handle("ab", || "ab")
        .handle("", || "empty")
        .handle("Ä", || "umlaut")
        .handle("b", || "first")
        .handle("b", || "second");
    assert_eq!(router.codes(), ["", "a", "ab", "b", "Ä"]);
    for (code, answer) in [("a", "a"), ("ab", "ab"), ("", "empty"), ("Ä", "umlaut"), ("b", "second")] {
        assert_eq!(ready(&router, code, ""), good(answer));
    }
    assert_eq!(ready(&router, "abc", ""), error("NOT_FOUND", ""));
    assert_eq!(ready(&router, "A", ""), error("NOT_FOUND", ""));
    assert_eq!(ready(&Router::new(), "", ""), error("NOT_FOUND", ""));
}

#[test]
fn the_fallback_gets_the_rest() {
    let router = Router::<Fake>::new()
        .handle("a", || "a")
        .fallback(|request: &Request<Fake>| request.code().to_owned())
        .handle("b", || "b");
    for code in ["a", "b", "c", ""] {
        assert_eq!(ready(&router, code, ""), good(code));
    }
    // Nor does a code that is not text end up anywhere else.
    let (context, packet) = Fake::of(&router).request("a", &Bytes::new()).into_parts();
    let request = Request::new(context, Packet { code: Bytes::from_static(b"\xff"), ..packet });
    assert_eq!(format!("{:?}", dispatch(&router, request)), "Ready(0 bytes)");
}

#[test]
fn a_thousand_codes() {
    let mut router = Router::<Fake>::new();
    let mut codes = Vec::new();
    for number in 0..1000 {
        let code: &'static str = format!("service.method{number}").leak();
        codes.push(code);
        router = router.handle(code, move || code);
    }
    for code in &codes {
        assert_eq!(ready(&router, code, ""), good(code));
    }
    assert_eq!(ready(&router, "service.method1000", ""), error("NOT_FOUND", ""));
    codes.sort_unstable();
    assert_eq!(router.codes(), codes);
}

#[test]
fn merged_routers_have_both_and_the_second_wins() {
    fn number(State(number): State<u8>) -> String {
        number.to_string()
    }
    let text = |State(text): State<String>| text.to_string();
    let first = Router::<Fake>::new()
        .state(1_u8)
        .state("first".to_owned())
        .handle("number", number)
        .handle("both", || "first")
        .fallback(|| "first fallback");
    let second = Router::new().state(2_u8).handle("text", text).handle("both", || "second");
    let router = first.merge(second);
    assert_eq!(router.codes(), ["both", "number", "text"]);
    assert_eq!(ready(&router, "number", ""), good("2"));
    assert_eq!(ready(&router, "text", ""), good("first"));
    assert_eq!(ready(&router, "both", ""), good("second"));
    assert_eq!(ready(&router, "none", ""), good("first fallback"));
    let router = router.merge(Router::new().fallback(|| "second fallback"));
    assert_eq!(ready(&router, "none", ""), good("second fallback"));
}

#[test]
fn what_was_shared_before_stays_as_it_was() {
    let router = Router::<Fake>::new().state(1_u8);
    let before = router.shared();
    let router = router.state(2_u8).state(3_u16);
    assert_eq!(before.get::<u8>().as_deref(), Some(&1));
    assert_eq!(router.shared().get::<u8>().as_deref(), Some(&2));
    assert!(before.get::<u16>().is_none());
    let text = format!("{:?}", router.handle("secret", || ()));
    assert_eq!(text, r#"Router { codes: ["secret"], fallback: false, shared: ["u8", "u16"], .. }"#);
}
