//! Rules that forbid something below what another rule allows: what is there must not get away by a move of it, of
//! what holds it, or by a second name.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::super::agent::{End, Who, inside, outside};
use super::super::ground::{At, Kind};
use super::super::stage::Stage;

/// The holder's directories: one that is not to be written, one that is not to be read.
fn furnish(at: &At) -> Result<()> {
    for directory in ["holder/kept/deep", "holder/secret/deep", "elsewhere"] {
        fs::create_dir_all(at.at_work(directory))?;
    }
    for file in ["holder/kept/file", "holder/secret/file", "holder/secret/deep/er"] {
        fs::write(at.at_work(file), "before\n")?;
    }
    Ok(())
}

type Attempt = (&'static str, fn(&Path) -> io::Result<()>);

fn written(path: &Path) -> io::Result<()> {
    fs::write(path, "after\n")
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
        let (from, to) =
            (super::super::sys::c(w.join("holder/secret")), super::super::sys::c(w.join("elsewhere")));
        let at = libc::AT_FDCWD;
        super::super::sys::call(
            libc::SYS_renameat2,
            &mut [at.into(), (&from).into(), at.into(), (&to).into(), (libc::RENAME_EXCHANGE as i32).into()],
        )?;
        read(&w.join("elsewhere/file"))
    }),
    ("exchange the holder with another, then write", |w| {
        let (from, to) = (super::super::sys::c(w.join("holder")), super::super::sys::c(w.join("elsewhere")));
        let at = libc::AT_FDCWD;
        super::super::sys::call(
            libc::SYS_renameat2,
            &mut [at.into(), (&to).into(), at.into(), (&from).into(), (libc::RENAME_EXCHANGE as i32).into()],
        )?;
        written(&w.join("elsewhere/kept/file"))
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
            let end = if control {
                outside(Who::Root, || act(&at.work))?
            } else {
                inside(cgroup.path(), Who::Root, || act(&at.work))?
            };
            let moved = at.work.with_file_name("moved");
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
