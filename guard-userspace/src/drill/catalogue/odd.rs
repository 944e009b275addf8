//! Families and protocols beyond TCP, UDP and unix.

use super::build::{Names, ROOT, ROOTS, call, out};
use crate::drill::Expect::Item;
use crate::drill::{Drill, Expect, Group, Tags};

const MADE: &[Expect] = &[Item("socket-families", "socket")];
const HOOK: Names = &["socket_create"];

/// A family that the kernel may have to load: its control is for machines to throw away.
const fn family(name: &'static str, says: &'static str, covers: Names) -> Drill {
    call(name, says, covers, HOOK, MADE).if_any().vm()
}

/// A family of netlink that makes nothing be loaded.
const fn netlink(name: &'static str, says: &'static str) -> Drill {
    call(name, says, &["N43"], HOOK, MADE).if_any()
}

pub(super) const FAMILIES: Group = Group {
    name: "Other protocols",
    tags: Tags { attack: &["T1095", "T1068"], owasp: &["ASI02", "ASI10"] },
    drills: &[
        out("mptcp-connect", "MPTCP connects to nothing", &["N05", "N06"], HOOK, MADE).if_any(),
        out("udp-lite-sendto", "UDP-Lite sends nothing", &["N37"], HOOK, MADE).if_any(),
        out("udp-lite-connected", "nor connected, where no cgroup program sees it", &["N37"], HOOK, MADE)
            .if_any(),
        out("ping", "no ping leaves", &["N37"], HOOK, MADE).if_any(),
        out("raw-icmp", "nor by a raw socket", &["N39"], HOOK, MADE).by(ROOTS),
        out(
            "raw-made-up-protocol",
            "a raw socket of a made-up protocol sends nothing",
            &["N39", "N46"],
            HOOK,
            MADE,
        )
        .by(ROOTS),
        out("raw-own-header", "nor one that writes its own header", &["N39"], HOOK, MADE).by(ROOTS),
        out(
            "raw-own-header-options",
            "a packet with IP options of its own does not leave even where raw sockets are allowed",
            &["N28", "N39"],
            &["egress"],
            &[Item("socket-options", "packet")],
        )
        .by(ROOT)
        .raw(),
        out(
            "packet-socket",
            "a packet socket, which passes by every filter, sends nothing",
            &["N40"],
            HOOK,
            MADE,
        )
        .by(ROOTS)
        .cve(&["CVE-2017-7308", "CVE-2020-14386"]),
        out("packet-socket-cooked", "nor one without headers", &["N40"], HOOK, MADE).by(ROOTS),
        call("socket-xdp", "no XDP socket is made", &["N41"], HOOK, MADE).by(ROOTS).if_any(),
        call("uring-socket-udp-lite", "io_uring makes no odd socket", &["N67", "N37"], HOOK, MADE).if_any(),
        netlink("netlink-generic", "no generic netlink socket is made"),
        netlink("netlink-usersock", "nor one to other programs"),
        netlink("netlink-sock-diag", "nor one that lists and destroys sockets"),
        netlink("netlink-xfrm", "nor one that changes how packets are encrypted"),
        netlink("netlink-audit", "nor one that forges the kernel's audit records"),
        netlink("netlink-uevent", "nor one that listens to devices"),
        call("netlink-netfilter", "nor one that changes the firewall", &["N43", "N74"], HOOK, MADE)
            .if_any()
            .vm()
            .cve(&["CVE-2022-34918", "CVE-2023-32233"]),
        call("netlink-connector", "nor one that watches processes", &["N43"], HOOK, MADE)
            .by(ROOT)
            .if_any()
            .vm(),
        call(
            "netlink-route-change",
            "no route, address or link is changed",
            &["N43", "N74", "N46"],
            &["netlink_send"],
            &[Item("socket-families", "send")],
        ),
        family("socket-sctp", "no SCTP socket is made", &["N08"]),
        family("socket-sctp-many", "nor one to many", &["N08"]),
        family("socket-dccp", "no DCCP socket is made", &["N10"]).cve(&["CVE-2017-6074"]),
        family("socket-smc", "no SMC socket is made", &["N07"]),
        family("socket-smc-inet", "nor as an Internet protocol", &["N07"]),
        family("socket-vsock", "no socket to the hypervisor is made", &["N45"]),
        family("socket-alg", "no socket to the kernel's ciphers is made", &["N44"]),
        family("socket-key", "no socket to the key engine is made", &["N44"]).by(ROOT),
        family("socket-kcm", "no KCM socket is made", &["N44"]),
        family("socket-rxrpc", "no RxRPC socket is made", &["N44"]),
        family("socket-tipc", "no TIPC socket is made", &["N45"]).cve(&["CVE-2021-43267"]),
        family("socket-rds", "no RDS socket is made", &["N45"]).cve(&["CVE-2010-3904"]),
        family("socket-can", "no CAN socket is made", &["N45"]),
        family("socket-bluetooth", "no Bluetooth socket is made", &["N45"]),
        family("socket-qipcrtr", "no Qualcomm router socket is made", &["N45"]),
        family("socket-nfc", "no NFC socket is made", &["N45"]),
        family("socket-phonet", "no Phonet socket is made", &["N45"]),
        family("socket-pppox", "no PPP tunnel is made", &["N46"]),
        family("socket-l2tp", "no L2TP tunnel is made", &["N46"]),
    ],
};
