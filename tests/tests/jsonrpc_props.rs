//! JSON-RPC with random values, ids, batches, mutations and commands

#![expect(clippy::unwrap_used, reason = "a failure is to stop the test")]

use flyrpc_core::jsonrpc::{JsonRpc, member, unescape};
use flyrpc_core::{Call, Instant};
use flyrpc_tests::jsonrpc::{Answer, conn, feed};
use flyrpc_tests::{Rng, fuzz};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

/// Runs with the same cases every time
fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value)) {
    let config = Config { failure_persistence: None, ..Config::with_cases(cases) };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[0x2c; 32]);
    let result = TestRunner::new_with_rng(config, rng).run(&strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Halves, which come back exactly from any parser.
        any::<i32>().prop_map(|twice| Value::from(f64::from(twice) / 2.0)),
        ".{0,12}".prop_map(Value::from),
        "[\\x00-\\x7f]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(key(), inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

/// Names that mean something where they stand at depth 1 are met below it
fn key() -> impl Strategy<Value = String> {
    prop_oneof!["id|method|params|result|error|jsonrpc", ".{0,5}"]
}

fn params() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        Just(None),
        vec(value(), 0..4).prop_map(|list| Some(Value::from(list))),
        btree_map(key(), value(), 0..4).prop_map(|map| Some(Value::from_iter(map))),
    ]
}

fn id() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        ".{0,30}".prop_map(Value::from),
        any::<u16>().prop_map(|half| Value::from(f64::from(half) + 0.5)),
    ]
}

/// Written out in one of several ways
fn written(value: &Value, pretty: bool) -> String {
    if pretty { serde_json::to_string_pretty(value).unwrap() } else { value.to_string() }
}

#[test]
fn p12_any_call_comes_out_as_it_went_in_and_so_does_its_answer() {
    check(1500, (".{0,20}", params(), value(), any::<bool>()), |(method, params, result, pretty)| {
        let (mut client, server) = (conn(JsonRpc::new()), conn(JsonRpc::new()));
        let payload = params.as_ref().map_or_else(String::new, |params| written(params, pretty));
        let mut up = Vec::new();
        client.call(Instant::ZERO, Call::new(&method, &payload), 1, &mut up).unwrap();
        let service = |raw: &str, body: &str| -> Option<Answer> {
            assert_eq!(unescape(raw.as_bytes()), method);
            let body = (!body.is_empty()).then(|| serde_json::from_str(body).unwrap());
            assert_eq!(body, params);
            Some(Ok(written(&result, pretty)))
        };
        let seen = feed(server, &service, &up, &[]);
        assert_eq!(seen.events.len(), usize::from(method != "rpc.ping"), "{seen:?}");
        let seen = feed(client, &service, &seen.sent, &[]);
        let back = seen.events[0].strip_prefix("reply #1 None  ").unwrap();
        assert_eq!(serde_json::from_str::<Value>(back).unwrap(), result);
    });
}

#[test]
fn p12_ids_go_back_as_they_came_alone_and_in_batches() {
    let element = (prop_oneof![4 => id().prop_map(Some), 1 => Just(None)], params(), any::<bool>());
    check(1000, (vec(element, 1..6), any::<bool>(), any::<bool>()), |(elements, batch, pretty)| {
        let texts: Vec<String> = elements
            .iter()
            .map(|(id, params, last)| {
                let mut message = json!({ "jsonrpc": "2.0", "method": "m" });
                if let Some(id) = id {
                    message["id"] = id.clone();
                }
                if let Some(params) = params {
                    message["params"] = params.clone();
                }
                let text = written(&message, pretty);
                // One that loses against the last of its name.
                if *last && id.is_some() { text.replacen('{', "{\"id\":[],\"method\":5,", 1) } else { text }
            })
            .collect();
        let input = if batch { format!("[{}]", texts.join(",")) } else { texts.concat() };
        let server = conn(JsonRpc::new());
        let seen = feed(server, &|_, _| Some(Ok("1".to_owned())), input.as_bytes(), &[]);
        assert_eq!(seen.events.len(), elements.len());
        let sent = String::from_utf8(seen.sent).unwrap();
        let answers: Vec<Value> = sent.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ids: Vec<&Value> = elements.iter().filter_map(|(id, ..)| id.as_ref()).collect();
        let expected: Vec<Value> =
            ids.iter().map(|id| json!({ "jsonrpc": "2.0", "id": id, "result": 1 })).collect();
        match (batch, ids.is_empty()) {
            (true, true) => assert!(answers.is_empty()),
            (true, false) => assert_eq!(answers, [Value::from(expected)]),
            (false, _) => assert_eq!(answers, expected),
        }
    });
}

