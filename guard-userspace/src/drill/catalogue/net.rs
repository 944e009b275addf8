//! The network: out, in, and by another way.

use super::build::{ROOT, ROOTS, call, out};
use crate::drill::Expect::{Item, Rule};
use crate::drill::{End, Expect, Group, Tags};

const CONNECT: &[Expect] = &[Rule("connect", "connect")];
const SEND: &[Expect] = &[Rule("connect", "send")];
const BY_CONNECT: super::build::Names = &["socket_connect", "egress"];
const BY_SEND: super::build::Names = &["socket_sendmsg", "egress"];

pub(super) const LEAVING: Group = Group {
    name: "Leaving by TCP and UDP",
    tags: Tags { attack: &["T1041", "T1048", "T1071"], owasp: &["ASI02", "ASI10"] },
    drills: &[
        out("tcp-connect", "nothing but the gateway is connected to", &["N01"], BY_CONNECT, CONNECT),
        out("tcp-connect-nonblocking", "nor without blocking", &["N02"], BY_CONNECT, CONNECT),
        out("tcp-connect-v6", "nor over IPv6", &["N16", "N20", "N23"], BY_CONNECT, CONNECT).if_any(),
        out("tcp-connect-mapped", "nor at an IPv4 address mapped into IPv6", &["N17"], BY_CONNECT, CONNECT)
            .if_any(),
        out(
            "tcp-connect-local-service",
            "nor the gateway's host at another port",
            &["N14", "N15", "X31"],
            BY_CONNECT,
            CONNECT,
        ),
        out("tcp-connect-wildcard", "nor by the wildcard address", &["N22"], BY_CONNECT, CONNECT),
        out("tcp-connect-wildcard-v6", "nor by the IPv6 wildcard", &["N22"], BY_CONNECT, CONNECT).if_any(),
        out(
            "tcp-connect-gateway-port-elsewhere",
            "nor the gateway's port on another address",
            &["N22", "N23"],
            BY_CONNECT,
            CONNECT,
        ),
        out("tcp-bind-then-connect", "nor from a chosen source address", &["N31"], BY_CONNECT, CONNECT),
        out("tcp-connect-repeated", "nor the twentieth time", &["N01", "S34"], BY_CONNECT, CONNECT),
        out(
            "tcp-fast-open",
            "TCP fast open, which never calls connect(2), sends nothing",
            &["N03"],
            BY_SEND,
            SEND,
        ),
        out("tcp-fast-open-v6", "nor over IPv6", &["N03", "N16"], BY_SEND, SEND).if_any(),
        out("tcp-fast-open-mapped", "nor to a mapped address", &["N03", "N17"], BY_SEND, SEND).if_any(),
        out("tcp-fast-open-sendmsg", "nor by sendmsg(2)", &["N03"], BY_SEND, SEND),
        out("tcp-fastopen-connect", "nor by a deferred connect", &["N03"], BY_CONNECT, CONNECT),
        out("udp-sendto", "no datagram leaves", &["N34", "N79"], BY_SEND, SEND),
        out("udp-sendto-no-family", "nor to an address without a family", &["N34"], BY_SEND, SEND),
        out("udp-sendto-v6", "nor over IPv6", &["N34", "N16"], BY_SEND, SEND).if_any(),
        out("udp-sendto-mapped", "nor to a mapped address", &["N17"], BY_SEND, SEND).if_any(),
        out("udp-sendto-v4-from-v6", "nor to an IPv4 address from an IPv6 socket", &["N17"], BY_SEND, SEND)
            .if_any(),
        out("udp-sendmsg", "nor by sendmsg(2)", &["N34"], BY_SEND, SEND),
        out(
            "udp-sendmsg-pktinfo",
            "nor with an interface named beside it",
            &["N26"],
            BY_SEND,
            &[Item("socket-options", "send")],
        ),
        out("udp-sendmmsg", "nor many at once", &["N34"], BY_SEND, &[Item("socket-options", "send")]),
        out("udp-connect-write", "nor through a connected socket", &["N36"], BY_CONNECT, CONNECT),
        out(
            "udp-connected-to-gateway-sendto",
            "nor to another address on a socket connected to the gateway",
            &["N36"],
            BY_SEND,
            &[Rule("connect", "send"), Rule("connect", "connect")],
        ),
        out("udp-corked", "nor in parts", &["N13"], BY_SEND, SEND),
        out("udp-segment", "nor cut up by the kernel", &["N13"], BY_SEND, SEND),
        out("uring-connect", "io_uring connects to nothing", &["N67"], BY_CONNECT, CONNECT),
        out("uring-connect-by-worker", "nor by a worker thread", &["N67", "N68"], BY_CONNECT, CONNECT),
    ],
};

