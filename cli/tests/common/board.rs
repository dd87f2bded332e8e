//! A stand-in for a microcontroller: a FlyRPC program whose payloads are plain text
#![allow(dead_code, reason = "each test needs some of it")]

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::io::ErrorKind;
use std::sync::Arc;

use flyrpc_tokio::{Bytes, Context, Error, RemoteError, Server, ServerHandle};
use tokio::sync::{Semaphore, watch};

/// For anything that is to happen soon
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The program, as long as it runs
pub(crate) struct Board {
    pub(crate) state: Arc<State>,
    address: String,
    server: Option<ServerHandle>,
}

/// What outlives a restart, for the test to look at
pub(crate) struct State {
    led: AtomicBool,
    presses: AtomicUsize,
    /// Lets one `wait` be answered for each permit
    pub(crate) gate: Semaphore,
    /// Handlers of `wait` at work
    pub(crate) waiting: watch::Sender<usize>,
    /// As many as there were at most
    pub(crate) most_waiting: AtomicUsize,
    /// Handlers of `wait` that were given up
    pub(crate) given_up: watch::Sender<usize>,
    /// Payloads of the message `note`
    pub(crate) notes: watch::Sender<Vec<Bytes>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            led: AtomicBool::default(),
            presses: AtomicUsize::default(),
            gate: Semaphore::new(0),
            waiting: watch::Sender::default(),
            most_waiting: AtomicUsize::default(),
            given_up: watch::Sender::default(),
            notes: watch::Sender::default(),
        }
    }
}

impl Board {
    /// One on a free port
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0").await
    }

    pub(crate) async fn at(address: &str) -> Self {
        let state = Arc::new(State::default());
        let server = listen(address, &state).await;
        Self { state, address: server.address(), server: Some(server) }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its power is cut
    pub(crate) async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown(Duration::ZERO).await;
        }
    }

    /// It is there again, under the same address
    pub(crate) async fn start_again(&mut self) {
        self.server = Some(listen(&self.address, &self.state).await);
    }

    /// Somebody presses its button
    pub(crate) fn press(&self) -> usize {
        let presses = self.state.presses.fetch_add(1, Ordering::SeqCst) + 1;
        let told = self.server.iter().map(|server| server.broadcast("button", presses.to_string()));
        told.map(|told| told.expect("text has a form")).sum()
    }
}

/// Waits, no longer than is good for a test, until the value is so
pub(crate) async fn until<T>(value: &watch::Sender<T>, is_so: impl FnMut(&T) -> bool) {
    let mut value = value.subscribe();
    let waited = tokio::time::timeout(SOON, value.wait_for(is_so)).await;
    waited.expect("it comes to that in time").expect("the board is there");
}

async fn listen(address: &str, state: &Arc<State>) -> ServerHandle {
    let give_up = tokio::time::Instant::now() + SOON;
    loop {
        match server(state).listen(address).await {
            Ok(server) => return server,
            // The port of the one before is not free at once everywhere.
            Err(error) if error.kind() == ErrorKind::AddrInUse && tokio::time::Instant::now() < give_up => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{address}: {error}"),
        }
    }
}

fn server(state: &Arc<State>) -> Server {
    let (leds, waits, notes) = (Arc::clone(state), Arc::clone(state), Arc::clone(state));
    let presses = Arc::clone(state);
    Server::new()
        .handle("echo", |payload: Bytes| payload)
        .handle("led", move |text: &str| led(&leds, text))
        .handle("adc", |text: &str| -> Result<String, RemoteError> {
            let channel: usize = text.parse().map_err(|_| "BAD_PAYLOAD")?;
            let value = [17, 1023, 512, 4].get(channel).ok_or("NO_SUCH_CHANNEL")?;
            Ok(format!("{value}"))
        })
        .handle("fail", |payload: Bytes| RemoteError::new("NO_SUCH_LAMP").details(payload))
        .handle("name", || "Cortex")
        .handle("time", |context: Context| async move { context.peer().call("host.time", ()).await })
        .handle("version", |context: Context| async move { context.peer().call("host.version", ()).await })
        .handle("ask", |context: Context, payload: Bytes| async move {
            let text = String::from_utf8_lossy(&payload).into_owned();
            let (millis, name) = text.split_once(' ').ok_or_else(|| RemoteError::new("BAD_PAYLOAD"))?;
            let millis = millis.parse().map_err(|_| RemoteError::new("BAD_PAYLOAD"))?;
            let asked = context.peer().call(name, "what?").within(Duration::from_millis(millis));
            asked.await.map_err(RemoteError::from)
        })
        .handle("press", move |context: Context| {
            let presses = (presses.presses.fetch_add(1, Ordering::SeqCst) + 1).to_string();
            context.peer().try_send("button", &presses).map(|()| presses)
        })
        .handle("note", move |payload: Bytes| notes.notes.send_modify(|notes| notes.push(payload)))
        .handle("wait", move |payload: Bytes| {
            let state = Arc::clone(&waits);
            async move {
                let waiting = Waiting::new(state);
                waiting.state.gate.acquire().await.expect("it is never closed").forget();
                waiting.over();
                Ok::<_, Error>(payload)
            }
        })
}

fn led(state: &State, text: &str) -> Result<&'static str, RemoteError> {
    match text {
        "1" | "on" | "true" => state.led.store(true, Ordering::SeqCst),
        "0" | "off" | "false" => state.led.store(false, Ordering::SeqCst),
        "" => {}
        _ => return Err(RemoteError::new("BAD_PAYLOAD").details("1 or 0")),
    }
    Ok(if state.led.load(Ordering::SeqCst) { "1" } else { "0" })
}

/// A handler that waits
struct Waiting {
    state: Arc<State>,
    is_over: bool,
}

impl Waiting {
    fn new(state: Arc<State>) -> Self {
        state.waiting.send_modify(|waiting| {
            *waiting += 1;
            state.most_waiting.fetch_max(*waiting, Ordering::SeqCst);
        });
        Self { state, is_over: false }
    }

    fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.state.waiting.send_modify(|waiting| *waiting -= 1);
        if !self.is_over {
            self.state.given_up.send_modify(|given_up| *given_up += 1);
        }
    }
}
