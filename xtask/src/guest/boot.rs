//! Starts QEMU, listens to the guest, and tells a command's end from a guest's.

use std::fs::{self, OpenOptions};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::accel::{self, Accel};
use super::frame::{self, Frame};
use super::{Ended, Failure, Guest, Status, image};
use crate::debian::qemu::Qemu;
use crate::paths;

/// Which of the command's outputs some bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// Console logs kept per kernel.
const KEPT_LOGS: usize = 30;

pub(super) fn boot(guest: &Guest, argv: &[String], sink: &mut dyn FnMut(Stream, &[u8])) -> Result<Ended> {
    let accel = match guest.accel {
        Some(accel) => accel,
        None => accel::choose(guest)?,
    };
    let qemu = Qemu::get()?;
    let console_log = new_log(guest.kernel.series)?;
    let scratch = Scratch::new(&console_log)?;
    let initrd = scratch.0.join("initrd");
    image::write(guest, argv, &initrd)?;
    let mut child = Running(
        arguments(guest, accel, qemu.command(), &initrd, &console_log)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start QEMU")?,
    );
    let frames = listen(&mut child.0)?;
    let end = follow(&frames, Instant::now() + guest.timeout, sink);
    let End { started, how: end, files } = end;
    let fail = |why: String, timed_out: bool| {
        Err(Failure { why, timed_out, started, console_log: console_log.clone() }.into())
    };
    if matches!(end, How::Ended(_)) {
        child.wait_for(Duration::from_secs(10));
    }
    let qemu_said = child.stop();
    let panic = panic_line(&console_log);
    match (end, panic) {
        (How::TimedOut, Some(panic)) => fail(format!("{panic}, and it hung"), true),
        (How::TimedOut, None) => fail(format!("it did not end within {} s", guest.timeout.as_secs()), true),
        (_, Some(panic)) => fail(panic, false),
        (How::Broken(why), None) => fail(why, false),
        (How::Vanished, None) if qemu_said.is_empty() => {
            fail("it stopped without saying how the command ended".to_owned(), false)
        }
        (How::Vanished, None) => fail(format!("QEMU stopped: {qemu_said}"), false),
        (How::Ended(status), None) => Ok(Ended { status, console_log, files }),
    }
}

fn arguments(guest: &Guest, accel: Accel, mut qemu: Command, initrd: &Path, console_log: &Path) -> Command {
    let mut words = vec![
        "console=ttyS0 loglevel=4 panic=-1 oops=panic no_timer_check random.trust_cpu=on".to_owned(),
        format!("lsm={}", guest.lsm),
    ];
    if guest.icount {
        words.push("nokaslr random.trust_bootloader=1".to_owned());
        qemu.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"]);
        qemu.args(["-rtc", "base=2026-01-01T00:00:00,clock=vm", "-seed", "1"]);
        qemu.args(["-cpu", "max,-rdrand,-rdseed,-erms,-fsrm,-fzrm,-fsrs,-fsrc"]);
    } else {
        let accel = match accel {
            Accel::Emulation => "tcg,thread=multi",
            Accel::Hardware => "kvm",
        };
        qemu.args(["-accel", accel, "-cpu", "max", "-smp", &guest.cpus.to_string()]);
    }
    if let Some(root) = &guest.root {
        words.push("systemd.unit=guest.target systemd.show_status=false".to_owned());
        // What the guest writes goes to a temporary file that only this QEMU knows.
        let image = root.image.display().to_string().replace(',', ",,");
        qemu.arg("-drive").arg(format!("file={image},format=raw,if=none,id=root,snapshot=on"));
        qemu.args(["-device", "virtio-blk-pci,drive=root"]);
    }
    if !guest.append.is_empty() {
        words.push(guest.append.clone());
    }
    qemu.args(["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"]);
    qemu.args(["-m", &guest.memory.to_string()]);
    qemu.arg("-kernel").arg(&guest.kernel.image).arg("-initrd").arg(initrd);
    qemu.arg("-append").arg(words.join(" "));
    // The console and the report each have a port of their own: no kernel message can get into the report.
    let console = console_log.display().to_string().replace(',', ",,");
    qemu.arg("-chardev").arg(format!("file,id=console,path={console}"));
    qemu.args(["-serial", "chardev:console"]);
    qemu.args(["-chardev", "stdio,id=report,signal=off", "-serial", "chardev:report"]);
    qemu
}