/// Nobody listens there: the call went out, and that is all.
const CALLED: &[End] = &[End::Did, End::Errno(libc::ECONNREFUSED)];

pub(super) const BEFORE: Group = Group {
    name: "Sockets from outside",
    tags: Tags { attack: &["T1041", "T1572"], owasp: &["ASI03", "ASI10"] },
    drills: &[
        out("connect-inherited", "an inherited socket connects to nothing", &["N48"], BY_CONNECT, CONNECT)
            .handed(),
        out("fast-open-inherited", "nor by fast open", &["N48", "N03"], BY_SEND, SEND).handed(),
        out(
            "send-inherited-connection",
            "an inherited connection carries nothing",
            &["N48", "N55"],
            BY_SEND,
            SEND,
        )
        .handed(),
        out("send-inherited-oob", "nor out of band", &["N13", "N48"], BY_SEND, SEND).handed(),
        out("write-inherited-connection", "nor by write(2)", &["N48"], BY_SEND, SEND).handed(),
        out("write-inherited-connection-v6", "nor over IPv6", &["N48", "N16"], BY_SEND, SEND)
            .handed()
            .if_any(),
        out("send-inherited-naming-gateway", "naming the gateway does not open it", &["N48"], BY_SEND, SEND)
            .handed(),
        out("splice-inherited-connection", "nor by splice(2)", &["N50"], BY_SEND, SEND).handed().since(6, 5),
        out("send-duplicated-connection", "nor through a duplicate of it", &["N48"], BY_SEND, SEND).handed(),
        out("send-inherited-datagram", "an inherited datagram socket sends nothing", &["N48"], BY_SEND, SEND)
            .handed(),
        out("send-inherited-connected-datagram", "nor a connected one", &["N48"], BY_SEND, SEND).handed(),
        out(
            "send-inherited-connected-v6-no-family",
            "nor with an address that is none",
            &["N48"],
            BY_SEND,
            SEND,
        )
        .handed()
        .if_any(),
        out(
            "send-inherited-raw",
            "an inherited raw socket sends nothing",
            &["N39", "N48"],
            BY_SEND,
            &[Item("socket-families", "send")],
        )
        .by(ROOTS)
        .handed(),
        out(
            "send-inherited-udp-lite",
            "nor a UDP-Lite one",
            &["N37", "N48"],
            BY_SEND,
            &[Item("socket-families", "send")],
        )
        .handed()
        .if_any(),
        out(
            "receive-connection",
            "a connection received over a socket carries nothing",
            &["N51"],
            &["file_receive", "socket_sendmsg"],
            &[Rule("connect", "send"), Item("foreign-fds", "receive")],
        )
        .handed(),
        out(
            "uring-send-inherited",
            "io_uring sends nothing through an inherited connection",
            &["N67", "N48"],
            BY_SEND,
            SEND,
        )
        .handed(),
        out("uring-send-zc-inherited", "nor without copying", &["N67", "N13"], BY_SEND, SEND).handed(),
        call(
            "sctp-connectx-inherited",
            "an inherited SCTP socket connects to nothing",
            &["N08", "N09"],
            &["sctp_bind_connect"],
            &[Item("socket-families", "connect")],
        )
        .control(CALLED)
        .handed()
        .if_any()
        .vm(),
        call(
            "netlink-inherited",
            "an inherited netlink socket asks the kernel for nothing",
            &["N43"],
            &["netlink_send"],
            &[Item("socket-families", "send")],
        )
        .handed(),
    ],
};

const BIND: &[Expect] = &[Rule("listen", "bind")];

