//! The yardstick: packets of FlyRPC's size are sent back unread, as fast as tokio and the sockets go

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::io;

use bytes::BytesMut;
use flyrpc_core::fly::{Flag, RawPacket};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};

use crate::kit::{
    Bench, Failure, Histogram, Load, OnTokio, Runtime, Tally, is_over, listen_on, now, serve_until_quit,
};

/// What is read or written at once at the most; more was not faster
const PIECE: usize = 256 * 1024;
/// Enough for the one small answer of a connection that then lies idle
const SMALL_PIECE: usize = 4096;

pub(crate) fn serve(addresses: u8) -> Result<(), Failure> {
    let runtime = OnTokio::start()?;
    let (_, port) = listen_on(addresses, |address| {
        let listener = runtime.run(TcpListener::bind(address))?;
        let port = listener.local_addr()?.port();
        runtime.run(async { drop(OnTokio::spawn(accept(listener))) });
        Ok(((), port))
    })?;
    serve_until_quit(port)
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        drop(OnTokio::spawn(send_back(stream)));
    }
}

/// Until the other end closes, or is gone
async fn send_back(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut piece = BytesMut::with_capacity(PIECE);
    while stream.read_buf(&mut piece).await? > 0 {
        stream.write_all(&piece).await?;
        piece.clear();
    }
    Ok(())
}

/// Keeps a window of packets on the way
pub(crate) struct Window {
    stream: TcpStream,
    /// Whole packets, one after another
    packets: Vec<u8>,
    packet: usize,
    input: Vec<u8>,
}

impl Bench for Window {
    async fn open(load: Load) -> Result<Self, Failure> {
        let mut one = Vec::new();
        let payload = load.bytes();
        let packet = RawPacket { flag: Flag::REQUEST, sequence: 1, code: b"echo1", payload: &payload };
        packet.encode(&mut one).map_err(|error| format!("{error:?}"))?;
        // A connection that is to lie idle sends one packet and has little room.
        let (copies, room) =
            if load.conns > 0 { (1, SMALL_PIECE) } else { (PIECE.div_ceil(one.len()), PIECE) };
        let stream = connect(load.addr).await?;
        let mut window =
            Self { stream, packet: one.len(), packets: one.repeat(copies), input: vec![0; room] };
        window.phase(load, Duration::ZERO).await?;
        Ok(window)
    }

    async fn phase(&mut self, load: Load, time: Duration) -> Result<Tally, Failure> {
        let mut histogram = Histogram::new();
        let began = now();
        // Packets that were asked for at the same time stand together, the oldest in front.
        let mut waiting = VecDeque::from([(began, load.conc)]);
        let (mut outstanding, mut unsent) = (load.conc, load.conc * self.packet);
        let (mut sent, mut partial, mut last) = (0, 0, began);
        while outstanding > 0 {
            while unsent > 0 {
                let from = sent % self.packets.len();
                let to = self.packets.len().min(from + unsent);
                let Some(written) = unless_blocked(self.stream.try_write(&self.packets[from..to]))? else {
                    break;
                };
                sent += written;
                unsent -= written;
            }
            let Some(read) = unless_blocked(self.stream.try_read(&mut self.input))? else {
                let also =
                    if unsent > 0 { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
                self.stream.ready(also).await?;
                continue;
            };
            if read == 0 {
                return Err("the server closed the connection".into());
            }
            last = now();
            let whole = (partial + read) / self.packet;
            partial = (partial + read) % self.packet;
            let mut answered = whole;
            while answered > 0 {
                let Some((asked, packets)) = waiting.front_mut() else {
                    return Err("more came than went".into());
                };
                let batch = answered.min(*packets);
                histogram.record(last.duration_since(*asked), u32::try_from(batch)?);
                (*packets, answered) = (*packets - batch, answered - batch);
                if *packets == 0 {
                    waiting.pop_front();
                }
            }
            if is_over(began, last, time) {
                outstanding -= whole;
            } else if whole > 0 {
                waiting.push_back((last, whole));
                unsent += whole * self.packet;
            }
        }
        Ok(Tally { histogram, time: last.duration_since(began) })
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn unless_blocked(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
