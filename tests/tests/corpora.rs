//! Every committed file of the fuzz corpora, through the same functions that libFuzzer calls

#![expect(clippy::unwrap_used, reason = "a failure is to stop the test")]

use std::fs;
use std::path::Path;

use flyrpc_tests::fuzz;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "the corpus of {target} has {} files", files.len());
    for file in &files {
        // Captured, and shown with the panic of the file that fails.
        println!("{}", file.display());
        body(&fs::read(file).unwrap());
    }
}

#[test]
fn p17_the_corpus_of_wire_replays() {
    replay("wire", fuzz::wire);
}

#[test]
fn p17_the_corpus_of_zip_replays() {
    replay("zip", fuzz::zip);
}

#[test]
fn p17_the_corpus_of_serial_line_replays() {
    replay("serial_line", fuzz::serial_line);
}

#[test]
fn p18_the_corpus_of_connection_replays() {
    replay("connection", fuzz::connection);
}

#[test]
fn p01_the_corpus_of_model_replays() {
    replay("model", fuzz::model);
}
