//! Where a payload comes from

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use flyrpc_tokio::Protocol;
use indicatif::{ProgressBar, ProgressStyle};

use crate::report::Failure;

/// A payload, from one place; empty by default
///
/// In JSON-RPC it is the parameters, and is checked before it is sent.
#[derive(Args)]
#[group(multiple = false)]
pub(crate) struct Payload {
    /// The payload, as text; in JSON-RPC the parameters, an array or an object, or @FILE or - for standard input
    #[arg(value_name = "PAYLOAD")]
    text: Option<String>,
    /// The payload, as JSON: checked, and sent without white space
    #[arg(long, value_name = "JSON")]
    json: Option<String>,
    /// The payload is a file's content
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// The payload is what comes on standard input
    #[arg(long)]
    stdin: bool,
    /// The payload, as hex digits
    #[arg(long, value_name = "DIGITS")]
    hex: Option<String>,
}

impl Payload {
    /// What is to be sent, in this protocol
    pub(crate) fn read(&self, protocol: Protocol) -> Result<Vec<u8>, Failure> {
        if protocol != Protocol::JsonRpc {
            return self.read_bytes();
        }
        let (given, is_shown) = self.read_json()?;
        parameters(&given, is_shown)
    }

    /// The parameters, and may an error show them? They were on the command line then
    ///
    /// No JSON begins with an at sign, or is a lone minus.
    fn read_json(&self) -> Result<(Vec<u8>, bool), Failure> {
        match self.text.as_deref() {
            Some("-") => Ok((read_stdin()?, false)),
            Some(text) => match text.strip_prefix('@') {
                Some(path) => Ok((read_file(Path::new(path))?, false)),
                None => Ok((text.as_bytes().to_vec(), true)),
            },
            None => Ok((self.read_bytes()?, false)),
        }
    }

    fn read_bytes(&self) -> Result<Vec<u8>, Failure> {
        if let Some(text) = &self.text {
            return Ok(text.clone().into_bytes());
        }
        if let Some(json) = &self.json {
            return reformat(json, false)
                .map(String::into_bytes)
                .map_err(|error| Failure::new(format!("--json: not JSON: {error}")));
        }
        if let Some(path) = &self.file {
            return read_file(path);
        }
        if self.stdin {
            return read_stdin();
        }
        self.hex.as_ref().map_or(Ok(Vec::new()), |digits| {
            unhex(digits).map_err(|error| Failure::new(format!("--hex: {error}")))
        })
    }

