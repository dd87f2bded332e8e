//! The table of `tests/README.md` names every test of a promise, and nothing else

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Rule numbers with their tests, as the README says
fn told() -> BTreeMap<u8, BTreeSet<String>> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("tests/README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| P")?.split_once(" | "));
    rows.filter_map(|(number, rest)| {
        let tests = rest.split('`').filter(|word| is_test_of(word).is_some()).map(str::to_owned).collect();
        Some((number.parse().ok()?, tests))
    })
    .collect()
}

/// Rule numbers with their tests, as the sources say
fn found() -> BTreeMap<u8, BTreeSet<String>> {
    let mut tests: BTreeMap<u8, BTreeSet<String>> = BTreeMap::new();
    for path in sources(&root().join("tests")) {
        let source = std::fs::read_to_string(&path).expect("a source file");
        for line in source.lines() {
            if let Some(name) = function(line.trim_start())
                && let Some(number) = is_test_of(name)
            {
                assert!(tests.entry(number).or_default().insert(name.to_owned()), "{name} is there twice");
            }
        }
    }
    tests
}

/// The name of a function that begins on this line: a test, or a body of the conformance suite, which is a test on each
/// stack
fn function(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("fn ").or_else(|| line.strip_prefix("pub(crate) async fn "))?;
    rest.split_once(['(', '<']).map(|(name, _)| name)
}

/// `p07_what_it_shows` is a test of rule 7
fn is_test_of(name: &str) -> Option<u8> {
    let (number, _) = name.strip_prefix('p')?.split_once('_')?;
    if number.len() == 2 { number.parse().ok() } else { None }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of tests");
    entries
        .map(|entry| entry.expect("a readable folder").path())
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_table_names_exactly_the_tests_that_exist() {
    let (told, found) = (told(), found());
    for number in 1..=22 {
        let (told, found) = (told.get(&number).cloned().unwrap_or_default(), found.get(&number).cloned());
        assert_eq!(told, found.unwrap_or_default(), "P{number}: the README's tests, and the sources'");
    }
}

#[test]
fn every_rule_but_that_of_authentication_has_a_test() {
    let found = found();
    for number in (1..=20).chain([22]) {
        assert!(found.get(&number).is_some_and(|tests| !tests.is_empty()), "P{number} has no test");
    }
}
