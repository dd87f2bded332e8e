//! Addresses of serial lines: `serial:port?baud=115200&framing=cobs`, `serial+tcp://host:port?framing=cobs`

use std::borrow::Cow;

use super::Address;

/// How packets stand on the line
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// In frames that are found again after noise
    Cobs,
    /// One behind the other
    Plain,
}

/// What is said behind the `?`
#[derive(Default)]
struct Options {
    baud: Option<u32>,
    framing: Option<Framing>,
}

type Parsed = Result<(Address, Option<Framing>), Cow<'static, str>>;

/// What most boards and their tools start with
const BAUD: u32 = 115_200;

/// What follows `serial:`
pub(super) fn parse(text: &str) -> Parsed {
    let (port, options) = split(text.strip_prefix("//").unwrap_or(text), true)?;
    if port.is_empty() {
        return Err("the port's name is missing".into());
    }
    let baud = options.baud.unwrap_or(BAUD);
    Ok((Address::Serial { port: port.to_owned(), baud }, options.framing))
}

/// What follows `serial+`: the address of a socket, which has no speed
pub(super) fn parse_socket(text: &str) -> Parsed {
    let (address, options) = split(text, false)?;
    if !(address.starts_with("tcp://") || address.starts_with("unix:")) {
        return Err("the scheme behind serial+ is unknown: it is tcp:// or unix:".into());
    }
    let address = address.parse::<Address>().map_err(|error| error.why)?;
    Ok((address, options.framing))
}

fn split(text: &str, has_speed: bool) -> Result<(&str, Options), Cow<'static, str>> {
    let (address, list) = text.split_once('?').unwrap_or((text, ""));
    let mut options = Options::default();
    for option in list.split('&').filter(|option| !option.is_empty()) {
        let Some((key, value)) = option.split_once('=') else {
            return Err(format!("'{option}' has no value: write {option}=…").into());
        };
        let is_new = match key {
            "baud" if has_speed => {
                let baud = value.parse().ok().filter(|baud| *baud > 0);
                let baud =
                    baud.ok_or_else(|| format!("baud is '{value}', and no number from 1 to {}", u32::MAX))?;
                options.baud.replace(baud).is_none()
            }
            "framing" => {
                let framing = match value {
                    "cobs" => Framing::Cobs,
                    "plain" => Framing::Plain,
                    _ => return Err(format!("framing is '{value}', and neither cobs nor plain").into()),
                };
                options.framing.replace(framing).is_none()
            }
            _ => {
                let known = if has_speed { "baud and framing are" } else { "framing is" };
                return Err(format!("'{key}' is no option here; {known}").into());
            }
        };
        if !is_new {
            return Err(format!("{key} is said twice").into());
        }
    }
    Ok((address, options))
}
