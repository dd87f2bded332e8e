//! A runtime that is polled by hand: tasks, pipes and timers in memory; nothing is random and nothing is waited for

#![allow(dead_code, unreachable_pub, reason = "shared by test binaries that use different parts")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};
use std::task::Wake;

use bytes::BytesMut;
use flyrpc_driver::Address;
use flyrpc_driver::runtime::{Listener, Runtime, Task, Timer, Transport, TryWrite};

/// The runtime of the thread it is used on
#[derive(Debug)]
pub struct Hand;

struct World {
    tasks: Vec<Option<(Task, Arc<TaskWaker>)>>,
    ready: Arc<Mutex<VecDeque<usize>>>,
    listeners: BTreeMap<String, Arc<Mutex<Queue>>>,
    wire: Wire,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World {
        tasks: Vec::new(),
        ready: Arc::new(Mutex::new(VecDeque::with_capacity(64))),
        listeners: BTreeMap::new(),
        wire: Wire::WIDE,
    });
}

struct TaskWaker {
    id: usize,
    queued: AtomicBool,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().unwrap().push_back(self.id);
        }
    }
}

/// Forgets all tasks and listeners: a runtime that ends
pub fn reset() {
    let tasks = WORLD.with_borrow_mut(|world| {
        world.listeners.clear();
        core::mem::take(&mut world.tasks)
    });
    // What they do when they are dropped may use the runtime.
    drop(tasks);
    WORLD.with_borrow_mut(|world| {
        world.tasks.clear();
        world.ready = Arc::new(Mutex::new(VecDeque::with_capacity(64)));
    });
}

/// Polls the task that has been ready for the longest; false when none is
pub fn step() -> bool {
    let taken = WORLD.with_borrow_mut(|world| {
        let id = world.ready.lock().unwrap().pop_front()?;
        Some((id, world.tasks.get_mut(id).and_then(Option::take)))
    });
    let Some((id, task)) = taken else { return false };
    if let Some((mut task, waker)) = task {
        waker.queued.store(false, Ordering::Relaxed);
        let as_waker = Waker::from(Arc::clone(&waker));
        if task.as_mut().poll(&mut Context::from_waker(&as_waker)).is_pending() {
            WORLD.with_borrow_mut(|world| {
                if let Some(place) = world.tasks.get_mut(id) {
                    *place = Some((task, waker));
                }
            });
        }
    }
    true
}

/// Steps until no task is ready
pub fn run() {
    for _ in 0..200_000 {
        if !step() {
            return;
        }
    }
    panic!("a task is ready again and again without an end");
}

/// Drops the task that was spawned as the `n`th since [`reset`]
pub fn kill(n: usize) -> bool {
    let task = WORLD.with_borrow_mut(|world| world.tasks.get_mut(n).and_then(Option::take));
    task.is_some()
}

/// Tasks that have not ended
pub fn tasks() -> usize {
    WORLD.with_borrow(|world| world.tasks.iter().flatten().count())
}

/// Counts how often it was woken
#[derive(Default)]
pub struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A future that is polled by hand
pub struct Hold<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    count: Arc<Count>,
    seen: u64,
    waker: Waker,
}

impl<'a, T> Hold<'a, T> {
    pub fn new(future: impl Future<Output = T> + 'a) -> Self {
        let count = Arc::new(Count::default());
        Self { future: Box::pin(future), waker: Waker::from(Arc::clone(&count)), count, seen: 0 }
    }

    /// Polls it, woken or not
    pub fn poll(&mut self) -> Poll<T> {
        self.seen = self.count.get();
        self.future.as_mut().poll(&mut Context::from_waker(&self.waker))
    }

    /// Has it been woken since it was last polled?
    pub fn is_woken(&self) -> bool {
        self.count.get() > self.seen
    }
}

/// Runs the world until the future is ready; panics when it never will be
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut hold = Hold::new(future);
    if let Poll::Ready(value) = hold.poll() {
        return value;
    }
    loop {
        let stepped = step();
        if hold.is_woken()
            && let Poll::Ready(value) = hold.poll()
        {
            return value;
        }
        assert!(stepped || hold.is_woken(), "nothing is ready, and the future is not either");
    }
}

