//! As much of HTTP/1.1 as one POST takes. The daemon is root and holds the policy: a client library with pools,
//! redirects and TLS would be its largest part, for a request to a collector on the same host.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::deliver::late;
use crate::config::Url;

const PATIENCE: Duration = Duration::from_secs(10);
/// The status line is all that counts.
const ANSWER: usize = 512;

/// What the other side says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    /// Not now.
    Later,
    /// This request is wrong, and would be again.
    Never,
}

pub(super) async fn post(url: &Url, kind: &str, body: &[u8]) -> io::Result<Answer> {
    timeout(PATIENCE, exchange(url, kind, body)).await.map_err(|_| late("the request"))?
}

async fn exchange(url: &Url, kind: &str, body: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {host}:{}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         User-Agent: guard/{}\r\nConnection: close\r\n\r\n",
        url.path,
        url.port,
        body.len(),
        env!("CARGO_PKG_VERSION"),
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    (&mut stream).take(ANSWER as u64).read_to_end(&mut answer).await?;
    read(&answer)
}

fn read(answer: &[u8]) -> io::Result<Answer> {
    let text = String::from_utf8_lossy(answer);
    let status =
        text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    match status {
        Some(200..=299) => Ok(Answer::Taken),
        Some(408 | 425 | 429 | 500..=599) => Ok(Answer::Later),
        Some(_) => Ok(Answer::Never),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_later_or_never() {
        assert_eq!(read(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), Answer::Taken);
        assert_eq!(read(b"HTTP/1.0 503 Busy\r\n").unwrap(), Answer::Later);
        assert_eq!(read(b"HTTP/1.1 404 Not Found\r\n").unwrap(), Answer::Never);
        assert!(read(b"SSH-2.0-x").is_err() && read(b"").is_err());
    }
}
