//! Where a payload comes from

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::report::Failure;

/// A payload, from one place; empty by default
#[derive(Args)]
#[group(multiple = false)]
pub(crate) struct Payload {
    /// The payload, as text
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
    pub(crate) fn read(&self) -> Result<Vec<u8>, Failure> {
        if let Some(text) = &self.text {
            return Ok(text.clone().into_bytes());
        }
        if let Some(json) = &self.json {
            let value: serde_json::Value = serde_json::from_str(json)
                .map_err(|error| Failure::new(format!("--json: not JSON: {error}")))?;
            return Ok(value.to_string().into_bytes());
        }
        if let Some(path) = &self.file {
            let named = |error| Failure::new(format!("{}: {error}", path.display()));
            let file = File::open(path).map_err(named)?;
            let len = file.metadata().map_err(named)?.len();
            let mut payload = Vec::new();
            progress(len, "reading").wrap_read(file).read_to_end(&mut payload).map_err(named)?;
            return Ok(payload);
        }
        if self.stdin {
            let mut payload = Vec::new();
            std::io::stdin().lock().read_to_end(&mut payload)?;
            return Ok(payload);
        }
        self.hex.as_ref().map_or(Ok(Vec::new()), |digits| unhex(digits).map_err(Failure::new))
    }

    /// The payload was given as JSON, so the answer is likely JSON too
    pub(crate) const fn is_json(&self) -> bool {
        self.json.is_some()
    }
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
    fn hex_may_be_spaced_and_says_where_it_is_wrong() {
        assert_eq!(unhex("40 0001\n65"), Ok(vec![0x40, 0, 1, 0x65]));
        assert_eq!(unhex("4g"), Err("not a hex digit at character 2: 'g'".to_owned()));
        assert_eq!(unhex("400"), Err("an odd number of hex digits".to_owned()));
    }
}
