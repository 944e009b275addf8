//! Where a process comes from, what it becomes and that it is gone: told whatever the audit settings, because
//! every record names a program, and a session ends with its last process.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use guard_common::abi::{Action, EventFlags, EventKind, Label, LabelFlags, Op, Reason, Verdict};
use guard_common::limits::PATH_MAX;
use guard_common::nuls;
use guard_common::table::{self, Answer, Words as _};

use crate::confine;
use crate::emit::{self, Process, TAIL, What, emit};
use crate::hold;
use crate::judge::Arena;
use crate::kernel::{self, Ptr, at, follow, get, load, put};
use crate::object::{HEAD, Place, Scratch};
use crate::storage;
use crate::subject;
use crate::walk::{self, End};

const CLONE_PARENT: u64 = 0x8000;
const CLONE_THREAD: u64 = 0x1_0000;

/// Room for argv behind the path and its NUL: both together are less than `TAIL`, to which `emit` masks them.
const ARGV: u64 = TAIL as u64 - 2;

/// Tells which image a process has become, with its argv: up to its end and no further, because the
/// environment lies right behind it.
#[inline(never)]
pub(crate) fn became(scratch: *mut Scratch, bprm: Ptr, domain: u64, session: u64) -> u64 {
    if scratch.is_null() {
        return 0;
    }
    let at = Place::of_file(follow(bprm, at!(BPRM_FILE)));
    at.aim(scratch);
    let end = walk::spell_again(scratch);
    if walk::ended(end) != End::Done {
        emit::no_object(scratch);
    }
    let argc = u64::from(load::<u32, _, _>(bprm, at!(BPRM_ARGC)));
    let length = read_argv(scratch, bprm, argc);
    let what = What {
        session,
        generation: Arena::live().map_or(0, |arena| arena.word(table::AT_GENERATION)),
        detail: argc,
        domain: domain as u32,
        errno: 0,
        answer: Answer::NONE.0,
        shadow: 0,
        reason: Reason::Default as u16,
        policy: 0,
        kind: EventKind::Exec as u8,
        action: Action::Exec as u8,
        op: Op::Exec as u8,
        verdict: Verdict::Allow as u8,
        flags: if length == 0 { EventFlags::CUT } else { 0 },
        tail: 1 + if length == 0 { get(argv_length(scratch)) } else { length } as u32,
    };
    // SAFETY: not null, a map value that is the task's own.
    unsafe { (*scratch).what = what };
    emit(scratch)
}

#[inline(always)]
fn argv_length(scratch: *mut Scratch) -> *const u64 {
    // SAFETY: `scratch` is a map value; `&raw` makes no reference.
    unsafe { &raw const (*scratch).words.length }
}

/// Copies argv behind the path's end and a NUL. Gives its length, or 0 if it does not end in what is read.
#[inline(always)]
fn read_argv(scratch: *mut Scratch, bprm: Ptr, argc: u64) -> u64 {
    let (from, end): (u64, u64) = (load(bprm, at!(BPRM_P)), load(bprm, at!(BPRM_EXEC)));
    let mut length = end.wrapping_sub(from);
    if length > ARGV {
        length = ARGV;
    }
    // SAFETY: a map value, which has `TAIL` bytes behind the path's end.
    unsafe {
        let tail = (&raw mut (*scratch).bytes).cast::<u8>().add(HEAD + PATH_MAX);
        put(tail, 0);
        put(&raw mut (*scratch).words.argc, argc);
        put(&raw mut (*scratch).words.nuls, 0);
        put(&raw mut (*scratch).words.end, 0);
        if helpers::bpf_copy_from_user(tail.add(1).cast(), length as u32, from as *const c_void) != 0 {
            length = 0;
        }
        put(&raw mut (*scratch).words.length, length);
        let mut context = scratch;
        helpers::bpf_loop(
            (ARGV as u32).div_ceil(8),
            scan as unsafe extern "C" fn(u64, *mut c_void) -> i64 as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
        get(&raw const (*scratch).words.end)
    }
}

/// Eight bytes of argv: its end is the NUL behind its last word.
unsafe extern "C" fn scan(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: the context is the one `read_argv` gives; the index is masked to the tail, behind which there is room.
    unsafe {
        let scratch = *context.cast::<*mut Scratch>();
        let (done, length) = (index * 8, get(&raw const (*scratch).words.length));
        if done >= length {
            return 1;
        }
        let at = kernel::masked(done + 1, TAIL as u64 - 1) as usize;
        let bytes =
            kernel::get_anywhere((&raw const (*scratch).bytes).cast::<u8>().add(HEAD + PATH_MAX + at));
        let nuls = nuls::among(bytes, length - done);
        let (before, wanted) = (get(&raw const (*scratch).words.nuls), get(&raw const (*scratch).words.argc));
        let met = before + nuls::count(nuls);
        if met < wanted {
            put(&raw mut (*scratch).words.nuls, met);
            return 0;
        }
        put(&raw mut (*scratch).words.end, done + nuls::through(nuls, wanted - before));
    }
    1
}

/// Tells of a child that has its parent's label. False if it has none.
#[inline(always)]
pub(crate) fn forked(child: Ptr, flags: u64) -> bool {
    if !subject::has_storage(child) {
        return false;
    }
    let mut label = MaybeUninit::uninit();
    let label = subject::no_label(&mut label);
    if !subject::own_label(child, label) {
        return false;
    }
    if flags & CLONE_THREAD == 0 && counts(label) {
        let parent = if flags & CLONE_PARENT == 0 {
            load(kernel::current(), at!(TASK_TGID))
        } else {
            subject::parent(child)
        };
        emit::emit_process(EventKind::Enter, Op::Fork, label, Process { task: child, parent }, 0);
    }
    true
}

/// Tells of a process that has just been labelled.
#[inline(always)]
pub(crate) fn entered(task: Ptr, label: &Label) {
    let parent = subject::parent(task);
    emit::emit_process(EventKind::Enter, Op::Other, label, Process { task, parent }, 0);
}

#[inline(always)]
fn counts(label: &Label) -> bool {
    label.domain != 0 && label.flags & LabelFlags::PENDING == 0
}

/// `TP_PROTO(struct task_struct *p)`, from 6.16 on with `bool group_dead`: runs in the task that goes.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task: Ptr = ctx.arg(0);
    hold::daemon_ends(task);
    let leader = subject::leader(task);
    if subject::has_storage(task) || subject::has_storage(leader) {
        storage::give_back(task);
        ends(task, leader);
    }
    // Whoever makes cgroups has needed room too.
    storage::leave(task);
    0
}

/// Tells of a process whose last thread goes.
#[inline(always)]
fn ends(task: Ptr, leader: Ptr) {
    // Not the last thread. Two that go together may both be the last; the reader of the events knows.
    if load::<u32, _, _>(follow(kernel::loose(task), at!(TASK_SIGNAL)), at!(SIGNAL_LIVE)) != 0 {
        return;
    }
    confine::ends(task);
    let mut label = MaybeUninit::uninit();
    let label = subject::no_label(&mut label);
    if !subject::own_of_current(task, label) && !subject::own_label(leader, label) {
        return;
    }
    if counts(label) {
        let parent = subject::parent(task);
        let status = u64::from(load::<u32, _, _>(task, at!(TASK_EXIT_CODE)));
        emit::emit_process(EventKind::Exit, Op::None, label, Process { task, parent }, status);
    }
}
