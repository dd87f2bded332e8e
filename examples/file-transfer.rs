//! Files of any size, both ways, in constant memory
//!
//! ```text
//! cargo run --release --example file-transfer -- make /tmp/big 1024
//! cargo run --release --example file-transfer -- serve 127.0.0.1:7000 /tmp/store
//! cargo run --release --example file-transfer -- put 127.0.0.1:7000 /tmp/big
//! cargo run --release --example file-transfer -- get 127.0.0.1:7000 big /tmp/copy
//! ```
//!
//! A file goes as chunks, each a call of its own: a chunk that was answered has arrived, and at most [`WINDOW`] of them are
//! on their way at a time, which bounds the memory of both ends whatever their speeds. A transfer that was cut goes on where
//! it ended, and a checksum of the whole file ends it.
//!
//! | code | payload | answer |
//! |---|---|---|
//! | `put` | [`Name`] | [`Offset`]: how much of it is there already |
//! | `write` | offset (8 bytes, big-endian), then the bytes there | nothing, or `PUT_FIRST` |
//! | `done` | [`Sum`]: of the whole file | nothing, or `WRONG_SUM`: start again |
//! | `open` | [`Name`] | [`Offset`]: its length, or `NO_SUCH_FILE` |
//! | `read` | offset, length (8 and 4 bytes, big-endian) | the bytes there, or `OPEN_FIRST` |
//! | `sum` | nothing | [`Sum`]: of the file that is open |
//! | `memory` | nothing | [`Memory`] |

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flyrpc_tokio::{
    Bytes, Client, Connected, Context, Error, Json, Peer, RemoteError, Router, Server, State,
};
use serde::{Deserialize, Serialize};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

type Failure = Box<dyn core::error::Error + Send + Sync>;

/// Bytes of a chunk: large enough that a call costs little beside it
const CHUNK: usize = 256 << 10;

/// Chunks on their way at a time: CHUNK * WINDOW should be more than a line's speed times its round trip
const WINDOW: usize = 16;

#[derive(Serialize, Deserialize)]
struct Name(String);

#[derive(Serialize, Deserialize)]
struct Offset(u64);

/// CRC-32 finds accidents. Where somebody may want to deceive, take SHA-256.
#[derive(PartialEq, Serialize, Deserialize)]
struct Sum(u32);

/// Most memory that a process has held since its start, and what it held before any transfer, in KiB
#[derive(Serialize, Deserialize)]
struct Memory {
    peak: u64,
    start: u64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", file, mib] => make(file, mib.parse()?),
        ["serve", address, folder] => serve(address, folder).await,
        ["put", address, file] => put(address, Path::new(file)).await,
        ["get", address, name, file] => get(address, name, Path::new(file)).await,
        _ => Err("usage: file-transfer make FILE MIB | serve ADDRESS FOLDER | put ADDRESS FILE | \
                  get ADDRESS NAME FILE"
            .into()),
    }
}

// The server

/// What all connections share
struct Store {
    folder: PathBuf,
    start: u64,
}

impl Store {
    /// Only names, never paths: a client must not reach what is not in the folder
    fn path(&self, Name(name): &Name) -> Result<PathBuf, RemoteError> {
        let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0', ':']);
        if is_plain { Ok(self.folder.join(name)) } else { Err("BAD_NAME".into()) }
    }
}

/// A file on its way in: one for each connection, in its session
struct Incoming {
    part: File,
    path: PathBuf,
    /// Everything before this offset is written
    whole: u64,
    /// Ends of chunks that are written behind it, by their start: chunks may overtake each other
    early: BTreeMap<u64, u64>,
}

impl Incoming {
    fn open(path: PathBuf) -> io::Result<Self> {
        let part =
            File::options().read(true).write(true).create(true).truncate(false).open(part_of(&path))?;
        let whole = part.metadata()?.len();
        Ok(Self { part, path, whole, early: BTreeMap::new() })
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.part.seek(SeekFrom::Start(offset))?;
        self.part.write_all(bytes)?;
        self.early.insert(offset, offset + bytes.len() as u64);
        while let Some(end) = self.early.remove(&self.whole) {
            self.whole = end;
        }
        Ok(())
    }

    /// It is complete: gives it its name, if it is what was sent
    fn finish(&mut self, sent: &Sum) -> io::Result<bool> {
        self.part.set_len(self.whole)?;
        let right = sum_of(&mut self.part)? == *sent;
        if right {
            fs::rename(part_of(&self.path), &self.path)?;
        } else {
            // Nobody knows which chunk is wrong.
            self.part.set_len(0)?;
            self.whole = 0;
        }
        Ok(right)
    }
}

impl Drop for Incoming {
    /// The next `put` goes on at the end of the file, so there must be no hole before it
    fn drop(&mut self) {
        let _ = self.part.set_len(self.whole);
    }
}

/// A file on its way out
struct Outgoing(File);

type Shared<T> = Arc<Mutex<T>>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connection's own, or the error that says what must come first
fn of_session<T: Send + 'static>(context: &Context, first: &str) -> Result<Shared<T>, RemoteError> {
    let shared = context.session().get::<Shared<T>>().ok_or(first)?;
    Ok(Arc::clone(&shared))
}

