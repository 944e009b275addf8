//! What people would use instead, each with a policy like the shipped one's: about twenty paths and one port.

use std::fs::{self, File};
use std::io::{self, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::libc;
use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response,
};
use nix::sys::signal::{Signal, kill};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::stage::{GATEWAY, OUTSIDE, WORKSPACE, enter, own_program};
use crate::sys;

/// What the sandboxes may read and run, and what they may write.
const READ: &[&str] = &[
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/lib",
    "/usr/share",
    "/usr/local",
    "/opt",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/proc",
    "/dev/urandom",
    "/run",
    "/srv",
    "/var/lib",
    "/home",
];
const WRITE: &[&str] = &[WORKSPACE, "/tmp", "/dev/null", "/dev/console", "/var/log"];

fn run(command: &[&str]) -> Result<()> {
    enter(OUTSIDE.as_ref(), command)
}

/// Restricts itself with Landlock, then runs the command.
pub(crate) fn landlock(command: &[&str]) -> Result<()> {
    let version = sys::landlock_create(None).context("ask for Landlock")?;
    let every = match version {
        5.. => 0xffffu64,
        3 | 4 => 0x7fff,
        2 => 0x3fff,
        _ => 0x1fff,
    };
    // Execute, read a file, read a directory; and what means something for a file.
    let (read, file) = (1u64 | 4 | 8, 1u64 | 2 | 4 | 1 << 14 | 1 << 15);
    let ports = if version >= 4 { 3u64 } else { 0 };
    let ruleset = sys::adopt(sys::landlock_create(Some(&[every, ports])).context("make a Landlock ruleset")?);
    for (paths, rights) in [(READ, read), (WRITE, every)] {
        for path in paths {
            let Ok(target) = File::open(path) else { continue };
            let rights = if target.metadata()?.is_dir() { rights } else { rights & every & file };
            let mut rule = rights.to_ne_bytes().to_vec();
            rule.extend((target.as_raw_fd() as u32).to_ne_bytes());
            rule.extend([0; 4]);
            sys::landlock_add(ruleset.as_fd(), 1, &rule).with_context(|| format!("allow {path}"))?;
        }
    }
    if ports != 0 {
        let mut rule = 2u64.to_ne_bytes().to_vec();
        rule.extend(u64::from(GATEWAY).to_ne_bytes());
        sys::landlock_add(ruleset.as_fd(), 2, &rule).context("allow the port")?;
    }
    fs::write(Path::new(OUTSIDE).join("cgroup.procs"), "0").context("enter the cgroup")?;
    nix::sys::prctl::set_no_new_privs()?;
    sys::landlock_restrict(ruleset.as_fd()).context("restrict itself")?;
    let [program, args @ ..] = command else { bail!("no command") };
    Err(Command::new(program).args(args).exec()).with_context(|| format!("run {program}"))
}

/// Numbers of `linux/seccomp.h`, with the size of their structures in the middle.
const NOTIF_RECV: u64 = 0xc050_2100;
const NOTIF_SEND: u64 = 0xc018_2101;
const NOTIF_ID_VALID: u64 = 0x4008_2102;

/// Runs the command with a filter that asks this process about each open, connect and exec; it reads what is asked
/// for, as whoever decides must, and lets everything go.
pub(crate) fn notify(command: &[&str]) -> Result<()> {
    let (listener, child) = under_filter(command)?;
    let mut memory = vec![0u8; 4096];
    loop {
        let mut asked = [0u64; 10];
        match sys::seccomp_ioctl(listener.as_fd(), NOTIF_RECV, &mut asked) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Whoever asked has gone.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                if ended(child)? {
                    return Ok(());
                }
                continue;
            }
            Err(error) => return Err(error).context("wait for a question"),
        }
        let [id, who, call, _, first, second, third, ..] = asked;
        let number = i64::from(call as u32);
        let by_second = [libc::SYS_openat, libc::SYS_execveat, libc::SYS_connect].contains(&number);
        let at = if by_second { second } else { first } as usize;
        let length = if number == libc::SYS_connect { third as usize } else { 4096 - (at & 4095) };
        let length = length.min(memory.len());
        let remote = [RemoteIoVec { base: at, len: length }];
        let pid = Pid::from_raw(who as u32 as i32);
        process_vm_readv(pid, &mut [IoSliceMut::new(&mut memory[..length])], &remote).context("read")?;
        if sys::seccomp_ioctl(listener.as_fd(), NOTIF_ID_VALID, &mut [id]).is_err() {
            continue;
        }
        // No error, value 0, and the flag that says: go on.
        let _ = sys::seccomp_ioctl(listener.as_fd(), NOTIF_SEND, &mut [id, 0, 1 << 32]);
    }
}

fn ended(child: Pid) -> Result<bool> {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    Ok(!matches!(waitpid(child, Some(WaitPidFlag::WNOHANG))?, WaitStatus::StillAlive))
}

