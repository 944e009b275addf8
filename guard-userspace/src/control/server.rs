//! The daemon's end: bounded in clients, in bytes and in time.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::wire::{self, Reply};
use super::{LONGEST, Peer, Refusal, Request, SOCKET, peer};

/// Clients at a time.
const CLIENTS: usize = 64;
/// Places besides, which only root takes: whoever else may ask cannot keep an administrator out.
const KEPT: usize = 8;
/// Clients that wait for a place, no longer than the first line may take; one more is hung up on.
const QUEUE: usize = 128;
/// A client that has not asked anything for so long is hung up on.
const FIRST: Duration = Duration::from_secs(5);
/// Requests that wait for the daemon's loop.
const WAITING: usize = 64;
/// The same for one that has asked before.
const IDLE: Duration = Duration::from_secs(30);
/// The group that may ask besides root, if the host has it.
const GROUP: &str = "guard";

/// One request, to be answered in the daemon's loop.
#[derive(Debug)]
pub struct Call {
    pub peer: Peer,
    pub request: Request,
    reply: oneshot::Sender<Reply>,
}

impl Call {
    /// A client that has gone is nobody's failure.
    pub(crate) fn answer(self, reply: Reply) {
        let _ = self.reply.send(reply);
    }
}

/// Takes calls from the socket.
#[derive(Debug)]
pub struct Server {
    calls: mpsc::Receiver<Call>,
}

impl Server {
    /// Listens in `run`, in the place of whatever socket an earlier daemon left there.
    pub fn open(run: &Path) -> io::Result<Self> {
        let path = run.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let group = peer::group(GROUP);
        fs::set_permissions(&path, fs::Permissions::from_mode(if group.is_some() { 0o660 } else { 0o600 }))?;
        if let Some(group) = group {
            chown(&path, None, Some(group))?;
        }
        let (send, calls) = mpsc::channel(WAITING);
        tokio::spawn(accept(listener, send));
        Ok(Self { calls })
    }

    /// The next request.
    pub async fn call(&mut self) -> Call {
        match self.calls.recv().await {
            Some(call) => call,
            // Only if the accepting task is gone, and nobody can ask any more.
            None => std::future::pending().await,
        }
    }
}

async fn accept(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let room = Room::new();
    let queue = Arc::new(Semaphore::new(CLIENTS + QUEUE));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let is_root = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0);
                let known = Arc::clone(&queue).try_acquire_owned().ok();
                if known.is_none() && !is_root {
                    continue;
                }
                let (calls, room) = (calls.clone(), room.clone());
                tokio::spawn(async move {
                    if let Err(error) = take(stream, &room, &calls).await {
                        debug!(%error, "a client of the control socket is gone");
                    }
                    drop(known);
                });
            }
            Err(error) => {
                warn!(%error, "the control socket cannot take a client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The places that there are.
#[derive(Clone)]
struct Room {
    all: Arc<Semaphore>,
    kept: Arc<Semaphore>,
}

impl Room {
    fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(CLIENTS)), kept: Arc::new(Semaphore::new(KEPT)) }
    }

    /// A place for a client of this user, once there is one.
    async fn place(&self, uid: u32) -> Result<OwnedSemaphorePermit, AcquireError> {
        let all = Arc::clone(&self.all).acquire_owned();
        if uid != 0 {
            return all.await;
        }
        tokio::select! {
            biased;
            place = all => place,
            place = Arc::clone(&self.kept).acquire_owned() => place,
        }
    }
}

/// Gives one client a place, and speaks with it.
async fn take(stream: UnixStream, room: &Room, calls: &mpsc::Sender<Call>) -> io::Result<()> {
    let peer = Peer::of(&stream)?;
    let place = timeout(FIRST, room.place(peer.uid)).await?.map_err(io::Error::other)?;
    let served = serve(stream, peer, calls).await;
    drop(place);
    served
}

/// Speaks with one client until it hangs up, says nothing, or says too much.
async fn serve(stream: UnixStream, peer: Peer, calls: &mpsc::Sender<Call>) -> io::Result<()> {
    let mut patience = FIRST;
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = LONGEST as u64 + 1;
        let read = timeout(patience, (&mut stream).take(limit).read_until(b'\n', &mut line)).await??;
        if read == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            let text = format!("a request ends in a newline and has at most {LONGEST} bytes");
            return write(&mut stream, &Reply::Error(Refusal::Malformed(text))).await;
        }
        let reply = match wire::decode(&line) {
            Ok(request) => ask(calls, peer.clone(), request).await,
            Err(refusal) => Reply::Error(refusal),
        };
        write(&mut stream, &reply).await?;
        patience = IDLE;
    }
}

async fn ask(calls: &mpsc::Sender<Call>, peer: Peer, request: Request) -> Reply {
    let (reply, answer) = oneshot::channel();
    let gone = || Reply::Error(Refusal::Failed("the daemon is ending".to_owned()));
    if calls.send(Call { peer, request, reply }).await.is_err() {
        return gone();
    }
    answer.await.unwrap_or_else(|_| gone())
}

async fn write(stream: &mut BufReader<UnixStream>, reply: &Reply) -> io::Result<()> {
    let mut text = serde_json::to_vec(reply)?;
    text.push(b'\n');
    timeout(IDLE, stream.write_all(&text)).await?
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
