//! The end that sends

use core::future::{Future, poll_fn};
use core::panic::AssertUnwindSafe;
use core::pin::pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Poll, Waker};
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::lane::MESSAGE;
use crate::watchers::{Watch, Watchers};
use crate::{Context, Encode, Error, Json, Peer, RemoteError, Request, Router};

/// A subscription of a peer's, to send it values: see [`Router::subscription`]
#[derive(Debug)]
pub struct Subscription {
    peer: Peer,
    id: u64,
    notification: Arc<str>,
    end: Arc<End>,
}

/// Subscriptions that a connection may have at a time
const MAX: usize = 1024;
/// What one more is answered with (jsonrpsee's number for it)
const TOO_MANY: i64 = -32006;

impl Router<Peer> {
    /// Lets peers subscribe: calls of `subscribe` are answered with an id, `serve` sends values as `notification`, and a call of
    /// `unsubscribe` ends it
    ///
    /// `serve` begins when the answer is on its way. What it gives is dropped where it waits when the peer unsubscribes or is gone.
    /// When it ends by itself the peer is not told, for the protocol has no word for that: [`Subscription::fail`] last, or a value
    /// that both ends know to be the last.
    /// A peer has 1,024 subscriptions at the most; more are answered -32006. Where a transport carries nothing but
    /// answers (HTTP POST), a subscription ends as soon as it has begun.
    ///
    /// ```
    /// use flyrpc_driver::{Peer, Request, Router, Subscription};
    ///
    /// fn router() -> Router<Peer> {
    ///     Router::new().subscription("count_up", "count", "count_no_more", |count: Subscription, _: Request<Peer>| async move {
    ///         for n in 0..10 {
    ///             if count.send(&n).await.is_err() {
    ///                 break;
    ///             }
    ///         }
    ///     })
    /// }
    /// ```
    #[must_use]
    pub fn subscription<F, S>(self, subscribe: &str, notification: &str, unsubscribe: &str, serve: F) -> Self
    where
        F: Fn(Subscription, Request<Peer>) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let notification: Arc<str> = notification.into();
        let begin = move |request: &Request<Peer>| -> Result<Json<u64>, RemoteError> {
            let peer = request.peer().clone();
            let table = table(&peer);
            let (id, end) = table.add()?;
            let subscription = Subscription {
                peer: peer.clone(),
                id,
                notification: Arc::clone(&notification),
                end: Arc::clone(&end),
            };
            let served = serve(subscription, request.clone());
            let answered = request.context().clone();
            (peer.link.spawn)(Box::pin(async move {
                // The request is over when its answer is encoded, which no notification may come before.
                answered.cancelled().await;
                run(served, &end, &Context::new(peer, MESSAGE, None)).await;
                table.remove(id);
            }));
            Ok(Json(id))
        };
        let end = |request: &Request<Peer>| -> Result<Json<bool>, RemoteError> {
            // Only JSON-RPC takes a single parameter out of its array.
            let id = match request.decode::<Json<u64>>() {
                Ok(Json(id)) => id,
                Err(_) => request.decode::<Json<(u64,)>>()?.0.0,
            };
            Ok(Json(table(request.peer()).remove(id)))
        };
        self.handle(subscribe, begin).handle(unsubscribe, end)
    }
}

/// Polls what serves a subscription until it, the subscription or the connection ends
async fn run(served: impl Future<Output = ()>, end: &Arc<End>, connection: &Context<Peer>) {
    let mut served = pin!(served);
    let mut ended = pin!(end.ended());
    let mut lost = pin!(connection.cancelled());
    poll_fn(|cx| {
        if ended.as_mut().poll(cx).is_ready() || lost.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // A panic ends this subscription, and nothing else.
        catch_unwind(AssertUnwindSafe(|| served.as_mut().poll(cx))).unwrap_or(Poll::Ready(()))
    })
    .await;
}

impl Subscription {
    /// Its id
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Whose it is
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Sends a value; waits while the outgoing buffer is full
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the subscription has ended; else as [`Peer::send`].
    pub async fn send<T: Serialize + Sync>(&self, value: &T) -> Result<(), Error> {
        self.notify("result", value).await
    }

    /// Sends an error, which ends the subscription for jsonrpsee's clients, and ours
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn fail<T: Serialize + Sync>(&self, error: &T) -> Result<(), Error> {
        self.notify("error", error).await
    }

    async fn notify<T: Serialize + Sync>(&self, member: &str, value: &T) -> Result<(), Error> {
        if self.is_ended() {
            return Err(Error::Cancelled);
        }
        let mut params = format!("{{\"subscription\":{},\"{member}\":", self.id).into_bytes();
        params.extend_from_slice(&Json(value).encode().map_err(Error::Unencodable)?);
        params.push(b'}');
        self.peer.send(&self.notification, params).await
    }

    /// Has the peer unsubscribed?
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.end.lock().is_none()
    }

    /// Waits until the peer has unsubscribed
    pub async fn ended(&self) {
        self.end.ended().await;
    }
}

/// The subscriptions of one connection
#[derive(Debug, Default)]
struct Table(Mutex<BTreeMap<u64, Arc<End>>>);

fn table(peer: &Peer) -> Arc<Table> {
    peer.session().get_or_insert_with(Table::default)
}

/// Ids of the whole process
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Table {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<End>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self) -> Result<(u64, Arc<End>), RemoteError> {
        let mut table = self.lock();
        if table.len() >= MAX {
            return Err(RemoteError::new("Too many subscriptions").number(TOO_MANY));
        }
        let (id, end) = (NEXT.fetch_add(1, Ordering::Relaxed), Arc::new(End::default()));
        table.insert(id, Arc::clone(&end));
        Ok((id, end))
    }

    fn remove(&self, id: u64) -> bool {
        let Some(end) = self.lock().remove(&id) else { return false };
        let mut wakers = Vec::new();
        if let Some(mut watchers) = end.lock().take() {
            watchers.take(&mut wakers);
        }
        wakers.into_iter().for_each(Waker::wake);
        true
    }
}

/// Who waits for the end of a subscription; `None` behind that
#[derive(Debug)]
struct End(Mutex<Option<Watchers>>);

impl Default for End {
    fn default() -> Self {
        Self(Mutex::new(Some(Watchers::default())))
    }
}

impl End {
    fn lock(&self) -> MutexGuard<'_, Option<Watchers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> impl Future<Output = ()> {
        let poll = |cx: &mut core::task::Context<'_>| match &mut *self.lock() {
            Some(watchers) => {
                watchers.add(cx.waker());
                Poll::Pending
            }
            None => Poll::Ready(()),
        };
        let forget = |waker: &Waker| {
            let forgotten = self.lock().as_mut().and_then(|watchers| watchers.forget(waker));
            forgotten.into_iter().for_each(Waker::wake);
        };
        Watch::new(poll, forget)
    }
}
