//! What no policy can open: guard's own files, and the files by which a task could rule the machine.
//!
//! Every line is joined into every policy as a block. Knobs of procfs and sysfs are also behind the boundary,
//! which looks at the file system itself; the lines here are the second lock on the same door, and the one
//! that shows up in `guard policy explain`.
//!
//! Per-process files of procfs (`/proc/PID/mem`, `oom_score_adj`) are not here: whether they are another's is
//! a question about tasks, which the boundary answers.

use guard_common::abi::Action;

use crate::policy::glob::Glob;
use crate::policy::source::Span;

/// Paths that are blocked for one action, and why.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub actions: &'static [Action],
    pub paths: &'static [&'static str],
    /// Matching paths to which the line does not apply.
    pub except: &'static [&'static str],
    pub reason: &'static str,
}

use Action::{Connect, Read, Write};

const fn line(actions: &'static [Action], paths: &'static [&'static str], reason: &'static str) -> Line {
    Line { actions, paths, except: &[], reason }
}

/// The socket on which an agent may ask about its own denials: always connectable, in every policy and
/// profile, because a denial that nobody can read teaches nothing.
pub const WHY_SOCKET: &str = "/run/guard/why.sock";

const RUN: &[&str] = &["/{run,var/run}/guard", "/{run,var/run}/guard/**"];

/// The baseline, guard's own files first.
pub const LINES: &[Line] = &[
    line(&[Write], &["/etc/guard", "/etc/guard/**"], "guard's configuration and policies"),
    line(&[Read], &["/etc/guard/keys/**"], "guard's keys"),
    line(&[Read, Write], &["/var/lib/guard", "/var/lib/guard/**"], "guard's audit log and keys"),
    line(&[Write], &["/var/log/guard", "/var/log/guard/**"], "copies of guard's audit log"),
    line(&[Read, Write], RUN, "guard's sockets and state"),
    // Connected to, but neither removed nor replaced.
    Line { actions: &[Connect], paths: RUN, except: &[WHY_SOCKET], reason: "guard's sockets and state" },
    line(&[Read, Write], &["/sys/fs/bpf", "/sys/fs/bpf/**"], "guard's pinned programs and maps"),
    line(
        &[Write],
        &[
            "/usr/{,local/}{bin,sbin,lib/guard,libexec/guard}/guard{,.*}",
            "/{bin,sbin}/guard{,.*}",
            "/opt/guard/**",
        ],
        "guard's binary",
    ),
    line(
        &[Write],
        &[
            "/usr/{,local/}{lib,libexec}/guard",
            "/usr/{,local/}{lib,libexec}/guard/**",
            "/usr/{,local/}share/guard/**",
        ],
        "guard's files",
    ),
    line(
        &[Write],
        &["/proc/{sys,irq,acpi,bus,scsi,fs,driver,tty}/**", "/proc/sysrq-trigger", "/proc/mtrr"],
        "kernel knobs: among them the one that silences every BPF program",
    ),
    line(
        &[Write],
        &["/sys", "/sys/**"],
        "kernel knobs, cgroups, tracing, fault injection, firmware variables",
    ),
    line(&[Write], &["/dev/cgroup/**", "/cgroup/**", "/mnt/cgroup*/**"], "cgroups mounted elsewhere"),
    line(&[Read], &["/proc/kcore", "/proc/kpage*", "/proc/vmcore"], "the kernel's memory"),
    line(&[Read], &["/sys/kernel/{debug,tracing}/**"], "the kernel's own view of other tasks"),
    line(&[Read, Write], &["/dev/{mem,kmem,port,core}"], "the machine's memory"),
    line(&[Read, Write], &["/dev/kmsg", "/proc/kmsg"], "the kernel's log: secrets to read, records to forge"),
    line(
        &[Read, Write],
        &[
            "/dev/{sd,hd,vd,xvd,dasd,sr,fd,nbd,rbd,drbd,zd,md,ram,zram,pmem,loop,dm-,mmcblk,nvme,sg,bsg,st,nst}*",
            "/dev/{bsg,mapper,block,disk,md,loop,nvme-fabrics,zvol,drbd,rbd}/**",
            "/dev/{loop,ublk,btrfs}-control",
            "/dev/ublk*",
        ],
        "block devices: every file of the host lies on one",
    ),
    line(
        &[Read, Write],
        &[
            "/dev/{uinput,uhid,userio,snapshot,nvram,watchdog*,autofs,cuse}",
            "/dev/{vfio,cpu,mei*,input}/**",
            "/dev/{msr,mei,ipmi,gpiochip,i2c-,spidev,mtd,ubi,uio}*",
            "/dev/net/tun",
            "/dev/{vcs,vcsa,vcsu}*",
            "/dev/input",
        ],
        "devices that reach past the kernel: tunnels, injected input, firmware",
    ),
    line(&[Write], &["/boot", "/boot/**", "/efi", "/efi/**"], "what the machine boots"),
    line(
        &[Write],
        &["/etc/{default/grub*,grub.d/**,grub*.conf,kernel/**,dracut*,dracut*/**,initramfs-tools/**}"],
        "what the machine boots",
    ),
    line(
        &[Write],
        &[
            "/etc/systemd",
            "/{etc,run,usr/lib,usr/local/lib,lib}/systemd/**",
            "/{root,home/*}/.config/systemd/**",
            "/run/user/*/systemd/**",
        ],
        "units run as root, outside every domain",
    ),
    line(
        &[Write],
        &[
            "/etc/{init.d,rc?.d,rcS.d,init,runit,s6,openrc,conf.d}/**",
            "/etc/{init.d,rc?.d,rcS.d,inittab,rc.local,rc.conf}",
            "/etc/{binfmt.d,tmpfiles.d,sysctl.d,modules-load.d,sysusers.d,environment.d}/**",
            "/{usr/lib,lib,run}/{binfmt.d,tmpfiles.d,sysctl.d,modules-load.d,modprobe.d,sysusers.d,environment.d}/**",
            "/etc/{sysctl.conf,environment,crypttab,fstab,mtab}",
        ],
        "what starts with the machine",
    ),
    line(
        &[Write],
        &[
            "/etc/{cron*,anacrontab,at.allow,at.deny}",
            "/etc/cron*/**",
            "/var/spool/{cron,at,anacron,atjobs,atspool,incron}",
            "/var/spool/{cron,at,anacron,atjobs,atspool,incron}/**",
        ],
        "jobs run outside every domain",
    ),
    line(
        &[Write],
        &[
            "/etc/ld.so.{preload,conf,cache}",
            "/etc/ld.so.conf.d/**",
            "/{usr/,}lib{,32,64,x32}/ld-*",
            "/{usr/,}lib{,32,64,x32}/**/ld-linux*",
        ],
        "code that every program loads",
    ),
    line(
        &[Write],
        &[
            "/etc/{modprobe.d,depmod.d}/**",
            "/etc/{modules*,modprobe.conf}",
            "/{usr/,}lib/modules/**",
            "/{usr/,}lib/firmware/**",
        ],
        "kernel modules and how they are loaded",
    ),
    line(&[Write], &["/{etc,run,usr/lib,lib}/udev/**", "/run/udev"], "udev runs programs as root"),
    line(
        &[Write],
        &[
            "/etc/{sudoers*,sudo.conf,sudo_logsrvd.conf,doas.conf,securetty,login.defs,nologin}",
            "/etc/{sudoers.d,pam.d,security,polkit-1,doas.d}/**",
            "/etc/pam.conf",
            "/{usr/,}lib{,64}/{security,polkit-1}/**",
            "/usr/share/polkit-1/**",
        ],
        "who may become root",
    ),
    line(
        &[Write],
        &[
            "/etc/{passwd,shadow,group,gshadow,subuid,subgid}{,-,+,.lock}",
            "/etc/.pwd.lock",
            "/etc/nsswitch.conf",
        ],
        "who is who",
    ),
    line(&[Read], &["/etc/{shadow,gshadow}{,-,+}"], "password hashes"),
    line(&[Write], &["/etc/ssh/**", "/root/.ssh", "/root/.ssh/**"], "who may log in"),
    line(
        &[Write],
        &[
            "/etc/{dbus-1,NetworkManager,networkd-dispatcher,network,netplan,docker,containerd,containers,crio,cni,kubernetes,apparmor,apparmor.d,selinux,audit,rsyslog.d,logrotate.d,apt,dpkg,yum.repos.d,xinetd.d,profile.d,X11,acpi,ppp,libvirt}/**",
            "/etc/{rsyslog.conf,logrotate.conf,xinetd.conf,inetd.conf,profile,bash.bashrc,bashrc,zshrc,zshenv,exports,autofs.conf,auto.*,request-key.conf}",
            "/etc/{request-key.d,zsh,autofs,auto.master.d}/**",
        ],
        "daemons outside every domain act on these",
    ),
    line(
        &[Write],
        &["/var/lib/{systemd,dbus,polkit-1,docker,containerd,containers,kubelet,dpkg,AccountsService}/**"],
        "state that daemons outside every domain trust",
    ),
    line(
        &[Write],
        &["/var/log/{journal,audit}/**", "/run/log/journal/**"],
        "logs that must not be rewritten",
    ),
];

/// The lines that speak of `action`.
pub fn lines(action: Action) -> impl Iterator<Item = &'static Line> {
    LINES.iter().filter(move |line| line.actions.contains(&action))
}

