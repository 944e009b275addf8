//! The kernel matrix: one boot per series, in which `guest-tests` runs every test and prints a line for each.

use std::cmp::Reverse;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::lines::{Line, count, read_output, warn};
use super::report::Report;
use crate::debian::kernel::{Kernel, Promise, Series};
use crate::debian::root::Root;
use crate::dist::{self, Package};
use crate::guest::{Failure, Guest, Status};
use crate::{build_host, paths};

/// Where guests find the programs under test.
const TESTS_AT: &str = "/usr/local/bin/guest-tests";
const GUARD_AT: &str = "/usr/local/bin/guard";
const DEMO_AT: &str = "/usr/local/bin/demo";
const ATTEMPT_AT: &str = "/usr/local/bin/guard-attempt";

/// What drills try to reach: with them loaded a refusal is guard's and not the kernel's want of a protocol.
const DRILLED: &[&str] = &[
    "tun",
    "sctp",
    "vsock",
    "af_alg",
    "algif_hash",
    "af_key",
    "kcm",
    "tipc",
    "xfrm_user",
    "nfnetlink",
    "dccp",
    "dccp_ipv4",
    "dns_resolver",
];

/// Where the results of a guest without the BPF security module are counted.
const WITHOUT_BPF: &str = "without bpf";

/// Where the results of the guest with systemd are counted, and the kernel it boots: the one of its release.
const DEBIAN: &str = "debian";
const DEBIAN_KERNEL: &str = "6.12";

/// The kernel whose figures have budgets.
const MEASURED: &str = "6.12";

/// Tests for a kernel that is not released yet: every program loads there, and one of each kind is judged.
const LOOK: &[&str] = &[
    "the demo comes out as its policy says",
    "no way to open a forbidden file",
    "no address but the gateway",
    "a held call is done once it is approved",
];

/// The programs the guests run, built once for all of them.
struct Programs {
    tests: PathBuf,
    guard: PathBuf,
    demo: PathBuf,
    attempt: PathBuf,
    thorough: bool,
}

/// What came of a guest's work.
enum Done {
    /// Its tests' lines, and whether failures count.
    Lines(Promise, Result<Vec<Line>>),
    /// One check.
    Check(&'static str, Result<()>),
}

/// Work for a guest of its own, and where its results are counted.
struct Job<'a> {
    place: &'static str,
    /// What it took once on two cores.
    seconds: u32,
    work: Box<dyn FnOnce() -> Done + Send + 'a>,
}

/// Runs the tests in guests, so many at a time.
pub(super) fn run(
    report: &mut Report,
    matrix: &[&'static Series],
    only: &[String],
    thorough: bool,
    at_once: usize,
) {
    let build = || -> Result<Programs> {
        let dir = build_host::everything()?;
        Ok(Programs {
            tests: dir.join("guest-tests"),
            guard: dir.join("guard"),
            demo: dir.join("demo"),
            attempt: dir.join("guard-attempt"),
            thorough,
        })
    };
    let programs = match build() {
        Ok(programs) => programs,
        Err(error) => {
            return report.fail("guests", "the programs for the guests build", &format!("{error:#}"));
        }
    };
    let queue = Mutex::new(jobs(matrix, &programs, only).into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for _ in 0..at_once {
            let tell = tell.clone();
            scope.spawn(move || {
                while let Some(job) = next() {
                    let begun = Instant::now();
                    let done = (job.work)();
                    let _ = tell.send((job.place, done, begun.elapsed()));
                }
            });
        }
        drop(tell);
        for (place, done, took) in told {
            match done {
                Done::Lines(Promise::Works | Promise::Refuses, outcome) => count(report, place, outcome),
                Done::Lines(Promise::Warns, outcome) => warn(report, place, outcome),
                Done::Check(name, outcome) => report.check(place, name, outcome),
            }
            println!("     {place}: {:.1} s", took.as_secs_f32());
        }
    });
}

