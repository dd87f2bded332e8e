//! The end that receives

use core::future::{Future, poll_fn};
use core::marker::PhantomData;
use core::pin::pin;
use core::task::{Poll, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flyrpc_core::Refusal;
use flyrpc_core::jsonrpc::{member, unescape};
use serde::de::DeserializeOwned;

use crate::lane::MESSAGE;
use crate::link::Link;
use crate::{Context, Decode, Error, IntoPayload, Json, Packet, Peer, RemoteError, UnreadableReply};

/// A subscription of ours, and the values that come: see [`Peer::subscribe`]
///
/// Dropping it unsubscribes.
#[derive(Debug)]
#[must_use = "dropping it unsubscribes"]
pub struct Subscribed<T> {
    peer: Peer,
    /// As the peer wrote it
    id: Bytes,
    unsubscribe: String,
    queue: Arc<Queue>,
    value: PhantomData<fn() -> T>,
}

/// Values that may wait to be taken, and their bytes beside the last one's; a subscription whose owner takes none ends
const MAX_WAITING: usize = 1024;
const MAX_BYTES: usize = 4 << 20;

impl Peer {
    /// Subscribes: calls `subscribe`, and gives what comes as notifications with the id it is answered with, until it is dropped,
    /// which calls `unsubscribe`
    ///
    /// Notifications whose method has a handler of its own go there instead. Over HTTP POST none can come: only a WebSocket, or a
    /// stream, carries subscriptions.
    ///
    /// ```
    /// use flyrpc_driver::{Error, Peer};
    ///
    /// async fn sum_of_three(peer: &Peer) -> Result<u64, Error> {
    ///     let mut counts = peer.subscribe::<u64>("count_up", (), "count_no_more").await?;
    ///     let mut sum = 0;
    ///     for _ in 0..3 {
    ///         sum += counts.next().await.transpose()?.unwrap_or_default();
    ///     }
    ///     Ok(sum)
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`Peer::call_as`]; over HTTP POST, which carries no notifications, [`Refusal::NoWayBack`].
    pub async fn subscribe<'a, T: DeserializeOwned>(
        &'a self,
        subscribe: &'a str,
        params: impl IntoPayload<'a>,
        unsubscribe: &str,
    ) -> Result<Subscribed<T>, Error> {
        if !self.link.info.may_be_called {
            return Err(Error::Refused(Refusal::NoWayBack));
        }
        let table = self.session().get_or_insert_with(Table::default);
        // Values may be read before this task has seen the id that they carry.
        let expecting = Expecting::begin(&table);
        let id = self.call(subscribe, params).await?;
        let queue = Arc::new(Queue::default());
        table.lock().add(id.clone(), &queue);
        drop(expecting);
        let (peer, unsubscribe) = (self.clone(), unsubscribe.to_owned());
        Ok(Subscribed { peer, id, unsubscribe, queue, value: PhantomData })
    }
}

impl<T: DeserializeOwned> Subscribed<T> {
    /// The next value; `None` when no more come: the subscription has ended with an error, or its connection
    ///
    /// The peer ends a subscription with an error, [`Error::Remote`] with that as its details. A value that does not decode is
    /// [`Error::UnreadableReply`], and others may follow. Where more than 1,024 values, or 4 MiB of them, wait to be taken it has
    /// ended as well, with [`Error::Cancelled`] behind them. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        let connection = Context::new(self.peer.clone(), MESSAGE, None);
        let mut lost = pin!(connection.cancelled());
        let item = poll_fn(|cx| {
            let mut state = self.queue.lock();
            if let Some(item) = state.pop() {
                return Poll::Ready(Some(item));
            }
            if state.ended {
                return Poll::Ready(None);
            }
            state.waker = Some(cx.waker().clone());
            drop(state);
            // What came before the end is in the queue by now.
            lost.as_mut().poll(cx).map(|()| self.queue.lock().pop())
        })
        .await?;
        Some(match item {
            Item::Value(value) => match Json::decode(&value) {
                Ok(Json(value)) => Ok(value),
                Err(error) => Err(Error::UnreadableReply(UnreadableReply::Format(error))),
            },
            Item::Error(error) => {
                Err(Error::Remote(RemoteError::new("the subscription has ended").details(error)))
            }
            Item::Lagged => Err(Error::Cancelled),
        })
    }
}

