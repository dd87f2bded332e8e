//! Typed calls that block

use core::time::Duration;

use flyrpc_driver::{Caller, Calls, Error, FormatError, Payload, WireFormat};
use serde::de::DeserializeOwned;

use crate::Peer;

impl Calls for Peer {
    type Call<'a, T: DeserializeOwned> = Result<T, Error>;
    type Sending<'a> = Result<(), Error>;

    fn wire_format(&self) -> WireFormat {
        self.format()
    }

    fn call_service<'a, T: DeserializeOwned>(
        &'a self,
        code: &'a str,
        payload: Result<Payload<'static>, FormatError>,
        within: Option<Duration>,
    ) -> Result<T, Error> {
        let payload = payload.map_err(Error::Unencodable)?;
        let answer = match within {
            Some(within) => self.call_within(code, payload, within),
            None => self.call(code, payload),
        };
        self.wire_format().decode_result(&answer?)
    }

    fn notify_service<'a>(
        &'a self,
        code: &'a str,
        payload: Result<Payload<'static>, FormatError>,
    ) -> Result<(), Error> {
        self.send(code, payload.map_err(Error::Unencodable)?)
    }
}
