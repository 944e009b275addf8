//! Calls to the kernel that are the machine owner's.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::wait::waitpid;

use crate::identity::{code, ended};
use crate::scene::Scene;
use crate::sys::{self, Arg, c, call, call_fd, words};
use crate::table::{Attempt, handed, plain};

fn bpf(command: i32, words: &[u64]) -> io::Result<i64> {
    let mut attributes = sys::words(words);
    attributes.resize(128, 0);
    call(libc::SYS_bpf, &mut [command.into(), attributes.as_mut_slice().into(), 128.into()])
}

const BPF_MAP_CREATE: i32 = 0;
const BPF_PROG_LOAD: i32 = 5;
const BPF_OBJ_GET: i32 = 7;
const BPF_PROG_GET_NEXT_ID: i32 = 11;
const BPF_MAP_GET_FD_BY_ID: i32 = 14;
const BPF_LINK_GET_NEXT_ID: i32 = 31;

/// A program that says 0: `r0 = 0; exit`.
fn load_program() -> io::Result<()> {
    let code = words(&[0xb7, 0x95]);
    let license = c"GPL";
    // Socket filter, two instructions.
    bpf(BPF_PROG_LOAD, &[1 | 2 << 32, code.as_ptr() as u64, license.as_ptr() as u64])
        .and_then(|fd| sys::adopt(fd as i32))
        .map(drop)
}

fn request_key(kind: &CStr) -> io::Result<()> {
    call(libc::SYS_request_key, &mut [kind.into(), c"drill.invalid".into(), c"x".into(), Arg::Num(-2)])
        .map(drop)
}

/// Begins a session keyring: one that a service manager made is root's, and keeps the kernel from what comes next.
fn begin_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    call(libc::SYS_keyctl, &mut [KEYCTL_JOIN_SESSION_KEYRING.into(), 0.into()]).map(drop)
}

/// Puts a keyring of its own in place of its parent's.
fn give_parent_a_keyring() -> io::Result<()> {
    const KEYCTL_SESSION_TO_PARENT: i32 = 18;
    begin_keyring()?;
    call(libc::SYS_keyctl, &mut [KEYCTL_SESSION_TO_PARENT.into()]).map(drop)
}

/// Has its own keyring replaced by its child's.
fn take_childs_keyring() -> io::Result<()> {
    begin_keyring()?;
    let child = sys::spawn(|| code(&give_parent_a_keyring()))?;
    ended(waitpid(child, None)?)
}

/// Whether the kernel knows keys of this type: what is asked of a type that it does not know ends as if nothing were found.
fn has_keys(kind: &CStr) -> io::Result<Vec<OwnedFd>> {
    let key = &mut [kind.into(), c"probe.invalid".into(), c"x".into(), 1.into(), Arg::Num(-2)];
    match call(libc::SYS_add_key, key) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Err(error),
        Ok(_) | Err(_) => Ok(Vec::new()),
    }
}

/// A software clock of its own, counted on the caller.
fn count_clock() -> io::Result<()> {
    const EXCLUDE_KERNEL: u64 = 1 << 5;
    let mut attributes = words(&[1 | 128 << 32, 0, 0, 0, 0, EXCLUDE_KERNEL]);
    attributes.resize(128, 0);
    call_fd(
        libc::SYS_perf_event_open,
        &mut [attributes.as_slice().into(), 0.into(), (-1).into(), (-1).into(), 0.into()],
    )
    .map(drop)
}

/// The kernel's own record of the processor's clock, given back to it unchanged.
fn adjust_clock() -> io::Result<()> {
    const ADJ_STATUS: u64 = 0x10;
    let mut timex = words(&[0; 26]);
    call(libc::SYS_adjtimex, &mut [timex.as_mut_slice().into()])?;
    timex[..8].copy_from_slice(&ADJ_STATUS.to_ne_bytes());
    call(libc::SYS_adjtimex, &mut [timex.as_mut_slice().into()]).map(drop)
}

fn set_clock() -> io::Result<()> {
    let mut now = words(&[0, 0]);
    call(libc::SYS_clock_gettime, &mut [0.into(), now.as_mut_slice().into()])?;
    call(libc::SYS_clock_settime, &mut [0.into(), now.as_slice().into()]).map(drop)
}

fn tun(_: &Scene) -> io::Result<Vec<OwnedFd>> {
    Ok(vec![File::options().read(true).write(true).open("/dev/net/tun")?.into()])
}

