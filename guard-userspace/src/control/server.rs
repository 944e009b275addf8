//! The daemon's end: bounded in clients, in bytes and in time.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::wire::{self, Reply};
use super::{LONGEST, Peer, Refusal, Request, SOCKET, peer};

/// Clients at a time; one more waits in the socket's backlog.
const CLIENTS: usize = 64;
/// Requests that wait for the daemon's loop.
const WAITING: usize = 64;
/// A client that says nothing for so long is hung up on.
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
    let room = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &calls).await {
                        debug!(%error, "a client of the control socket is gone");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "the control socket cannot take a client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Speaks with one client until it hangs up, says nothing, or says too much.
async fn serve(stream: UnixStream, calls: &mpsc::Sender<Call>) -> io::Result<()> {
    let peer = Peer::of(&stream)?;
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = LONGEST as u64 + 1;
        let read = timeout(IDLE, (&mut stream).take(limit).read_until(b'\n', &mut line)).await??;
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
