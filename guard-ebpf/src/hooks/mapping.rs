//! Files in memory: what is mapped executable is loaded, what is mapped shared can be written.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use guard_common::abi::{Action, Op};

use crate::hooks::place;
use crate::kernel::{self, Ptr, at, follow, load};
use crate::object::Place;
use crate::{passed, subject};

const FMODE_WRITE: u32 = 2;
const PROT_EXEC: u64 = 4;
const MAP_TYPE: u64 = 0xf;
const MAP_PRIVATE: u64 = 2;

/// `int mmap_file(struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)`
#[lsm(hook = "mmap_file")]
pub(crate) fn mmap_file(ctx: LsmContext) -> i32 {
    let file: Ptr = ctx.arg(0);
    let prot: u64 = ctx.arg(2);
    let flags: u64 = ctx.arg(3);
    let shared = flags & MAP_TYPE != MAP_PRIVATE;
    if file.is_null() || prot & PROT_EXEC == 0 && !shared {
        return 0;
    }
    let Some(subject) = subject::inside() else { return 0 };
    if prot & PROT_EXEC != 0 && !is_image(subject.task, file) {
        let refused = place(subject, Action::Load, Op::Mmap, Place::of_file(file));
        if refused != 0 {
            return refused;
        }
    }
    // A shared mapping of a writable file can be made writable at any time, and no write is ever seen.
    if shared
        && load::<u32, _, _>(file, at!(FILE_MODE)) & FMODE_WRITE != 0
        && !passed::is_open(subject, Action::Write, follow(file, at!(FILE_INODE)))
    {
        return place(subject, Action::Write, Op::Mmap, Place::of_file(file));
    }
    0
}

/// `int file_mprotect(struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)`
#[lsm(hook = "file_mprotect")]
pub(crate) fn file_mprotect(ctx: LsmContext) -> i32 {
    const VM_EXEC: u64 = 4;
    let vma: Ptr = ctx.arg(0);
    let prot: u64 = ctx.arg(2);
    if prot & PROT_EXEC == 0 {
        return 0;
    }
    let file = follow(vma, at!(VMA_FILE));
    let Some(subject) = subject::inside_seldom() else { return 0 };
    if file.is_null() || load::<u64, _, _>(vma, at!(VMA_FLAGS)) & VM_EXEC != 0 || is_image(subject.task, file)
    {
        return 0;
    }
    place(subject, Action::Load, Op::Mprotect, Place::of_file(file))
}

/// Is this the file that the task runs? Exec has decided on that.
#[inline(always)]
fn is_image(task: Ptr, file: Ptr) -> bool {
    let mm = follow(kernel::loose(task), at!(TASK_MM));
    if mm.is_null() {
        return false;
    }
    let image = follow(mm, at!(MM_EXE_FILE));
    !image.is_null() && follow(image, at!(FILE_INODE)) as u64 == follow(file, at!(FILE_INODE)) as u64
}
