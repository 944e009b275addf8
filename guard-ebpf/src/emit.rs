//! What happened, into the ring.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::{Action, Asked, Event, EventFlags, EventKind, Label, Op, Reason, Site, Verdict};
use guard_common::key;
use guard_common::limits::PATH_MAX;
use guard_common::table::Answer;

use crate::address::Key;
use crate::cgroups;
use crate::kernel::{self, Ptr, add, at, count, follow, get, load, off, put};
use crate::maps::{EVENTS, SEQUENCE};
use crate::object::{HEAD, Scratch};
use crate::subject;
use crate::walk;

/// The part of an event that its caller knows. Members that stand side by side in an [`Event`] do so here: they are
/// copied by words.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct What {
    pub(crate) session: u64,
    pub(crate) generation: u64,
    pub(crate) detail: u64,
    pub(crate) domain: u32,
    pub(crate) answer: u32,
    pub(crate) shadow: u32,
    pub(crate) errno: i32,
    pub(crate) kind: u8,
    pub(crate) action: u8,
    pub(crate) op: u8,
    pub(crate) verdict: u8,
    pub(crate) flags: u32,
    pub(crate) reason: u16,
    pub(crate) policy: u16,
    /// Bytes behind the object's end that belong to it.
    pub(crate) tail: u32,
}

const _: () = {
    use core::mem::offset_of;
    const SIDE: usize = offset_of!(Event, session) - offset_of!(What, session);
    const LOWER: usize = offset_of!(Event, domain) - offset_of!(What, domain);
    const LAST: usize = offset_of!(Event, kind) - offset_of!(What, kind);
    assert!(offset_of!(Event, detail) - offset_of!(What, detail) == SIDE);
    assert!(offset_of!(Event, errno) - offset_of!(What, errno) == LOWER && LOWER.is_multiple_of(8));
    assert!(offset_of!(Event, flags) - offset_of!(What, flags) == LAST && LAST.is_multiple_of(8));
};

/// Room behind the object's end, for the verifier.
pub(crate) const SLACK: usize = 512;
/// Room behind an image's path for its argv.
pub(crate) const TAIL: usize = 2048;
/// What follows the object's end in the scratch space: a tail, and behind it slack for a short object.
pub(crate) const BEHIND: usize = TAIL + SLACK + 8;
/// From here on, header and object are sent alone.
const SHORT_FROM: u64 = (HEAD + PATH_MAX - SLACK) as u64 + 8;

/// PF_IO_WORKER: a kernel worker thread of io_uring.
const PF_IO_WORKER: u32 = 0x10;

