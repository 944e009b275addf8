//! What makes the kernel run code, and what is the machine owner's.

use std::fs;
use std::io;

use super::super::agent::End;
use super::super::stage::PINS;
use super::super::sys::uring::Ring;
use super::super::sys::{self, Arg, c, call, call_fd, words};
use super::{Fence, Scene};

const BPF_MAP_CREATE: i32 = 0;
const BPF_OBJ_GET: i32 = 7;
const BPF_PROG_GET_NEXT_ID: i32 = 11;

/// bpf(2) with attributes of 128 bytes, of which the first words are given.
fn bpf(command: i32, first: &[u64]) -> io::Result<i64> {
    let mut attributes = words(first);
    attributes.resize(128, 0);
    call(libc::SYS_bpf, &mut [command.into(), attributes.as_mut_slice().into(), 128.into()])
}

fn make_map(_: &Scene) -> io::Result<()> {
    // An array with four-byte keys and values, and one entry.
    bpf(BPF_MAP_CREATE, &[2 | 4 << 32, 4 | 1 << 32]).and_then(|fd| sys::adopt(fd as i32)).map(drop)
}

fn open_pin(_: &Scene) -> io::Result<()> {
    let path = c(format!("{PINS}/maps/CONTROL"));
    bpf(BPF_OBJ_GET, &[path.as_ptr() as u64]).and_then(|fd| sys::adopt(fd as i32)).map(drop)
}

/// A software clock of its own, counted on the caller.
fn count_clock(_: &Scene) -> io::Result<()> {
    const EXCLUDE_KERNEL: u64 = 1 << 5;
    let mut attributes = words(&[1 | 128 << 32, 0, 0, 0, 0, EXCLUDE_KERNEL]);
    attributes.resize(128, 0);
    call_fd(
        libc::SYS_perf_event_open,
        &mut [attributes.as_slice().into(), 0.into(), (-1).into(), (-1).into(), 0.into()],
    )
    .map(drop)
}

fn request_key(kind: &std::ffi::CStr) -> io::Result<()> {
    call(libc::SYS_request_key, &mut [kind.into(), c"example.org".into(), c"x".into(), Arg::Num(-2)])
        .map(drop)
}

fn load_module(_: &Scene) -> io::Result<()> {
    let rubbish = [0u8; 64];
    call(libc::SYS_init_module, &mut [rubbish.as_slice().into(), 64.into(), c"".into()]).map(drop)
}

fn load_module_file(scene: &Scene) -> io::Result<()> {
    let file = fs::File::open(scene.at.file())?;
    call(libc::SYS_finit_module, &mut [std::os::fd::AsFd::as_fd(&file).into(), c"".into(), 0.into()])
        .map(drop)
}

const NO_EXEC: End = End::Errno(libc::ENOEXEC);

pub(super) const CALLS: &[Fence] = &[
    Fence::root("make a BPF map", make_map),
    Fence::root("open guard's pinned map", open_pin),
    Fence::root("list BPF programs", |_| bpf(BPF_PROG_GET_NEXT_ID, &[0]).map(drop)),
    // The mask of capabilities may answer first.
    Fence::root("count events", count_clock).ends(&[End::Errno(libc::EPERM), End::Errno(libc::EACCES)]),
    Fence::root("load a module", load_module).control(&[NO_EXEC]),
    Fence::root("load a module file", load_module_file).control(&[NO_EXEC]),
    Fence::root("remove a module", |_| {
        call(libc::SYS_delete_module, &mut [c"no_such_module".into(), libc::O_NONBLOCK.into()]).map(drop)
    })
    .control(&[End::Errno(libc::ENOENT)]),
    Fence::anybody("ask for a key by a helper program", |_| request_key(c"user"))
        .control(&[End::Errno(libc::ENOENT)])
        .ends(&[End::Errno(libc::EPERM)]),
    Fence::anybody("a ring with a thread of the kernel's", |_| Ring::new(2).map(drop)),
    Fence::anybody("an ordinary ring is allowed", |_| Ring::new(0).map(drop)).ends(&[End::Did]),
    Fence::anybody("a key of its own is allowed", |_| {
        let text = b"secret".as_slice();
        let own_process = Arg::Num(-2);
        call(
            libc::SYS_add_key,
            &mut [c"user".into(), c"guard-test".into(), text.into(), text.len().into(), own_process],
        )
        .map(drop)
    })
    .ends(&[End::Did]),
];

