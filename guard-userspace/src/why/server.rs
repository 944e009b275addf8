//! The daemon's end: one connection at a time, nothing read, no waiting for whoever does not listen.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, socket};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{Answer, SOCKET, encode};

/// The daemon's loop may be compiling policies.
const PATIENCE: Duration = Duration::from_secs(20);
/// An answer fits into the socket, so this is never needed where its buffer has the usual size.
const WRITING: Duration = Duration::from_millis(200);
/// Between two answers: however often agents ask, the daemon has time for its work.
const PAUSE: Duration = Duration::from_millis(1);
/// Connections that wait for theirs.
const BACKLOG: i32 = 128;

/// Somebody asks why.
#[derive(Debug)]
pub(crate) struct Question {
    /// Whose the connection is, by the kernel's word; `None` if it was made outside every domain.
    pub(crate) session: Option<u64>,
    /// Who connected.
    pub(crate) pid: Option<u32>,
    reply: oneshot::Sender<Answer>,
}

impl Question {
    /// Whoever has gone is nobody's failure.
    pub(crate) fn answer(self, answer: Answer) {
        let _ = self.reply.send(answer);
    }
}

/// Takes questions from the socket.
#[derive(Debug)]
pub(crate) struct Server {
    questions: mpsc::Receiver<Question>,
}

/// Listens in `run`, in the place of whatever socket an earlier daemon left there. `mark` is given the socket before
/// anybody can connect to it.
pub(crate) fn listen(
    run: &Path,
    mark: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<net::UnixListener> {
    let path = run.join(SOCKET);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    mark(socket.as_fd())?;
    bind(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
    nix::sys::socket::listen(&socket, Backlog::new(BACKLOG)?)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    // Agents run as anybody, and must get through to the socket; nobody can list what is beside it.
    let mode = fs::metadata(run)?.permissions().mode() & 0o7777;
    fs::set_permissions(run, fs::Permissions::from_mode(mode | 0o011))?;
    Ok(socket.into())
}

impl Server {
    /// `whose` says which session made a connection.
    pub(crate) fn start(
        listener: net::UnixListener,
        whose: impl Fn(BorrowedFd<'_>) -> io::Result<Option<u64>> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = UnixListener::from_std(listener)?;
        let (send, questions) = mpsc::channel(1);
        tokio::spawn(accept(listener, whose, send));
        Ok(Self { questions })
    }

    /// The next question.
    pub(crate) async fn question(&mut self) -> Question {
        match self.questions.recv().await {
            Some(question) => question,
            // Only if the accepting task is gone, and nobody can ask any more.
            None => std::future::pending().await,
        }
    }
}

async fn accept(
    listener: UnixListener,
    whose: impl Fn(BorrowedFd<'_>) -> io::Result<Option<u64>> + Send + Sync,
    questions: mpsc::Sender<Question>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = serve(stream, &whose, &questions).await {
                    debug!(%error, "somebody who asked why is not answered");
                }
                sleep(PAUSE).await;
            }
            Err(error) => {
                warn!(%error, "the socket for asking why cannot take a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(
    mut stream: UnixStream,
    whose: &(impl Fn(BorrowedFd<'_>) -> io::Result<Option<u64>> + Sync),
    questions: &mpsc::Sender<Question>,
) -> io::Result<()> {
    let gone = || io::Error::other("the daemon is ending");
    let session = whose(stream.as_fd())?;
    let pid = stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
    let (reply, answer) = oneshot::channel();
    questions.send(Question { session, pid, reply }).await.map_err(|_| gone())?;
    let answer = timeout(PATIENCE, answer).await?.map_err(|_| gone())?;
    let text = encode(answer)?;
    timeout(WRITING, stream.write_all(&text)).await?
}

#[cfg(test)]
#[path = "server/tests.rs"]
mod tests;
