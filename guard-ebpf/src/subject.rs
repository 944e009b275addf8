//! Who acts: the label of the running task.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::helpers::generated as helpers;
use guard_common::abi::offsets::ABSENT;
use guard_common::abi::{CgroupEntry, Label, LabelFlags, Site};

use crate::confine;
use crate::kernel::{self, Ptr, at, count, follow, load, off};
use crate::maps::{CGROUPS, CONTROL, LABELS};
use crate::{cgroups, launcher, rejoin, storage};

/// A task that is inside a domain.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) task: Ptr,
    pub(crate) domain: u32,
    pub(crate) session: u64,
    /// A sandbox has moved it.
    pub(crate) boxed: bool,
}

/// The running task, if it is inside a domain.
///
/// An outsider pays a handful of loads: no storage on the task or its group leader, and no bit for its
/// cgroup. The label comes first because it is sticky; the cgroup is the second source, for a task that
/// entered without the attach being seen yet, and for other threads of a process that was moved.
#[inline(always)]
pub(crate) fn inside() -> Option<Subject> {
    let task = kernel::current();
    // Before anything branches: the verifier of 6.4 to 6.17 then looks it up once.
    let leader = leader(task);
    identify(task, task, || leader)
}

/// The same for what is seldom asked: a dozen instructions dearer to outsiders, and eight searches of all types cheaper to
/// each start, see [`kernel::loose`].
#[inline(always)]
pub(crate) fn inside_seldom() -> Option<Subject> {
    let task = kernel::current();
    let loose = kernel::loose(task);
    identify(task, loose, || leader(loose))
}

/// The same of a task that is not clearly [`outside`].
#[inline(always)]
pub(crate) fn within() -> Option<Subject> {
    let task = kernel::current();
    identify(task, task, || leader(kernel::loose(task)))
}

/// `loads` is the same task, to load members from.
#[inline(always)]
fn identify(task: Ptr, loads: Ptr, leader: impl FnOnce() -> Ptr) -> Option<Subject> {
    let mut label = MaybeUninit::uninit();
    let storage: u64 = load(loads, at!(TASK_BPF_STORAGE));
    let label = if storage != 0 && copy_own(task, storage, &mut label) {
        // SAFETY: copied whole.
        unsafe { label.assume_init_mut() }
    } else {
        let busy = off!(STORAGE_BUSY) != 0 && storage != 0;
        if !busy && !may_be_inside_by_others(task, leader()) {
            return None;
        }
        let label = no_label(&mut label);
        settled(&raw mut *label);
        label
    };
    counting(task, label)
}

/// Copies the running task's own label, if it has one that can be looked into.
#[inline(always)]
fn copy_own(task: Ptr, storage: u64, label: &mut MaybeUninit<Label>) -> bool {
    if copy_cached(storage, label.as_mut_ptr()) {
        return true;
    }
    let own = label_of(task);
    if own.is_null() {
        return false;
    }
    // SAFETY: not null, a label in task storage.
    unsafe { copy(&mut *label.as_mut_ptr(), own) };
    true
}

/// Copies it from where the kernel keeps what it has looked up lately, if it is there.
#[inline(always)]
fn copy_cached(storage: u64, label: *mut Label) -> bool {
    let Some([first, second]) = storage::cached_label(storage) else { return false };
    kernel::put(label.cast::<u64>(), first);
    // SAFETY: two words are all of a label, see `no_label`.
    unsafe { kernel::put(label.cast::<u64>().add(1), second) };
    true
}

/// The running task's own label, by value; false if it has none.
#[inline(always)]
pub(crate) fn own_of_current(task: Ptr, label: &mut Label) -> bool {
    copy_cached(load(kernel::loose(task), at!(TASK_BPF_STORAGE)), label) || own_label(task, label)
}

/// Is the running task outside every domain? No false yes. A hook that asks this first, and does the rest in a function
/// of its own, saves outsiders the registers that the rest needs.
#[inline(always)]
pub(crate) fn outside() -> bool {
    let task = kernel::current();
    let leader = leader(task);
    !has_storage(task) && !may_be_inside_by_others(task, leader)
}

/// Of a task that has no label of its own, and its leader, could it be inside? No false no.
#[inline(always)]
fn may_be_inside_by_others(task: Ptr, leader: Ptr) -> bool {
    // Most are their own.
    (leader != task && has_storage(kernel::loose(leader))) || cgroups::filter_hit(cgroups::current_cgroup())
}

