//! Holding a call until somebody answers.
//!
//! The task's own thread gets a SIGSTOP and the call returns "restart": it stops inside the call, before any
//! effect, and once it is continued it makes the very same call again. Then there is an answer to it in a map,
//! or it is held again. An answer is bound to a digest of everything that makes the call what it is.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::offsets::ABSENT;
use guard_common::abi::{Action, Asked, Held, Op, Reason, Ruling, RulingKey, Site};
use guard_common::digest::Digest;
use guard_common::limits::PATH_MAX;

use crate::emit::What;
use crate::hooks::{EPERM, ERESTARTNOINTR, NO_HOLD, PART};
use crate::kernel::{self, Ptr, at, count, follow, get, load, off, put, read, word};
use crate::maps::{CONTROL, HELD, RULINGS};
use crate::object::{HEAD, Scratch};
use crate::{judge, subject};

const SIGSTOP: u32 = 19;
/// A daemon that has not been heard of for so long is none, in nanoseconds.
const SILENCE: u64 = 15_000_000_000;
/// PF_IO_WORKER
const IO_WORKER: u32 = 0x10;

/// A call waits for its answer, has one, or cannot wait. What comes of it goes into `what`.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn hold(scratch: *mut Scratch, case: u64, digest: u64) -> u64 {
    if scratch.is_null() {
        return 0;
    }
    let task = kernel::current();
    // SAFETY: not null, a map value that is the task's own.
    let what = unsafe { &mut (*scratch).what };
    if (case >> 40) as u32 & 0xff == Op::Argv as u32 {
        return of_argv(scratch, what);
    }
    what.detail = digest;
    // SAFETY: helpers that take nothing.
    let (ids, now) = unsafe { (helpers::bpf_get_current_pid_tgid(), helpers::bpf_ktime_get_boot_ns()) };
    let tid = ids as u32;
    let start: u64 = subject::started(task);
    let said = asked(digest, (start, tid), case, now);
    if said != 0 {
        if !HELD.get(&tid).is_null() {
            HELD.delete(&tid);
        }
        return if said == Reason::Approved as u64 {
            if case & PART != 0 {
                // SAFETY: not null, a map value.
                unsafe { put(&raw mut (*scratch).kept, digest) };
            }
            approved(scratch)
        } else {
            refused(what, said)
        };
    }
    if !can_restart(task, case) {
        return refused(what, Reason::CannotHold as u64);
    }
    if !is_heard(now) {
        return refused(what, Reason::NoDaemon as u64);
    }
    if !note(tid, start, digest, now) {
        return refused(what, Reason::QueueFull as u64);
    }
    // First the stop, then the word of it: whoever answers then finds something to continue.
    // SAFETY: takes a number.
    if unsafe { helpers::bpf_send_signal_thread(SIGSTOP) } != 0 {
        count(Site::SignalFailed);
        HELD.delete(&tid);
        return refused(what, Reason::CannotHold as u64);
    }
    what.errno = -ERESTARTNOINTR;
    what.reason = Reason::Held as u16;
    0
}

/// The exec was held, and approved, with the argv that its caller showed; now there is the one that it has.
#[inline(always)]
fn of_argv(scratch: *mut Scratch, what: &mut What) -> u64 {
    // SAFETY: `scratch` is a map value.
    let (granted, argv) = unsafe { (get(&raw const (*scratch).granted), get(&raw const (*scratch).argv)) };
    if granted == 0 {
        return refused(what, Reason::CannotHold as u64);
    }
    // SAFETY: as above.
    if granted != argv || unsafe { get(&raw const (*scratch).granted_in) } != what.generation {
        return refused(what, Reason::Changed as u64);
    }
    what.errno = 0;
    what.reason = Reason::Approved as u16;
    1
}

#[inline(always)]
fn refused(what: &mut What, reason: u64) -> u64 {
    what.errno = -EPERM;
    what.reason = reason as u16;
    0
}

