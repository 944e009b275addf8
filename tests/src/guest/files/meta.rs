//! Metadata: modes, owners, times, attributes, flags.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::super::ground::{ACL, set_attribute};
use super::super::row::Row;
use super::super::sys::{Arg, c, call, words};
use super::open::open;

fn utimes(path: &Path, flags: i32) -> io::Result<()> {
    let times = words(&[1000, 0, 1000, 0]);
    call(
        libc::SYS_utimensat,
        &mut [libc::AT_FDCWD.into(), (&c(path)).into(), times.as_slice().into(), flags.into()],
    )
    .map(drop)
}

fn read_only(path: &Path) -> io::Result<OwnedFd> {
    open(path, libc::O_RDONLY)
}

pub(super) const MODES: &[Row] = &[
    Row::write("chmod", |at, _| fs::set_permissions(at.file(), Permissions::from_mode(0o4777))),
    Row::write("fchmod of a descriptor opened for reading", |at, _| {
        call(libc::SYS_fchmod, &mut [(&read_only(&at.file())?).into(), 0o777.into()]).map(drop)
    }),
    Row::write("fchmodat2", |at, _| {
        const SYS_FCHMODAT2: i64 = 452;
        call(SYS_FCHMODAT2, &mut [libc::AT_FDCWD.into(), (&c(at.file())).into(), 0o777.into(), Arg::Num(0)])
            .map(drop)
    })
    .since(6, 6),
    Row::write("chmod of the directory", |at, _| fs::set_permissions(&at.d, Permissions::from_mode(0o1777))),
    Row::write("chown", |at, _| chown(at.file(), Some(65533), None)).as_root(),
    Row::write("chown of a symbolic link", |at, _| {
        std::os::unix::fs::lchown(at.on("link"), Some(65533), None)
    })
    .as_root(),
    Row::write("fchown of a descriptor opened for reading", |at, _| {
        std::os::unix::fs::fchown(read_only(&at.file())?, Some(65533), None)
    })
    .as_root(),
    Row::write("utimensat", |at, _| utimes(&at.file(), 0)),
    Row::write("utimensat of a symbolic link", |at, _| utimes(&at.on("link"), libc::AT_SYMLINK_NOFOLLOW)),
    Row::write("futimens of a descriptor opened for reading", |at, _| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        File::from(read_only(&at.file())?).set_modified(time)
    }),
    Row::write("set an access list", |at, _| set_attribute(&at.file(), c"system.posix_acl_access", ACL)),
    Row::write("set a trusted attribute", |at, _| set_attribute(&at.file(), c"trusted.x", b"1"))
        .as_root()
        .never(),
    Row::write("set a user attribute", |at, _| set_attribute(&at.file(), c"user.x", b"1")).since(6, 6),
    Row::write("fsetxattr of a descriptor opened for reading", |at, _| {
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
    })
    .since(6, 6),
    Row::write("remove a user attribute", |at, _| {
        call(libc::SYS_removexattr, &mut [(&c(at.on("prog"))).into(), c"user.was".into()]).map(drop)
    })
    .since(6, 6),
    Row::write("remove an access list", |at, _| {
        call(libc::SYS_removexattr, &mut [(&c(at.on("file2"))).into(), c"system.posix_acl_access".into()])
            .map(drop)
    }),
];