pub(crate) const TRIES: &[Attempt] = &[
    // An array with four-byte keys and values, and one entry.
    plain("bpf-map-create", |_, _| {
        bpf(BPF_MAP_CREATE, &[2 | 4 << 32, 4 | 1 << 32]).and_then(|fd| sys::adopt(fd as i32)).map(drop)
    }),
    plain("bpf-prog-load", |_, _| load_program()),
    plain("bpf-open-guards-pin", |at, _| {
        let path = c(at.path("pins")?.join("maps/CONTROL"));
        bpf(BPF_OBJ_GET, &[path.as_ptr() as u64]).and_then(|fd| sys::adopt(fd as i32)).map(drop)
    }),
    plain("bpf-list-programs", |_, _| bpf(BPF_PROG_GET_NEXT_ID, &[0]).map(drop)),
    plain("bpf-list-links", |_, _| bpf(BPF_LINK_GET_NEXT_ID, &[0]).map(drop)),
    plain("bpf-map-by-id", |_, _| {
        // Numbers are not given again until the last one has been: on a host that has run for long they are high. Inside
        // the first one is refused.
        for id in 1..1 << 20 {
            match bpf(BPF_MAP_GET_FD_BY_ID, &[id]).and_then(|fd| sys::adopt(fd as i32)) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                other => return other.map(drop),
            }
        }
        Err(io::Error::from_raw_os_error(libc::ENOENT))
    }),
    plain("perf-event-open", |_, _| count_clock()),
    plain("init-module", |_, _| {
        let rubbish = [0u8; 64];
        call(libc::SYS_init_module, &mut [rubbish.as_slice().into(), 64.into(), c"".into()]).map(drop)
    }),
    plain("finit-module", |at, _| {
        let file = File::open(at.file())?;
        call(libc::SYS_finit_module, &mut [file.as_fd().into(), c"".into(), 0.into()]).map(drop)
    }),
    plain("delete-module", |_, _| {
        call(libc::SYS_delete_module, &mut [c"no_such_module".into(), libc::O_NONBLOCK.into()]).map(drop)
    }),
    plain("request-key", |_, _| request_key(c"user")),
    handed("request-key-dns", |_| has_keys(c"dns_resolver"), |_, _| request_key(c"dns_resolver")),
    plain("keyctl-session-to-parent", |_, _| {
        // The kernel takes a parent of one thread alone.
        let child = sys::spawn(|| code(&take_childs_keyring()))?;
        ended(waitpid(child, None)?)
    }),
    plain("reboot-harmless", |_, _| {
        const CAD_OFF: i64 = 0;
        call(
            libc::SYS_reboot,
            &mut [Arg::Num(0xfee1_dead), Arg::Num(672_274_793), Arg::Num(CAD_OFF), Arg::Num(0)],
        )
        .map(drop)
    }),
    plain("kexec-unload", |_, _| {
        call(libc::SYS_kexec_load, &mut [0.into(), 0.into(), Arg::Num(0), 0.into()]).map(drop)
    }),
    plain("clock-settime", |_, _| set_clock()),
    plain("adjtimex", |_, _| adjust_clock()),
    plain("sethostname", |_, _| {
        let name = nix::unistd::gethostname()?;
        let name = name.as_encoded_bytes();
        call(libc::SYS_sethostname, &mut [name.into(), name.len().into()]).map(drop)
    }),
    plain("acct", |_, _| call(libc::SYS_acct, &mut [Arg::Num(0)]).map(drop)),
    plain("swapon", |at, _| call(libc::SYS_swapon, &mut [(&c(at.file())).into(), 0.into()]).map(drop)),
    plain("syslog", |_, _| {
        let mut text = [0u8; 64];
        call(libc::SYS_syslog, &mut [3.into(), text.as_mut_slice().into(), 64.into()]).map(drop)
    }),
    plain("iopl", |_, _| call(libc::SYS_iopl, &mut [3.into()]).map(drop)),
    plain("prctl-exe-file", |at, _| {
        const PR_SET_MM: i32 = 35;
        const PR_SET_MM_EXE_FILE: i32 = 13;
        let file = File::open(at.at_work("prog"))?;
        let fd = file.as_raw_fd();
        call(
            libc::SYS_prctl,
            &mut [PR_SET_MM.into(), PR_SET_MM_EXE_FILE.into(), fd.into(), 0.into(), 0.into()],
        )
        .map(drop)
    }),
    plain("fanotify-permission", |_, _| {
        const FAN_CLASS_CONTENT: i32 = 4;
        call_fd(libc::SYS_fanotify_init, &mut [FAN_CLASS_CONTENT.into(), 0.into()]).map(drop)
    }),
    plain("raise-hard-limit", |_, _| {
        let limit = words(&[1 << 20, 1 << 40]);
        call(
            libc::SYS_prlimit64,
            &mut [0.into(), libc::RLIMIT_MEMLOCK.cast_signed().into(), limit.as_slice().into(), Arg::Num(0)],
        )
        .map(drop)
    }),
    plain("tty-push-input", |_, _| {
        // A terminal of its own, or the ioctl would be refused for want of one.
        let terminal = File::options().read(true).write(true).open("/dev/ptmx")?;
        call(libc::SYS_ioctl, &mut [terminal.as_fd().into(), libc::TIOCSTI.into(), b"x".as_slice().into()])
            .map(drop)
    }),
    plain("tty-line-discipline", |_, _| {
        let terminal = File::options().read(true).write(true).open("/dev/ptmx")?;
        let normal = 0u32.to_ne_bytes();
        call(libc::SYS_ioctl, &mut [terminal.as_fd().into(), libc::TIOCSETD.into(), normal.as_slice().into()])
            .map(drop)
    }),
    plain("freeze-file-system", |at, _| {
        const FITRIM: u64 = 0xc018_5879;
        // A range of no bytes.
        let range = words(&[0, 0, 0]);
        let directory = File::open(&at.work)?;
        call(libc::SYS_ioctl, &mut [directory.as_fd().into(), FITRIM.into(), range.as_slice().into()])
            .map(drop)
    }),
    handed("tun-create-inherited", tun, |_, fds| {
        const TUNSETIFF: u64 = 0x4004_54ca;
        let mut request = [0u8; 40];
        request[..9].copy_from_slice(b"gdrill%d\0");
        // IFF_TUN, no packet information.
        request[16..18].copy_from_slice(&0x1001u16.to_ne_bytes());
        call(libc::SYS_ioctl, &mut [(&fds[0]).into(), TUNSETIFF.into(), request.as_mut_slice().into()])
            .map(drop)
    }),
    plain("open-tun", |_, _| File::options().read(true).write(true).open("/dev/net/tun").map(drop)),
];