/// What is to be done, the longest first, so that the last ones to end are short.
fn jobs<'a>(matrix: &[&'static Series], programs: &'a Programs, only: &'a [String]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    let mut job = |place, seconds, work: Box<dyn FnOnce() -> Done + Send + 'a>| {
        jobs.push(Job { place, seconds, work });
    };
    let busybox = wanted(programs, "busybox", only);
    for &series in matrix.iter().filter(|_| busybox) {
        let seconds = match series.promise {
            Promise::Works if series.name == MEASURED => 1000,
            Promise::Works => 600,
            Promise::Warns => 50,
            Promise::Refuses => 5,
        };
        job(
            series.name,
            seconds,
            Box::new(move || Done::Lines(series.promise, boot(series, programs, only))),
        );
    }
    let series = |name| matrix.iter().copied().find(|series| series.name == name);
    if let Some(series) = series(DEBIAN_KERNEL).filter(|_| wanted(programs, "debian", only)) {
        job(DEBIAN, 350, Box::new(move || Done::Lines(Promise::Works, debian(series, programs, only))));
    }
    let whole = only.is_empty();
    if let Some(series) = series(MEASURED).filter(|_| whole) {
        job(
            series.name,
            150,
            Box::new(move || {
                Done::Check(
                    "no call and no program costs more than its budget",
                    keeps_budgets(series.name, programs),
                )
            }),
        );
    }
    let first = matrix.iter().copied().find(|series| series.promise == Promise::Works);
    if let Some(series) = first.filter(|_| has_one(listed(programs, "busybox", &["without-bpf"]), only)) {
        let work = move || Done::Lines(Promise::Works, refusal_without_bpf(series.name, programs, only));
        job(WITHOUT_BPF, 30, Box::new(work));
    }
    if let Some(series) = first.filter(|_| whole) {
        let name = "the tests turn red when bpf is not in the LSM list";
        job(WITHOUT_BPF, 10, Box::new(move || Done::Check(name, red_without_bpf(series.name, programs))));
    }
    jobs.sort_by_key(|job| Reverse(job.seconds));
    jobs
}

fn keeps_budgets(series: &str, programs: &Programs) -> Result<()> {
    let over = crate::bench::over_budget(series, programs.guard.clone())?;
    if over.is_empty() { Ok(()) } else { bail!("{}", over.join("; ")) }
}

/// The tests of a whole system.
fn debian(series: &Series, programs: &Programs, only: &[String]) -> Result<Vec<Line>> {
    let root = Root::get(&[])?;
    // guard itself comes from its package: the other one is for what follows when that is removed.
    let guest = Guest::new(series.name)?.file(&programs.tests, TESTS_AT).file(&programs.guard, "/root/guard");
    let guest = guest.debian(root).timeout(Duration::from_secs(2400)).memory(2048);
    run_in(DEBIAN, &with_packages(guest, &programs.guard)?, only)
}

/// The package of what is tested, one to upgrade to, and the pages whose commands are followed.
fn with_packages(guest: Guest, guard: &Path) -> Result<Guest> {
    let directory = paths::target().join("dist-guest");
    let first = Package::of(guard, dist::VERSION.to_owned(), 0).write(&directory)?;
    let next = directory.join("next/guard");
    paths::write(&next, &with_other_programs(&fs::read(guard)?)?)?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755))?;
    fs::copy(guard.with_file_name("guard-attempt"), next.with_file_name("guard-attempt"))?;
    let next = Package::of(&next, format!("{}+next", dist::VERSION), 0).write(&directory)?;
    Ok(guest
        .plain_file(&first, &format!("/root/guard_{}_amd64.deb", dist::VERSION))
        .plain_file(&next, "/root/next.deb")
        .tree(paths::root().join("docs"), "/root/docs"))
}

/// The program with BPF programs in it that are others by their digest: one byte of padding in their file's head
/// differs, which means nothing to anybody else.
fn with_other_programs(guard: &[u8]) -> Result<Vec<u8>> {
    const PADDING: usize = 15;
    let object = fs::read(paths::target().join("bpf/guard-ebpf.o"))?;
    let at = guard.windows(object.len()).position(|window| window == object);
    let Some(at) = at else { bail!("guard does not hold the BPF object that was built") };
    let mut other = guard.to_vec();
    other[at + PADDING] ^= 1;
    Ok(other)
}

/// Whether the guests with this root have a test that was asked for.
fn wanted(programs: &Programs, root: &str, only: &[String]) -> bool {
    has_one(listed(programs, root, &[]), only)
}

