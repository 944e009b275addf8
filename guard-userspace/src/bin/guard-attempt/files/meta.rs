//! Metadata: modes, owners, times, attributes, flags.

use std::ffi::CStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown, fchown, lchown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::open::open;
use crate::sys::{self, Arg, c, call, words};
use crate::table::{Attempt, plain};

fn read_only(path: &Path) -> io::Result<OwnedFd> {
    open(path, libc::O_RDONLY)
}

fn utimes(path: &Path, flags: i32) -> io::Result<()> {
    let times = words(&[1000, 0, 1000, 0]);
    call(
        libc::SYS_utimensat,
        &mut [libc::AT_FDCWD.into(), (&c(path)).into(), times.as_slice().into(), flags.into()],
    )
    .map(drop)
}

/// An access list that lets user 65533 read and write: version 2, entries of tag, permissions, id.
#[rustfmt::skip]
const ACL: &[u8] = &[
    2, 0, 0, 0,
    1, 0, 6, 0, 255, 255, 255, 255,
    2, 0, 6, 0, 0xfd, 0xff, 0, 0,
    4, 0, 6, 0, 255, 255, 255, 255,
    16, 0, 6, 0, 255, 255, 255, 255,
    32, 0, 6, 0, 255, 255, 255, 255,
];

fn set_attribute(path: &Path, name: &CStr, value: &[u8]) -> io::Result<()> {
    call(
        libc::SYS_setxattr,
        &mut [(&c(path)).into(), name.into(), value.into(), value.len().into(), 0.into()],
    )
    .map(drop)
}

fn remove_attribute(path: &Path, name: &CStr) -> io::Result<()> {
    call(libc::SYS_removexattr, &mut [(&c(path)).into(), name.into()]).map(drop)
}

const FS_NODUMP_FL: u32 = 0x40;
const FS_IOC_SETFLAGS: u64 = 0x4008_6602;
const FS_IOC32_SETFLAGS: u32 = 0x4004_6602;
const FS_IOC_FSSETXATTR: u64 = 0x401c_5820;

pub(crate) const TRIES: &[Attempt] = &[
    plain("chmod", |at, _| fs::set_permissions(at.file(), Permissions::from_mode(0o4777))),
    plain("fchmod", |at, _| {
        call(libc::SYS_fchmod, &mut [(&read_only(&at.file())?).into(), 0o777.into()]).map(drop)
    }),
    plain("fchmodat2", |at, _| {
        const SYS_FCHMODAT2: i64 = 452;
        call(SYS_FCHMODAT2, &mut [libc::AT_FDCWD.into(), (&c(at.file())).into(), 0o777.into(), Arg::Num(0)])
            .map(drop)
    }),
    plain("chmod-directory", |at, _| fs::set_permissions(&at.d, Permissions::from_mode(0o1777))),
    plain("chown", |at, _| chown(at.file(), Some(65533), None)),
    plain("lchown", |at, _| lchown(at.on("link"), Some(65533), None)),
    plain("fchown", |at, _| fchown(read_only(&at.file())?, Some(65533), None)),
    plain("utimensat", |at, _| utimes(&at.file(), 0)),
    plain("utimensat-symlink", |at, _| utimes(&at.on("link"), libc::AT_SYMLINK_NOFOLLOW)),
    plain("futimens", |at, _| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        File::from(read_only(&at.file())?).set_modified(time)
    }),
    plain("set-acl", |at, _| set_attribute(&at.file(), c"system.posix_acl_access", ACL)),
    plain("remove-acl", |at, _| remove_attribute(&at.on("file2"), c"system.posix_acl_access")),
    plain("set-xattr", |at, _| set_attribute(&at.file(), c"user.x", b"1")),
    plain("fsetxattr", |at, _| {
        let value = b"1".as_slice();
        call(
            libc::SYS_fsetxattr,
            &mut [
                (&read_only(&at.file())?).into(),
                c"user.x".into(),
                value.into(),
                value.len().into(),
                0.into(),
            ],
        )
        .map(drop)
    }),
    plain("remove-xattr", |at, _| remove_attribute(&at.on("prog"), c"user.was")),
    plain("set-trusted-xattr", |at, _| set_attribute(&at.file(), c"trusted.x", b"1")),
    plain("set-file-capability", |at, _| {
        // VFS_CAP_REVISION_2, effective; cap-net-bind-service permitted.
        let value: Vec<u8> =
            [0x0200_0001u32, 1 << 10, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        set_attribute(&at.on("prog"), c"security.capability", &value)
    }),
    plain("ioctl-set-flags", |at, _| {
        let flags = FS_NODUMP_FL.to_ne_bytes();
        let fd = read_only(&at.file())?;
        call(libc::SYS_ioctl, &mut [(&fd).into(), FS_IOC_SETFLAGS.into(), flags.as_slice().into()]).map(drop)
    }),
    plain("ioctl-fssetxattr", |at, _| {
        // struct fsxattr: flags, extent size, extents, project, cow extent size, padding.
        let mut attributes = [0u8; 28];
        attributes[..4].copy_from_slice(&0x80u32.to_ne_bytes());
        let fd = read_only(&at.file())?;
        call(libc::SYS_ioctl, &mut [(&fd).into(), FS_IOC_FSSETXATTR.into(), attributes.as_slice().into()])
            .map(drop)
    }),
    plain("ioctl-set-flags-32-bit", |at, _| {
        sys::ioctl_32(read_only(&at.file())?.as_fd(), FS_IOC32_SETFLAGS, FS_NODUMP_FL)
    }),
    plain("file-setattr", |at, _| {
        const SYS_FILE_SETATTR: i64 = 469;
        // struct file_attr: flags, then as fsxattr.
        let attributes = words(&[0x80, 0, 0]);
        call(
            SYS_FILE_SETATTR,
            &mut [
                libc::AT_FDCWD.into(),
                (&c(at.file())).into(),
                attributes.as_slice().into(),
                attributes.len().into(),
                Arg::Num(0),
            ],
        )
        .map(drop)
    }),
];