/// Sends an event about the object in the scratch space. False if the ring had no room.
///
/// The header is written right before the object's bytes, so that one call sends both, exactly as long as
/// they are.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn emit(scratch: *mut Scratch) -> u64 {
    if scratch.is_null() {
        return 0;
    }
    // SAFETY: not null, a map value that is the task's own.
    let (what, start) = unsafe { (&(*scratch).what, get(&raw const (*scratch).start)) };
    let start = if start > PATH_MAX as u64 { PATH_MAX as u64 } else { start };
    let wanted = (HEAD as u64 + start - (size_of::<Event>() + size_of::<Asked>()) as u64) & !7;
    // Of a short object its header and bytes are sent alone; of a long one the whole buffer. The verifier
    // does not see that offset and length add up to a constant, so it needs slack behind a short object.
    let short = wanted >= SHORT_FROM;
    let header_at =
        if short { SHORT_FROM + kernel::masked(wanted - SHORT_FROM, SLACK as u64 - 1) } else { 0 };
    // SAFETY: `header_at` is 0, or at most `SLACK` before the object's end, which has that much room behind.
    let event = unsafe { (&raw mut (*scratch).bytes).cast::<u8>().add(header_at as usize).cast::<Event>() };
    let tail = kernel::masked(u64::from(what.tail), TAIL as u64 - 1);
    // SAFETY: inside the scratch space; see `What` for the words.
    unsafe {
        let flags = actor(event);
        put(&raw mut (*event).session, what.session);
        put(&raw mut (*event).generation, what.generation);
        put(&raw mut (*event).detail, what.detail);
        let (from, to) = ((&raw const what.domain).cast::<u64>(), (&raw mut (*event).domain).cast::<u64>());
        put(to, get(from));
        put(to.add(1), get(from.add(1)));
        put(&raw mut (*event).reason, what.reason);
        put(&raw mut (*event).object_len, (PATH_MAX as u64 - start + tail) as u16);
        put(&raw mut (*event).object_at, (HEAD as u64 + start - header_at) as u16);
        put(&raw mut (*event).policy, what.policy);
        let (from, to) = ((&raw const what.kind).cast::<u64>(), (&raw mut (*event).kind).cast::<u64>());
        put(to, get(from) | u64::from(flags) << 32);
        if what.reason == Reason::Held as u16 {
            let from = (&raw const (*scratch).aside.asked.file).cast::<u64>();
            let to = event.add(1).cast::<u64>();
            // Word by word, for it would go by the stack.
            let mut i = 0;
            while i < size_of::<Asked>() / 8 {
                put(to.add(i), get(from.add(i)));
                i += 1;
            }
        }
    }
    let length = if short {
        kernel::masked((HEAD + PATH_MAX) as u64 - header_at, SLACK as u64 - 1)
    } else {
        (HEAD + PATH_MAX) as u64
    };
    let sent = if short {
        // SAFETY: at most `SLACK` and `TAIL` bytes from the header on, which lies at most 8 behind the end.
        unsafe { send(event, length + tail) }
    } else {
        // SAFETY: the whole of the bytes and the tail, without the slack.
        unsafe { send((&raw mut (*scratch).bytes).cast(), (HEAD + PATH_MAX) as u64 + tail) }
    };
    u64::from(sent)
}

/// # Safety
///
/// So many bytes from the header on lie in a map value.
#[inline(always)]
pub(crate) unsafe fn send(event: *mut Event, length: u64) -> bool {
    // SAFETY: the caller's.
    if unsafe { helpers::bpf_ringbuf_output(EVENTS.as_ptr(), event.cast(), length, 0) } != 0 {
        count(Site::EventsLost);
        return false;
    }
    true
}

/// Says in an event's header whose it is and when; gives the flags that the task brings along.
///
/// # Safety
///
/// The event is in a map value.
#[inline(always)]
pub(crate) unsafe fn actor(event: *mut Event) -> u32 {
    let task = kernel::current();
    let (born, parent, uid) = (subject::started(task), subject::parent(task), subject::uid(task));
    let cgroup = cgroups::current_cgroup();
    // SAFETY: helpers that take nothing; members of the event.
    unsafe {
        let (cpu, time) = (helpers::bpf_get_smp_processor_id(), helpers::bpf_ktime_get_boot_ns());
        put(&raw mut (*event).seq, sequence());
        put(&raw mut (*event).time, time);
        put(&raw mut (*event).start_time, born);
        put(&raw mut (*event).cgroup, cgroup);
        put(&raw mut (*event).cpu, cpu);
        put(&raw mut (*event).pid, load(task, at!(TASK_TGID)));
        put(&raw mut (*event).tid, load(task, at!(TASK_PID)));
        put(&raw mut (*event).ppid, parent);
        put(&raw mut (*event).uid, uid);
        put(&raw mut (*event).loginuid, loginuid(task));
        name(event, task);
    }
    if load::<u32, _, _>(task, at!(TASK_FLAGS)) & PF_IO_WORKER != 0 { EventFlags::IO_WORKER } else { 0 }
}

/// Writes a task's name: two words, which end in a NUL whoever changes them meanwhile.
///
/// # Safety
///
/// The event is in a map value or on the stack.
#[inline(always)]
unsafe fn name(event: *mut Event, task: Ptr) {
    const { assert!(core::mem::offset_of!(Event, comm) % 8 == 0) };
    // SAFETY: sixteen bytes at a multiple of eight.
    unsafe {
        let to = (&raw mut (*event).comm).cast::<u64>();
        put(to, load(task, at!(TASK_COMM)));
        put(to.add(1), load(task, at!(TASK_COMM, 8)));
    }
}

