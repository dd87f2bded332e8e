//! Errors and figures, as people read them

use core::error::Error as _;
use core::time::Duration;
use std::io::{self, Write};
use std::process::ExitCode;

use flyrpc_tokio::{BadAddress, Error, Protocol, RemoteError};

use crate::address;

/// Why the command failed
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    code: u8,
}

/// The input, or the peer's answer, was bad
pub(crate) const BAD: u8 = 1;
const USAGE: u8 = 2;
const NO_CONNECTION: u8 = 3;
pub(crate) const TIMED_OUT: u8 = 4;
const LOST: u8 = 5;
const NOT_SENT: u8 = 6;

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: BAD }
    }

    /// The command line does not make sense
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: USAGE }
    }

    pub(crate) fn connect(address: &str, error: &io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<BadAddress>()) {
            return Self { text: error.to_string(), code: USAGE };
        }
        // An HTTP server that refuses says so itself: then it runs.
        let refused = error.kind() == io::ErrorKind::ConnectionRefused && error.raw_os_error().is_some();
        let hint = if refused { " (is the server running?)" } else { "" };
        Self { text: format!("can't connect to {address}: {error}{hint}"), code: NO_CONNECTION }
    }

    pub(crate) fn listen(address: &str, error: &io::Error) -> Self {
        let code =
            if error.get_ref().is_some_and(|inner| inner.is::<BadAddress>()) { USAGE } else { NO_CONNECTION };
        Self { text: format!("can't listen on {address}: {error}"), code }
    }

    /// The peer's answer is an error: in FlyRPC its code, and the beginning of its details; in JSON-RPC code, message and
    /// data as they came
    pub(crate) fn remote(error: &RemoteError, protocol: Protocol) -> Self {
        let number = error.number.map(|number| format!("{number} ")).unwrap_or_default();
        let mut text = format!("the peer answered with an error: {number}{}", harmless(&error.code));
        if protocol == Protocol::JsonRpc && !error.details.is_empty() {
            text += &format!("\nflyrpc: data: {}", harmless(&String::from_utf8_lossy(&error.details)));
        } else if !error.details.is_empty() {
            text += &format!("\nflyrpc: details: {}", preview(&error.details, 400));
        }
        Self::new(text)
    }

    /// Where an answer did not come over a serial line, says what may be the matter: the line itself never tells
    pub(crate) fn at(mut self, address: &str) -> Self {
        if self.code == TIMED_OUT && address::is_serial(address) {
            self.text += &format!("\nflyrpc: {}", silence(address));
        }
        self
    }

    /// Says it on stderr
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("flyrpc: {self}");
        ExitCode::from(self.code)
    }
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::TimedOut => TIMED_OUT,
            Error::Lost(_) | Error::Protocol(_) => LOST,
            Error::Refused(_) | Error::Cancelled | Error::Unencodable(_) => NOT_SENT,
            // The answer can't be read, and whatever a later version adds.
            Error::Remote(_) | Error::UnreadableReply(_) | _ => BAD,
        };
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self { text, code }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Why nobody may answer at the other end of a serial line
pub(crate) fn silence(address: &str) -> String {
    let framing = if address.contains("jsonrpc") {
        "does the board speak JSON-RPC, without frames?"
    } else if address.contains("framing=plain") {
        "does the board send frames? then leave ?framing=plain out;"
    } else {
        "does the board send no frames? then say ?framing=plain;"
    };
    let rate = if address.contains("serial+") { "" } else { " is its baud rate the same?" };
    format!("{framing}{rate} is the payload too long for the board? does another program have the port open?")
}

/// Prints a line
pub(crate) fn say(line: impl core::fmt::Display) {
    written(writeln!(io::stdout(), "{line}"));
}

/// Ends the program when what it prints can't be written: quietly when nobody reads any more, as in `flyrpc decode … | head`
pub(crate) fn written(result: io::Result<()>) {
    match result {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("flyrpc: can't write the output: {error}");
            std::process::exit(BAD.into());
        }
    }
}

/// A peer's text, without what would reach the terminal
pub(crate) fn harmless(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Milliseconds, to the microsecond
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

/// `1 byte`, `2 bytes`, with the thousands apart
pub(crate) fn bytes(len: u64) -> String {
    count(len, "byte")
}

/// `1 packet`, `2 packets`, with the thousands apart
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A number with its thousands apart
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Lower-case hex digits
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Up to `width` characters of a payload: as text where it is text, else as hex
pub(crate) fn preview(payload: &[u8], width: usize) -> String {
    let cut = payload.get(..width * 4).unwrap_or(payload);
    let text = match core::str::from_utf8(cut) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => core::str::from_utf8(&cut[..error.valid_up_to()]).ok(),
        Err(_) => None,
    };
    let shown = match text {
        Some(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => format!("{text:?}"),
        _ => hex(cut.get(..width).unwrap_or(cut)),
    };
    if shown.chars().count() <= width && cut.len() == payload.len() {
        return shown;
    }
    let mut short: String = shown.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!(
            ["0", "999", "1,000", "12,345,678"],
            [0, 999, 1000, 12_345_678].map(grouped).each_ref().map(|s| &**s)
        );
        assert_eq!(bytes(1), "1 byte");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(harmless("größe\x1b[31m\n"), "größe\\u{1b}[31m\\n");
    }

    #[test]
    fn previews_fit_and_tell_text_from_bytes() {
        assert_eq!(preview(b"hello", 20), "\"hello\"");
        assert_eq!(preview(b"\x00\x01\xff", 20), "0001ff");
        assert_eq!(preview(&[b'a'; 100], 10).chars().count(), 10);
        assert_eq!(preview("ääääääää".as_bytes(), 3).chars().count(), 3);
    }
}
