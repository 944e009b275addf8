//! Everything around the measured task: files, sockets, cgroups, guard itself.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use serde_json::Value;

use crate::clock;

/// Where the agents' policies have their checkouts.
pub(crate) const WORKSPACE: &str = "/workspace";
/// A program that does nothing but end.
pub(crate) const TINY: &str = "/opt/tiny";
/// The port that every shipped policy lets connect to.
pub(crate) const GATEWAY: u16 = 18080;
pub(crate) const UDP_PORT: u16 = 9999;

const POLICIES: &str = "/etc/guard/policies";
const CGROUPS: &str = "/sys/fs/cgroup";
/// Below what the shipped policy for coding agents governs.
pub(crate) const DOMAIN: &str = "/sys/fs/cgroup/agents.slice/coding.slice/bench";
/// Below what none does.
pub(crate) const OUTSIDE: &str = "/sys/fs/cgroup/other.slice/coding.slice/bench";
const NOTES: &str = "/run/guard-bench";

/// The sockets that the measured task talks to, held by a task outside.
pub(crate) struct Stage {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Stage {
    pub(crate) fn set() -> Result<Self> {
        for directory in [NOTES, POLICIES, OUTSIDE, "/opt"] {
            fs::create_dir_all(directory).with_context(|| format!("create {directory}"))?;
        }
        let mut tiny = fs::File::options().write(true).create(true).truncate(true).mode(0o755).open(TINY)?;
        tiny.write_all(&tiny_program()).context("write the program to be run")?;
        drop(tiny);
        fs::set_permissions(TINY, fs::Permissions::from_mode(0o755))?;
        // What the kernel remembers of a peer costs each connect, and there is nothing to remember before the first daemon
        // has asked a gateway.
        fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1").context("forget connections")?;
        let home = home();
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        let names = ["file", "writable", "written"].map(str::to_owned);
        for name in names.into_iter().chain(crate::ops::names()) {
            fs::write(home.join(name), [0; 4096])?;
        }
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, GATEWAY)).context("listen")?;
        fcntl(&tcp, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, UDP_PORT)).context("receive")?;
        setsockopt(&udp, sockopt::RcvBufForce, &(64 << 20))?;
        fcntl(&udp, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { tcp, udp })
    }

    fn drain(&self) {
        while self.tcp.accept().is_ok() {}
        while self.udp.recv(&mut [0; 64]).is_ok() {}
    }

    /// Runs the operations through `wrap`, a command in front, and gives what they print.
    pub(crate) fn measure(&self, wrap: &[&str], scale: u64, ops: &[&str]) -> Result<Vec<Value>> {
        let home = home().display().to_string();
        let scale = scale.to_string();
        let own = own_program()?;
        let mut line: Vec<&str> = wrap.to_vec();
        line.extend([own.as_str(), "ops", &scale, &home]);
        line.extend(ops);
        let mut child = Command::new(line[0])
            .args(&line[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", line[0]))?;
        let mut answer = child.stdin.take().context("the operations have no input")?;
        let output = child.stdout.take().context("the operations have no output")?;
        let mut measured = Vec::new();
        for line in BufReader::new(output).lines() {
            let line = line?;
            if line == "drain" {
                self.drain();
                writeln!(answer, "go on")?;
            } else {
                measured.push(serde_json::from_str(&line).with_context(|| format!("read {line}"))?);
            }
        }
        let status = child.wait()?;
        ensure!(status.success(), "the operations ended with {status}");
        Ok(measured)
    }
}

pub(crate) fn own_program() -> Result<String> {
    Ok(std::env::current_exe().context("find this program")?.display().to_string())
}

/// Five directories deep.
pub(crate) fn home() -> PathBuf {
    Path::new(WORKSPACE).join("a/b/c/d")
}

/// `enter CGROUP COMMAND…`: runs a command inside a cgroup.
pub(crate) fn enter(cgroup: &Path, command: &[&str]) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("enter {}", cgroup.display()))?;
    let [program, args @ ..] = command else { bail!("enter: no command") };
    Err(Command::new(program).args(args).exec()).with_context(|| format!("run {program}"))
}

/// `guard daemon`, enforcing.
pub(crate) struct Guard {
    daemon: Child,
    /// From its start until it enforced: what passed, and what it used itself.
    pub(crate) start: u64,
    pub(crate) worked: u64,
}

const LOG: &str = "/run/guard-bench/log";