/// Lets the world take `n` steps
pub async fn pause(n: usize) {
    for _ in 0..n {
        let mut first = true;
        core::future::poll_fn(|cx| {
            if core::mem::take(&mut first) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl Runtime for Hand {
    type Timer = HandTimer;
    type Stream = End;
    type Listener = HandListener;

    fn timer() -> HandTimer {
        HandTimer { due: false }
    }

    fn spawn(task: Task) {
        WORLD.with_borrow_mut(|world| {
            let id = world.tasks.len();
            let waker =
                Arc::new(TaskWaker { id, queued: AtomicBool::new(true), ready: Arc::clone(&world.ready) });
            world.tasks.push(Some((task, waker)));
            world.ready.lock().unwrap().push_back(id);
        });
    }

    async fn connect(address: &Address) -> io::Result<End> {
        pause(2).await;
        let (queue, wire) = WORLD.with_borrow(|world| {
            let queue = world.listeners.get(&address.to_string()).cloned();
            (queue, world.wire)
        });
        let Some(queue) = queue else { return Err(io::ErrorKind::ConnectionRefused.into()) };
        let (ours, theirs) = wire.cut();
        let waker = {
            let mut queue = queue.lock().unwrap();
            queue.0.push_back(theirs);
            queue.1.take()
        };
        wake(waker);
        pause(2).await;
        Ok(ours)
    }

    async fn listen(address: &Address) -> io::Result<HandListener> {
        let queue = Arc::new(Mutex::new(Queue::default()));
        WORLD.with_borrow_mut(|world| world.listeners.insert(address.to_string(), Arc::clone(&queue)));
        Ok(HandListener { queue, address: address.clone() })
    }
}

/// What [`Hand`] connects over from now on
pub fn set_wire(wire: Wire) {
    WORLD.with_borrow_mut(|world| world.wire = wire);
}

/// Expires at once when set to zero, else never: the clock is not this runtime's
#[derive(Debug)]
pub struct HandTimer {
    due: bool,
}

impl Timer for HandTimer {
    fn set(&mut self, after: Duration) {
        self.due = after.is_zero();
    }

    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if core::mem::take(&mut self.due) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[derive(Default)]
struct Queue(VecDeque<End>, Option<Waker>);

pub struct HandListener {
    queue: Arc<Mutex<Queue>>,
    address: Address,
}

impl Listener for HandListener {
    type Stream = End;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<End>> {
        let mut queue = self.queue.lock().unwrap();
        match queue.0.pop_front() {
            Some(end) => Poll::Ready(Ok(end)),
            None => {
                queue.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn address(&self) -> io::Result<Address> {
        Ok(self.address.clone())
    }
}

/// What a pair of pipes is like
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// Bytes that are on their way at most, one way
    pub capacity: usize,
    /// Bytes of one read or write at most
    pub at_a_time: usize,
    /// May tasks write that are not the driver?
    pub writer: bool,
}

impl Wire {
    pub const WIDE: Self = Self { capacity: 64 << 10, at_a_time: usize::MAX, writer: true };

    pub fn cut(self) -> (End, End) {
        let pipe = || {
            let data = VecDeque::with_capacity(self.capacity);
            Arc::new(Mutex::new(Pipe {
                data,
                wire: self,
                ended: false,
                gone: false,
                reader: None,
                writer: None,
            }))
        };
        let (a, b) = (pipe(), pipe());
        (End { input: Arc::clone(&a), output: Arc::clone(&b) }, End { input: b, output: a })
    }
}

struct Pipe {
    data: VecDeque<u8>,
    wire: Wire,
    /// No more is written
    ended: bool,
    /// Nobody reads any more
    gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    /// Takes what there is room for
    fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.gone || self.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = (self.wire.capacity - self.data.len()).min(self.wire.at_a_time);
        let mut left = room;
        for part in parts {
            let n = part.len().min(left);
            self.data.extend(&part[..n]);
            left -= n;
        }
        Ok(room - left)
    }
}

/// One end of two pipes
pub struct End {
    input: Arc<Mutex<Pipe>>,
    output: Arc<Mutex<Pipe>>,
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Transport for End {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut pipe = self.input.lock().unwrap();
        let spare = buf.capacity() - buf.len();
        assert!(spare > 0, "a read into a buffer without room");
        let n = pipe.data.len().min(spare).min(pipe.wire.at_a_time);
        if n == 0 && !pipe.ended {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (first, second) = pipe.data.as_slices();
        let from_first = n.min(first.len());
        buf.extend_from_slice(&first[..from_first]);
        buf.extend_from_slice(&second[..n - from_first]);
        pipe.data.drain(..n);
        let writer = pipe.writer.take();
        drop(pipe);
        wake(writer);
        Poll::Ready(Ok(n))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut pipe = self.output.lock().unwrap();
        let written = pipe.write(parts);
        if matches!(written, Ok(0)) {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let reader = pipe.reader.take();
        drop(pipe);
        wake(reader);
        Poll::Ready(written)
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.output.lock().unwrap();
        pipe.ended = true;
        let reader = pipe.reader.take();
        drop(pipe);
        wake(reader);
        Poll::Ready(Ok(()))
    }

    fn writer(&self) -> Option<Arc<dyn TryWrite>> {
        let writes = self.output.lock().unwrap().wire.writer;
        writes.then(|| Arc::new(OutEnd(Arc::clone(&self.output))) as Arc<dyn TryWrite>)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut output = self.output.lock().unwrap();
        output.ended = true;
        let reader = output.reader.take();
        drop(output);
        let mut input = self.input.lock().unwrap();
        input.gone = true;
        let writer = input.writer.take();
        drop(input);
        wake(reader);
        wake(writer);
    }
}

struct OutEnd(Arc<Mutex<Pipe>>);

impl TryWrite for OutEnd {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut pipe = self.0.lock().unwrap();
        let written = pipe.write(parts)?;
        let reader = pipe.reader.take();
        drop(pipe);
        wake(reader);
        if written == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }
}

/// Lets handlers go on, all at once
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    pub fn open(&self) {
        let wakers = {
            let mut gate = self.0.lock().unwrap();
            gate.0 = true;
            core::mem::take(&mut gate.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub async fn wait(&self) {
        poll_fn(|cx| {
            let mut gate = self.0.lock().unwrap();
            if gate.0 {
                return Poll::Ready(());
            }
            gate.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
