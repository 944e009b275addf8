//! Running a file.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{Action, Label, LabelFlags, Op, Site};

use crate::hooks::{argv, place};
use crate::kernel::{self, Ptr, count, follow, off};
use crate::object::Place;
use crate::subject;

/// `int bprm_creds_for_exec(struct linux_binprm *bprm)`: once for each exec, before anything is decided. A
/// launcher that hands over to something else is in the domain from here on.
#[lsm(hook = "bprm_creds_for_exec")]
pub(crate) fn bprm_creds_for_exec(ctx: LsmContext) -> i32 {
    let bprm: Ptr = ctx.arg(0);
    let task = kernel::current();
    let label = subject::label_of(task);
    if label.is_null() {
        return 0;
    }
    // SAFETY: not null, a label in task storage.
    let now: Label = unsafe { *label };
    if now.flags & LabelFlags::PENDING != 0
        && !subject::is_launcher(follow(follow(bprm, off!(BPRM_FILE)), off!(FILE_INODE)))
    {
        // SAFETY: as above; only the task itself changes this word.
        unsafe { kernel::put(&raw mut (*label).flags, now.flags & !LabelFlags::PENDING) };
        count(Site::Labelled);
    }
    argv::forget(task);
    0
}

/// `int bprm_check_security(struct linux_binprm *bprm)`: once for a script, once for its interpreter.
#[lsm(hook = "bprm_check_security")]
pub(crate) fn bprm_check_security(ctx: LsmContext) -> i32 {
    let Some(subject) = subject::inside() else { return 0 };
    let bprm: Ptr = ctx.arg(0);
    let refused = place(subject, Action::Exec, Op::Exec, Place::of_file(follow(bprm, off!(BPRM_FILE))));
    if refused != 0 {
        return refused;
    }
    argv::expect(subject, bprm)
}
