//! Rules that forbid something below what another rule allows: what is there must not get away by a move of it, of
//! what holds it, or by a second name.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

use super::super::agent::{End, Who, inside, outside};
use super::super::ground::{At, Kind};
use super::super::stage::Stage;
use super::super::sys::{c, call};

/// The holder's directories: one that is not to be written, one that is not to be read.
fn furnish(at: &At) -> Result<()> {
    for directory in ["holder/kept/deep", "holder/secret/deep", "elsewhere/inner", "shown"] {
        fs::create_dir_all(at.at_work(directory))?;
    }
    for file in ["holder/kept/file", "holder/secret/file", "holder/secret/deep/er", "elsewhere/inner/file"] {
        fs::write(at.at_work(file), "before\n")?;
    }
    Ok(())
}

const NONE: Option<&str> = None;

type Attempt = (&'static str, fn(&Path) -> io::Result<()>);

fn written(path: &Path) -> io::Result<()> {
    fs::write(path, "after\n")
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let (one, other) = (c(one), c(other));
    let at = libc::AT_FDCWD;
    let flags = libc::RENAME_EXCHANGE as i32;
    call(libc::SYS_renameat2, &mut [at.into(), (&one).into(), at.into(), (&other).into(), flags.into()])
        .map(drop)
}

fn read(path: &Path) -> io::Result<()> {
    fs::read(path).map(drop)
}

/// Each ends well only if what a rule forbids was done.
const ATTEMPTS: &[Attempt] = &[
    ("write it where it is", |w| written(&w.join("holder/kept/file"))),
    ("read it where it is", |w| read(&w.join("holder/secret/file"))),
    ("move the holder, then write", |w| {
        fs::rename(w.join("holder"), w.join("moved"))?;
        written(&w.join("moved/kept/file"))
    }),
    ("move the holder, then read", |w| {
        fs::rename(w.join("holder"), w.join("moved"))?;
        read(&w.join("moved/secret/file"))
    }),
    ("move the directory, then write", |w| {
        fs::rename(w.join("holder/kept"), w.join("moved"))?;
        written(&w.join("moved/file"))
    }),
    ("move the directory, then read", |w| {
        fs::rename(w.join("holder/secret"), w.join("elsewhere/moved"))?;
        read(&w.join("elsewhere/moved/file"))
    }),
    ("move a directory below, then read", |w| {
        fs::rename(w.join("holder/secret/deep"), w.join("moved"))?;
        read(&w.join("moved/er"))
    }),
    ("move the file, then read", |w| {
        fs::rename(w.join("holder/secret/file"), w.join("moved"))?;
        read(&w.join("moved"))
    }),
    ("link the file, then read", |w| {
        fs::hard_link(w.join("holder/secret/file"), w.join("alias"))?;
        read(&w.join("alias"))
    }),
    ("exchange the directory with another, then read", |w| {
        exchange(&w.join("holder/secret"), &w.join("elsewhere"))?;
        read(&w.join("elsewhere/file"))
    }),
    ("exchange the holder with another, then write", |w| {
        exchange(&w.join("elsewhere"), &w.join("holder"))?;
        written(&w.join("elsewhere/kept/file"))
    }),
    ("exchange the file with another, then read", |w| {
        exchange(&w.join("holder/secret/file"), &w.join("mine"))?;
        read(&w.join("mine"))
    }),
    ("exchange another with the file, then read", |w| {
        exchange(&w.join("mine"), &w.join("holder/secret/file"))?;
        read(&w.join("mine"))
    }),
    ("exchange a directory with the file, then read", |w| {
        exchange(&w.join("mydir"), &w.join("holder/secret/file"))?;
        read(&w.join("mydir"))
    }),
    ("move a directory out of what a mount shows, then write there", |w| {
        let shown = File::open(w.join("shown/inner"))?;
        fs::rename(w.join("elsewhere/inner"), w.join("inner"))?;
        openat(&shown, "file", OFlag::O_WRONLY, Mode::empty()).map(drop).map_err(Into::into)
    }),
    ("move what holds the holder, then write", |w| {
        fs::rename(w, w.with_file_name("moved"))?;
        written(&w.with_file_name("moved").join("holder/kept/file"))
    }),
];

pub(super) fn out_of_its_rule() -> Result<()> {
    let stage = Stage::set()?;
    let cgroup = stage.cgroup("box")?;
    let mut bad = Vec::new();
    for (says, act) in ATTEMPTS {
        for control in [true, false] {
            let at = At::fresh(Kind::Open, Who::Root)?;
            furnish(&at)?;
            let shown = at.at_work("shown");
            mount(Some(&at.at_work("elsewhere")), &shown, NONE, MsFlags::MS_BIND, NONE)?;
            let end = if control {
                outside(Who::Root, || act(&at.work))?
            } else {
                inside(cgroup.path(), Who::Root, || act(&at.work))?
            };
            let moved = at.work.with_file_name("moved");
            // The mount goes along with what holds it.
            umount2(&if shown.exists() { shown } else { moved.join("shown") }, MntFlags::MNT_DETACH)?;
            if moved.exists() {
                fs::remove_dir_all(moved)?;
            }
            let right = match end {
                End::Did => control,
                End::Errno(libc::EPERM | libc::EXDEV) => !control,
                End::Errno(_) | End::Became(_) | End::Killed(_) => false,
            };
            if !right {
                bad.push(format!(
                    "{says}: {} it ended with {end:?}",
                    if control { "outside" } else { "inside" }
                ));
            }
        }
    }
    // What no rule tells apart may move.
    let at = At::fresh(Kind::Open, Who::Root)?;
    furnish(&at)?;
    let end =
        inside(cgroup.path(), Who::Root, || fs::rename(at.at_work("mydir"), at.at_work("elsewhere/m")))?;
    ensure!(end == End::Did, "an innocent directory's move ended with {end:?}");
    if !bad.is_empty() {
        bail!("{}", bad.join("; "));
    }
    Ok(())
}