fn set_image(scene: &Scene) -> io::Result<()> {
    const PR_SET_MM: i32 = 35;
    const PR_SET_MM_EXE_FILE: i32 = 13;
    let file = fs::File::open(scene.at.on("prog"))?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    call(libc::SYS_prctl, &mut [PR_SET_MM.into(), PR_SET_MM_EXE_FILE.into(), fd.into(), 0.into(), 0.into()])
        .map(drop)
}

/// The kernel's own record of the processor's clock, given back to it unchanged.
fn adjust_clock(_: &Scene) -> io::Result<()> {
    const ADJ_STATUS: u64 = 0x10;
    let mut timex = words(&[0; 26]);
    call(libc::SYS_adjtimex, &mut [timex.as_mut_slice().into()])?;
    timex[..8].copy_from_slice(&ADJ_STATUS.to_ne_bytes());
    call(libc::SYS_adjtimex, &mut [timex.as_mut_slice().into()]).map(drop)
}

fn set_clock(_: &Scene) -> io::Result<()> {
    let mut now = words(&[0, 0]);
    call(libc::SYS_clock_gettime, &mut [0.into(), now.as_mut_slice().into()])?;
    call(libc::SYS_clock_settime, &mut [0.into(), now.as_slice().into()]).map(drop)
}

pub(super) const OWNERS: &[Fence] = &[
    Fence::root("reboot's harmless command", |_| {
        const CAD_OFF: i64 = 0;
        call(
            libc::SYS_reboot,
            &mut [Arg::Num(0xfee1_dead), Arg::Num(672_274_793), Arg::Num(CAD_OFF), Arg::Num(0)],
        )
        .map(drop)
    }),
    Fence::root("unload the next kernel", |_| {
        call(libc::SYS_kexec_load, &mut [0.into(), 0.into(), Arg::Num(0), 0.into()]).map(drop)
    }),
    Fence::root("set the clock", set_clock),
    Fence::root("adjust the clock", adjust_clock),
    Fence::root("set the host's name", |_| {
        call(libc::SYS_sethostname, &mut [b"guest".as_slice().into(), 5.into()]).map(drop)
    }),
    Fence::root("process accounting", |_| call(libc::SYS_acct, &mut [Arg::Num(0)]).map(drop)),
    Fence::root("swap", |scene| {
        call(libc::SYS_swapon, &mut [(&c(scene.at.file())).into(), 0.into()]).map(drop)
    })
    .control(&[End::Errno(libc::EINVAL)]),
    Fence::root("read the kernel's log", |_| {
        let mut text = [0u8; 64];
        call(libc::SYS_syslog, &mut [3.into(), text.as_mut_slice().into(), 64.into()]).map(drop)
    }),
    Fence::root("the machine's ports", |_| call(libc::SYS_iopl, &mut [3.into()]).map(drop)),
    Fence::root("claim another program's name for its image", set_image).control(&[End::Errno(libc::EBUSY)]),
    Fence::root("raise a hard limit", |_| {
        let limit = words(&[1 << 20, 1 << 40]);
        call(
            libc::SYS_prlimit64,
            &mut [0.into(), libc::RLIMIT_MEMLOCK.cast_signed().into(), limit.as_slice().into(), Arg::Num(0)],
        )
        .map(drop)
    }),
    Fence::root("watch the whole file system for permission", |_| {
        const FAN_CLASS_CONTENT: i32 = 4;
        call_fd(libc::SYS_fanotify_init, &mut [FAN_CLASS_CONTENT.into(), 0.into()]).map(drop)
    }),
];
