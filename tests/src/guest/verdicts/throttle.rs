//! Budgets: exact, paid once for each call, and not forgotten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};

use super::super::agent::{End, Who, inside, outside};
use super::super::sys;
use super::{Stage, files, records, said};

const OVER: End = End::Errno(libc::EAGAIN);

/// How many of the attempts went through and how many were over budget; anything else is an error.
fn count(attempts: usize, mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<(usize, usize)> {
    let (mut done, mut over) = (0, 0);
    for _ in 0..attempts {
        match attempt() {
            Ok(()) => done += 1,
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => over += 1,
            Err(error) => return Err(error),
        }
    }
    Ok((done, over))
}

/// Counts inside and says the result outside.
fn counted(
    cgroup: &Path,
    attempts: usize,
    attempt: impl FnMut() -> io::Result<()> + Send,
) -> Result<(usize, usize)> {
    let report = Path::new("/t/open/work/report");
    fs::create_dir_all("/t/open/work")?;
    let end = inside(cgroup, Who::Root, || {
        let (done, over) = count(attempts, attempt)?;
        fs::write(report, format!("{done} {over}"))
    })?;
    ensure!(end == End::Did, "counting ended with {end:?}");
    let said = said(report)?;
    ensure!(said.len() == 2, "the report says {said:?}");
    Ok((said[0] as usize, said[1] as usize))
}

pub(super) fn exact() -> Result<()> {
    const PROCESSES: usize = 4;
    const EACH: usize = 1200;
    let (stage, v) = (Stage::set()?, files()?);
    let cgroup = stage.cgroup("verdicts")?;
    let file = v.join("counted");
    ensure!(thread::available_parallelism()?.get() >= 2, "this must run on two processors");
    let control = outside(Who::Root, || {
        let (done, _) = count(EACH, || File::open(&file).map(drop))?;
        if done == EACH { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
    })?;
    ensure!(control == End::Did, "the control outside ended with {control:?}");
    fs::create_dir_all("/t/open/work")?;
    let end = inside(cgroup.path(), Who::Root, || {
        let mut children = Vec::new();
        for n in 0..PROCESSES {
            children.push(sys::spawn(|| {
                let counted = count(EACH, || File::open(&file).map(drop));
                let said = counted.map(|(done, over)| format!("{done} {over}"));
                let said = said.unwrap_or_else(|error| error.to_string());
                i32::from(fs::write(format!("/t/open/work/count-{n}"), said).is_err())
            })?);
        }
        for child in children {
            match waitpid(child, None)? {
                WaitStatus::Exited(_, 0) => {}
                _ => return Err(io::ErrorKind::Other.into()),
            }
        }
        Ok(())
    })?;
    ensure!(end == End::Did, "the agents ended with {end:?}");
    let mut total = (0, 0);
    for n in 0..PROCESSES {
        let said = said(Path::new(&format!("/t/open/work/count-{n}")))?;
        ensure!(said.len() == 2, "process {n} says {said:?}");
        total = (total.0 + said[0], total.1 + said[1]);
    }
    ensure!(total == (600, 4200), "{} went through and {} were over budget", total.0, total.1);
    Ok(())
}

pub(super) fn once() -> Result<()> {
    let (stage, v) = (Stage::set()?, files()?);
    let cgroup = stage.cgroup("verdicts")?;
    let mut n = 0;
    // Made, opened, and written twice: one call that counts. Then opened, emptied and written: one more each.
    let made = counted(cgroup.path(), 3, || {
        n += 1;
        let mut file = File::create_new(v.join(format!("files/{n}")))?;
        file.write_all(b"one")?;
        file.write_all(b"two")
    })?;
    ensure!(made == (3, 0), "three new files: {made:?}");
    let emptied = counted(cgroup.path(), 3, || {
        let mut file = OpenOptions::new().write(true).truncate(true).open(v.join("files/1"))?;
        file.write_all(b"three")
    })?;
    ensure!(emptied == (2, 1), "two of five calls were left: {emptied:?}");
    ensure!(fs::read(v.join("files/1"))? == b"three", "what was paid for was not done");
    fs::write(v.join("moves/a"), "a")?;
    let moved = counted(cgroup.path(), 5, || {
        let (from, to) = if v.join("moves/a").exists() { ("a", "b") } else { ("b", "a") };
        fs::rename(v.join("moves").join(from), v.join("moves").join(to))
    })?;
    ensure!(moved == (4, 1), "four renames: {moved:?}");
    let ran: Vec<End> = (0..3)
        .map(|_| inside(cgroup.path(), Who::Root, || super::super::exec::execute(&v.join("slow-program"))))
        .collect::<Result<_>>()?;
    ensure!(ran[..2] == [End::Became(7), End::Became(7)] && ran[2] == OVER, "three runs: {ran:?}");
    calls(cgroup.path())
}

/// Out of what is counted and in again, by one task: each way is a call of its own.
pub(super) fn each() -> Result<()> {
    let (stage, v) = (Stage::set()?, files()?);
    let cgroup = stage.cgroup("verdicts")?;
    let (counted, free) = (v.join("moves/a"), Path::new("/t/open/work/moved").to_owned());
    fs::create_dir_all("/t/open/work")?;
    fs::write(&counted, "a")?;
    let end = inside(cgroup.path(), Who::Root, || {
        for (from, to) in [(&counted, &free), (&free, &counted)].into_iter().cycle().take(5) {
            fs::rename(from, to)?;
        }
        Ok(())
    })?;
    ensure!(end == OVER, "the fifth of four: {end:?}");
    ensure!(counted.exists() && !free.exists(), "another number of moves went through");
    Ok(())
}

/// A connection is one call whatever goes through it; datagrams to a name are a call each.
fn calls(cgroup: &Path) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:7001")?;
    let receivers = [UdpSocket::bind("127.0.0.1:7002")?, UdpSocket::bind("127.0.0.1:7003")?];
    let server = thread::spawn(move || -> io::Result<usize> {
        let mut heard = 0;
        for _ in 0..2 {
            let mut text = String::new();
            listener.accept()?.0.read_to_string(&mut text)?;
            heard += text.len();
        }
        Ok(heard)
    });
    let streams = counted(cgroup, 2, || {
        let mut stream = TcpStream::connect("127.0.0.1:7001")?;
        (0..10).try_for_each(|_| stream.write_all(b"x"))
    })?;
    ensure!(streams == (2, 0), "two connections: {streams:?}");
    let heard = server.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    ensure!(heard == 20, "the server heard {heard} of 20 bytes");
    let datagrams = counted(cgroup, 2, || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect("127.0.0.1:7002")?;
        (0..10).try_for_each(|_| socket.send(b"x").map(drop))
    })?;
    ensure!(datagrams == (1, 1), "one of three calls was left: {datagrams:?}");
    let loose =
        counted(cgroup, 5, || UdpSocket::bind("127.0.0.1:0")?.send_to(b"y", "127.0.0.1:7003").map(drop))?;
    ensure!(loose == (3, 2), "three datagrams: {loose:?}");
    let mut arrived = [0, 0];
    for (receiver, arrived) in receivers.iter().zip(&mut arrived) {
        receiver.set_read_timeout(Some(Duration::from_millis(200)))?;
        while receiver.recv(&mut [0; 8]).is_ok() {
            *arrived += 1;
        }
    }
    ensure!(arrived == [10, 3], "of the datagrams {arrived:?} arrived");
    Ok(())
}

