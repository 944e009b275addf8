//! PID 1 of a test guest: prepares the system, runs one command, reports what it printed and how it ended,
//! powers off. Where the guest's root is on a disk it only gets there, and is run again as a service of that
//! system, as `init job`. Whatever goes wrong here is reported as a failure of the guest, never as the command's.
#![forbid(unsafe_code)]

mod disk;
mod job;
mod link;
mod mounts;
mod tripwire;

use std::fs;
use std::io::Read;
use std::path::Path;

use link::{Ending, Link};
use nix::sys::reboot::{RebootMode, reboot};

fn main() {
    let as_service = std::env::args().nth(1).as_deref() == Some("job");
    let disk = if as_service { None } else { fs::read_to_string("/.guest/disk").ok() };
    if let Some(device) = disk
        && let Err(error) = mounts::device_nodes().and_then(|()| {
            load_modules(Path::new("/.guest/modules"));
            disk::switch(&device)
        })
    {
        broken(&format!("get to the root on the disk: {error}"));
    }
    let mut link = match Link::open(Path::new("/dev/ttyS1")) {
        Ok(link) => link,
        Err(error) => {
            eprintln!("guest-init: cannot open the report channel: {error}");
            power_off();
        }
    };
    let prepared = if as_service { job::Job::read(Path::new("/.guest")) } else { prepare() };
    let ending = prepared.and_then(|job| {
        link.ready(&kernel_release())?;
        job::run(&job, &mut link)
    });
    let ending = ending.unwrap_or_else(|error| Ending::Broken(error.to_string()));
    if let Err(error) = link.end(&ending) {
        eprintln!("guest-init: cannot report the end: {error}");
    }
    power_off();
}

/// Says why there is no job to report on.
fn broken(why: &str) -> ! {
    eprintln!("guest-init: {why}");
    if let Ok(mut link) = Link::open(Path::new("/dev/ttyS1")) {
        let _ = link.end(&Ending::Broken(why.to_owned()));
    }
    power_off()
}

fn prepare() -> std::io::Result<job::Job> {
    mounts::mount_all()?;
    let job = job::Job::read(Path::new("/.guest"))?;
    load_modules(Path::new("/.guest/modules"));
    run_quietly(&["/bin/busybox", "ip", "link", "set", "lo", "up"])?;
    let _ = nix::unistd::sethostname("guest");
    // An unseeded generator makes the first connections of a boot many times dearer than the later ones.
    fs::File::open("/dev/random")?.read_exact(&mut [0; 16])?;
    Ok(job)
}

/// Loads the modules of the list, one path per line, dependencies first. One that does not load (built in, or
/// not for this machine) is only noted on the console: the test that needs it will say so.
fn load_modules(list: &Path) {
    let Ok(text) = fs::read_to_string(list) else { return };
    for path in text.lines() {
        let loaded = fs::File::open(path).and_then(|file| {
            nix::kmod::finit_module(file, c"", nix::kmod::ModuleInitFlags::empty()).map_err(Into::into)
        });
        if let Err(error) = loaded {
            eprintln!("guest-init: module {path}: {error}");
        }
    }
}

fn run_quietly(argv: &[&str]) -> std::io::Result<()> {
    let (program, args) = argv.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let status = std::process::Command::new(program).args(args).status()?;
    if status.success() {
        return Ok(());
    }
    Err(std::io::Error::other(format!("{} ended with {status}", argv.join(" "))))
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn power_off() -> ! {
    nix::unistd::sync();
    let _ = reboot(RebootMode::RB_POWER_OFF);
    // PID 1 must not return: the kernel would panic, which the host reads as a failure. So be it.
    std::process::exit(1)
}
