//! `guard audit export`.

use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;

use clap::ValueEnum;
use guard_userspace::audit::export::{ocsf, otlp};
use guard_userspace::audit::read::{Cursor, search};

use super::super::Ending;
use super::Where;
use super::filter::{Under, Which};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// The records as they stand in the log
    Jsonl,
    /// Open Cybersecurity Schema Framework 1.3
    Ocsf,
    /// OpenTelemetry logs, as the collector's otlpjsonfile receiver reads them
    Otlp,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    under: Under,
    /// One JSON object a line, in this format
    #[arg(long, value_enum)]
    format: Format,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let filter = self.under.filter(&self.which);
        let mut out = BufWriter::new(io::stdout().lock());
        let mut written = Ok(());
        search(&self.place.dir, &filter, &mut Cursor::default(), |entry, line| {
            written = match self.format {
                Format::Jsonl => out.write_all(line),
                Format::Ocsf => out.write_all(ocsf(entry).to_string().as_bytes()),
                Format::Otlp => out.write_all(otlp(entry).to_string().as_bytes()),
            }
            .and_then(|()| out.write_all(b"\n"));
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        written?;
        out.flush()?;
        Ok(Ending::Fine)
    }
}