/// The line that blocks `action` on `path`.
pub fn line_for(action: Action, path: &[u8]) -> Option<&'static Line> {
    let any = |texts: &'static [&'static str]| globs(texts).any(|glob| glob.matches(path));
    lines(action).find(|line| any(line.paths) && !any(line.except))
}

/// The globs behind the texts of this table.
pub(super) fn globs(texts: &[&'static str]) -> impl Iterator<Item = Glob> {
    texts.iter().map(|text| Glob::path(text, Span::default()).expect("a test parses every line of the table"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_parses_and_has_a_reason() {
        for line in LINES {
            assert!(globs(line.paths).count() > 0 && !line.reason.is_empty() && !line.actions.is_empty());
            assert_eq!(globs(line.except).count(), line.except.len());
        }
    }

    #[test]
    fn ordinary_work_is_not_in_the_baselines_way() {
        for path in [
            "/dev/null",
            "/dev/zero",
            "/dev/full",
            "/dev/random",
            "/dev/urandom",
            "/dev/tty",
            "/dev/pts/0",
            "/dev/shm/x",
            "/dev/kvm",
            "/proc/self/status",
            "/proc/1/mem",
            "/tmp/x",
            "/home/dev/.bashrc",
            "/run/user/1000/bus",
        ] {
            assert!(line_for(Write, path.as_bytes()).is_none(), "{path}");
        }
        for path in
            ["/etc/passwd", "/sys/class/net", "/proc/sys/kernel/osrelease", "/etc/hosts", "/boot/config"]
        {
            assert!(line_for(Read, path.as_bytes()).is_none(), "{path}");
        }
    }

    #[test]
    fn the_only_socket_of_guards_that_an_agent_reaches_is_the_one_for_asking_why() {
        assert!(line_for(Connect, b"/run/guard/control.sock").is_some());
        assert!(line_for(Connect, WHY_SOCKET.as_bytes()).is_none());
        assert!(line_for(Write, WHY_SOCKET.as_bytes()).is_some(), "it could be replaced");
    }
}