fn listen(child: &mut Child) -> Result<Receiver<Frame>> {
    let mut pipe = BufReader::new(child.stdout.take().context("QEMU has no output")?);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        loop {
            let frame = match frame::read(&mut pipe) {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(error) => Frame::Broken(format!("its report is torn: {error}")),
            };
            let last = matches!(frame, Frame::Broken(_));
            if sender.send(frame).is_err() || last {
                return;
            }
        }
    });
    Ok(receiver)
}

struct End {
    started: bool,
    how: How,
    files: Vec<(String, Vec<u8>)>,
}

enum How {
    Ended(Status),
    Broken(String),
    Vanished,
    TimedOut,
}

fn follow(frames: &Receiver<Frame>, deadline: Instant, sink: &mut dyn FnMut(Stream, &[u8])) -> End {
    let (mut started, mut files) = (false, Vec::<(String, Vec<u8>)>::new());
    let how = loop {
        match frames.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Frame::Ready(_)) => started = true,
            Ok(Frame::Out(bytes)) => sink(Stream::Out, &bytes),
            Ok(Frame::Err(bytes)) => sink(Stream::Err, &bytes),
            Ok(Frame::File(path)) => files.push((path, Vec::new())),
            Ok(Frame::Piece(bytes)) => {
                if let Some((_, content)) = files.last_mut() {
                    content.extend(bytes);
                }
            }
            Ok(Frame::Exited(code)) => break How::Ended(Status::Exited(code)),
            Ok(Frame::Killed(signal)) => break How::Ended(Status::Killed(signal)),
            Ok(Frame::Broken(why)) => break How::Broken(why),
            Err(RecvTimeoutError::Disconnected) => break How::Vanished,
            Err(RecvTimeoutError::Timeout) => break How::TimedOut,
        }
    };
    End { started, how, files }
}

/// The kernel's own word that it died. Written after the command's end it still counts.
fn panic_line(console_log: &Path) -> Option<String> {
    let text = fs::read(console_log).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| line.contains("Kernel panic - not syncing"))?;
    let at = line.find("Kernel panic")?;
    Some(line[at..].trim().to_owned())
}

/// `target/vm/<kernel>-<n>.log`, a new one for each run; the oldest are removed.
fn new_log(series: &str) -> Result<PathBuf> {
    let dir = paths::target().join("vm");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let number = |path: &Path| -> Option<u32> {
        path.file_name()?
            .to_str()?
            .strip_prefix(series)?
            .strip_prefix('-')?
            .strip_suffix(".log")?
            .parse()
            .ok()
    };
    let mut logs: Vec<_> = fs::read_dir(&dir)
        .with_context(|| format!("list {}", dir.display()))?
        .filter_map(|entry| entry.ok().and_then(|entry| number(&entry.path())))
        .collect();
    logs.sort_unstable();
    for old in logs.iter().rev().skip(KEPT_LOGS) {
        let _ = fs::remove_file(dir.join(format!("{series}-{old}.log")));
    }
    for next in logs.last().map_or(1, |last| last + 1).. {
        let path = dir.join(format!("{series}-{next}.log"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            opened => {
                return opened.map(|_| path.clone()).with_context(|| format!("create {}", path.display()));
            }
        }
    }
    unreachable!("the numbers do not end")
}

/// A directory for one run, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(console_log: &Path) -> Result<Self> {
        let dir = console_log.with_extension("run");
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A QEMU that is killed when it is no longer listened to.
struct Running(Child);

impl Running {
    fn wait_for(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it; gives back what QEMU itself had to say.
    fn stop(&mut self) -> String {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let mut said = String::new();
        if let Some(pipe) = &mut self.0.stderr {
            let _ = pipe.read_to_string(&mut said);
        }
        said.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
