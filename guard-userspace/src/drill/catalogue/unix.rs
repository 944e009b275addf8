//! Unix sockets of others: by them an agent would have somebody outside act for it.

use super::build::{Names, ROOTS, STAYS, out};
use crate::drill::Expect::Rule;
use crate::drill::{Expect, Group, Tags};

const CONNECT: &[Expect] = &[Rule("connect", "connect")];
const SEND: &[Expect] = &[Rule("connect", "send")];
const STREAM: Names = &["unix_stream_connect"];
const DATAGRAM: Names = &["unix_may_send"];

pub(super) const SOCKETS: Group = Group {
    name: "Sockets of other programs",
    tags: Tags { attack: &["T1559", "T1611"], owasp: &["ASI07", "ASI03"] },
    drills: &[
        out(
            "unix-connect-file",
            "no socket of another program is connected to, as docker's, the bus's or an editor's is",
            &["N60", "N61", "N62", "X27", "X28", "X30", "X32", "S09", "F50", "N48", "S30"],
            STREAM,
            CONNECT,
        ),
        out(
            "unix-connect-symlink",
            "nor through a link where sockets are allowed",
            &["N60"],
            STREAM,
            CONNECT,
        ),
        out("unix-connect-relative", "nor by a relative path", &["N60"], STREAM, CONNECT),
        out(
            "unix-connect-hard-link",
            "nor by a second name of it",
            &["N60"],
            STREAM,
            &[Rule("connect", "connect"), Rule("write", "link-from"), Rule("write", "link-to")],
        )
        .by(ROOTS)
        .ends(STAYS),
        out("unix-connect-abstract", "nor by an abstract name", &["N61", "N62"], STREAM, CONNECT)
            .cve(&["CVE-2020-15257"]),
        out("unix-connect-seqpacket", "nor one of packets", &["N61"], STREAM, CONNECT),
        out(
            "unix-sendto-file",
            "no datagram goes to another program's socket, as the journal's is",
            &["N64"],
            DATAGRAM,
            SEND,
        ),
        out("unix-sendto-abstract", "nor by an abstract name", &["N64"], DATAGRAM, SEND),
        out("unix-connect-datagram", "nor after connecting to it", &["N64"], DATAGRAM, SEND),
        out(
            "unix-connect-inherited",
            "an inherited socket connects to none of them",
            &["N60", "N48"],
            STREAM,
            CONNECT,
        )
        .handed(),
        out("unix-send-inherited-datagram", "nor sends to its peer", &["N64", "N48"], DATAGRAM, SEND)
            .handed(),
        out("uring-connect-unix", "io_uring connects to none of them", &["N60", "N67"], STREAM, CONNECT),
    ],
};
