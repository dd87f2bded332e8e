//! Standard input and output, this program's own and those of a program that is started

use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io::{self, ErrorKind, Stdin, Stdout};

use flyrpc_driver::runtime::split_command;
use smol::Unblock;
use smol::io::{AsyncRead, AsyncWrite};
use smol::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A pair of pipes
#[derive(Debug)]
pub(crate) enum Pipes {
    /// This program's own
    Own(Unblock<Stdin>, Unblock<Stdout>),
    /// Those of a program
    Of {
        /// `None` when this is being dropped
        child: Option<Child>,
        /// Closed by shutting down
        input: Option<ChildStdin>,
        output: ChildStdout,
    },
}

impl Pipes {
    pub(crate) fn own() -> Self {
        Self::Own(Unblock::new(io::stdin()), Unblock::new(io::stdout()))
    }

    /// Starts a program; what it says on its standard error goes where this program's does
    pub(crate) fn of(command: &str) -> io::Result<Self> {
        let (program, arguments) = split_command(command)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Self::Of { child: Some(child), input: Some(input), output }),
            _ => Err(ErrorKind::BrokenPipe.into()),
        }
    }
}

/// A program whose standard input was closed has so long to end by itself
const GRACE: Duration = Duration::from_secs(1);

impl Drop for Pipes {
    /// Closes the program's standard input, and stops it if it does not end then
    fn drop(&mut self) {
        if let Self::Of { child, input, .. } = self {
            drop(input.take());
            if let Some(mut child) = child.take() {
                let over = async {
                    smol::Timer::after(GRACE).await;
                };
                smol::spawn(async move {
                    smol::future::or(async { drop(child.status().await) }, over).await;
                })
                .detach();
            }
        }
    }
}

impl AsyncRead for Pipes {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Own(input, _) => Pin::new(input).poll_read(cx, buf),
            Self::Of { output, .. } => Pin::new(output).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Pipes {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Own(_, output) => Pin::new(output).poll_write(cx, bytes),
            Self::Of { input: Some(input), .. } => Pin::new(input).poll_write(cx, bytes),
            Self::Of { input: None, .. } => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Own(_, output) => Pin::new(output).poll_flush(cx),
            Self::Of { input: Some(input), .. } => Pin::new(input).poll_flush(cx),
            Self::Of { input: None, .. } => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Own(_, output) => Pin::new(output).poll_close(cx),
            Self::Of { input, .. } => {
                drop(input.take());
                Poll::Ready(Ok(()))
            }
        }
    }
}
