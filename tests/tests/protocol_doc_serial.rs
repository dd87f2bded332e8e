//! The part of `docs/protocol.md` on serial lines says what is true: its frames are made and taken as it says

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic as the test may")]

use flyrpc_core::serial::LineStats;
use flyrpc_tests::serial::{Receiver, crc32, frame};

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

fn part() -> &'static str {
    DOCUMENT.split_once("\n## 18. ").unwrap().1
}

/// One frame and what is said of it
#[derive(Debug, Default)]
struct Example {
    to_board: bool,
    bytes: Vec<u8>,
    from: Option<u16>,
    to: Option<u16>,
    packet: Vec<u8>,
    marks: Vec<&'static str>,
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.split_whitespace().collect::<String>();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Frames: `-> bytes  # from=… to=… packet=… mark; remark`, where the description may be on the next line
fn examples() -> Vec<Example> {
    let block = part().split_once("```serial\n").unwrap().1.split_once("```").unwrap().0;
    let mut examples = Vec::new();
    for line in block.lines() {
        let (bytes, said) = line.split_once('#').unwrap_or((line, ""));
        if let Some(bytes) = bytes.strip_prefix("->").or_else(|| bytes.strip_prefix("<-")) {
            examples.push(Example {
                to_board: line.starts_with("->"),
                bytes: hex(bytes),
                ..Example::default()
            });
        }
        let example = examples.last_mut().unwrap();
        for word in said.split(';').next().unwrap().split_whitespace() {
            match word.split_once('=') {
                Some(("from", value)) => example.from = Some(u16::from_str_radix(value, 16).unwrap()),
                Some(("to", value)) => example.to = Some(u16::from_str_radix(value, 16).unwrap()),
                Some(("packet", value)) => example.packet = hex(value),
                Some((other, _)) => panic!("{line}: unknown key {other}"),
                None => {
                    assert!(["damaged", "restart", "stale"].contains(&word), "{line}: unknown mark {word}");
                    example.marks.push(word);
                }
            }
        }
    }
    examples
}

#[test]
fn the_frames_are_what_they_are_said_to_be() {
    let examples = examples();
    assert!(examples.len() >= 8);
    let (mut host, mut board) = (Receiver::new(0x4d2e, 256), Receiver::new(1, 256));
    for example in &examples {
        let Example { to_board, bytes, from, to, packet, marks } = example;
        if marks.contains(&"restart") {
            board = Receiver::new(from.unwrap(), 256);
        }
        let (sender, receiver) = if *to_board { (&mut host, &mut board) } else { (&mut board, &mut host) };
        if marks.contains(&"stale") || marks.contains(&"damaged") {
            // The one was made before, and the other is not what was made.
        } else {
            assert_eq!(*bytes, sender.seal(packet), "{example:x?}");
        }
        if let (Some(from), Some(to)) = (from, to) {
            let packet = if marks.contains(&"stale") { hex("4000056c65640000") } else { packet.clone() };
            assert_eq!(*bytes, frame(*from, *to, &packet), "{example:x?}");
        }
        let before: LineStats = *receiver.line.stats();
        receiver.push(bytes);
        let after = receiver.line.stats();
        let is_bad = |mark| u32::from(marks.contains(&mark));
        assert_eq!(after.damaged - before.damaged, is_bad("damaged"), "{example:x?}");
        assert_eq!(after.stale - before.stale, is_bad("stale"), "{example:x?}");
        assert_eq!(after.restarts - before.restarts, is_bad("restart"), "{example:x?}");
        let found: Vec<_> = receiver.found.drain(..).flatten().collect();
        let is_taken = !packet.is_empty() && marks.is_empty();
        assert_eq!(found, is_taken.then(|| packet.clone()).into_iter().collect::<Vec<_>>(), "{example:x?}");
    }
    assert!(board.line.owes_announcement(), "after what was stale");
    assert_eq!(board.line.stats().taken, 1);
}

#[test]
fn its_check_is_ours() {
    let said = part().split_once("`123456789` it is `").unwrap().1.split_once('`').unwrap().0;
    assert_eq!(u32::from_str_radix(said, 16).unwrap(), crc32(b"123456789"));
}

#[test]
fn rules_can_be_cited() {
    let rules: Vec<u32> = part()
        .lines()
        .filter_map(|line| line.strip_prefix("* **S")?.split_once("**")?.0.parse().ok())
        .collect();
    let all: Vec<u32> = (1..=rules.len() as u32).collect();
    assert_eq!(rules, all, "rules are numbered in order, without gaps");
    let introduction = DOCUMENT.split_once("\n## ").unwrap().0.replace('\n', " ");
    assert!(
        introduction.contains(&format!("**S1** to **S{}**", rules.len())),
        "the introduction names the last"
    );
}
