//! Records on their way to other places than the log. What is here can lose records, and counts them; it can never
//! keep one out of the chain, or the chain waiting: it is told of a batch after that is on disk, and takes it
//! only if there is room.

mod deliver;
pub(crate) mod http;
mod journald;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::Notify;

use crate::config::Settings;
use crate::metrics;

/// What a sink has done, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    pub sent: AtomicU64,
    /// Records that it never got: no room for them, or refused by the other side.
    pub dropped: AtomicU64,
    /// Tries that failed.
    pub failed: AtomicU64,
}

/// One batch of lines, each with its newline.
type Batch = Arc<[u8]>;

/// The batches that wait for one sink.
#[derive(Debug)]
struct Queue {
    batches: Mutex<(VecDeque<Batch>, usize)>,
    most: usize,
    more: Notify,
}

impl Queue {
    fn new(most: usize) -> Self {
        Self { batches: Mutex::default(), most, more: Notify::new() }
    }

    /// Never waits: false if there is no room.
    fn offer(&self, batch: &Batch) -> bool {
        let mut waiting = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.1 + batch.len() > self.most {
            return false;
        }
        waiting.1 += batch.len();
        waiting.0.push_back(Arc::clone(batch));
        drop(waiting);
        self.more.notify_one();
        true
    }

    fn bytes(&self) -> usize {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn pop(&self) -> Option<Batch> {
        let mut waiting = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = waiting.0.pop_front()?;
        waiting.1 -= batch.len();
        Some(batch)
    }

    async fn next(&self) -> Batch {
        loop {
            if let Some(batch) = self.pop() {
                return batch;
            }
            self.more.notified().await;
        }
    }
}

/// One sink as the daemon sees it.
#[derive(Debug)]
struct Handle {
    name: String,
    queue: Arc<Queue>,
    counts: Arc<Counts>,
}

impl Handle {
    fn new(name: String, queue_bytes: usize) -> Self {
        Self { name, queue: Arc::new(Queue::new(queue_bytes)), counts: Arc::default() }
    }
}

/// What a sink is at, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub name: String,
    pub sent: u64,
    pub dropped: u64,
    pub failed: u64,
    pub waiting_bytes: u64,
}

/// Everything that leaves the daemon sideways: sinks and metrics, in a thread of their own.
#[derive(Debug, Default)]
pub struct Sinks {
    handles: Vec<Handle>,
    /// Who is told of held calls.
    approvals: Option<Handle>,
    /// What `/metrics` answers; `None` if nobody asked for it.
    page: Option<metrics::Page>,
}

impl Sinks {
    /// Starts the thread if there is anything for it to do.
    pub fn start(settings: &Settings) -> io::Result<Self> {
        let mut handles = Vec::new();
        let mut work = Vec::new();
        for sink in &settings.sinks {
            let handle = Handle::new(sink.to.name(), sink.queue_bytes);
            work.push((sink.clone(), Arc::clone(&handle.queue), Arc::clone(&handle.counts)));
            handles.push(handle);
        }
        let approvals = settings.approvals.as_ref().map(|webhook| {
            let handle = Handle::new(format!("approvals {}", webhook.url), webhook.queue_bytes);
            let parts = (webhook.clone(), Arc::clone(&handle.queue), Arc::clone(&handle.counts));
            (handle, parts)
        });
        let (approvals, telling) = approvals.unzip();
        let server = settings.metrics.as_ref().map(metrics::Server::bind).transpose()?;
        let page = server.as_ref().map(metrics::Server::page);
        if server.is_none() && work.is_empty() && telling.is_none() {
            return Ok(Self::default());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("guard-sinks".to_owned()).spawn(move || {
            runtime.block_on(async {
                for (sink, queue, counts) in work {
                    tokio::spawn(deliver::run(sink, queue, counts));
                }
                if let Some((webhook, queue, counts)) = telling {
                    tokio::spawn(deliver::tell(webhook, queue, counts));
                }
                match server {
                    Some(server) => server.serve().await,
                    None => std::future::pending().await,
                }
            });
        })?;
        Ok(Self { handles, approvals, page })
    }

    /// Whether anybody wants lines.
    pub fn wants_lines(&self) -> bool {
        !self.handles.is_empty()
    }

    /// Whether anybody wants to hear of held calls.
    pub fn wants_held(&self) -> bool {
        self.approvals.is_some()
    }

    /// Where the daemon puts what `/metrics` answers.
    pub fn page(&self) -> Option<&metrics::Page> {
        self.page.as_ref()
    }

    /// Offers lines that are in the log to every sink.
    pub fn offer(&self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let batch: Batch = lines.into();
        for handle in &self.handles {
            if !handle.queue.offer(&batch) {
                let records = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
                handle.counts.dropped.fetch_add(records, Ordering::Relaxed);
            }
        }
    }

    /// Offers one message about a held call to whoever is to hear of them.
    pub fn tell(&self, message: &[u8]) {
        if let Some(handle) = &self.approvals
            && !handle.queue.offer(&message.into())
        {
            handle.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How each sink is doing.
    pub fn standing(&self) -> Vec<Standing> {
        self.handles
            .iter()
            .chain(&self.approvals)
            .map(|handle| Standing {
                name: handle.name.clone(),
                sent: handle.counts.sent.load(Ordering::Relaxed),
                dropped: handle.counts.dropped.load(Ordering::Relaxed),
                failed: handle.counts.failed.load(Ordering::Relaxed),
                waiting_bytes: handle.queue.bytes() as u64,
            })
            .collect()
    }
}
