//! Running a file.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{Action, LabelFlags, Op, Site};

use crate::hooks::{ARGV_FIRST, ASK_ARGV, argv, question, returned};
use crate::kernel::{self, Ptr, at, count, follow};
use crate::object::{self, Place};
use crate::{confine, hold, launcher, passed, subject, walk};

/// Try again.
const EAGAIN: i32 = 11;

/// `int bprm_creds_for_exec(struct linux_binprm *bprm)`: once for each exec, before anything is decided. A
/// launcher that hands over to something else is in the domain from here on. So is one that hands over to a launcher
/// where the mounts are not the host's: in a container `/proc/self/exe` is the runtime, and its libraries are the
/// image's.
#[lsm(hook = "bprm_creds_for_exec")]
pub(crate) fn bprm_creds_for_exec(ctx: LsmContext) -> i32 {
    let bprm: Ptr = ctx.arg(0);
    let task = kernel::current();
    // Any thread may exec, and only the leader of a process that was moved has a label already.
    let now = subject::current_label();
    if now.domain == 0 {
        return 0;
    }
    if now.flags & LabelFlags::PENDING != 0
        && !(launcher::has_hosts_mounts(task)
            && launcher::is_launcher(follow(follow(bprm, at!(BPRM_FILE)), at!(FILE_INODE))))
    {
        let label = subject::label_of(task);
        if label.is_null() {
            // It cannot be written down that this is the domain's from here on.
            return -EAGAIN;
        }
        // SAFETY: not null, a label in task storage; only the task itself changes this word.
        unsafe { kernel::put(&raw mut (*label).flags, now.flags & !LabelFlags::PENDING) };
        count(Site::Labelled);
    }
    let scratch = object::scratch(task);
    if !scratch.is_null() {
        argv::forget(task, scratch);
        walk::overwritten(scratch);
        passed::forget(scratch);
        confine::forget(scratch);
        hold::forget(scratch);
    }
    0
}

/// `int bprm_check_security(struct linux_binprm *bprm)`: once for a script, once for its interpreter.
#[lsm(hook = "bprm_check_security")]
pub(crate) fn bprm_check_security(ctx: LsmContext) -> i32 {
    let Some(subject) = subject::inside_seldom() else { return 0 };
    let bprm: Ptr = ctx.arg(0);
    let at = Place::of_file(follow(bprm, at!(BPRM_FILE)));
    let answer = question(subject, Action::Exec, Op::Exec, at, ARGV_FIRST);
    if answer == ASK_ARGV {
        return argv::ask(subject, bprm);
    }
    let refused = returned(answer);
    if refused != 0 {
        return refused;
    }
    argv::expect(subject, bprm)
}