#[test]
fn p12_members_are_those_of_the_tree() {
    check(1500, (btree_map(key(), value(), 0..6), key(), any::<bool>()), |(map, name, pretty)| {
        let object = Value::from_iter(map);
        let text = written(&object, pretty);
        let found = member(text.as_bytes(), &name).map(|raw| serde_json::from_slice::<Value>(raw).unwrap());
        assert_eq!(found.as_ref(), object.get(&name));
    });
}

/// Texts that are near to being messages
fn seeds() -> Vec<String> {
    let files = ["spec_examples", "edge_cases"];
    let cases = files.iter().flat_map(|file| flyrpc_tests::vectors::load(&format!("jsonrpc/{file}.json")));
    let mut texts: Vec<String> =
        cases.map(|case| case["request_text"].as_str().unwrap().to_owned()).collect();
    texts.extend(
        [
            r#"{"jsonrpc":"2.0","id":1,"result":{"a":[1,2]}}"#,
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32000,"message":"n\u00f6","data":[]}}"#,
            r#"{"id":3,"result":null,"error":"text"}"#,
            r#"[{"jsonrpc":"2.0","id":1,"result":1},{"jsonrpc":"2.0","method":"late","id":9}]"#,
            r#"{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":9}}"#,
            "Content-Length: 2\r\n\r\n[]",
            "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":[\"\x7f\x7f\"],\"id\":\"late\"}",
            "{\"jsonrpc\":\"2.0\",\"result\":[\"\x7f\x7f\",{\"id\":1}],\"id\":2}",
            "[{\"jsonrpc\":\"2.0\",\"\x7f\":[\"\x7f\"],\"id\":\"\x7f\"}]",
        ]
        .map(str::to_owned),
    );
    texts
}

/// Bytes that mean something
const BYTES: &[u8] = b"{}[]\":,\\ \n0123456789-+.eEtfnul/\xc3\xa9\xf0\x9f\xff\x00\x1f\x7f\x7f";

#[test]
fn p17_p18_texts_with_errors_are_taken_as_serde_takes_them() {
    let seeds = seeds();
    let (mut rng, mut runs) = (Rng::new(7), 0);
    for round in 0..120 {
        for seed in &seeds {
            let mut text = seed.clone().into_bytes();
            if round % 4 == 3 {
                text.extend(seeds[rng.below(seeds.len() as u64) as usize].as_bytes());
            }
            for _ in 0..rng.below(4) {
                let at = rng.below(text.len() as u64 + 1) as usize;
                let byte = BYTES[rng.below(BYTES.len() as u64) as usize];
                match rng.below(4) {
                    0 => text.insert(at, byte),
                    1 if at < text.len() => drop(text.remove(at)),
                    2 if at < text.len() => text[at] = byte,
                    _ => {
                        // A piece of it once more.
                        let end = (at + rng.below(40) as usize).min(text.len());
                        let piece = text[at..end].to_vec();
                        let to = rng.below(text.len() as u64 + 1) as usize;
                        text.splice(to..to, piece);
                    }
                }
            }
            fuzz::jsonrpc_wire(&text);
            // As a stream behind a byte that chooses framing and limits.
            text.insert(0, rng.below(256) as u8);
            fuzz::jsonrpc_wire(&text);
            runs += 2;
        }
    }
    println!("{runs} texts");
}

#[test]
fn p01_random_commands_leave_nothing_unanswered() {
    for seed in 0..3000_u64 {
        let mut rng = Rng::new(seed);
        let noise: Vec<u8> = (0..30 + rng.below(200)).flat_map(|_| rng.next().to_le_bytes()).collect();
        fuzz::jsonrpc_model(&noise);
    }
}
