//! A process outside every domain, of the same user, to which nothing must happen.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::Tier;

/// How long an answer may take, in milliseconds: on a busy host a process can stand still for a while.
const PATIENCE: u16 = 5_000;

#[derive(Debug)]
pub(crate) struct Outsider {
    child: Child,
    said: BufReader<ChildStdout>,
    pub(crate) memory: u64,
    was: String,
    hurt: bool,
}

impl Outsider {
    pub(crate) fn start(helper: &Path, tier: Tier) -> io::Result<Self> {
        let mut child = Command::new(helper)
            .args(["outsider", &format!("tier={}", tier.name())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        let said = child.stdout.take().ok_or_else(|| io::Error::other("the outsider has no output"))?;
        let mut said = BufReader::new(said);
        said.read_line(&mut line)?;
        let memory = line.split_whitespace().nth(2).and_then(|word| word.parse().ok());
        let memory = memory.ok_or_else(|| io::Error::other("the outsider did not begin"))?;
        let mut outsider = Self { child, said, memory, was: String::new(), hurt: false };
        outsider.was = outsider.look();
        Ok(outsider)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it can be used for another attempt.
    pub(crate) fn serves(&mut self) -> bool {
        !self.hurt && matches!(self.child.try_wait(), Ok(None))
    }

    /// Whether it is gone, or not what it was.
    pub(crate) fn harmed(&mut self) -> bool {
        self.hurt |= !self.answers() || self.look() != self.was;
        self.hurt
    }

    /// Whether it answers. A signal is dealt with before a process goes on, so no answer comes from one that was killed.
    fn answers(&mut self) -> bool {
        let asked = self.child.stdin.as_mut().is_some_and(|input| input.write_all(b"?").is_ok());
        let mut waits = [PollFd::new(self.said.get_ref().as_fd(), PollFlags::POLLIN)];
        asked
            && poll(&mut waits, PollTimeout::from(PATIENCE)).is_ok_and(|ready| ready > 0)
            && self.said.read_exact(&mut [0]).is_ok()
    }

    /// Its limits, priorities, processors, memory.
    fn look(&self) -> String {
        let file =
            |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.pid())).unwrap_or_default();
        let mut text = file("limits");
        text.extend(file("status").lines().filter(|line| {
            ["Cpus_allowed:", "Name:", "TracerPid:", "Mems_allowed:"]
                .iter()
                .any(|word| line.starts_with(word))
        }));
        // Priority, nice, policy: fields 18, 19 and 41, counted behind the name in brackets; a kill shows as state Z.
        let stat = file("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        for field in [15, 16, 38] {
            text.push_str(fields.get(field).unwrap_or(&""));
            text.push(' ');
        }
        let dying = fields.first().is_some_and(|state| ["Z", "X", "T"].contains(state));
        text.push_str(if dying { "dying" } else { "alive" });
        text.push_str(&file("cgroup"));
        text.push_str(&file("timerslack_ns"));
        text.push_str(&file("oom_score_adj"));
        let mut memory = [0u8; 16];
        if let Ok(file) = fs::File::open(format!("/proc/{}/mem", self.pid())) {
            let _ = file.read_exact_at(&mut memory, self.memory);
        }
        text.push_str(&memory.escape_ascii().to_string());
        text
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