impl Guard {
    /// Starts it with these policies, file name and text, and waits until it says that it enforces.
    pub(crate) fn start(policies: &[(String, String)]) -> Result<Self> {
        write_policies(policies)?;
        let begun = clock::wall();
        let mut daemon = Command::new("guard")
            .args(["daemon", "--detach"])
            .env("GUARD_LOG", "debug")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(LOG)?)
            .spawn()
            .context("start guard daemon")?;
        let start = wait_for(&mut daemon, begun, " enforcing ", 1)?;
        let worked = clock::of(daemon.id());
        fs::write(Path::new(NOTES).join("daemon"), daemon.id().to_string())?;
        Ok(Self { daemon, start, worked })
    }

    /// Gives it other policies; the result is how long it took until they were enforced.
    pub(crate) fn reload(&mut self, policies: &[(String, String)]) -> Result<u64> {
        let before = said_so_far(INSTALLED);
        write_policies(policies)?;
        let begun = clock::wall();
        kill(Pid::from_raw(self.daemon.id().cast_signed()), Signal::SIGHUP)?;
        let took = wait_for(&mut self.daemon, begun, INSTALLED, before + 1)?;
        // It looks at its directory once a second, too: let it see what is there, so that it does not reload
        // in the middle of a measurement.
        thread::sleep(Duration::from_secs(2));
        Ok(took)
    }

    /// What the daemon wrote about each program that it loaded: its hook, how many instructions the verifier
    /// processed, and how many milliseconds that took.
    pub(crate) fn programs(&self) -> Vec<Value> {
        let log = fs::read_to_string(LOG).unwrap_or_default();
        let word = |line: &str, name: &str| -> Option<String> {
            let rest = line.split_once(&format!("{name}="))?.1;
            Some(rest.split(' ').next()?.trim_matches('"').to_owned())
        };
        let number = |text: String| {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            digits.parse::<u64>().ok()
        };
        log.lines()
            .filter(|line| line.contains(" loaded "))
            .filter_map(|line| {
                Some(serde_json::json!({
                    "program": word(line, "hook")?,
                    "verified": number(word(line, "instructions")?)?,
                    "milliseconds": number(word(line, "milliseconds")?)?,
                }))
            })
            .collect()
    }

    /// Resident memory of the daemon, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kilobytes * 1024)
    }

    /// Ends it and everything it enforces.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.daemon.id().cast_signed()), Signal::SIGTERM)?;
        let status = self.daemon.wait()?;
        let _ = fs::remove_file(Path::new(NOTES).join("daemon"));
        ensure!(status.success(), "guard daemon ended with {status}: {}", said());
        Ok(())
    }
}

const INSTALLED: &str = " installed ";

/// Waits until the daemon has said a thing so many times; gives how long that took.
fn wait_for(daemon: &mut Child, begun: u64, what: &str, times: usize) -> Result<u64> {
    loop {
        if said_so_far(what) >= times {
            return Ok(clock::wall() - begun);
        }
        if let Some(status) = daemon.try_wait()? {
            bail!("guard daemon ended with {status}: {}", said());
        }
        ensure!(clock::wall() - begun < 600_000_000_000, "guard does not say{what}: {}", said());
        thread::sleep(Duration::from_millis(10));
    }
}

fn said_so_far(what: &str) -> usize {
    fs::read_to_string(LOG).unwrap_or_default().matches(what).count()
}

fn write_policies(policies: &[(String, String)]) -> Result<()> {
    for entry in fs::read_dir(POLICIES)?.flatten() {
        fs::remove_file(entry.path())?;
    }
    for (name, text) in policies {
        fs::write(Path::new(POLICIES).join(format!("{name}.yaml")), text)?;
    }
    Ok(())
}

fn said() -> String {
    let log = fs::read_to_string(LOG).unwrap_or_default();
    log.lines().rev().take(20).collect::<Vec<_>>().join(" / ")
}

/// Makes so many cgroups beside the measured one.
pub(crate) fn siblings(count: usize) -> Result<()> {
    for n in 0..count {
        // No more than a hundred in one directory: a long list is dear to walk, and nobody has one.
        let directory = format!("{CGROUPS}/agents.slice/coding.slice/{}/{n}", n / 100);
        fs::create_dir_all(&directory).with_context(|| format!("create {directory}"))?;
    }
    Ok(())
}

/// A static program of nine bytes: `mov $60,%eax; xor %edi,%edi; syscall`.
fn tiny_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code = [0xb8u8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    };
    let longs = |file: &mut Vec<u8>, values: &[u64]| {
        values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    };
    halves(&mut file, &[2, 62, 1, 0]); // an executable for x86-64, version 1
    longs(&mut file, &[BASE + HEADERS, 64, 0]); // entry, program headers, no section headers
    halves(&mut file, &[0, 0, 64, 56, 1, 0, 0, 0]); // flags, sizes and counts of the headers
    let length = HEADERS + code.len() as u64;
    halves(&mut file, &[1, 0, 5, 0]); // load, to read and execute
    longs(&mut file, &[0, BASE, BASE, length, length, 0x1000]);
    file.extend(code);
    file
}