/// The running task, if it has a label of its own that counts: for sleepable programs, whose verifier does
/// not trust the way to the group leader, and for hooks before which another one has settled the label.
#[inline(always)]
pub(crate) fn labelled() -> Option<Subject> {
    let task = kernel::current();
    let mut label = MaybeUninit::uninit();
    let label = no_label(&mut label);
    own_of_current(task, label);
    counting(task, label)
}

#[inline(always)]
fn counting(task: Ptr, label: &mut Label) -> Option<Subject> {
    if label.domain == 0 || label.flags & LabelFlags::PENDING != 0 {
        return None;
    }
    rejoin::renew(label);
    follow_group(task, label);
    let boxed = label.flags & LabelFlags::SANDBOXED != 0;
    Some(Subject { task, domain: label.domain, session: label.session, boxed })
}

/// Where another thread's sandbox has put the task's process counts for the task.
#[inline(always)]
fn follow_group(task: Ptr, label: &mut Label) {
    let moved = confine::moved(task);
    if moved != 0 {
        label.domain = moved;
        label.flags |= LabelFlags::SANDBOXED;
    }
}

/// What a task outside has. Word by word, because a whole one is written by a call that sets single bytes.
#[inline(always)]
pub(crate) fn no_label(place: &mut MaybeUninit<Label>) -> &mut Label {
    let words = place.as_mut_ptr().cast::<u64>();
    const { assert!(size_of::<Label>() == 16) };
    kernel::put(words, 0);
    // SAFETY: two words are all of it, and zeroes are a label.
    unsafe {
        kernel::put(words.add(1), 0);
        place.assume_init_mut()
    }
}

/// The running task's label, pending or not, taken from its leader or its cgroup if it has none of its own.
#[inline(always)]
pub(crate) fn current_label() -> Label {
    let task = kernel::current();
    let mut label = MaybeUninit::uninit();
    let label = no_label(&mut label);
    if !outside() {
        settled(&raw mut *label);
        if label.domain != 0 {
            rejoin::renew(label);
            follow_group(task, label);
        }
    }
    *label
}

/// Finds the label of the running task, taken from its leader or its cgroup if it has none of its own. Where
/// the task has no room for what was found, it counts all the same, and is found again the next time.
// SAFETY: the name is this function's alone in the object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn settled(label: *mut Label) -> u64 {
    if label.is_null() {
        return 0;
    }
    // Up to 6.1 a helper does not take the caller's memory for a value.
    let mut found = MaybeUninit::uninit();
    let found = no_label(&mut found);
    let known = find(kernel::current(), found);
    // SAFETY: not null; the label is the caller's.
    copy(unsafe { &mut *label }, found);
    u64::from(known)
}

#[inline(always)]
fn find(task: Ptr, label: &mut Label) -> bool {
    if own_label(task, label) {
        return true;
    }
    if own_label(leader(task), label) {
        count(Site::LabelFromLeader);
        set(task, label);
        return true;
    }
    let entry = CGROUPS.get(&cgroups::current_cgroup());
    if entry.is_null() || is_daemon(task) {
        return false;
    }
    // SAFETY: not null, an entry of the map.
    let entry = unsafe { *entry };
    // A launcher may be asked about before the move that brought it here has been announced.
    *label = entry_label(&entry, launcher::runs_launcher(task));
    count(Site::LabelFromCgroup);
    set(task, label);
    true
}

/// Copies a label by words, for the same reason.
#[inline(always)]
fn copy(to: &mut Label, from: *const Label) {
    let (to, from) = (ptr::from_mut(to).cast::<u64>(), from.cast::<u64>());
    kernel::put(to, kernel::get(from));
    // SAFETY: two words are all of a label, see `no_label`.
    unsafe { kernel::put(to.add(1), kernel::get(from.add(1))) };
}

/// A task's own label, by value; false if it has none.
#[inline(always)]
pub(crate) fn own_label(task: Ptr, label: &mut Label) -> bool {
    let place = label_of(task);
    if place.is_null() {
        return off!(STORAGE_BUSY) != 0 && storage::peek_label(task, label) != 0;
    }
    copy(label, place);
    true
}

/// The label that a task gets on entering a governed cgroup.
#[inline(always)]
pub(crate) fn entry_label(entry: &CgroupEntry, pending: bool) -> Label {
    Label {
        domain: entry.domain,
        flags: if pending { LabelFlags::PENDING } else { 0 },
        session: entry.session,
    }
}

