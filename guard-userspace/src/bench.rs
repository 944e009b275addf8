//! `guard bench`: what guard costs on this very host, by the clock. Counts of instructions, which do not depend on the
//! machine, are `cargo xtask bench`'s; these figures are for comparing with each other, in one run.
//!
//! Nothing here speaks with the daemon or touches what it keeps: policies of its own making, a log in a directory of
//! its own, and calls that this process makes.

mod calls;
mod policies;
mod stream;

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    /// What it is to be seen beside.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub beside: String,
}

impl Figure {
    fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, beside: String::new() }
    }

    fn beside(self, text: impl Into<String>) -> Self {
        Self { beside: text.into(), ..self }
    }
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Policies: from text to what the kernel is told, and decisions
    Policies,
    /// The audit log: records, chain, questions
    Log,
    /// System calls of this process: run it inside a session too, and compare
    Calls,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Policies, Self::Log, Self::Calls];

    pub fn title(self) -> &'static str {
        match self {
            Self::Policies => "policies",
            Self::Log => "audit log",
            Self::Calls => "system calls of this process",
        }
    }
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("{what} in {place}")]
    Io {
        what: &'static str,
        place: String,
        #[source]
        source: std::io::Error,
    },
    #[error("compile a policy of {rules} rules")]
    Compile {
        rules: usize,
        #[source]
        source: crate::compile::Error,
    },
    #[error("keep a log for the measurement")]
    Log(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Measures one part. `scratch` is a directory that is there and may be filled.
pub fn measure(part: Part, scratch: &Path, patience: Duration) -> Result<Vec<Figure>, BenchError> {
    match part {
        Part::Policies => policies::measure(patience),
        Part::Log => stream::measure(scratch, patience),
        Part::Calls => calls::measure(scratch, patience),
    }
}

/// Does it again and again for as long as there is patience; how often, and how long it took.
fn repeat<E>(patience: Duration, mut act: impl FnMut() -> Result<(), E>) -> Result<(u32, Duration), E> {
    let begun = Instant::now();
    let mut times = 0;
    while times == 0 || begun.elapsed() < patience {
        act()?;
        times += 1;
    }
    Ok((times, begun.elapsed()))
}

fn failed(what: &'static str, place: &Path) -> impl FnOnce(std::io::Error) -> BenchError {
    let place = place.display().to_string();
    move |source| BenchError::Io { what, place, source }
}