impl<T> Subscribed<T> {
    /// Its id, as JSON
    #[must_use]
    pub fn id(&self) -> &str {
        core::str::from_utf8(&self.id).unwrap_or_default()
    }
}

impl<T> Drop for Subscribed<T> {
    fn drop(&mut self) {
        if let Some(table) = self.peer.session().get::<Table>() {
            table.lock().queues.remove(&key(&self.id));
        }
        let params = [b"[", &self.id[..], b"]"].concat();
        if let Ok(call) = self.peer.start(&self.unsubscribe, params) {
            call.detach();
        }
    }
}

/// The subscriptions that this end of a connection has
#[derive(Debug, Default)]
struct Table(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<Box<[u8]>, Arc<Queue>>,
    /// Calls that are about to become subscriptions
    expecting: usize,
    /// What came for ids that they may turn out to be, in order
    early: VecDeque<(Box<[u8]>, Item)>,
    early_bytes: usize,
}

#[derive(Debug, Default)]
struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
    ended: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Item {
    Value(Bytes),
    Error(Bytes),
    Lagged,
}

/// Takes a message that has no handler, if it is for a subscription
pub(crate) fn take(link: &Link, message: &Packet) -> bool {
    let Some(table) = link.info.session.get::<Table>() else { return false };
    let params = &message.payload;
    let Some(id) = member(params, "subscription") else { return false };
    let item = match (member(params, "result"), member(params, "error")) {
        (Some(value), _) => Item::Value(params.slice_ref(value)),
        (None, Some(error)) => Item::Error(params.slice_ref(error)),
        (None, None) => return false,
    };
    let mut state = table.lock();
    let key = key(id);
    if let Some(queue) = state.queues.get(&key).map(Arc::clone) {
        drop(state);
        queue.push(item);
        return true;
    }
    let expected = state.expecting > 0 && state.early.len() < MAX_WAITING && state.early_bytes < MAX_BYTES;
    if expected {
        state.early_bytes += item.len();
        state.early.push_back((key, item));
    }
    expected
}

/// An id by its meaning: strings may be written in several ways
fn key(id: &[u8]) -> Box<[u8]> {
    let id = id.trim_ascii();
    if id.contains(&b'\\') { unescape(id).as_bytes().into() } else { id.into() }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, id: Bytes, queue: &Arc<Queue>) {
        let key = key(&id);
        let (ours, others) = core::mem::take(&mut self.early).into_iter().partition(|(id, _)| *id == key);
        self.early = others;
        self.early_bytes = self.early.iter().map(|(_, item)| item.len()).sum();
        let ours: VecDeque<(Box<[u8]>, Item)> = ours;
        ours.into_iter().for_each(|(_, item)| queue.push(item));
        self.queues.insert(key, Arc::clone(queue));
    }
}

/// While this lives, values for unknown ids are kept
struct Expecting<'a>(&'a Table);

impl<'a> Expecting<'a> {
    fn begin(table: &'a Table) -> Self {
        table.lock().expecting += 1;
        Self(table)
    }
}

impl Drop for Expecting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.expecting -= 1;
        if state.expecting == 0 {
            state.early = VecDeque::new();
            state.early_bytes = 0;
        }
    }
}

impl Item {
    const fn len(&self) -> usize {
        match self {
            Self::Value(bytes) | Self::Error(bytes) => bytes.len(),
            Self::Lagged => 0,
        }
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= item.len();
        Some(item)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: Item) {
        let mut waiting = self.lock();
        if waiting.ended {
            return;
        }
        let is_full = waiting.items.len() >= MAX_WAITING || waiting.bytes >= MAX_BYTES;
        let item = if is_full { Item::Lagged } else { item };
        waiting.bytes += item.len();
        waiting.ended = !matches!(item, Item::Value(_));
        waiting.items.push_back(item);
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
