//! A world of its own: an empty root, and a network in which every address is this host's.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::chroot;

use crate::net::{send_bytes, socket};
use crate::sys::call;

const NONE: Option<&str> = None;

/// Leaves the host's tree and network; `root` is where the new root is made, and nothing of it is seen outside.
pub(super) fn enter(root: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    mount(Some("drill"), root, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    std::env::set_current_dir(root)?;
    // Over the old root, as an initramfs does it: one that nothing lies under cannot be exchanged by pivot_root(2).
    mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE)?;
    chroot(".")?;
    std::env::set_current_dir("/")?;
    network()
}

const NLM_REQUEST_ACK: u16 = 5;
const NLM_CREATE_REPLACE: u16 = 0x500;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWROUTE: u16 = 24;

/// The loopback device up, and all addresses behind it.
fn network() -> io::Result<()> {
    let up: Vec<u8> = [0u32, 1, libc::IFF_UP as u32, libc::IFF_UP as u32]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    ask(RTM_NEWLINK, NLM_REQUEST_ACK, &up)?;
    ask(RTM_NEWROUTE, NLM_REQUEST_ACK | NLM_CREATE_REPLACE, &everything(libc::AF_INET))?;
    // A host without IPv6 has no use for the other.
    let _ = ask(RTM_NEWROUTE, NLM_REQUEST_ACK | NLM_CREATE_REPLACE, &everything(libc::AF_INET6));
    Ok(())
}

/// `struct rtmsg` for `local default dev lo`.
fn everything(family: i32) -> Vec<u8> {
    const TABLE_LOCAL: u8 = 255;
    const PROTOCOL_BOOT: u8 = 3;
    const SCOPE_HOST: u8 = 254;
    const TYPE_LOCAL: u8 = 2;
    const ATTRIBUTE_DEVICE: u16 = 4;
    let mut bytes =
        vec![family as u8, 0, 0, 0, TABLE_LOCAL, PROTOCOL_BOOT, SCOPE_HOST, TYPE_LOCAL, 0, 0, 0, 0];
    bytes.extend(8u16.to_ne_bytes());
    bytes.extend(ATTRIBUTE_DEVICE.to_ne_bytes());
    bytes.extend(1u32.to_ne_bytes());
    bytes
}

/// One request to the kernel's routes, and its answer.
fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    const HEADER: usize = 16;
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)?;
    let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    send_bytes(&socket, &message, None, 0)?;
    let mut answer = [0u8; 512];
    call(libc::SYS_read, &mut [(&socket).into(), answer.as_mut_slice().into(), 512.into()])?;
    // struct nlmsgerr follows the header.
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}
