//! What must keep working: too much refused is a failure too.

use super::build::{RAN, keep};
use crate::drill::{Group, Tags};

pub(super) const KEEP: Group = Group {
    name: "What must keep working",
    tags: Tags { attack: &["none"], owasp: &["ASI08"] },
    drills: &[
        keep("keep-gateway", "the gateway can be reached"),
        keep("keep-gateway-mapped", "also by its address mapped into IPv6").if_any(),
        keep("keep-gateway-nonblocking", "also without blocking"),
        keep("keep-gateway-uring", "also by io_uring"),
        keep("keep-listen-open-port", "a port that the policy opens can be listened on"),
        keep("keep-addresses", "the host's addresses can be asked for"),
        keep("keep-unix-pair", "a pair of sockets works"),
        keep("keep-datagram-pair", "a pair of datagram sockets works"),
        keep("keep-unix-own-abstract", "an abstract socket of its own works"),
        keep("keep-unix-own-seqpacket", "a packet socket of its own works"),
        keep("keep-unix-own-datagram", "a datagram socket of its own works"),
        keep("keep-unix-own-file", "a socket file of its own works"),
        keep("keep-write-workspace", "files of the workspace can be made, written and read"),
        keep("keep-names-workspace", "and moved, linked and removed"),
        keep("keep-metadata-workspace", "and their modes and times changed"),
        keep("keep-read", "what may be read can be read"),
        keep("keep-run-tool", "what may run runs").control(RAN),
        keep("keep-script", "a script runs by an allowed interpreter").control(RAN),
        keep("keep-children", "children can be started and killed"),
        keep("keep-trace-own-child", "children can be traced"),
        keep("keep-threads", "threads work"),
        keep("keep-timers", "timers work"),
        keep("keep-sleep", "sleeping works"),
        keep("keep-pty", "terminals of its own work"),
        keep("keep-memory", "memory can be shared and mapped"),
        keep("keep-own-ipc", "so can System V's memory, queues and semaphores of its own").if_any(),
        keep("keep-devices", "the harmless devices work"),
        keep("keep-own-process-files", "its own files of procfs can be read and its name set"),
        keep("keep-uring", "an ordinary io_uring works"),
        keep("keep-own-key", "keys of its own work"),
        keep("keep-own-limits", "its own priority can be lowered"),
    ],
};
