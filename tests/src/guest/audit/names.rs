//! Names that would like to be more than names, and clocks that jump.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::log::{of, until};
use crate::guest::agent::{End, Who, inside};
use crate::guest::ground::{At, Kind};
use crate::guest::stage::{STATE, Stage};
use crate::guest::{sys, written};

/// Names, and how the log has to write them.
const HOSTILE: &[(&[u8], &str)] = &[
    (b"a\n{\"kind\":\"decision\",\"verdict\":\"allow\"}", r#"a\x0a{"kind":"decision","verdict":"allow"}"#),
    (b"\x1b[2J\x1b]0;x\x07", r"\x1b[2J\x1b]0;x\x07"),
    (b"\xff\xfe\xc3(", r"\xff\xfe\xc3("),
    (b"\",\"prev\":\"0\"}", r#"","prev":"0"}"#),
    (b"back\\x0aslash", r"back\\x0aslash"),
    ("\u{202e}txt.exe".as_bytes(), r"\xe2\x80\xaetxt.exe"),
];

pub(super) fn hostile() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Open, Who::Root)?;
    let cgroup = stage.cgroup("every")?;
    let name = cgroup.name();
    let files: Vec<PathBuf> = HOSTILE.iter().map(|(name, _)| at.d.join(OsStr::from_bytes(name))).collect();
    for file in &files {
        fs::write(file, "x")?;
    }
    let deep = deep(&at)?;
    let opened = inside(cgroup.path(), Who::Root, || {
        files.iter().try_for_each(|file| File::open(file).map(drop))?;
        std::env::set_current_dir(&deep.0)?;
        for part in &deep.1 {
            std::env::set_current_dir(part)?;
        }
        File::open("end").map(drop)
    })?;
    ensure!(opened == End::Did, "the files cannot be opened: {opened:?}");
    let whole = format!("{}/{}/end", deep.0.display(), deep.1.join("/"));
    ensure!(whole.len() == 4095, "a path of {} bytes", whole.len());
    let wanted: Vec<String> =
        HOSTILE.iter().map(|(_, text)| format!("{}/{text}", at.d.display())).chain([whole]).collect();
    until(Duration::from_secs(20), || {
        let all = of(written::records()?, &name);
        let has =
            |object: &String| all.iter().filter(|record| record["object"] == object.as_str()).count() == 1;
        Ok(wanted.iter().all(has).then_some(()))
    })
    .context("each name once, as it has to be written")?;
    let verified = Command::new("guard")
        .args(["audit", "verify", "--dir", &format!("{STATE}/audit"), "--keys", &format!("{STATE}/keys")])
        .output()?;
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    Ok(())
}

/// A directory with a file in it whose whole path is as long as a path can be: where to begin, and the parts below.
fn deep(at: &At) -> Result<(PathBuf, Vec<String>)> {
    let mut left = 4095 - at.d.as_os_str().len() - "/end".len();
    let mut parts = Vec::new();
    while left > 0 {
        // A part of no byte would be none.
        let length = if left > 202 { 200 } else { left - 1 };
        parts.push("d".repeat(length));
        left -= length + 1;
    }
    let back = std::env::current_dir()?;
    std::env::set_current_dir(&at.d)?;
    for part in &parts {
        fs::create_dir(part)?;
        std::env::set_current_dir(part)?;
    }
    fs::write("end", "x")?;
    std::env::set_current_dir(back)?;
    Ok((at.d.clone(), parts))
}

pub(super) fn clock() -> Result<()> {
    Stage::set()?;
    let jumps = || -> Result<Vec<i64>> {
        let jumps = written::of_kind("clock-jump")?;
        Ok(jumps.iter().filter_map(|record| record["nanoseconds"].as_i64()).collect())
    };
    let hour = 3_600;
    for (n, by) in [hour, -hour].into_iter().enumerate() {
        set_clock_by(by)?;
        let jump = until(Duration::from_secs(20), || Ok(jumps()?.get(n).copied()))?;
        ensure!((jump / 1_000_000_000 - by).abs() <= 1, "a jump of {by} s is told as {jump} ns");
    }
    // Of what came since: a daemon that was stopped in an earlier test has written what waited behind what it noted.
    let since = written::records()?;
    let times: Vec<u64> = since.iter().filter_map(|record| record["boottime"].as_u64()).collect();
    ensure!(
        times.windows(2).filter(|pair| pair[0] > pair[1] + 2_000_000_000).count() == 0,
        "boottime goes back"
    );
    Ok(())
}

fn set_clock_by(seconds: i64) -> Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let then = now.as_secs().saturating_add_signed(seconds);
    let words = sys::words(&[then, u64::from(now.subsec_nanos())]);
    sys::call(libc::SYS_clock_settime, &mut [libc::CLOCK_REALTIME.into(), words.as_slice().into()])
        .context("set the clock")?;
    Ok(())
}