/// Files block, so they are for threads that may: `run` runs on one of those
async fn with_files<T: Send + 'static>(
    run: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, RemoteError> {
    let failed = |text: String| RemoteError::new("FILE_ERROR").details(text);
    match spawn_blocking(run).await {
        Ok(done) => done.map_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                "NO_SUCH_FILE".into()
            } else {
                failed(error.to_string())
            }
        }),
        Err(panicked) => Err(failed(panicked.to_string())),
    }
}

async fn start_put(
    context: Context,
    store: State<Store>,
    Json(name): Json<Name>,
) -> Result<Json<Offset>, RemoteError> {
    let path = store.path(&name)?;
    // The one before, if there is one, must be closed first: it may be the same file.
    drop(context.session().remove::<Shared<Incoming>>());
    let file = with_files(|| Incoming::open(path)).await?;
    let offset = file.whole;
    context.session().insert(Arc::new(Mutex::new(file)));
    Ok(Json(Offset(offset)))
}

async fn write(context: Context, chunk: Bytes) -> Result<(), RemoteError> {
    let file = of_session::<Incoming>(&context, "PUT_FIRST")?;
    let (offset, bytes) = chunk.split_first_chunk().ok_or("BAD_CHUNK")?;
    let (offset, bytes) = (u64::from_be_bytes(*offset), chunk.slice_ref(bytes));
    with_files(move || lock(&file).write(offset, &bytes)).await
}

async fn done(context: Context, Json(sum): Json<Sum>) -> Result<(), RemoteError> {
    let file = of_session::<Incoming>(&context, "PUT_FIRST")?;
    if !with_files(move || lock(&file).finish(&sum)).await? {
        return Err("WRONG_SUM".into());
    }
    // The file is the store's now, not the connection's.
    drop(context.session().remove::<Shared<Incoming>>());
    Ok(())
}

async fn open(
    context: Context,
    store: State<Store>,
    Json(name): Json<Name>,
) -> Result<Json<Offset>, RemoteError> {
    let path = store.path(&name)?;
    let (file, len) = with_files(|| {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok((file, len))
    })
    .await?;
    context.session().insert(Arc::new(Mutex::new(Outgoing(file))));
    Ok(Json(Offset(len)))
}

async fn read(context: Context, wanted: Bytes) -> Result<Vec<u8>, RemoteError> {
    let file = of_session::<Outgoing>(&context, "OPEN_FIRST")?;
    let (offset, len) = wanted.split_first_chunk().ok_or("BAD_CHUNK")?;
    let offset = u64::from_be_bytes(*offset);
    let len = u32::from_be_bytes(len.try_into().map_err(|_| "BAD_CHUNK")?) as usize;
    if len > CHUNK {
        return Err("BAD_CHUNK".into());
    }
    with_files(move || {
        let mut bytes = vec![0; len];
        let Outgoing(file) = &mut *lock(&file);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    })
    .await
}

async fn sum(context: Context) -> Result<Json<Sum>, RemoteError> {
    let file = of_session::<Outgoing>(&context, "OPEN_FIRST")?;
    with_files(move || sum_of(&mut lock(&file).0)).await.map(Json)
}

async fn serve(address: &str, folder: &str) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let router = Router::new()
        .state(Store { folder: folder.into(), start: memory() })
        .handle("put", start_put)
        .handle("write", write)
        .handle("done", done)
        .handle("open", open)
        .handle("read", read)
        .handle("sum", sum)
        .handle("memory", |store: State<Store>| Json(Memory { peak: memory(), start: store.start }));
    let server = Server::new()
        .router(router)
        // Sessions live as long as anything that knows the connection; the file is to be closed with it.
        .on_close(|peer, _| drop(peer.session().remove::<Shared<Incoming>>()))
        .listen(address)
        .await?;
    println!("listening on {}", server.address());
    tokio::signal::ctrl_c().await?;
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

// The client

/// Chunks on their way; the first that was sent is the first to be waited for
struct Window<T>(VecDeque<JoinHandle<Result<T, Error>>>);

impl<T: Send + 'static> Window<T> {
    const fn new() -> Self {
        Self(VecDeque::new())
    }

    fn is_full(&self) -> bool {
        self.0.len() >= WINDOW
    }

    fn push(&mut self, call: impl Future<Output = Result<T, Error>> + Send + 'static) {
        self.0.push_back(tokio::spawn(call));
    }

    /// The oldest one's answer; `None` when there is none
    async fn next(&mut self) -> Result<Option<T>, Failure> {
        match self.0.pop_front() {
            Some(call) => Ok(Some(call.await??)),
            None => Ok(None),
        }
    }
}

