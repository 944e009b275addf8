//! `guard drill`: show that no known way around works on this host.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args as ClapArgs, ValueEnum};
use guard_userspace::control::{Client, Greeting, Request};
use guard_userspace::drill::{self, DrillError, Options, Profile, Tier, last, report};
use guard_userspace::kernel::Pins;

use super::{Ending, places, term};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Only these: a drill's name, a group, a tag (T1611, ASI05, a CVE), a threat's number, or hook:NAME
    #[arg(long, value_name = "TAG|ID")]
    only: Vec<String>,
    /// Only as this user
    #[arg(long)]
    tier: Option<As>,
    #[arg(long, default_value = "text")]
    format: Format,
    /// `vm` also runs drills whose control changes the machine, and `chaos` kills the daemon, fills its disk and moves the
    /// clock meanwhile: only on a machine that may be thrown away
    #[arg(long, default_value = "host")]
    profile: On,
    /// Try each drill by every way in which a task can be inside, not by two
    #[arg(long)]
    thorough: bool,
    /// Also try each rule of this policy: what it blocks must fail, what it allows must work. `--only policy`: nothing else
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print what there is and run nothing
    #[arg(long)]
    list: bool,
    /// The program that makes the attempts
    #[arg(long, value_name = "FILE")]
    attempt: Option<PathBuf>,
    /// Directory of policies
    #[arg(long, default_value = places::POLICIES)]
    policies: PathBuf,
    /// Directory of the audit log
    #[arg(long, default_value = places::STATE)]
    state: PathBuf,
    /// Directory of sockets and runtime state
    #[arg(long, default_value = places::RUN)]
    run: PathBuf,
    /// Directory of pins
    #[arg(long, default_value = places::PINS)]
    pins: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Junit,
    Html,
    Markdown,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum As {
    User,
    Container,
    Root,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum On {
    Host,
    Vm,
    Chaos,
}

impl From<As> for Tier {
    fn from(tier: As) -> Self {
        match tier {
            As::User => Self::User,
            As::Container => Self::Container,
            As::Root => Self::Root,
        }
    }
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        if self.list {
            let text = if self.format == Format::Markdown { report::markdown() } else { report::list() };
            term::print(&text)?;
            return Ok(Ending::Fine);
        }
        if self.format == Format::Markdown {
            eprintln!("guard drill: markdown is for --list; write --format html for a report");
            return Ok(Ending::Usage);
        }
        let options = self.options()?;
        let report = match drill::run(&options) {
            Ok(report) => report,
            Err(unknown @ (DrillError::Unknown(_) | DrillError::Own(_))) => {
                eprintln!("guard drill: {unknown}");
                return Ok(Ending::Usage);
            }
            Err(error) => return Err(error.into()),
        };
        let (result, json) = last::summary(&report)?;
        term::print(&match self.format {
            Format::Text | Format::Markdown => report::text(&report, io::stdout().is_terminal()),
            Format::Json => json.clone(),
            Format::Junit => report::junit(&report),
            Format::Html => report::html(&report),
        })?;
        // Part of a drill says nothing of the rest, so it is shown and not kept.
        if self.only.is_empty() && self.tier.is_none() && options.profile != Profile::Chaos {
            last::keep(&options.state, &json)?;
            let _: Greeting = Client::connect(&options.run)?.ask(&Request::DrillResult(result))?;
        }
        Ok(if report.summary.gap > 0 { Ending::Finding } else { Ending::Fine })
    }

    fn options(&self) -> anyhow::Result<Options> {
        let stop = Arc::new(AtomicBool::new(false));
        watch_signals(Arc::clone(&stop))?;
        Ok(Options {
            run: self.run.clone(),
            state: self.state.clone(),
            policies: self.policies.clone(),
            policy: self.policy.clone(),
            pins: Pins::at(&self.pins),
            cgroups: places::cgroups()?,
            helper: self.attempt.clone().or_else(helper).ok_or(DrillError::NoHelper)?,
            only: self.only.clone(),
            tier: self.tier.map(Tier::from),
            profile: match self.profile {
                On::Host => Profile::Host,
                On::Vm => Profile::Vm,
                On::Chaos => Profile::Chaos,
            },
            thorough: self.thorough,
            stop,
        })
    }
}

/// Beside this program, or where packages put it.
fn helper() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let beside = own.parent()?.join("guard-attempt");
    let installed = ["/usr/libexec/guard/guard-attempt", "/usr/lib/guard/guard-attempt"].map(PathBuf::from);
    [beside].into_iter().chain(installed).find(|path| path.is_file())
}

/// Lets a drill end by itself, and so take away what it made.
fn watch_signals(stop: Arc<AtomicBool>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        stop.store(true, Ordering::Relaxed);
    })?;
    Ok(())
}

/// `guard drill-launch PROGRAM ARGUMENT…`, which a drill starts: the task is moved into a cgroup while it runs this
/// program, which is a launcher, and then becomes another.
#[derive(Debug, ClapArgs)]
pub(crate) struct Launch {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

impl Launch {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        println!("launch");
        io::stdout().flush()?;
        // Byte by byte, and past the buffer of standard input: what follows is for the program.
        let mut byte = [0];
        let mut line = std::fs::File::open("/proc/self/fd/0")?;
        while line.read(&mut byte)? == 1 && byte != *b"\n" {}
        let (program, arguments) = self.command.split_first().unwrap_or((&self.command[0], &[]));
        Err(Command::new(program).args(arguments).exec().into())
    }
}
