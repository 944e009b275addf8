//! A process outside every domain, of the same user, to which nothing must happen.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::super::Tier;

#[derive(Debug)]
pub(crate) struct Outsider {
    child: Child,
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
        if let Some(said) = child.stdout.take() {
            BufReader::new(said).read_line(&mut line)?;
        }
        let memory = line.split_whitespace().nth(2).and_then(|word| word.parse().ok());
        let memory = memory.ok_or_else(|| io::Error::other("the outsider did not begin"))?;
        let mut outsider = Self { child, memory, was: String::new(), hurt: false };
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

    /// Whether it is gone, or not what it was. A signal needs a moment, which an attempt's end has given it.
    pub(crate) fn harmed(&mut self) -> bool {
        self.hurt |= !matches!(self.child.try_wait(), Ok(None)) || self.look() != self.was;
        self.hurt
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