#[inline(always)]
fn approved(scratch: *mut Scratch) -> u64 {
    // SAFETY: not null, a map value.
    unsafe {
        put(&raw mut (*scratch).what.errno, 0);
        put(&raw mut (*scratch).what.reason, Reason::Approved as u16);
        // What was read of argv is what must be run.
        put(&raw mut (*scratch).granted, get(&raw const (*scratch).argv));
        put(&raw mut (*scratch).granted_in, get(&raw const (*scratch).what.generation));
    }
    1
}

/// The answer for a thread, or else the one for whichever.
#[inline(always)]
fn asked(digest: u64, (start, tid): (u64, u32), case: u64, now: u64) -> u64 {
    let mut key = RulingKey { digest, start, tid, _pad: 0 };
    let said = answer(&key, case, now);
    if said != 0 {
        return said;
    }
    // Word by word: a whole key would be cleared by a call, for which there is no stack.
    put(&raw mut key.start, 0);
    put((&raw mut key.tid).cast::<u64>(), 0);
    answer(&key, PART, now)
}

/// The reason code that answers this call, 0 for none. An answer is for once, unless the operation has more
/// questions to come, which would otherwise ask for this one again: then the last of them takes it.
#[inline(always)]
fn answer(key: &RulingKey, case: u64, now: u64) -> u64 {
    let answer = RULINGS.get(key);
    if answer.is_null() {
        return 0;
    }
    let Ruling { until, reason, .. } = get(answer);
    let late = now > until;
    if (late || case & PART == 0) && RULINGS.delete(key) != 0 {
        // Somebody else was first.
        return 0;
    }
    if late { 0 } else { u64::from(reason) }
}

/// Whether the kernel can make the call once more from its beginning.
#[inline(always)]
fn can_restart(task: Ptr, case: u64) -> bool {
    let op = (case >> 40) as u32 & 0xff;
    if case & NO_HOLD != 0 || op == Op::Receive as u32 || op == Op::Argv as u32 || op == Op::Packet as u32 {
        return false;
    }
    if load::<u32, _, _>(task, at!(TASK_FLAGS)) & IO_WORKER != 0 {
        return false;
    }
    match call(task) {
        // io_uring_enter; io_submit, also of 32-bit programs: they report an error to be read later.
        426 | 209 | 248 => false,
        // execve and execveat, also of 32-bit and x32 programs: what the kernel maps for the new image.
        59 | 322 | 11 | 358 | 520 | 545 => op == Op::Exec as u32,
        _ => true,
    }
}

/// The number of the call the task is in: the kernel looks at the low half of the register, and a bit of it says x32.
#[inline(always)]
pub(crate) fn call(task: Ptr) -> u32 {
    call_of(registers(task))
}

#[inline(always)]
pub(crate) fn call_of(registers: Ptr) -> u32 {
    load::<u32, _, _>(registers, at!(REGISTERS_CALL)) & !0x4000_0000
}

/// The registers with which the task came into the kernel.
#[inline(always)]
pub(crate) fn registers(task: Ptr) -> Ptr {
    // SAFETY: `task` is typed.
    unsafe { helpers::bpf_task_pt_regs(task.cast_mut().cast()) as *const u8 }
}

/// Is there a daemon that gives signs of life?
#[inline(always)]
fn is_heard(now: u64) -> bool {
    let control = CONTROL.get(&0);
    if control.is_null() {
        return false;
    }
    // SAFETY: not null, a map value.
    let beat = unsafe { get(&raw const (*control).beat) };
    beat != 0 && now < beat + SILENCE
}

/// Writes down that the thread is held, and since when; false if there is no room for it.
#[inline(always)]
fn note(tid: u32, start: u64, digest: u64, now: u64) -> bool {
    let before = HELD.get(&tid);
    if !before.is_null()
        // SAFETY: not null, a map value.
        && unsafe { get(&raw const (*before).digest) == digest && get(&raw const (*before).start) == start }
    {
        return true;
    }
    HELD.set(&tid, &Held { digest, start, since: now }) == 0
}