impl<T> Drop for Window<T> {
    /// After a failure nobody waits for the others
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// A slow line may need long for a whole window
const PATIENCE: Duration = Duration::from_secs(60);

async fn connect(address: &str) -> io::Result<Connected> {
    Client::new().keepalive(Duration::from_secs(15), Duration::from_secs(15)).connect(address).await
}

async fn put(address: &str, path: &Path) -> Result<(), Failure> {
    let start = memory();
    let server = connect(address).await?;
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("the file needs a name in UTF-8")?;
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();

    let Json(Offset(there)) = server.call_as::<Json<Offset>>("put", Json(Name(name.to_owned()))).await?;
    // What is there of a longer file is not of this one; the checksum will say so.
    let mut offset = there.min(len);
    let clock = Clock::start(offset);
    let mut sum = crc32fast::Hasher::new();
    hash(&mut (&mut file).take(offset), &mut sum)?;
    let mut window = Window::new();
    while offset < len {
        if window.is_full() {
            window.next().await?;
        }
        let size = usize::try_from(len - offset).unwrap_or(CHUNK).min(CHUNK);
        // Reading blocks this task, which has nothing else to do; its calls are tasks of their own.
        let mut chunk = vec![0; 8 + size];
        chunk[..8].copy_from_slice(&offset.to_be_bytes());
        file.read_exact(&mut chunk[8..])?;
        sum.update(&chunk[8..]);
        let peer = server.peer();
        window.push(async move { peer.send_acked("write", chunk).within(PATIENCE).await });
        offset += size as u64;
    }
    while window.next().await?.is_some() {}
    server.send_acked("done", Json(Sum(sum.finalize()))).within(PATIENCE).await?;
    clock.report("sent", len);
    report_memory(&server, start).await
}

async fn get(address: &str, name: &str, path: &Path) -> Result<(), Failure> {
    let start = memory();
    let server = connect(address).await?;
    let Json(Offset(len)) = server.call_as::<Json<Offset>>("open", Json(Name(name.to_owned()))).await?;
    let mut part = File::options().read(true).append(true).create(true).open(part_of(path))?;
    let here = part.metadata()?.len();

    let clock = Clock::start(here);
    let mut asked = here;
    let mut window = Window::new();
    loop {
        while asked < len && !window.is_full() {
            let size = (len - asked).min(CHUNK as u64);
            window.push(read_chunk(server.peer(), asked, size as u32));
            asked += size;
        }
        // In the order of the file, so what is in the part is whole at any time.
        let Some(bytes) = window.next().await? else { break };
        part.write_all(&bytes)?;
    }
    let Json(theirs) = server.call_as::<Json<Sum>>("sum", ()).within(PATIENCE).await?;
    if sum_of(&mut part)? != theirs {
        part.set_len(0)?;
        return Err("the copy is not what the server has; start again".into());
    }
    fs::rename(part_of(path), path)?;
    clock.report("received", len);
    report_memory(&server, start).await
}

async fn read_chunk(peer: Peer, offset: u64, len: u32) -> Result<Bytes, Error> {
    let mut wanted = [0; 12];
    wanted[..8].copy_from_slice(&offset.to_be_bytes());
    wanted[8..].copy_from_slice(&len.to_be_bytes());
    peer.call("read", &wanted).within(PATIENCE).await
}

/// How long a transfer takes
struct Clock {
    start: Instant,
    resumed_at: u64,
}

impl Clock {
    fn start(resumed_at: u64) -> Self {
        Self { start: Instant::now(), resumed_at }
    }

    fn report(&self, done: &str, len: u64) {
        let moved = len.saturating_sub(self.resumed_at) as f64 / f64::from(1 << 20);
        let seconds = self.start.elapsed().as_secs_f64();
        let resumed =
            if self.resumed_at > 0 { format!(", from byte {} on", self.resumed_at) } else { String::new() };
        println!("{done} {moved:.1} MiB in {seconds:.2} s: {:.0} MiB/s{resumed}", moved / seconds);
    }
}

async fn report_memory(server: &Peer, start: u64) -> Result<(), Failure> {
    let Json(theirs) = server.call_as::<Json<Memory>>("memory", ()).await?;
    for (whose, Memory { peak, start }) in [("client", Memory { peak: memory(), start }), ("server", theirs)]
    {
        println!("{whose}: peak {peak} KiB, {} KiB more than at its start", peak.saturating_sub(start));
    }
    Ok(())
}

// Both

/// A file that is not whole yet
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn sum_of(file: &mut File) -> io::Result<Sum> {
    let mut sum = crc32fast::Hasher::new();
    file.seek(SeekFrom::Start(0))?;
    hash(file, &mut sum)?;
    Ok(Sum(sum.finalize()))
}

fn hash(from: &mut impl Read, sum: &mut crc32fast::Hasher) -> io::Result<()> {
    let mut bytes = vec![0; CHUNK];
    loop {
        match from.read(&mut bytes)? {
            0 => return Ok(()),
            len => sum.update(&bytes[..len]),
        }
    }
}

/// The most memory that this process has held, in KiB; 0 where the system has no `/proc`
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// A file to try with: the same bytes each time, and no two chunks alike
fn make(file: &str, mib: u64) -> Result<(), Failure> {
    let mut file = io::BufWriter::new(File::create(file)?);
    let mut word = 1_u64;
    for _ in 0..mib << 17 {
        // An LFSR's steps (xorshift64)
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        file.write_all(&word.to_le_bytes())?;
    }
    file.flush()?;
    Ok(())
}