/// In the environment of the part that runs under the filter: the number of its socket.
const FILTERED: &str = "GUARD_BENCH_FILTERED";
/// Whose time the operations are charged with.
const RESPONDER: &str = "/run/guard-bench/daemon";

/// This process takes the filter's listener from a child, which then runs the command under the filter.
fn under_filter(command: &[&str]) -> Result<(std::os::fd::OwnedFd, Pid)> {
    use nix::sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
        socketpair,
    };
    let Some(socket) = std::env::var_os(FILTERED) else {
        // Both ends are inherited; the child is told the number of its own.
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::empty())?;
        let child = Command::new(own_program()?)
            .arg("notify")
            .args(command)
            .env(FILTERED, theirs.as_raw_fd().to_string())
            .spawn()
            .context("start the filtered part")?;
        fs::write(RESPONDER, std::process::id().to_string())?;
        drop(theirs);
        let mut room = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let mut byte = [0u8];
        let mut slices = [IoSliceMut::new(&mut byte)];
        let message = recvmsg::<()>(ours.as_raw_fd(), &mut slices, Some(&mut room), MsgFlags::empty())?;
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = part {
                let fd = fds.first().copied().context("no listener came")?;
                return Ok((sys::adopt(fd.into()), Pid::from_raw(child.id().cast_signed())));
            }
        }
        bail!("no listener came");
    };
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |number: i64, over: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: over,
        jf: 0,
        k: number as u32,
    };
    let filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        jump(libc::SYS_openat, 5),
        jump(libc::SYS_open, 4),
        jump(libc::SYS_connect, 3),
        jump(libc::SYS_execve, 2),
        jump(libc::SYS_execveat, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF),
    ];
    let socket: i32 = socket.to_string_lossy().parse()?;
    fs::write(Path::new(OUTSIDE).join("cgroup.procs"), "0").context("enter the cgroup")?;
    nix::sys::prctl::set_no_new_privs()?;
    let listener = sys::seccomp_listen(&filter).context("install the filter")?;
    let fds = [listener.as_raw_fd()];
    sendmsg::<()>(
        socket,
        &[io::IoSlice::new(b"x")],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )?;
    drop(listener);
    let [program, args @ ..] = command else { bail!("no command") };
    Err(Command::new(program).args(args).exec()).with_context(|| format!("run {program}"))
}

/// Answers each open of a file below the file system of `directory` with yes, after asking for the file's name, as
/// whoever decides must.
pub(crate) fn fanotify(directory: &Path) -> Result<()> {
    let group = Fanotify::init(
        InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC | InitFlags::FAN_UNLIMITED_QUEUE,
        EventFFlags::O_RDONLY | EventFFlags::O_LARGEFILE,
    )
    .context("make a fanotify group")?;
    group
        .mark(
            MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM,
            MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_OPEN_EXEC_PERM,
            nix::fcntl::AT_FDCWD,
            Some(directory),
        )
        .context("mark the file system")?;
    println!("ready");
    io::stdout().flush()?;
    loop {
        for event in group.read_events().context("wait for a question")? {
            let Some(fd) = event.fd() else { continue };
            let _ = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
            group.write_response(FanotifyResponse::new(fd, Response::FAN_ALLOW)).context("answer")?;
        }
    }
}

/// A process that answers fanotify's questions.
pub(crate) struct Responder(Child);

pub(crate) fn fanotify_responder() -> Result<Responder> {
    let mut child = Command::new(own_program()?)
        .args(["fanotify", WORKSPACE])
        .stdout(Stdio::piped())
        .spawn()
        .context("start the responder")?;
    let mut word = [0; 5];
    child.stdout.as_mut().context("no output")?.read_exact(&mut word)?;
    fs::write(RESPONDER, child.id().to_string())?;
    Ok(Responder(child))
}

impl Responder {
    pub(crate) fn end(mut self) -> Result<()> {
        fs::remove_file(RESPONDER)?;
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL)?;
        self.0.wait()?;
        Ok(())
    }
}

/// Where `cargo xtask bench` puts the compiled profile.
const PROFILE: &str = "/usr/share/guard-bench/apparmor";

/// Loads a compiled AppArmor profile named `bench`.
pub(crate) fn load_apparmor() -> Result<()> {
    let profile = fs::read(PROFILE).with_context(|| format!("read {PROFILE}"))?;
    fs::write("/sys/kernel/security/apparmor/.replace", profile).context("load the profile")
}

/// Runs the command under a profile.
pub(crate) fn apparmor(profile: &str, command: &[&str]) -> Result<()> {
    let own = "/proc/self/attr/apparmor/exec";
    fs::write(own, format!("exec {profile}")).context("choose the profile")?;
    let list = fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default();
    ensure!(list.contains(&format!("{profile} (enforce)")), "the profile {profile} does not enforce: {list}");
    run(command)
}
