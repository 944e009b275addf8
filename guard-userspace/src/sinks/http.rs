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
/// The status line is all that counts of a sink's answer.
const ANSWER: usize = 512;

/// A header beside those that every request has.
pub(crate) type Header = (&'static str, String);

/// What the other side says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    /// Not now.
    Later,
    /// This request is wrong, and would be again.
    Never,
}

/// An answer whose body counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

pub(super) async fn post(url: &Url, headers: &[Header], body: &[u8]) -> io::Result<Answer> {
    let answer = timeout(PATIENCE, exchange(url, headers, body, ANSWER));
    read(&answer.await.map_err(|_| late("the request"))??)
}

/// Sends one request; of the answer, as much as `most` bytes. The caller bounds the time.
pub(crate) async fn exchange(url: &Url, headers: &[Header], body: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    stream.set_nodelay(true)?;
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {host}:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         User-Agent: guard/{}\r\n{more}Connection: close\r\n\r\n",
        url.path,
        url.port,
        body.len(),
        env!("CARGO_PKG_VERSION"),
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    let mut answer = Vec::new();
    let mut some = [0; 4096];
    // A server that keeps the connection has said how long its answer is.
    while answer.len() < most && !is_whole(&answer) {
        let read = stream.read(&mut some[..(most - answer.len()).min(4096)]).await?;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&some[..read]);
    }
    Ok(answer)
}

fn read(answer: &[u8]) -> io::Result<Answer> {
    match status(answer)? {
        200..=299 => Ok(Answer::Taken),
        408 | 425 | 429 | 500..=599 => Ok(Answer::Later),
        _ => Ok(Answer::Never),
    }
}

fn status(answer: &[u8]) -> io::Result<u16> {
    let text = String::from_utf8_lossy(answer.get(..12).unwrap_or(answer));
    let code =
        text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    code.ok_or_else(|| invalid("the answer is not HTTP"))
}

impl Response {
    /// Reads a whole answer.
    pub(crate) fn parse(answer: &[u8]) -> io::Result<Self> {
        let status = status(answer)?;
        let (head, body) = split(answer).ok_or_else(|| invalid("the answer ends within its head"))?;
        if header(&head, "transfer-encoding").is_some() {
            return Err(invalid("the answer comes in chunks: send it with Content-Length"));
        }
        let body = match length(&head) {
            None => body,
            Some(length) => {
                body.get(..length).ok_or_else(|| invalid("the answer ends before its Content-Length"))?
            }
        };
        Ok(Self { status, body: body.to_vec(), head })
    }

    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// Head and body.
fn split(answer: &[u8]) -> Option<(String, &[u8])> {
    let at = answer.windows(4).position(|end| end == b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(&answer[..at]).into_owned(), &answer[at + 4..]))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    pairs.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn length(head: &str) -> Option<usize> {
    header(head, "content-length")?.parse().ok()
}

fn is_whole(answer: &[u8]) -> bool {
    split(answer).is_some_and(|(head, body)| length(&head).is_some_and(|length| body.len() >= length))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
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

    #[test]
    fn a_whole_answer_has_its_headers_and_no_more_than_its_body() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\nGuard-Signature:  v1=ab \r\n\r\n{}more";
        assert!(is_whole(answer) && !is_whole(&answer[..answer.len() - 5]));
        let response = Response::parse(answer).unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, b"{}".as_slice()));
        assert_eq!(response.header("guard-signature"), Some("v1=ab"));
        assert_eq!(response.header("server"), None);
        // Without a length it goes on to the end.
        assert_eq!(Response::parse(b"HTTP/1.0 200 OK\r\n\r\n{}").unwrap().body, b"{}");
    }

    #[test]
    fn an_answer_that_is_cut_short_is_none() {
        for (answer, says) in [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}".as_slice(), "before its Content-Length"),
            (b"HTTP/1.1 200 OK\r\nContent-", "within its head"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "chunks"),
            (b"{}", "not HTTP"),
            (b"", "not HTTP"),
        ] {
            let wrong = Response::parse(answer).unwrap_err().to_string();
            assert!(wrong.contains(says), "{wrong}");
        }
    }
}
