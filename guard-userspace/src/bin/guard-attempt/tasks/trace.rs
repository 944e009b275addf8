//! Tracing, reading and writing processes outside.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};

use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};

use super::{outsider, pidfd};
use crate::scene::Scene;
use crate::sys::{call, call_fd, words};
use crate::table::{Attempt, plain};

fn of(at: &Scene, file: &str) -> io::Result<String> {
    Ok(format!("/proc/{}/{file}", outsider(at)?))
}

/// Where the outsider keeps its bytes.
fn there(at: &Scene) -> io::Result<RemoteIoVec> {
    Ok(RemoteIoVec { base: at.need("memory")?, len: 8 })
}

pub(crate) const TRIES: &[Attempt] = &[
    plain("ptrace-attach", |at, _| {
        ptrace::attach(outsider(at)?)?;
        nix::sys::wait::waitpid(outsider(at)?, None)?;
        Ok(ptrace::detach(outsider(at)?, None)?)
    }),
    plain("ptrace-seize", |at, _| {
        ptrace::seize(outsider(at)?, ptrace::Options::empty())?;
        Ok(())
    }),
    plain("ptrace-traceme", |_, _| Ok(ptrace::traceme()?)),
    plain("process-vm-readv", |at, _| {
        let mut bytes = [0u8; 8];
        process_vm_readv(outsider(at)?, &mut [IoSliceMut::new(&mut bytes)], &[there(at)?])?;
        if bytes == *b"ssssssss" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }),
    plain("process-vm-writev", |at, _| {
        process_vm_writev(outsider(at)?, &[IoSlice::new(b"injected")], &[there(at)?])?;
        Ok(())
    }),
    plain("proc-mem", |at, _| {
        use std::os::unix::fs::FileExt;
        let memory = OpenOptions::new().read(true).write(true).open(of(at, "mem")?)?;
        memory.write_all_at(b"injected", at.need::<u64>("memory")?)
    }),
    plain("proc-environ", |at, _| fs::read(of(at, "environ")?).map(drop)),
    plain("proc-maps", |at, _| fs::read(of(at, "maps")?).map(drop)),
    plain("proc-fd", |at, _| fs::read_link(of(at, "fd/0")?).map(drop)),
    plain("proc-root", |at, _| {
        File::open(format!("{}{}", of(at, "root")?, at.at_work("mine").display())).map(drop)
    }),
    plain("proc-cwd", |at, _| File::open(of(at, "cwd")?).map(drop)),
    plain("proc-exe", |at, _| File::open(of(at, "exe")?).map(drop)),
    plain("pidfd-getfd", |at, _| {
        call_fd(libc::SYS_pidfd_getfd, &mut [(&pidfd(at)?).into(), 0.into(), 0.into()]).map(drop)
    }),
    plain("kcmp", |at, _| {
        let (own, other) = (std::process::id() as i32, outsider(at)?.as_raw());
        call(libc::SYS_kcmp, &mut [own.into(), other.into(), 0.into(), 0.into(), 0.into()]).map(drop)
    }),
    plain("process-madvise", |at, _| {
        const MADV_COLD: i32 = 20;
        let page = words(&[at.need::<u64>("memory")? & !4095, 4096]);
        call(
            libc::SYS_process_madvise,
            &mut [(&pidfd(at)?).into(), page.as_slice().into(), 1.into(), MADV_COLD.into(), 0.into()],
        )
        .map(drop)
    }),
    plain("get-robust-list", |at, _| {
        let (mut head, mut length) = ([0u8; 8], [0u8; 8]);
        let pid = outsider(at)?.as_raw();
        call(
            libc::SYS_get_robust_list,
            &mut [pid.into(), head.as_mut_slice().into(), length.as_mut_slice().into()],
        )
        .map(drop)
    }),
    plain("guard-memory", |at, _| File::open(format!("/proc/{}/mem", at.need::<i32>("guard")?)).map(drop)),
    plain("guard-descriptors", |at, _| {
        fs::read_link(format!("/proc/{}/fd/0", at.need::<i32>("guard")?)).map(drop)
    }),
    plain("guard-seize", |at, _| {
        let guard = nix::unistd::Pid::from_raw(at.need("guard")?);
        Ok(ptrace::seize(guard, ptrace::Options::empty())?)
    }),
];
