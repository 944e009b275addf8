//! One sink's work: take a batch, make the other side's words of it, try until it is delivered.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::sleep;

use super::http::{self, Answer};
use super::{Batch, Counts, Queue, journald};
use crate::approvals::sign;
use crate::audit::export::{is_refused, otlp_batch};
use crate::audit::read::Entry;
use crate::config::{Only, Sink, To, Webhook};

/// Records of one request.
const AT_ONCE: usize = 512;
/// Between tries, at first and at most.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

pub(super) async fn run(sink: Sink, queue: Arc<Queue>, counts: Arc<Counts>) {
    loop {
        let batch: Batch = queue.next().await;
        let lines: Vec<(&[u8], Entry<'_>)> = batch
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .filter_map(|line| Some((line, Entry::parse(line)?)))
            .filter(|(_, entry)| wants(sink.only, entry))
            .collect();
        for some in lines.chunks(AT_ONCE) {
            let counter = if deliver(&sink.to, some, &counts).await { &counts.sent } else { &counts.dropped };
            counter.fetch_add(some.len() as u64, Ordering::Relaxed);
        }
    }
}

fn wants(only: Only, entry: &Entry<'_>) -> bool {
    match only {
        Only::All => true,
        Only::Decisions => entry.is_decision(),
        Only::Refused => entry.is_decision() && is_refused(entry),
    }
}

/// Tries until it is done; false if the other side will never take it.
async fn deliver(to: &To, lines: &[(&[u8], Entry<'_>)], counts: &Counts) -> bool {
    let mut tries = Tries::new(counts);
    loop {
        let outcome = match to {
            To::Journald(socket) => journald::send(socket, lines).await.map(|()| Answer::Taken),
            To::Otlp(url) => {
                let body = otlp_batch(lines.iter().map(|(_, entry)| entry)).to_string();
                http::post(url, &[], body.as_bytes()).await
            }
            To::Webhook(url) => http::post(url, &[], &records(lines)).await,
        };
        if let Some(done) = tries.heed(outcome).await {
            return done;
        }
    }
}

/// Sends messages about held calls, one after the other, each signed anew for each try.
pub(super) async fn tell(webhook: Webhook, queue: Arc<Queue>, counts: Arc<Counts>) {
    loop {
        let body: Batch = queue.next().await;
        let mut tries = Tries::new(&counts);
        let done = loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
            let headers = sign::headers(&webhook.secret, now, &body);
            if let Some(done) = tries.heed(http::post(&webhook.url, &headers, &body).await).await {
                break done;
            }
        };
        let counter = if done { &counts.sent } else { &counts.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tries of one delivery, with longer and longer pauses between them.
struct Tries<'a> {
    counts: &'a Counts,
    wait: Duration,
}

impl<'a> Tries<'a> {
    fn new(counts: &'a Counts) -> Self {
        Self { counts, wait: FIRST }
    }

    /// Whether it is delivered or never will be; `None`, after a pause, if it is to be tried again.
    async fn heed(&mut self, outcome: io::Result<Answer>) -> Option<bool> {
        match outcome {
            Ok(Answer::Taken) => return Some(true),
            Ok(Answer::Never) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                return Some(false);
            }
            Ok(Answer::Later) | Err(_) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                sleep(self.wait).await;
                self.wait = (self.wait * 2).min(LONGEST);
            }
        }
        None
    }
}

/// `{"records":[…]}` of lines that are JSON already.
fn records(lines: &[(&[u8], Entry<'_>)]) -> Vec<u8> {
    let mut body = b"{\"records\":[".to_vec();
    for (index, (line, _)) in lines.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(line);
    }
    body.extend_from_slice(b"]}");
    body
}

/// What is not an answer in time.
pub(super) fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} took too long"))
}