pub(super) const LISTENING: Group = Group {
    name: "Letting others in",
    tags: Tags { attack: &["T1219", "T1090"], owasp: &["ASI10", "ASI07"] },
    drills: &[
        call("bind-port", "no port is taken", &["N56"], &["socket_bind"], BIND),
        call("bind-port-everywhere", "nor on every address", &["N56"], &["socket_bind"], BIND),
        call("bind-port-v6", "nor over IPv6", &["N56"], &["socket_bind"], BIND).if_any(),
        call("bind-no-family", "nor with no family", &["N56"], &["socket_bind"], BIND),
        call("bind-datagram-port", "nor for datagrams", &["N56"], &["socket_bind"], BIND),
        call(
            "listen-unbound",
            "a socket without a port does not listen",
            &["N56"],
            &["socket_listen"],
            &[Rule("listen", "listen")],
        ),
        call(
            "listen-any-port",
            "nor one with a port of the kernel's choice",
            &["N56"],
            &["socket_listen"],
            &[Rule("listen", "listen")],
        ),
        call(
            "squat-gateway-port",
            "the gateway's port is not taken beside it",
            &["N59"],
            &["socket_bind"],
            BIND,
        ),
        call(
            "listen-inherited",
            "an inherited socket does not listen",
            &["N56", "N48"],
            &["socket_listen"],
            &[Rule("listen", "listen")],
        )
        .handed(),
        call(
            "accept-inherited",
            "an inherited listener lets nobody in",
            &["N56", "N48"],
            &["socket_accept"],
            &[Rule("listen", "accept")],
        )
        .handed(),
    ],
};

const OPTION: &[Expect] = &[Item("socket-options", "setsockopt")];
const BY_OPTION: super::build::Names = &["socket_setsockopt"];

pub(super) const OPTIONS: Group = Group {
    name: "Bending the way of packets",
    tags: Tags { attack: &["T1095", "T1572"], owasp: &["ASI02", "ASI10"] },
    drills: &[
        call(
            "so-bindtodevice",
            "SO_BINDTODEVICE does not choose another interface",
            &["N26"],
            BY_OPTION,
            OPTION,
        ),
        call("so-bindtoifindex", "nor SO_BINDTOIFINDEX", &["N26"], BY_OPTION, OPTION),
        call("so-mark", "SO_MARK does not choose another route", &["N30"], BY_OPTION, OPTION).by(ROOT),
        call("so-dontroute", "SO_DONTROUTE does not pass by the routes", &["N26"], BY_OPTION, OPTION),
        // Newer kernels ask for a capability, which an ordinary user has nowhere.
        call("ip-options", "IP_OPTIONS sets no source route", &["N28"], BY_OPTION, OPTION).by(ROOTS),
        call("ip-options-record", "nor has the route recorded", &["N28"], BY_OPTION, OPTION),
        call("ip-unicast-if", "IP_UNICAST_IF does not choose another interface", &["N26"], BY_OPTION, OPTION),
        call("ip-multicast-if", "nor IP_MULTICAST_IF", &["N25", "N26"], BY_OPTION, OPTION),
        call("ip-freebind", "IP_FREEBIND takes nobody's address", &["N31"], BY_OPTION, OPTION),
        call("ip-transparent", "nor IP_TRANSPARENT", &["N31"], BY_OPTION, OPTION).by(ROOTS),
        call(
            "ip-add-membership",
            "joining a group makes the kernel send nothing",
            &["N25"],
            BY_OPTION,
            OPTION,
        ),
        call("ipv6-join-group", "nor over IPv6", &["N25"], BY_OPTION, OPTION).if_any(),
        call("ipv6-rthdr", "IPV6_RTHDR names no first stop", &["N29"], BY_OPTION, OPTION).if_any(),
        call("ipv6-pktinfo", "IPV6_PKTINFO does not choose source or interface", &["N26"], BY_OPTION, OPTION)
            .if_any(),
        call("ipv6-unicast-if", "nor IPV6_UNICAST_IF", &["N26"], BY_OPTION, OPTION).if_any(),
        call("tcp-repair", "TCP_REPAIR forges no connection", &["N32"], BY_OPTION, OPTION).by(ROOT),
    ],
};
