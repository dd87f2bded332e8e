//! Requests, messages and errors on their way through

use core::time::Duration;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use flyrpc_driver::{Context, Error, Outcome, Packet, Refusal, RemoteError, codes, json_codes};
use flyrpc_tokio::{Peer, Protocol};

use super::clients::Clients;
use super::payload::Payloads;
use super::target::Target;
use crate::log::{Entry, Log};
use crate::report::{count, preview};

/// What both sides share
pub(crate) struct Bridge {
    log: Arc<Log>,
    payloads: Payloads,
    timeout: Duration,
    pub(crate) target: Target,
    pub(crate) clients: Clients,
}

/// Nothing was sent, because there is no connection
pub(super) const NOT_CONNECTED: &str = "NOT_CONNECTED";
/// The connection ended before the answer came; whether the request was executed is not known
const CONNECTION_LOST: &str = "CONNECTION_LOST";

/// Names that begin with this are the bridge's own when the target calls
const OWN: &str = "host.";

impl Bridge {
    pub(crate) fn new(log: &Arc<Log>, payloads: Payloads, timeout: Duration, target: Target) -> Self {
        Self { log: Arc::clone(log), payloads, timeout, target, clients: Clients::default() }
    }

    pub(crate) const fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// What a client has sent goes to the target
    ///
    /// When the client gives its request up, this is dropped, and with it the call.
    pub(crate) async fn client_sent(&self, context: &Context<Peer>, packet: &Packet) -> Outcome {
        let entry = Entry::new(&self.log, context, packet);
        let outcome = if packet.flag.is_request() {
            let within = tokio::time::timeout(self.timeout, self.call_target(context, packet)).await;
            within.unwrap_or_else(|_| Err(RemoteError::new(codes::TIMEOUT)))
        } else {
            let sent = self.tell_target(context, packet).await;
            if let Err(error) = &sent {
                self.log.line(&format!("message {} was not delivered: {error}", preview(&packet.code, 40)));
            }
            sent
        };
        entry.close(outcome)
    }

    async fn call_target(&self, context: &Context<Peer>, packet: &Packet) -> Outcome {
        // Who waits for a turn waits in vain when the target has gone meanwhile, so it is looked for afterwards.
        self.target.peer().await?;
        let _turn = self.target.turn().await;
        self.call(&self.target.peer().await?, context.protocol(), packet).await
    }

    async fn tell_target(&self, context: &Context<Peer>, packet: &Packet) -> Outcome {
        let target = self.target.peer().await?;
        let payload = self.payloads.request(packet.payload.clone(), context.protocol(), target.protocol());
        target.send(packet.code(), payload).await.map_err(|error| failed(error, "the target"))?;
        Ok(Bytes::new())
    }

    /// What the target has sent goes to clients, or is answered here
    pub(crate) async fn target_sent(&self, context: &Context<Peer>, packet: &Packet) -> Outcome {
        let entry = Entry::new(&self.log, context, packet);
        let outcome = if !packet.flag.is_request() {
            self.tell_clients(context, packet);
            Ok(Bytes::new())
        } else if packet.code().starts_with(OWN) {
            self.answer(context, packet)
        } else if let Some(client) = self.clients.newest() {
            self.call(&client, context.protocol(), packet).await
        } else {
            Err(RemoteError::new(codes::NOT_FOUND).details("no client that can be called is connected"))
        };
        entry.close(outcome)
    }

    /// Never waits: a client that does not read misses messages, and holds nobody up
    fn tell_clients(&self, context: &Context<Peer>, packet: &Packet) {
        let clients = self.clients.all();
        let tell = |client: &Peer| {
            let (from, to) = (context.protocol(), client.protocol());
            client.try_send(packet.code(), self.payloads.request(packet.payload.clone(), from, to))
        };
        let missed = clients.iter().filter(|client| tell(client).is_err()).count();
        if missed > 0 {
            let (name, missed) = (preview(&packet.code, 40), count(missed as u64, "client"));
            self.log.line(&format!("message {name} was not delivered to {missed}"));
        }
    }