/// The names of the tests with this root, or of some of them.
fn listed(programs: &Programs, root: &str, which: &[&str]) -> String {
    let list = Command::new(&programs.tests).arg("--list").args(which).env("GUARD_GUEST_ROOT", root).output();
    list.map(|list| String::from_utf8_lossy(&list.stdout).into_owned()).unwrap_or_default()
}

fn has_one(names: String, only: &[String]) -> bool {
    only.is_empty() || names.lines().any(|name| only.iter().any(|word| name.contains(word)))
}

/// Fetches the kernel if need be; says so if it cannot be had.
pub(super) fn at_hand(report: &mut Report, series: &Series) -> bool {
    let error = match Kernel::get(series.name) {
        Ok(_) => return true,
        Err(error) => error,
    };
    match series.promise {
        Promise::Works | Promise::Refuses => {
            report.fail(series.name, "the kernel is at hand", &format!("{error:#}"));
        }
        Promise::Warns => println!("WARN {}: {error:#}", series.name),
    }
    false
}

fn boot(series: &Series, programs: &Programs, only: &[String]) -> Result<Vec<Line>> {
    // What is not released yet can only warn: a look at it is enough, unless somebody asks for all.
    let look: Vec<String> = LOOK.iter().map(|&name| name.to_owned()).collect();
    let brief = series.promise == Promise::Warns && only.is_empty() && !programs.thorough;
    run_in(series.name, &guest(series.name, programs)?, if brief { &look } else { only })
}

fn run_in(place: &str, guest: &Guest, only: &[String]) -> Result<Vec<Line>> {
    println!("     {place}: {}", guest.release());
    let argv: Vec<_> = [TESTS_AT.to_owned()].into_iter().chain(only.iter().cloned()).collect();
    let output = match guest.run(&argv) {
        // It died before the tests began: what emulation does once in a long while. Once more, aloud.
        Err(error) if error.downcast_ref::<Failure>().is_some_and(|failure| !failure.started) => {
            println!("     {place}: {error}; trying once more");
            guest.run(&argv)?
        }
        outcome => outcome?,
    };
    read_output(&output)
}

fn guest(series: &str, programs: &Programs) -> Result<Guest> {
    let policies = paths::root().join("policies");
    let mut guest = Guest::new(series)?
        .file(&programs.tests, TESTS_AT)
        .file(&programs.guard, GUARD_AT)
        .file(&programs.demo, DEMO_AT)
        .file(&programs.attempt, ATTEMPT_AT)
        .modules_if_any(DRILLED)
        .timeout(Duration::from_secs(if programs.thorough { 4 * 3600 } else { 3000 }));
    if programs.thorough {
        guest = guest.env("GUARD_DRILL_THOROUGH", "1");
    }
    if Path::new(&policies).is_dir() {
        guest = guest.tree(&policies, "/usr/share/guard/policies");
    }
    Ok(guest)
}

/// Without bpf in the LSM list programs load and are never called: guard must notice.
fn refusal_without_bpf(series: &str, programs: &Programs, only: &[String]) -> Result<Vec<Line>> {
    let argv: Vec<_> = [TESTS_AT.to_owned()].into_iter().chain(only.iter().cloned()).collect();
    read_output(&without_bpf(series, programs)?.run(&argv)?)
}

/// A suite that passes on a kernel which does not call our programs proves nothing.
fn red_without_bpf(series: &str, programs: &Programs) -> Result<()> {
    let argv = [TESTS_AT, "--as-if-supported", "bpf is in the list", "the demo"].map(str::to_owned);
    let output = without_bpf(series, programs)?.run(&argv)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
    match (output.status, lines("FAIL "), lines("PASS ")) {
        (Status::Exited(1), 2.., 0) => Ok(()),
        (status, failed, passed) => bail!("it ended with {status:?}, {failed} failed and {passed} passed"),
    }
}

fn without_bpf(series: &str, programs: &Programs) -> Result<Guest> {
    let rest: Vec<_> = crate::guest::LSMS.split(',').filter(|&name| name != "bpf").collect();
    Ok(guest(series, programs)?.lsm(&rest.join(",")))
}
