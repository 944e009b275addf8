//! As much of HTTP/1.1 as one GET takes. One path, one method, no body, no keep-alive: that is 60 lines, and no
//! library runs as root for it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::Listen;

/// Askers at a time; one more waits in the backlog.
const ASKERS: usize = 8;
/// A request has at most so many bytes, and so much time.
const LONGEST: usize = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

/// What is answered: the daemon writes it, whoever asks reads it.
#[derive(Clone, Debug, Default)]
pub struct Page(Arc<Mutex<Arc<str>>>);

impl Page {
    pub fn put(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    fn get(&self) -> Arc<str> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug)]
enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// The responder, bound and not serving yet.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    page: Page,
}

impl Server {
    pub fn bind(listen: &Listen) -> io::Result<Self> {
        let listener = match listen {
            Listen::Loopback(address) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Listener::Tcp(listener)
            }
            Listen::Unix(path) => {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                let listener = std::os::unix::net::UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
                listener.set_nonblocking(true)?;
                Listener::Unix(listener)
            }
        };
        Ok(Self { listener, page: Page::default() })
    }

    pub fn page(&self) -> Page {
        self.page.clone()
    }

    /// Where it listens, if by TCP: port 0 in the configuration lets the kernel choose one.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    /// Answers for ever.
    pub async fn serve(self) {
        let room = Arc::new(Semaphore::new(ASKERS));
        match self.listener {
            Listener::Tcp(listener) => {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                loop {
                    let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                    if let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(answer(stream, self.page.clone(), permit));
                    }
                }
            }
            Listener::Unix(listener) => {
                let Ok(listener) = UnixListener::from_std(listener) else { return };
                loop {
                    let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                    if let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(answer(stream, self.page.clone(), permit));
                    }
                }
            }
        }
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    page: Page,
    _permit: tokio::sync::OwnedSemaphorePermit,
) {
    // Whoever asks for nothing in time, or hangs up, is nobody's failure.
    let _ = timeout(PATIENCE, exchange(&mut stream, &page)).await;
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, page: &Page) -> io::Result<()> {
    let mut request = Vec::new();
    let mut some = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut some).await?;
        request.extend_from_slice(&some[..read]);
        if read == 0 || request.len() > LONGEST {
            return say(stream, "400 Bad Request", "this is no request").await;
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/metrics")) => say(stream, "200 OK", &page.get()).await,
        (Some(b"GET"), _) => say(stream, "404 Not Found", "ask for /metrics\n").await,
        _ => say(stream, "405 Method Not Allowed", "GET /metrics\n").await,
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, status: &str, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
