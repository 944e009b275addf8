//! What nobody stops, and why: told in every report, and never as a pass.

use crate::drill::Residual;

const fn left(
    name: &'static str,
    says: &'static str,
    covers: &'static [&'static str],
    why: &'static str,
) -> Residual {
    Residual { name, says, covers, why }
}

pub const RESIDUAL: &[Residual] = &[
    left(
        "userland-exec",
        "code read into anonymous memory and jumped to",
        &["X22", "X23", "X14"],
        "running code is no boundary inside a domain; what it may write and reach is",
    ),
    left(
        "code-in-arguments",
        "code handed to an allowed interpreter by its arguments, its input or its environment",
        &["X13", "X14"],
        "the interpreter may run; rules on arguments narrow it, write and connect rules hold whatever runs",
    ),
    left(
        "inherited-writable-mapping",
        "writing through a shared mapping that existed before the label",
        &["F12"],
        "no hook sees a store to memory; start agents by exec, which drops mappings",
    ),
    left(
        "inherited-ring",
        "an io_uring made outside and handed in",
        &["N54", "N69"],
        "its requests carry its maker's identity; hand none in (6.15 and later can refuse rings by uring_allowed)",
    ),
    left(
        "core-dump-helper",
        "a crash makes the kernel run its core dump helper outside",
        &["X35", "F16"],
        "the kernel starts it by itself; set RLIMIT_CORE to 0 or core_pattern to a file",
    ),
    left(
        "automount",
        "walking a path makes autofs mount something outside",
        &["N78"],
        "no hook sees the walk; run no autofs where agents run",
    ),
    left(
        "terminal-signals",
        "a shared terminal's keys signal everybody on it",
        &["S20"],
        "the kernel sends them as its own; give agents a terminal of their own, and the daemon none",
    ),
    left(
        "kernel-made-packets",
        "the kernel's own answers (resets, ICMP errors, neighbour discovery, multicast reports)",
        &["N25", "N33"],
        "they carry few bits of anybody's choice; joining a group, which makes the kernel send, is refused",
    ),
    left(
        "gateway-semantics",
        "what the gateway lets through: requests to inner addresses, odd host names, domain fronting",
        &["N80", "N81", "N33"],
        "the gateway's own duty, outside the kernel's sight",
    ),
    left(
        "not-under-policy",
        "a tool server or set-up step that runs in no governed cgroup",
        &["N83"],
        "nothing tells it from any other program; `guard discover` finds such processes",
    ),
    left(
        "allow-list-empty",
        "an empty or wildcard rule that allows everything",
        &["N82", "S37", "S38", "S39"],
        "`guard policy check` warns of it; that the kernel holds what was compiled, `guard status` reads back",
    ),
    left(
        "refused-before",
        "attempts that the file's own mode or another security module refuses first",
        &["S46"],
        "they have no effect and leave no record here",
    ),
    left(
        "resource-exhaustion",
        "using up memory, processes or descriptors",
        &["S23"],
        "cgroup limits bound it; enforcement does not depend on the daemon",
    ),
    left(
        "hardware-and-kernel-bugs",
        "memory corruption in the kernel, side channels, the hypervisor",
        &["S33", "S10", "S44", "X20"],
        "below what a security module can see",
    ),
    left(
        "mptcp-subflow",
        "a further path of an MPTCP connection that was made outside",
        &["N06"],
        "refused by its hook where the kernel has one; no drill makes two hosts with a path each",
    ),
    left(
        "foreign-loaders",
        "binfmt_misc, FUSE and network file systems of the host's own",
        &["X17", "F43", "F48", "N77"],
        "mounting and registering are refused; what the host has mounted already is judged by its paths",
    ),
    left(
        "setuid-helpers",
        "a setuid program of the host that acts for the agent",
        &["X33"],
        "the label stays through setuid, so it is confined too; what it is allowed to run is the policy's",
    ),
    left(
        "signal-only-enforcement",
        "a verdict carried out only after the call",
        &["S40"],
        "does not exist here but for arguments, which end the program before its first instruction",
    ),
];
