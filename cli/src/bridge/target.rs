//! The connection to the target, made again whenever it is lost

use core::time::Duration;

use flyrpc_tokio::{BadAddress, Client, Endpoint, Peer, RemoteError};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep};

use super::forward::NOT_CONNECTED;
use crate::log::Log;
use crate::report::Failure;

/// The peer at the other end of the bridge, whether it is there or not
pub(crate) struct Target {
    endpoint: Endpoint,
    /// As it was given
    name: String,
    state: watch::Sender<State>,
    turns: Option<Semaphore>,
}

enum State {
    /// The first attempt is under way
    Unknown,
    There(Peer),
    /// Why not
    Away(String),
    /// It is the end
    Left,
}

/// The first pause between two connections, or attempts; each is twice the one before
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that has lasted so long counts as one: the next pause is the first again
const LASTING: Duration = Duration::from_secs(1);
/// For one attempt
const CONNECT_TIME: Duration = Duration::from_secs(5);

impl Target {
    pub(crate) fn new(endpoint: &Endpoint, name: &str, max_in_flight: Option<u32>) -> Self {
        Self {
            endpoint: endpoint.clone(),
            name: name.to_owned(),
            state: watch::Sender::new(State::Unknown),
            turns: max_in_flight.map(|most| Semaphore::new(most as usize)),
        }
    }

    /// Stays connected, for as long as this is polled, and tells the log of each change once
    ///
    /// Ends when the address can never be connected to.
    pub(crate) async fn keep(&self, client: impl Fn() -> Client, log: &Log, is_silent: bool) -> Failure {
        let say = |text: &str| {
            if !is_silent {
                log.print(text);
            }
        };
        let (mut pause, mut said) = (FIRST_PAUSE, String::new());
        loop {
            match client().connect_within(&self.endpoint, CONNECT_TIME).await {
                Ok(connected) => {
                    said.clear();
                    self.state.send_replace(State::There(connected.peer()));
                    say(&format!("connected to {}", self.name));
                    let since = Instant::now();
                    let why = connected.closed().await.to_string();
                    if self.is_left() {
                        core::future::pending::<()>().await;
                    }
                    if since.elapsed() >= LASTING {
                        pause = FIRST_PAUSE;
                    }
                    say(&format!("{} is gone: {why}; connecting again", self.name));
                    self.state.send_replace(State::Away(why));
                }
                Err(error) => {
                    if self.is_left() {
                        core::future::pending::<()>().await;
                    }
                    let failure = Failure::connect(&self.name, &error);
                    if error.get_ref().is_some_and(|inner| inner.is::<BadAddress>()) {
                        return failure;
                    }
                    self.state.send_replace(State::Away(error.to_string()));
                    let text = failure.to_string();
                    if text != said {
                        say(&format!("{text}; trying again"));
                        said = text;
                    }
                }
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// The peer, if it is there; waits for nothing but the end of the first attempt
    pub(crate) async fn peer(&self) -> Result<Peer, RemoteError> {
        let away = |why: &str| {
            RemoteError::new(NOT_CONNECTED).details(format!("the target is not connected: {why}"))
        };
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::Unknown)).await;
        match known.as_deref() {
            Ok(State::There(peer)) => Ok(peer.clone()),
            Ok(State::Away(why)) => Err(away(why)),
            Ok(State::Unknown | State::Left) | Err(_) => Err(away("the bridge ends")),
        }
    }

    /// Waits until one more call may be under way; it may be as long as what this gives is kept
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        match &self.turns {
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        }
    }

    /// Ends the connection when what was sent has left; by `timeout` at the latest, and for good
    ///
    /// [`keep`](Self::keep) has to be polled meanwhile, since it holds the connection.
    pub(crate) async fn leave(&self, timeout: Duration) {
        let left = self.state.send_replace(State::Left);
        if let State::There(peer) = left {
            peer.drain(timeout).await;
        }
    }

    fn is_left(&self) -> bool {
        matches!(&*self.state.borrow(), State::Left)
    }
}
