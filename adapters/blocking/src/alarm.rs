//! How a thread waits for an `async` handler

use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;
use core::time::Duration;
use std::sync::Arc;
use std::task::Wake;
use std::thread::Thread;

/// Wakes a thread
pub(crate) struct Alarm {
    bell: Arc<Bell>,
    waker: Waker,
}

/// A thread that is woken may be so for another reason, and who wakes it for one may use up another's wake-up: the flag
/// keeps them apart
struct Bell {
    thread: Thread,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            self.thread.unpark();
        }
    }
}

impl Alarm {
    /// Of the thread that asks
    pub(crate) fn new() -> Self {
        let bell = Arc::new(Bell { thread: std::thread::current(), rung: AtomicBool::new(false) });
        Self { waker: Waker::from(Arc::clone(&bell)), bell }
    }

    pub(crate) const fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Waits until it was woken since the last time; for `time` at the longest, if there is such a time
    ///
    /// Only for the thread that has made it.
    pub(crate) fn wait(&self, time: Option<Duration>) {
        while !self.bell.rung.swap(false, Ordering::SeqCst) {
            match time {
                None => std::thread::park(),
                Some(time) => {
                    std::thread::park_timeout(time);
                    self.bell.rung.store(false, Ordering::SeqCst);
                    return;
                }
            }
        }
    }
}
