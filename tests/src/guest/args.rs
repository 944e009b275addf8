//! Rules with `args:`: what argv says when the new image has it, and not a moment earlier.

mod overtaken;

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::Test;
use super::agent::{End, Who, inside, outside};
use super::ground::{At, Kind, RAN};
use super::stage::{Stage, status};
use super::sys::{c, call, words};

pub(super) const TESTS: &[Test] = &[
    Test::new("argv blocks and allows what its rules say, and what is doubtful is refused", lines)
        .within(200),
    Test::new("argv that changes while it is being taken is judged as the program gets it", swapped)
        .within(200),
    Test::new("an exec that other policies overtake is judged by those alone", overtaken::overtaken)
        .within(200),
    Test::new("a candidate changes nothing, be it stricter or laxer", candidates).within(200),
];

/// Blocks `push` where everything runs, allows `status` where nothing does.
pub(super) const POLICY: &str = "version: 1
policy: kt-args
applies_to:
  - cgroup: /kt/args/**
mode: enforce
audit: { allows: none, on_loss: block }
exec:
  default: block
  rules:
    - { id: programs, paths: [\"/t/open/d/**\", /t/open/work/script], verdict: allow }
    - { id: push, paths: [/t/open/d/prog, /t/open/work/script], args: [push], verdict: block }
    - { id: status, paths: [/t/open/work/prog], args: [status], verdict: allow }
connect: { default: block }
write: { default: block }
read:
  default: allow
  rules:
    - { id: blind, paths: [\"/t/blind/**\"], verdict: block }
";

/// Stricter in one place, laxer in the other.
pub(super) const CANDIDATE: &str = "version: 1
policy: kt-args-next
candidate_for: kt-args
applies_to:
  - cgroup: /kt/args/**
exec: { default: allow }
connect: { default: block }
write: { default: block }
read:
  default: allow
  rules:
    - { id: open, paths: [/t/open/d/file2], verdict: block }
";

/// Becomes the program with these words, whose addresses are given.
fn execute(path: &Path, argv: &[*const u8]) -> io::Result<()> {
    let mut list: Vec<u64> = argv.iter().map(|word| *word as u64).collect();
    list.push(0);
    let (list, empty) = (words(&list), [0u8; 8]);
    call(libc::SYS_execve, &mut [(&c(path)).into(), list.as_slice().into(), empty.as_slice().into()])
        .map(drop)
}

fn run(path: &Path, line: &[&str]) -> io::Result<()> {
    let words: Vec<CString> = line.iter().map(c).collect();
    let name = c(path);
    let argv: Vec<*const u8> =
        std::iter::once(&name).chain(&words).map(|word| word.as_ptr().cast()).collect();
    execute(path, &argv)
}

const ENDED: End = End::Killed(libc::SIGKILL);

fn lines() -> Result<()> {
    let stage = Stage::set()?;
    let long = "x".repeat(5000);
    let (blocked, allowed, script) = ("d/prog", "work/prog", "work/script");
    let cases: &[(&str, &[&str], End)] = &[
        (blocked, &[], End::Became(RAN)),
        (blocked, &["pull"], End::Became(RAN)),
        (blocked, &["pull", "push"], End::Became(RAN)),
        (blocked, &["pushes"], End::Became(RAN)),
        (blocked, &["push"], ENDED),
        (blocked, &["push", "origin"], ENDED),
        (blocked, &["--verbose=1", "push"], ENDED),
        (blocked, &["--", "push"], ENDED),
        // `/x` may be the value of -C, or the command.
        (blocked, &["-C", "/x", "push"], ENDED),
        (blocked, &["-v", "push", "pull"], ENDED),
        (blocked, &["-c", "--", "-x", "push"], ENDED),
        (blocked, &[&long], ENDED),
        (allowed, &["status"], End::Became(RAN)),
        (allowed, &["--short=1", "status", "x"], End::Became(RAN)),
        (allowed, &["-v", "--", "status"], End::Became(RAN)),
        (allowed, &[], ENDED),
        (allowed, &["stat"], ENDED),
        (allowed, &["-v", "status"], ENDED),
        // The script's own words, not its interpreter's.
        (script, &["pull"], End::Became(RAN)),
        (script, &["push"], ENDED),
    ];
    let mut wrong = Vec::new();
    for who in Who::BOTH {
        let at = At::fresh(Kind::Open, who)?;
        let cgroup = stage.cgroup("args")?;
        for (name, line, expected) in cases {
            let path = at.d.with_file_name("").join(name);
            let control = outside(who, || run(&path, line))?;
            let end = inside(cgroup.path(), who, || run(&path, line))?;
            // A thread that takes its leader's place in the middle of the exec, its id and its start.
            let by_thread = inside(cgroup.path(), who, || {
                let ran = thread::scope(|scope| scope.spawn(|| run(&path, line)).join());
                ran.map_err(|_| io::Error::from(io::ErrorKind::Other))?
            })?;
            if control != End::Became(RAN) || end != *expected || by_thread != *expected {
                let line = line.iter().map(|word| &word[..word.len().min(20)]).collect::<Vec<_>>();
                wrong.push(format!(
                    "{name} {line:?} as {who:?}: {control:?} outside, {end:?} and {by_thread:?} inside"
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// Ends with the third and the fourth byte of its first argument, one exclusive or the other: the word may be torn.
const TELLS: &[u8] = &[
    0x48, 0x8b, 0x44, 0x24, 0x10, // mov rax, [rsp + 16]
    0x0f, 0xb6, 0x78, 0x02, // movzx edi, byte [rax + 2]
    0x40, 0x32, 0x78, 0x03, // xor dil, [rax + 3]
    0xb8, 60, 0, 0, 0, // mov eax, exit
    0x0f, 0x05, // syscall
];
const PUSH: i32 = (b's' ^ b'h') as i32;

static WORD: [AtomicU8; 5] = [const { AtomicU8::new(0) }; 5];
/// How often the word was swapped, in the process that is to become the program.
static SWAPS: AtomicU32 = AtomicU32::new(0);

fn put(word: &[u8; 4]) {
    for (place, byte) in WORD.iter().zip(word) {
        place.store(*byte, Ordering::Relaxed);
    }
}

fn swapped() -> Result<()> {
    let stage = Stage::set()?;
    let at = At::fresh(Kind::Open, Who::Root)?;
    let path = at.on("prog");
    super::ground::program_of(&path, TELLS)?;
    let cgroup = stage.cgroup("args")?;
    let (mut ran, mut ended, mut rounds) = (0, 0, 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    // Both outcomes show that it was swapped, which is chance: on a busy machine it takes longer to see them.
    while rounds < 150 || (ran == 0 || ended == 0) && Instant::now() < deadline {
        rounds += 1;
        let end = inside(cgroup.path(), Who::Root, || {
            put(b"pull");
            thread::spawn(|| {
                loop {
                    put(b"push");
                    SWAPS.fetch_add(1, Ordering::Relaxed);
                    put(b"pull");
                }
            });
            while SWAPS.load(Ordering::Relaxed) < 10 {
                thread::yield_now();
            }
            let name = c(&path);
            execute(&path, &[name.as_ptr().cast(), WORD.as_ptr().cast()])
        })?;
        match end {
            End::Became(PUSH) => bail!("a program that was given `push` ran"),
            End::Became(_) => ran += 1,
            End::Killed(libc::SIGKILL) => ended += 1,
            other => bail!("it neither ran nor was ended: {other:?}"),
        }
    }
    println!("{ran} ran, {ended} ended");
    ensure!(ran > 0 && ended > 0, "nothing was swapped: {ran} ran, {ended} ended");
    Ok(())
}

fn candidates() -> Result<()> {
    let stage = Stage::set()?;
    let hits = || status()["counters"]["shadow-hit"].as_u64().unwrap_or(0);
    let (open, blind) = (At::fresh(Kind::Open, Who::Root)?, At::fresh(Kind::Blind, Who::Root)?);
    let cgroup = stage.cgroup("args")?;
    let before = hits();
    let stricter = inside(cgroup.path(), Who::Root, || fs::read(open.on("file2")).map(drop))?;
    let between = hits();
    ensure!(stricter == End::Did && between > before, "{stricter:?}, {before} hits, then {between}");
    let laxer = inside(cgroup.path(), Who::Root, || fs::read(blind.on("file2")).map(drop))?;
    ensure!(
        laxer == super::agent::REFUSED && hits() == between,
        "{laxer:?}, {between} hits, then {}",
        hits()
    );
    let program = inside(cgroup.path(), Who::Root, || run(&open.at_work("prog"), &["stat"]))?;
    ensure!(program == ENDED, "the candidate let a program run: {program:?}");
    Ok(())
}
