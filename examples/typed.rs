//! Values instead of bytes: JSON arguments and results, shared state, errors with codes, time-outs, notifications
//!
//! ```text
//! cargo run --example typed
//! ```
//!
//! Server and client are in one program here, over a socket all the same. `MsgPack`, `Postcard`, `Borsh` and `Protobuf` take
//! the place of `Json` as they are, each with the feature of its name.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use flyrpc_tokio::{
    Bytes, Client, Context, Decode, Encode, Error, Json, Peer, RemoteError, Router, Server, State,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Lamp {
    name: String,
    brightness: u8,
}

#[derive(Debug, Serialize, Deserialize)]
struct Dim {
    lamp: u32,
    brightness: u8,
}

/// What can go wrong, for handlers: each becomes a code and details
#[derive(Debug, Serialize, Deserialize)]
enum LampError {
    NoSuchLamp { lamp: u32 },
    TooBright { most: u8 },
}

impl LampError {
    /// For callers: what an error of the server's was
    fn of(error: &Error) -> Option<Self> {
        let Error::Remote(RemoteError { details, .. }) = error else { return None };
        Json::decode(&Bytes::copy_from_slice(details)).ok().map(|Json(error)| error)
    }
}

impl fmt::Display for LampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchLamp { lamp } => write!(f, "there is no lamp {lamp}"),
            Self::TooBright { most } => write!(f, "a lamp takes {most} at the most"),
        }
    }
}

impl core::error::Error for LampError {}

/// So that handlers can use `?`
impl From<LampError> for RemoteError {
    fn from(error: LampError) -> Self {
        let code = match error {
            LampError::NoSuchLamp { .. } => "NO_SUCH_LAMP",
            LampError::TooBright { .. } => "TOO_BRIGHT",
        };
        match Json(error).encode() {
            Ok(details) => Self::new(code).details(details),
            Err(unencodable) => unencodable.into(),
        }
    }
}

/// What all handlers share
#[derive(Default)]
struct House {
    lamps: Mutex<BTreeMap<u32, Lamp>>,
    watchers: Mutex<Vec<Peer>>,
}

impl House {
    fn lamps(&self) -> MutexGuard<'_, BTreeMap<u32, Lamp>> {
        self.lamps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Peer>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who watch
    fn changed(&self, lamp: &Lamp) {
        // It fails where the connection has ended, and where the watcher does not keep up: it is dropped then.
        self.watchers().retain(|watcher| watcher.try_send("changed", Json(lamp)).is_ok());
    }
}

// Handlers: plain functions of what they need, in any order

fn add(house: State<House>, Json(lamp): Json<Lamp>) -> Json<u32> {
    let mut lamps = house.lamps();
    let number = lamps.keys().next_back().map_or(1, |last| last + 1);
    lamps.insert(number, lamp);
    Json(number)
}

fn dim(Json(dim): Json<Dim>, house: State<House>) -> Result<Json<Lamp>, LampError> {
    if dim.brightness > 100 {
        return Err(LampError::TooBright { most: 100 });
    }
    let mut lamps = house.lamps();
    let lamp = lamps.get_mut(&dim.lamp).ok_or(LampError::NoSuchLamp { lamp: dim.lamp })?;
    lamp.brightness = dim.brightness;
    house.changed(lamp);
    Ok(Json(lamp.clone()))
}

fn watch(house: State<House>, context: &Context) {
    house.watchers().push(context.peer().clone());
}

/// An `async` handler owns its arguments
async fn bake(Json(seconds): Json<u64>) -> Json<String> {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Json("a cake".to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    let router = Router::new()
        .state(House::default())
        .handle("add", add)
        .handle("dim", dim)
        .handle("watch", watch)
        .handle("bake", bake);
    let server = Server::new().router(router).listen("127.0.0.1:0").await?;

    // The client takes notifications: it hands them to whoever waits for them.
    let (changed, mut changes) = mpsc::channel(16);
    let house = Client::new()
        .handle("changed", move |Json(lamp): Json<Lamp>| {
            let changed = changed.clone();
            async move { drop(changed.send(lamp).await) }
        })
        .connect(server.address())
        .await?;
    house.hello().await?; // so that the server hears when a call is given up
    house.send_acked("watch", ()).await?;

    let lamp = Lamp { name: "kitchen".to_owned(), brightness: 10 };
    let Json(number) = house.call_as::<Json<u32>>("add", Json(&lamp)).await?;
    println!("added lamp {number}");

    let Json(dimmed) = house.call_as::<Json<Lamp>>("dim", Json(Dim { lamp: number, brightness: 80 })).await?;
    println!("dimmed: {dimmed:?}");
    if let Some(lamp) = changes.recv().await {
        println!("notified: {lamp:?}");
    }

    // Errors with a code, and with details of a type
    for wrong in [Dim { lamp: 7, brightness: 80 }, Dim { lamp: number, brightness: 200 }] {
        if let Err(error) = house.call_as::<Json<Lamp>>("dim", Json(wrong)).await {
            println!("{error}");
            if let Some(error) = LampError::of(&error) {
                println!("  which means: {error}");
            }
        }
    }

    // An argument of another type is refused before the handler runs.
    match house.call_as::<Json<u32>>("add", Json("not a lamp")).await {
        Err(Error::Remote(error)) => {
            println!("{}: {}", error.code, String::from_utf8_lossy(&error.details));
        }
        other => return Err(format!("not expected: {other:?}").into()),
    }

    // A deadline of its own; the server's handler is dropped.
    let cake = house.call_as::<Json<String>>("bake", Json(60)).within(Duration::from_millis(200)).await;
    if cake == Err(Error::TimedOut) {
        println!("no cake: it did not come in time");
    }

    house.drain(Duration::from_secs(1)).await;
    server.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