    /// The payload was given as JSON, so the answer is likely JSON too
    pub(crate) const fn is_json(&self) -> bool {
        self.json.is_some()
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let named = |error| Failure::new(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(named)?;
    let len = file.metadata().map_err(named)?.len();
    let mut payload = Vec::new();
    progress(len, "reading").wrap_read(file).read_to_end(&mut payload).map_err(named)?;
    Ok(payload)
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::new();
    std::io::stdin().lock().read_to_end(&mut payload)?;
    Ok(payload)
}

/// JSON-RPC's parameters without white space, or what is wrong with them and how they are written
fn parameters(given: &[u8], is_shown: bool) -> Result<Vec<u8>, Failure> {
    let text = core::str::from_utf8(given)
        .map_err(|_| Failure::new("the parameters are not JSON: not even UTF-8"))?
        .trim();
    let is_list = text.starts_with(['[', '{']);
    let shown =
        |json: String| if is_shown && json.len() <= 60 && !json.contains('\'') { json } else { "…".into() };
    match reformat(text, false) {
        Ok(json) if is_list => Ok(json.into_bytes()),
        _ if text.is_empty() => Ok(Vec::new()),
        Ok(json) => Err(Failure::new(format!(
            "parameters are an array or an object, and this is neither: write it as '[{}]'",
            shown(json)
        ))),
        Err(error) if is_list => Err(Failure::new(format!(
            "the parameters are not JSON: {error}; put single quotes around them, or the shell takes the double quotes \
             away"
        ))),
        Err(_) => Err(Failure::new(format!(
            "the parameters are not JSON: text is written as '[{}]', single quotes and all",
            shown(serde_json::Value::from(text).to_string())
        ))),
    }
}

/// JSON with other white space and nothing else changed: numbers, order and doubled members stay as they were written
pub(crate) fn reformat(json: &str, indented: bool) -> serde_json::Result<String> {
    let _: serde::de::IgnoredAny = serde_json::from_str(json)?;
    let mut text = String::with_capacity(json.len());
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut whole = json.chars();
    while let Some(c) = whole.next() {
        if in_string {
            text.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let empty = matches!(c, '{' | '[')
            && whole.clone().find(|c| !c.is_ascii_whitespace()).is_some_and(|c| matches!(c, '}' | ']'));
        let closes_empty = matches!(c, '}' | ']') && text.ends_with(['{', '[']);
        depth = depth.saturating_sub(usize::from(matches!(c, '}' | ']')));
        if indented && matches!(c, '}' | ']') && !closes_empty {
            new_line(&mut text, depth);
        }
        text.push(c);
        depth += usize::from(matches!(c, '{' | '['));
        in_string = c == '"';
        if indented && c == ':' {
            text.push(' ');
        } else if indented && (c == ',' || matches!(c, '{' | '[') && !empty) {
            new_line(&mut text, depth);
        }
    }
    Ok(text)
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(core::iter::repeat_n("  ", depth));
}

/// Bytes of hex digits, with white space anywhere between
pub(crate) fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for (at, c) in text.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        let digit =
            c.to_digit(16).ok_or_else(|| format!("not a hex digit at character {}: {c:?}", at + 1))? as u8;
        match high.take() {
            None => high = Some(digit),
            Some(high) => bytes.push(high << 4 | digit),
        }
    }
    if high.is_some() { Err("an odd number of hex digits".to_owned()) } else { Ok(bytes) }
}

/// A bar on stderr for `len` bytes; none where they are few, or nobody is looking
pub(crate) fn progress(len: u64, what: &'static str) -> ProgressBar {
    if len < 8 << 20 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let bar = ProgressBar::new(len).with_message(what);
    ProgressStyle::with_template(style).map(|style| bar.set_style(style)).ok();
    bar
}

/// A bar on stderr for `len` steps; none where nobody is looking
pub(crate) fn counter(len: u64, what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(len).with_message(what);
    let style = "{msg} [{bar:40}] {human_pos}/{human_len} {per_sec} {eta}";
    ProgressStyle::with_template(style).map(|style| bar.set_style(style)).ok();
    bar
}

/// A sign of life on stderr while something takes long
pub(crate) fn spinner(what: String) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(what);
    ProgressStyle::with_template("{spinner} {msg} {elapsed}").map(|style| bar.set_style(style)).ok();
    bar.enable_steady_tick(core::time::Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_numbers_order_and_doubles() {
        let json =
            "{ \"x\": 1.10, \"n\": 12345678901234567890123,\n\"b\": [1, {} , [ ]], \"b\": \"a \\\" b\" }";
        let short = "{\"x\":1.10,\"n\":12345678901234567890123,\"b\":[1,{},[]],\"b\":\"a \\\" b\"}";
        assert_eq!(reformat(json, false).ok().as_deref(), Some(short));
        let long = "{\n  \"x\": 1.10,\n  \"n\": 12345678901234567890123,\n  \"b\": [\n    1,\n    {},\n    []\n  ],\n  \"b\": \"a \\\" b\"\n}";
        assert_eq!(reformat(json, true).ok().as_deref(), Some(long));
        assert!(reformat("{", false).is_err() && reformat("1 2", false).is_err());
    }

    #[test]
    fn parameters_are_arrays_and_objects() {
        let read = |text: &str| parameters(text.as_bytes(), true).map_err(|failure| failure.to_string());
        assert_eq!(read(" [7, 8]\n"), Ok(b"[7,8]".to_vec()));
        assert_eq!(read("{\"A\" : 7}"), Ok(b"{\"A\":7}".to_vec()));
        assert_eq!(read(""), Ok(Vec::new()));
        for (text, part) in [
            ("hello", "'[\"hello\"]'"),
            ("7", "'[7]'"),
            ("\"x\"", "'[\"x\"]'"),
            ("{A:7}", "single quotes"),
            ("[1", "EOF"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let error = parameters(b"secret", false).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn hex_may_be_spaced_and_says_where_it_is_wrong() {
        assert_eq!(unhex("40 0001\n65"), Ok(vec![0x40, 0, 1, 0x65]));
        assert_eq!(unhex("4g"), Err("not a hex digit at character 2: 'g'".to_owned()));
        assert_eq!(unhex("400"), Err("an odd number of hex digits".to_owned()));
    }
}