/// The next sequence number of this CPU. Taken before the ring is asked for room, so that a lost event
/// leaves a gap.
#[inline(always)]
fn sequence() -> u64 {
    let counter = SEQUENCE.get(&0);
    if counter.is_null() { 0 } else { add(counter, 1) }
}

#[inline(always)]
fn loginuid(task: Ptr) -> u32 {
    if off!(TASK_LOGINUID) == guard_common::abi::offsets::ABSENT {
        return u32::MAX;
    }
    load(task, at!(TASK_LOGINUID))
}

/// An event whose object is empty starts at the end of the bytes.
#[inline(always)]
pub(crate) fn no_object(scratch: *mut Scratch) {
    walk::overwritten(scratch);
    // SAFETY: `scratch` is a map value.
    unsafe { put(&raw mut (*scratch).start, PATH_MAX as u64) };
}

/// An event and the key it is about, on the stack: a packet has no task, and so no scratch space.
#[repr(C)]
struct Small {
    event: MaybeUninit<Event>,
    key: Key,
}

/// Who a record says it was, where there is no scratch space to say it in.
struct Actor {
    ids: u64,
    start_time: u64,
    parent: u32,
    uid: u32,
    loginuid: u32,
}

impl Actor {
    /// Of a packet nobody knows.
    const NOBODY: Self = Self { ids: 0, start_time: 0, parent: 0, uid: u32::MAX, loginuid: u32::MAX };

    #[inline(always)]
    fn current() -> Self {
        let task = kernel::current();
        // SAFETY: helpers that take nothing.
        let (ids, uid) =
            unsafe { (helpers::bpf_get_current_pid_tgid(), helpers::bpf_get_current_uid_gid() as u32) };
        let parent = subject::parent(task);
        Self { ids, start_time: load(task, at!(TASK_START)), parent, uid, loginuid: loginuid(task) }
    }
}

/// Sends an event about an address from where there is no scratch space: about a packet, whose task is not known,
/// or about a call of the running task.
#[inline(always)]
pub(crate) fn emit_key<const BY_TASK: bool>(what: &What, cgroup: u64, key: Key) {
    const END: usize = size_of::<Small>();
    let length = if key.is_v4() { key::V4_LEN } else { key::V6_LEN };
    let mut small = Small { event: MaybeUninit::uninit(), key };
    let event = small.event.as_mut_ptr();
    let actor = if BY_TASK { Actor::current() } else { Actor::NOBODY };
    // SAFETY: helpers that take nothing; members of the event on the stack.
    unsafe {
        put(&raw mut (*event).seq, sequence());
        put(&raw mut (*event).time, helpers::bpf_ktime_get_boot_ns());
        put(&raw mut (*event).start_time, actor.start_time);
        put(&raw mut (*event).cgroup, cgroup);
        put(&raw mut (*event).session, what.session);
        put(&raw mut (*event).generation, what.generation);
        put(&raw mut (*event).detail, what.detail);
        put(&raw mut (*event).cpu, helpers::bpf_get_smp_processor_id());
        put(&raw mut (*event).pid, (actor.ids >> 32) as u32);
        put(&raw mut (*event).tid, actor.ids as u32);
        put(&raw mut (*event).ppid, actor.parent);
        put(&raw mut (*event).uid, actor.uid);
        put(&raw mut (*event).loginuid, actor.loginuid);
        put(&raw mut (*event).domain, what.domain);
        put(&raw mut (*event).answer, what.answer);
        put(&raw mut (*event).shadow, what.shadow);
        put(&raw mut (*event).errno, what.errno);
        put(&raw mut (*event).reason, what.reason);
        put(&raw mut (*event).object_len, length as u16);
        put(&raw mut (*event).object_at, (END - length) as u16);
        put(&raw mut (*event).policy, what.policy);
        put(&raw mut (*event).kind, what.kind);
        put(&raw mut (*event).action, what.action);
        put(&raw mut (*event).op, what.op);
        put(&raw mut (*event).verdict, what.verdict);
        put(&raw mut (*event).flags, what.flags);
        put(&raw mut (*event).comm, [0; 16]);
        if BY_TASK {
            name(event, kernel::current());
        }
        if helpers::bpf_ringbuf_output(EVENTS.as_ptr(), (&raw mut small).cast(), END as u64, 0) != 0 {
            count(Site::EventsLost);
        }
    }
}