pub(super) fn own() -> Result<()> {
    let (stage, v) = (Stage::set()?, files()?);
    for _ in 0..2 {
        let cgroup = stage.cgroup("verdicts")?;
        let read = counted(cgroup.path(), 4, || File::open(v.join("few")).map(drop))?;
        ensure!(read == (3, 1), "three in a day for each session: {read:?}");
    }
    Ok(())
}

pub(super) fn stays() -> Result<()> {
    let (stage, v) = (Stage::set()?, files()?);
    let cgroup = stage.cgroup("verdicts")?;
    let once = || counted(cgroup.path(), 1, || File::open(v.join("few")).map(drop));
    ensure!(once()? == (1, 0), "the first of three");
    stage.reload()?;
    ensure!(once()? == (1, 0), "the second of three, after a reload");
    kill(stage.daemon, Signal::SIGKILL)?;
    ensure!(once()? == (1, 0), "the third of three, without a daemon");
    ensure!(once()? == (0, 1), "the fourth of three, without a daemon");
    Stage::start()?.reload()?;
    ensure!(once()? == (0, 1), "the fourth of three, after a new daemon and a reload");
    Ok(())
}

pub(super) fn comes_back() -> Result<()> {
    let (stage, v) = (Stage::set()?, files()?);
    for (file, at_once) in [("soon", 3), ("even", 2)] {
        let path = v.join(file);
        let cgroup = stage.cgroup("verdicts")?;
        let over = |record: &serde_json::Value| {
            record["object"] == path.display().to_string().as_str() && record["reason_code"] == "over-budget"
        };
        let before = records(over, 0)?.len();
        let first = counted(cgroup.path(), at_once + 1, || File::open(&path).map(drop))?;
        ensure!(first == (at_once, 1), "{file}: {first:?} at once");
        let told = records(over, before + 1)?;
        let Some(record) = told.last() else { anyhow::bail!("no record") };
        ensure!(record["verdict"] == "throttle" && record["errno"] == libc::EAGAIN, "{record}");
        let wait = record["retry_after_ms"].as_u64().unwrap_or(0);
        ensure!((1..=1000).contains(&wait), "{file}: the record says {wait} ms");
        thread::sleep(Duration::from_millis(wait + 20));
        let again = counted(cgroup.path(), 1, || File::open(&path).map(drop))?;
        ensure!(again == (1, 0), "{file}: {again:?} after {wait} ms");
    }
    Ok(())
}