/// The digest in the making: word by word, because a whole one would lie on the stack.
pub(crate) type Sip = [u64; Digest::WORDS];

/// Takes one more word into a digest. A function of its own: it is called in a dozen places.
#[inline(never)]
pub(crate) fn feed(sip: *mut Sip, word: u64) {
    let at = sip.cast::<u64>();
    // SAFETY: a map value.
    unsafe {
        let now = [get(at), get(at.add(1)), get(at.add(2)), get(at.add(3)), get(at.add(4))];
        let next = Digest::from_words(now).word(word).words();
        put(at, next[0]);
        put(at.add(1), next[1]);
        put(at.add(2), next[2]);
        put(at.add(3), next[3]);
        put(at.add(4), next[4]);
    }
}

/// Begins a digest.
#[inline(always)]
pub(crate) fn begin(sip: *mut Sip) {
    let first = Digest::new(word!(DIGEST_KEY)).words();
    let mut i = 0;
    while i < Digest::WORDS {
        // SAFETY: a map value.
        unsafe { put(sip.cast::<u64>().add(i), first[i]) };
        i += 1;
    }
}

/// What a digest has come to.
#[inline(always)]
pub(crate) fn end(sip: *mut Sip) -> u64 {
    let at = sip.cast::<u64>();
    // SAFETY: a map value.
    let now = unsafe { [get(at), get(at.add(1)), get(at.add(2)), get(at.add(3)), get(at.add(4))] };
    Digest::from_words(now).finish()
}

