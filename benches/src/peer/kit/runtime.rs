//! Where the work is done: on one thread, which is not the one that waits for lines

use std::io;

/// An async runtime with one thread at work
pub(crate) trait Runtime: Sized + 'static {
    fn start() -> io::Result<Self>;

    /// Runs a future to its end on the thread at work
    fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T;

    /// Starts a task beside the current one; the future waits for its end
    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send;
}

/// tokio's multi-thread scheduler with a single worker
pub(crate) struct OnTokio(tokio::runtime::Runtime);

impl Runtime for OnTokio {
    fn start() -> io::Result<Self> {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map(Self)
    }

    fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        self.0.block_on(Self::outcome(self.0.spawn(future)))
    }

    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        Self::outcome(tokio::spawn(future))
    }
}

impl OnTokio {
    /// A task that panicked has told so itself; nothing is worth measuring then
    async fn outcome<T>(task: tokio::task::JoinHandle<T>) -> T {
        task.await.expect("the task ran to its end")
    }
}