/// Where a task's own label lies, null if it has none, or if its storage is busy: see `storage`.
#[inline(always)]
pub(crate) fn label_of(task: Ptr) -> *mut Label {
    // SAFETY: `task` is typed; no creation, so no value is read.
    unsafe {
        helpers::bpf_task_storage_get(LABELS.as_ptr(), task.cast_mut().cast(), ptr::null_mut(), 0).cast()
    }
}

/// Gives a task a label, unless it has one: what is there wins, because labels are sticky. Null if the
/// kernel has no room, which the caller must treat as a refusal.
#[inline(always)]
pub(crate) fn set(task: Ptr, label: &Label) -> *mut Label {
    let value = ptr::from_ref(label).cast_mut().cast::<c_void>();
    // SAFETY: `task` is typed, the value has the map's size; 1 is BPF_LOCAL_STORAGE_GET_F_CREATE.
    let place: *mut Label =
        unsafe { helpers::bpf_task_storage_get(LABELS.as_ptr(), task.cast_mut().cast(), value, 1).cast() };
    if place.is_null() {
        count(if off!(STORAGE_BUSY) != 0 { Site::LabelBusy } else { Site::LabelFailed });
    }
    place
}

/// Will a child of the running task, born in its cgroup, be found to have this label though it has none of
/// its own? Not a launcher's: that would be found to prepare.
#[inline(always)]
pub(crate) fn found_by_cgroup(task: Ptr, label: &Label) -> bool {
    let entry = CGROUPS.get(&cgroups::cgroup_of(task));
    if entry.is_null() || label.flags & LabelFlags::PENDING != 0 || launcher::runs_launcher(task) {
        return false;
    }
    // SAFETY: not null, an entry of the map.
    let entry = unsafe { *entry };
    entry.domain == label.domain && entry.session == label.session
}

#[inline(always)]
pub(crate) fn leader(task: Ptr) -> Ptr {
    follow(task, at!(TASK_GROUP_LEADER))
}

/// When a task's process began, in nanoseconds of CLOCK_BOOTTIME.
#[inline(always)]
pub(crate) fn started(task: Ptr) -> u64 {
    load(follow(kernel::loose(task), at!(TASK_GROUP_LEADER)), at!(TASK_START))
}

/// The process that a task's process comes from.
#[inline(always)]
pub(crate) fn parent(task: Ptr) -> u32 {
    load(follow(kernel::loose(task), at!(TASK_REAL_PARENT)), at!(TASK_TGID))
}

/// Whose credentials a task acts with, as the host numbers users.
#[inline(always)]
pub(crate) fn uid(task: Ptr) -> u32 {
    load(follow(kernel::loose(task), at!(TASK_CRED)), at!(CRED_UID))
}

/// The mount namespace of a task.
#[inline(always)]
pub(crate) fn mounts(task: Ptr) -> u64 {
    follow(follow(kernel::loose(task), at!(TASK_NSPROXY)), at!(NSPROXY_MNT)) as u64
}

#[inline(always)]
pub(crate) fn has_storage(task: Ptr) -> bool {
    load::<u64, _, _>(task, at!(TASK_BPF_STORAGE)) != 0
}

/// Is this the daemon's process?
#[inline(always)]
pub(crate) fn is_daemon(task: Ptr) -> bool {
    let control = CONTROL.get(&0);
    // SAFETY: checked for null.
    !control.is_null() && unsafe { (*control).daemon } == load::<u32, _, _>(task, at!(TASK_TGID))
}

/// Does the task act with credentials other than its own?
#[inline(always)]
pub(crate) fn borrows_credentials(task: Ptr) -> bool {
    follow(kernel::loose(task), at!(TASK_CRED)) as u64
        != follow(kernel::loose(task), at!(TASK_REAL_CRED)) as u64
}

/// Does the kernel itself act, with credentials that it lent the task for the time? A stacked file system does
/// so on the layers below, with those of whoever mounted it.
///
/// io_uring does it too, with what the task chose: a request that was put off runs with the credentials the
/// task had when it made it. So nobody who uses io_uring counts, neither the task nor its workers.
#[inline(always)]
pub(crate) fn lent_by_kernel(task: Ptr) -> bool {
    /// `PF_IO_WORKER`, include/linux/sched.h.
    const IO_WORKER: u32 = 0x10;
    borrows_credentials(task)
        && load::<u32, _, _>(task, at!(TASK_FLAGS)) & IO_WORKER == 0
        && (off!(TASK_IO_URING) == ABSENT || follow(kernel::loose(task), at!(TASK_IO_URING)).is_null())
}