    fn answer(&self, context: &Context<Peer>, packet: &Packet) -> Outcome {
        let own = match packet.code() {
            "host.time" => now().to_string(),
            "host.version" => env!("CARGO_PKG_VERSION").to_owned(),
            _ => return Err(RemoteError::new(codes::NOT_FOUND)),
        };
        Ok(self.payloads.answer(own.into(), Protocol::FlyRpc, context.protocol()))
    }

    /// Passes a request on, and gives the answer as the asker's protocol has it
    async fn call(&self, peer: &Peer, asker: Protocol, packet: &Packet) -> Outcome {
        let payload = self.payloads.request(packet.payload.clone(), asker, peer.protocol());
        match peer.call(packet.code(), payload).within(self.timeout).await {
            Ok(answer) => Ok(self.payloads.answer(answer, peer.protocol(), asker)),
            Err(Error::Remote(error)) => Err(self.passed_on(error, peer.protocol(), asker)),
            Err(error) => Err(failed(error, "the peer")),
        }
    }

    /// An error of one protocol as the other says it
    ///
    /// FlyRPC has no numbers: where JSON-RPC's number, or its standard message, stands for a code, that is said.
    fn passed_on(&self, mut error: RemoteError, from: Protocol, to: Protocol) -> RemoteError {
        error.details = self.payloads.details(error.details.into(), from, to).into();
        if from == Protocol::JsonRpc && to == Protocol::FlyRpc {
            let is_standard = error.number.is_some_and(|number| json_codes::message(number) == error.code);
            let known = |code: &&str| error.is(code) && (is_standard || UNMISTAKABLE.contains(code));
            if let Some(code) = SHARED.iter().find(|code| known(code)) {
                if error.details.is_empty() && !is_standard {
                    error.details = error.code.into_bytes();
                }
                error.code = (*code).to_owned();
            }
        }
        error
    }
}

/// FlyRPC's codes that have a number in JSON-RPC
const SHARED: [&str; 5] =
    [codes::NOT_FOUND, codes::BAD_PAYLOAD, codes::HANDLER_PANIC, codes::BUSY, codes::CANCELLED];
/// Those of them whose number means nothing else, whatever the message beside it says
const UNMISTAKABLE: [&str; 2] = [codes::NOT_FOUND, codes::BAD_PAYLOAD];

/// Why a call had no answer, as an answer
fn failed(error: Error, whom: &str) -> RemoteError {
    match error {
        Error::Remote(error) => error,
        Error::TimedOut => RemoteError::new(codes::TIMEOUT),
        Error::Cancelled => RemoteError::new(codes::CANCELLED),
        Error::Lost(why) => RemoteError::new(CONNECTION_LOST).details(why.to_string()),
        Error::Protocol(why) => RemoteError::new(CONNECTION_LOST).details(why.to_string()),
        Error::Refused(why @ (Refusal::Closed | Refusal::Draining)) => {
            RemoteError::new(NOT_CONNECTED).details(why.to_string())
        }
        // A name that can't be said there is not known there.
        Error::Refused(why @ Refusal::BadMethod) => {
            RemoteError::new(codes::NOT_FOUND).details(why.to_string())
        }
        Error::Refused(why @ Refusal::BadPayload) => {
            RemoteError::new(codes::BAD_PAYLOAD).details(why.to_string())
        }
        Error::Refused(why @ Refusal::TooLarge { .. }) => {
            RemoteError::new(codes::TOO_LARGE).details(why.to_string())
        }
        Error::Refused(why) => RemoteError::new(codes::BUSY).details(why.to_string()),
        Error::UnreadableReply(_) | Error::Unencodable(_) | _ => {
            RemoteError::new(codes::ERROR).details(format!("the answer of {whom} can't be read"))
        }
    }
}

/// The Unix time in milliseconds
#[expect(clippy::disallowed_methods, reason = "a target asks what time it is")]
fn now() -> u128 {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}