/// Everything that makes this call what it is, but for the task that makes it.
// SAFETY: the name is this function's alone in the object.
#[unsafe(export_name = "call_digest")]
#[inline(never)]
pub(crate) extern "C" fn digest(scratch: *mut Scratch, case: u64) -> u64 {
    if scratch.is_null() {
        return 0;
    }
    let task = kernel::current();
    judge::pad(scratch);
    // SAFETY: not null, a map value.
    let sip = unsafe { &raw mut (*scratch).sip };
    begin(sip);
    feed(sip, case & 0xffff_ffff_ffff);
    // SAFETY: as above.
    unsafe {
        feed(sip, get(&raw const (*scratch).what.session));
        feed(sip, get(&raw const (*scratch).what.generation));
        feed(sip, get(&raw const (*scratch).argv));
    }
    let image = follow(kernel::loose(task), at!(TASK_MM));
    if !image.is_null() {
        let file = follow(image, at!(MM_EXE_FILE));
        if !file.is_null() {
            let inode = follow(file, at!(FILE_INODE));
            feed(sip, load(inode, at!(INODE_INO)));
            feed(sip, u64::from(load::<u32, _, _>(follow(inode, at!(INODE_SB)), at!(SB_DEV))));
        }
    }
    // SAFETY: as above.
    let (object, asked) = unsafe {
        let asked = &raw mut (*scratch).aside.asked.file;
        put(&raw mut (*asked).ino, 0);
        (get(&raw const (*scratch).object), asked)
    };
    if object != 0 {
        file(sip, asked, object, (case >> 32) as u32 & 7 == Action::Exec as u32);
    }
    let mut context = scratch;
    // SAFETY: the callback takes the context it is given here, a pointer to a map value on the stack.
    unsafe {
        helpers::bpf_loop(
            (PATH_MAX / 8) as u32,
            absorb as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    end(sip)
}

/// Which file is behind the dentry, and, if it is to be run, in which state: then it is written down too, because it is
/// this file that whoever answers has to be shown.
#[inline(always)]
fn file(sip: *mut Sip, asked: *mut Asked, dentry: u64, runs: bool) {
    let inode = read::<u64>(dentry + off!(DENTRY_INODE)).unwrap_or(0);
    if inode == 0 {
        return;
    }
    let ino = read(inode + off!(INODE_INO)).unwrap_or(0);
    // SAFETY: a map value.
    unsafe { put(&raw mut (*asked).ino, if runs { ino } else { 0 }) };
    feed(sip, ino);
    let sb = read::<u64>(inode + off!(INODE_SB)).unwrap_or(0);
    let dev = read::<u32>(sb + off!(SB_DEV)).unwrap_or(0);
    // SAFETY: as above.
    unsafe { put(&raw mut (*asked).dev, dev) };
    feed(sip, u64::from(dev));
    if !runs {
        return;
    }
    let changed = if off!(INODE_CTIME) != ABSENT {
        off!(INODE_CTIME)
    } else if off!(INODE_CTIME_HIDDEN) != ABSENT {
        off!(INODE_CTIME_HIDDEN)
    } else {
        off!(INODE_CTIME_SECONDS)
    };
    let nanoseconds =
        if off!(INODE_CTIME_NANOSECONDS) != ABSENT { off!(INODE_CTIME_NANOSECONDS) } else { changed + 8 };
    // SAFETY: as above.
    unsafe {
        put(&raw mut (*asked).size, read(inode + off!(INODE_SIZE)).unwrap_or(0));
        put(&raw mut (*asked).seconds, read(inode + changed).unwrap_or(0));
        // From 6.13 on the top bit says that somebody has asked for the time (`I_CTIME_QUERIED`), as the daemon does when it
        // makes the file's digest.
        let nanoseconds = read::<u32>(inode + nanoseconds).unwrap_or(0) & 0x7fff_ffff;
        put(&raw mut (*asked).nanoseconds, nanoseconds);
        feed(sip, get(&raw const (*asked).size));
        feed(sip, get(&raw const (*asked).seconds));
        feed(sip, u64::from(get(&raw const (*asked).nanoseconds)));
    }
}

/// Eight bytes of the object.
unsafe extern "C" fn absorb(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `digest` gives; the place is masked to the bytes.
    unsafe {
        let scratch = *context.cast::<*mut Scratch>();
        let at = (get(&raw const (*scratch).start) & !7) + index * 8;
        if at >= PATH_MAX as u64 {
            return 1;
        }
        let at = kernel::masked(at, PATH_MAX as u64 - 8) as usize;
        let word = get((&raw const (*scratch).bytes).cast::<u8>().add(HEAD + at).cast::<u64>());
        feed(&raw mut (*scratch).sip, word);
    }
    0
}

/// Takes the answers to the earlier questions of an operation that is done: its last one has been answered.
#[inline(always)]
pub(crate) fn spend(task: Ptr, scratch: *mut Scratch) {
    // SAFETY: helper that takes nothing; a map value.
    let (tid, digest) =
        unsafe { (helpers::bpf_get_current_pid_tgid() as u32, get(&raw const (*scratch).kept)) };
    if digest == 0 {
        return;
    }
    let start = subject::started(task);
    let key = RulingKey { digest, start, tid, _pad: 0 };
    RULINGS.delete(&key);
    // SAFETY: a map value.
    unsafe { put(&raw mut (*scratch).kept, 0) };
}

/// A new exec begins: nothing of it has been approved.
#[inline(always)]
pub(crate) fn forget(scratch: *mut Scratch) {
    // SAFETY: a map value.
    unsafe {
        put(&raw mut (*scratch).granted, 0);
        put(&raw mut (*scratch).level, 0);
    }
}

/// Is the running task the daemon, and ends?
pub(crate) fn daemon_ends(task: Ptr) {
    if subject::is_daemon(task)
        && load::<u32, _, _>(task, at!(TASK_PID)) == load::<u32, _, _>(task, at!(TASK_TGID))
    {
        let control = CONTROL.get(&0);
        if !control.is_null() {
            // SAFETY: not null, a map value.
            unsafe { put(&raw mut (*control).beat, 0) };
        }
    }
}
