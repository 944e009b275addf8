//! What has a number or a name that no path has: System V's shared memory, semaphores and message queues, and POSIX message
//! queues. Somebody outside has made them.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::scene::Scene;
use crate::sys::{self, Arg, call, call_fd};
use crate::table::{Attempt, handed, plain};

/// The object's number: what made it is the same process that tries.
static OBJECT: AtomicI32 = AtomicI32::new(-1);

fn object() -> i32 {
    OBJECT.load(Ordering::Relaxed)
}

/// Removes again what was made once nobody holds the other end: by a process that stays outside.
fn until_closed(remove: impl FnOnce()) -> io::Result<Vec<OwnedFd>> {
    let (hear, say) = pipe2(OFlag::O_CLOEXEC)?;
    sys::spawn(|| {
        // Whoever ends the attempt ends all that is around it.
        let _ = nix::unistd::setsid();
        let at = hear.as_raw_fd();
        for (first, last) in [(0, at - 1), (at + 1, i32::MAX)] {
            let _ = call(libc::SYS_close_range, &mut [first.into(), last.into(), 0.into()]);
        }
        let _ = call(libc::SYS_read, &mut [at.into(), [0u8; 1].as_mut_slice().into(), 1.into()]);
        remove();
        0
    })?;
    Ok(vec![say])
}

/// Makes an object of one kind, and remembers its number.
fn made(get: libc::c_long, size: i32, control: libc::c_long) -> io::Result<Vec<OwnedFd>> {
    let id = create(get, size)?;
    OBJECT.store(id, Ordering::Relaxed);
    until_closed(move || drop(remove(control, id)))
}

fn create(get: libc::c_long, size: i32) -> io::Result<i32> {
    const OPEN: i32 = libc::IPC_CREAT | 0o666;
    // msgget takes no size.
    let (second, third) = if get == libc::SYS_msgget { (OPEN, 0) } else { (size, OPEN) };
    call(get, &mut [libc::IPC_PRIVATE.into(), second.into(), third.into()]).map(|id| id as i32)
}

fn remove(control: libc::c_long, id: i32) -> io::Result<()> {
    // semctl takes the semaphore's index in front of the command.
    let (second, third) = if control == libc::SYS_semctl { (0, libc::IPC_RMID) } else { (libc::IPC_RMID, 0) };
    call(control, &mut [id.into(), second.into(), third.into(), 0.into()]).map(drop)
}

fn memory(_: &Scene) -> io::Result<Vec<OwnedFd>> {
    made(libc::SYS_shmget, 4096, libc::SYS_shmctl)
}

fn queue(_: &Scene) -> io::Result<Vec<OwnedFd>> {
    made(libc::SYS_msgget, 0, libc::SYS_msgctl)
}

fn semaphores(_: &Scene) -> io::Result<Vec<OwnedFd>> {
    made(libc::SYS_semget, 1, libc::SYS_semctl)
}

/// Attaches shared memory, and lets go of it.
fn attach(id: i32) -> io::Result<()> {
    let at = call(libc::SYS_shmat, &mut [id.into(), 0.into(), 0.into()])?;
    call(libc::SYS_shmdt, &mut [Arg::Num(at)]).map(drop)
}

/// Sends a message of one byte.
fn send(id: i32) -> io::Result<()> {
    let message = sys::words(&[1, 0]);
    let arguments = &mut [id.into(), message.as_slice().into(), 1.into(), libc::IPC_NOWAIT.into()];
    call(libc::SYS_msgsnd, arguments).map(drop)
}

/// Adds one to a semaphore.
fn post(id: i32) -> io::Result<()> {
    // struct sembuf: which, by how much, flags.
    let operation = sys::words(&[1 << 16]);
    call(libc::SYS_semop, &mut [id.into(), operation.as_slice().into(), 1.into()]).map(drop)
}

fn name(number: i32) -> CString {
    CString::new(format!("guard-drill-{number}")).unwrap_or_default()
}

fn open(name: &CStr, flags: i32) -> io::Result<OwnedFd> {
    call_fd(libc::SYS_mq_open, &mut [name.into(), (flags | libc::O_RDWR).into(), 0o600.into(), 0.into()])
}

fn unlink(name: &CStr) -> io::Result<()> {
    call(libc::SYS_mq_unlink, &mut [name.into()]).map(drop)
}

/// Makes a queue. Whether it is there tells a second call, because opening what was made can fail by itself.
fn make_queue() -> io::Result<()> {
    let name = name(nix::unistd::gettid().as_raw());
    let opened = open(&name, libc::O_CREAT);
    match open(&name, libc::O_CREAT | libc::O_EXCL) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            let _ = unlink(&name);
            Ok(())
        }
        Err(error) => Err(error),
        Ok(_) => opened.map(drop),
    }
}

/// A queue of somebody outside, with a number in its name.
fn named(_: &Scene) -> io::Result<Vec<OwnedFd>> {
    OBJECT.store(nix::unistd::getpid().as_raw(), Ordering::Relaxed);
    let name = name(object());
    open(&name, libc::O_CREAT)?;
    until_closed(move || drop(unlink(&name)))
}

pub(crate) fn own() -> io::Result<()> {
    let (memory, queue, semaphores) =
        (create(libc::SYS_shmget, 4096)?, create(libc::SYS_msgget, 0)?, create(libc::SYS_semget, 1)?);
    let used = attach(memory).and_then(|()| send(queue)).and_then(|()| post(semaphores));
    let removed = [
        remove(libc::SYS_shmctl, memory),
        remove(libc::SYS_msgctl, queue),
        remove(libc::SYS_semctl, semaphores),
    ];
    removed.into_iter().collect::<io::Result<()>>().and(used)
}

pub(crate) const TRIES: &[Attempt] = &[
    handed("sysv-memory-attach", memory, |_, _| attach(object())),
    handed("sysv-message-send", queue, |_, _| send(object())),
    handed("sysv-semaphore-post", semaphores, |_, _| post(object())),
    handed("sysv-memory-remove", memory, |_, _| remove(libc::SYS_shmctl, object())),
    handed("sysv-queue-remove", queue, |_, _| remove(libc::SYS_msgctl, object())),
    handed("sysv-semaphores-remove", semaphores, |_, _| remove(libc::SYS_semctl, object())),
    plain("mqueue-create", |_, _| make_queue()),
    handed("mqueue-unlink", named, |_, _| unlink(&name(object()))),
];
