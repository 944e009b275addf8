//! The switch that silences every LSM program, vetoed on the whole host.
//!
//! BPF trampolines hang on ftrace; writing 0 to `kernel.ftrace_enabled` takes all of them away at once and
//! their links still look attached. This program is no trampoline: it is asked for every task below the
//! root cgroup, agents or not.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::macros::cgroup_sysctl;
use aya_ebpf::programs::SysctlContext;
use guard_common::abi::Site;

use crate::kernel::count;

/// Longest name that can be the one.
const NAME: usize = 32;

#[cgroup_sysctl]
pub(crate) fn sysctl(ctx: SysctlContext) -> i32 {
    let allow = 1;
    let refuse = 0;
    if !writes(&ctx) {
        return allow;
    }
    let mut name = MaybeUninit::<[u8; NAME]>::zeroed();
    // SAFETY: the buffer is as long as said.
    let length = unsafe {
        helpers::bpf_sysctl_get_name(ctx.as_ptr().cast(), name.as_mut_ptr().cast(), NAME as u64, 0)
    };
    // A name that does not fit is longer than the one that is looked for.
    if length < 0 {
        return allow;
    }
    // SAFETY: zeroed, and filled by the helper.
    let name = unsafe { name.assume_init() };
    if !name.starts_with(b"kernel/ftrace_enabled\0") {
        return allow;
    }
    let mut value = MaybeUninit::<[u8; 8]>::zeroed();
    // SAFETY: the buffer is as long as said.
    let length =
        unsafe { helpers::bpf_sysctl_get_new_value(ctx.as_ptr().cast(), value.as_mut_ptr().cast(), 8) };
    // SAFETY: zeroed, and filled by the helper.
    let value = unsafe { value.assume_init() };
    if length > 0 && value[0] == b'1' && (value[1] == 0 || value[1] == b'\n') {
        return allow;
    }
    count(Site::FtraceVetoed);
    refuse
}

#[inline(always)]
fn writes(ctx: &SysctlContext) -> bool {
    // SAFETY: the context is a `bpf_sysctl`, whose first word says whether it is a write.
    unsafe { (*ctx.sysctl).write != 0 }
}
