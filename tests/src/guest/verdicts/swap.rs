//! What a held call is made with lies in memory that another process writes, or goes by a name that leads elsewhere
//! meanwhile: an answer fits what it was given for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::super::agent::REFUSED;
use super::super::sys::{c, call, words};
use super::Stage;
use super::hold::{again, answer, beside, exists, ground, start, waiting};

/// What the page is of; whoever writes the file writes the page.
const SHARED: &str = "/t/open/work/shared";

/// The address of a page that is the file's content.
fn page() -> io::Result<u64> {
    let file = File::open(SHARED)?;
    call(
        libc::SYS_mmap,
        &mut [
            0.into(),
            4096.into(),
            libc::PROT_READ.into(),
            libc::MAP_SHARED.into(),
            file.as_raw_fd().into(),
            0.into(),
        ],
    )
    .map(|address| address as u64)
}

fn share(content: &[u8]) -> Result<File> {
    fs::write(SHARED, [content, &[0; 4096]].concat())?;
    Ok(OpenOptions::new().write(true).open(SHARED)?)
}

/// A `struct sockaddr_in` of the loopback.
fn address(port: u16) -> Vec<u8> {
    [&2u16.to_ne_bytes()[..], &port.to_be_bytes(), &[127, 0, 0, 1], &[0; 8]].concat()
}

pub(super) fn called() -> Result<()> {
    let stage = Stage::set()?;
    ground()?;
    let cgroup = stage.cgroup("held")?;
    let listeners = [TcpListener::bind("127.0.0.1:7005")?, TcpListener::bind("127.0.0.1:7006")?];
    let shared = share(&address(7005))?;
    let act = || {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
        call(libc::SYS_connect, &mut [socket.as_raw_fd().into(), page()?.into(), 16.into()]).map(drop)
    };
    let end = beside(&cgroup, act, move |_| {
        let first = waiting("127.0.0.1:7005/tcp")?;
        shared.write_all_at(&address(7006), 0)?;
        answer(first.id, true)?;
        answer(waiting("127.0.0.1:7006/tcp")?.id, false).map(drop)
    })?;
    ensure!(end == REFUSED, "the call to another address ended with {end:?}");
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let came = listener.accept();
        ensure!(came.is_err(), "somebody called: {came:?}");
    }
    Ok(())
}

pub(super) fn worded() -> Result<()> {
    let stage = Stage::set()?;
    ground()?;
    let cgroup = stage.cgroup("held")?;
    let shared = share(b"now")?;
    let act = || {
        let (path, push, last) = (c(Path::new("/t/open/v/tool")), c("push"), page()?);
        let list = words(&[path.as_ptr() as u64, push.as_ptr() as u64, last, 0]);
        let empty = [0u8; 8];
        call(libc::SYS_execve, &mut [(&path).into(), list.as_slice().into(), empty.as_slice().into()])
            .map(drop)
    };
    let end = beside(&cgroup, act, move |_| {
        let first = waiting("/t/open/v/tool")?;
        shared.write_all_at(b"all", 0)?;
        answer(first.id, true)?;
        let second = loop {
            let second = waiting("/t/open/v/tool")?;
            if second.argv != first.argv {
                break second;
            }
        };
        ensure!(!exists("/t/open/work/pushed"), "other words ran with the answer to the first");
        answer(second.id, false).map(drop)
    })?;
    ensure!(end == REFUSED && !exists("/t/open/work/pushed"), "other words ended with {end:?}");
    Ok(())
}

pub(super) fn swapped() -> Result<()> {
    let stage = Stage::set()?;
    let v = ground()?;
    let cgroup = stage.cgroup("held")?;
    // The program behind the name.
    let other = v.join("other-program");
    fs::copy("/usr/bin/busybox", &other)?;
    let program = v.join("ask/program");
    let end = beside(
        &cgroup,
        || start(Path::new("/t/open/v/ask/program")),
        move |_| {
            let call = waiting("/t/open/v/ask/program")?;
            fs::rename(&other, &program)?;
            ensure!(answer(call.id, true).is_err(), "a program that has changed was approved");
            answer(again(&call)?.id, false).map(drop)
        },
    )?;
    ensure!(end == REFUSED, "the swapped program ended with {end:?}");
    // A program that is written over in place.
    ground()?;
    let end = beside(
        &cgroup,
        || start(Path::new("/t/open/v/ask/program")),
        |_| {
            let call = waiting("/t/open/v/ask/program")?;
            thread::sleep(Duration::from_millis(20));
            let bytes = fs::read("/t/open/v/ask/program")?;
            fs::write("/t/open/v/ask/program", [bytes.as_slice(), b"more"].concat())?;
            ensure!(answer(call.id, true).is_err(), "a program that was written over was approved");
            answer(again(&call)?.id, false).map(drop)
        },
    )?;
    ensure!(end == REFUSED, "the program that was written over ended with {end:?}");
    // The link on the way.
    let v = ground()?;
    symlink("asked/there", v.join("link"))?;
    let link = v.join("link");
    let act = || OpenOptions::new().append(true).open("/t/open/v/link")?.write_all(b"swapped");
    let end = beside(&cgroup, act, move |pid| {
        let call = waiting("/t/open/v/asked/there")?;
        fs::remove_file(&link)?;
        symlink("asked/old", &link)?;
        answer(call.id, true)?;
        let call = waiting("/t/open/v/asked/old")?;
        ensure!(call.pid == u32::try_from(pid.as_raw())?, "{call:?}");
        answer(call.id, false).map(drop)
    })?;
    ensure!(end == REFUSED, "the swapped link ended with {end:?}");
    ensure!(fs::read(v.join("asked/old"))? == b"before", "what was not approved was written");
    // The same file under the same name, but another one.
    let v = ground()?;
    let act = || OpenOptions::new().append(true).open("/t/open/v/asked/there")?.write_all(b"swapped");
    let end = beside(&cgroup, act, move |_| {
        let call = waiting("/t/open/v/asked/there")?;
        fs::write(v.join("asked/fresh"), "fresh")?;
        fs::rename(v.join("asked/fresh"), v.join("asked/there"))?;
        answer(call.id, true)?;
        thread::sleep(Duration::from_millis(300));
        ensure!(fs::read(v.join("asked/there"))? == b"fresh", "the other file was written");
        answer(waiting("/t/open/v/asked/there")?.id, false).map(drop)
    })?;
    ensure!(end == REFUSED, "the swapped file ended with {end:?}");
    Ok(())
}