/// Sends an event without an object about a call of the running task.
#[inline(always)]
pub(crate) fn emit_alone(what: &What) {
    let mut event = MaybeUninit::<Event>::uninit();
    let event = event.as_mut_ptr();
    // SAFETY: members of the event on the stack.
    unsafe {
        let flags = actor(event);
        put(&raw mut (*event).session, what.session);
        put(&raw mut (*event).generation, what.generation);
        put(&raw mut (*event).detail, what.detail);
        put(&raw mut (*event).domain, what.domain);
        put(&raw mut (*event).answer, what.answer);
        put(&raw mut (*event).shadow, what.shadow);
        put(&raw mut (*event).errno, what.errno);
        put(&raw mut (*event).reason, what.reason);
        put(&raw mut (*event).object_len, 0);
        put(&raw mut (*event).object_at, size_of::<Event>() as u16);
        put(&raw mut (*event).policy, what.policy);
        put(&raw mut (*event).kind, what.kind);
        put(&raw mut (*event).action, what.action);
        put(&raw mut (*event).op, what.op);
        put(&raw mut (*event).verdict, what.verdict);
        put(&raw mut (*event).flags, what.flags | flags);
        send(event, size_of::<Event>() as u64);
    }
}

/// Sends an event about a process, which need not be the running one: without an object, and so without its
/// scratch space. `who` is the task whose credentials and name count.
#[inline(always)]
pub(crate) fn emit_process(kind: EventKind, op: Op, label: &Label, process: Process, detail: u64) {
    let mut event = MaybeUninit::<Event>::uninit();
    let event = event.as_mut_ptr();
    let task = process.task;
    // SAFETY: helpers that take nothing or a place on the stack; members of the event on the stack.
    unsafe {
        put(&raw mut (*event).seq, sequence());
        put(&raw mut (*event).time, helpers::bpf_ktime_get_boot_ns());
        put(&raw mut (*event).start_time, subject::started(task));
        put(&raw mut (*event).cgroup, cgroups::cgroup_of(task));
        put(&raw mut (*event).session, label.session);
        put(&raw mut (*event).generation, 0);
        put(&raw mut (*event).detail, detail);
        put(&raw mut (*event).cpu, helpers::bpf_get_smp_processor_id());
        put(&raw mut (*event).pid, load(task, at!(TASK_TGID)));
        put(&raw mut (*event).tid, load(task, at!(TASK_PID)));
        put(&raw mut (*event).ppid, process.parent);
        put(&raw mut (*event).uid, load(follow(kernel::loose(task), at!(TASK_REAL_CRED)), at!(CRED_UID)));
        put(&raw mut (*event).loginuid, loginuid(task));
        put(&raw mut (*event).domain, label.domain);
        put(&raw mut (*event).answer, Answer::NONE.0);
        put(&raw mut (*event).shadow, 0);
        put(&raw mut (*event).errno, 0);
        put(&raw mut (*event).reason, Reason::Default as u16);
        put(&raw mut (*event).object_len, 0);
        put(&raw mut (*event).object_at, 0);
        put(&raw mut (*event).policy, 0);
        put(&raw mut (*event).kind, kind as u8);
        put(&raw mut (*event).action, Action::Exec as u8);
        put(&raw mut (*event).op, op as u8);
        put(&raw mut (*event).verdict, Verdict::Allow as u8);
        put(&raw mut (*event).flags, 0);
        name(event, task);
        if helpers::bpf_ringbuf_output(EVENTS.as_ptr(), event.cast(), size_of::<Event>() as u64, 0) != 0 {
            count(Site::EventsLost);
        }
    }
}

/// A process, and the one it comes from.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pub(crate) task: Ptr,
    pub(crate) parent: u32,
}
