//! The scene of a drill: its tree, its cgroups, its policies, its far end. All of it goes when this does.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use super::oracle::Far;
use super::{DrillError, Options, Stance, doing};
use crate::control::{Client, Greeting, Request};
use crate::daemon::{DRILL_CGROUP, drill_directory, private_directory};

/// Where trees are made: on a file system that agents really use, and outside what guard's baseline protects.
const TREES: &str = "/var/lib";
const PREFIX: &str = "guard-drill-";

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) tree: PathBuf,
    stances: Vec<Stance>,
    pub(super) far: Far,
    /// The beginning of abstract names.
    pub(super) hidden: String,
    pub(super) guard: u32,
    /// A cgroup of the drill's that no policy governs.
    pub(super) away: PathBuf,
    cgroups: PathBuf,
    id: String,
    run: PathBuf,
    /// A port that the policy opens, and one that it does not.
    pub(super) open_port: u16,
    pub(super) free_port: u16,
    _lock: Flock<File>,
}

impl Stage {
    pub(super) fn set(options: &Options) -> Result<Self, DrillError> {
        let mut client = Client::connect(&options.run)?;
        let greeting: Greeting = client.ask(&Request::Hello)?;
        let directory = drill_directory(&options.run);
        private_directory(&directory)
            .map_err(|error| doing(error.to_string())(io::ErrorKind::Other.into()))?;
        let lock = lock(&options.run)?;
        sweep(options);
        let id = format!("{}-{:x}", std::process::id(), seed());
        let tree = Path::new(TREES).join(format!("{PREFIX}{id}"));
        for below in ["", "open", "shut", "blind", "sockets"] {
            let path = tree.join(below);
            fs::create_dir_all(&path).map_err(doing(format!("make {}", path.display())))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(doing(format!("open {}", path.display())))?;
        }
        let hidden = format!("{PREFIX}{id}");
        let far = Far::open(&tree.join("sockets"), &hidden).map_err(doing("listen at the far end"))?;
        let (open_port, free_port) = (free_port()?, free_port()?);
        let mut stances = vec![Stance::Plain, Stance::Lax, Stance::Raw];
        stances.extend(options.policy.as_ref().map(|_| Stance::Own));
        let mut stage = Self {
            tree,
            stances,
            far,
            hidden,
            guard: greeting.pid,
            away: options.cgroups.join(DRILL_CGROUP).join(format!("{id}-away")),
            cgroups: options.cgroups.join(DRILL_CGROUP),
            id,
            run: options.run.clone(),
            open_port,
            free_port,
            _lock: lock,
        };
        let helper =
            options.helper.canonicalize().map_err(doing(format!("find {}", options.helper.display())))?;
        for stance in stage.stances.iter().copied() {
            let file = directory.join(format!("{}.yaml", stage.stem(stance)));
            let text = match (stance, &options.policy) {
                (Stance::Own, Some(policy)) => {
                    fs::read(policy).map_err(doing(format!("read {}", policy.display())))?
                }
                _ => policy(stance, &stage.tree, &helper, stage.far.gateway, open_port).into_bytes(),
            };
            fs::write(&file, text).map_err(doing(format!("write {}", file.display())))?;
        }
        let _: Greeting = client.ask(&Request::Drill)?;
        stage.make_cgroups().map_err(doing("make the drill's cgroups"))?;
        Ok(stage)
    }

    fn stem(&self, stance: Stance) -> String {
        format!("{}-{}", self.id, stance.word())
    }

    /// After the policies: a cgroup that is made under a policy is governed from its first moment.
    fn make_cgroups(&mut self) -> io::Result<()> {
        fs::create_dir_all(&self.away)?;
        self.stances.iter().try_for_each(|stance| fs::create_dir_all(self.nested(*stance)))
    }

    /// Where attempts are made.
    pub(super) fn cgroup(&self, stance: Stance) -> PathBuf {
        self.cgroups.join(self.stem(stance)).join("box")
    }

    /// Deeper than any walk upwards goes.
    pub(super) fn nested(&self, stance: Stance) -> PathBuf {
        (0..14).fold(self.cgroup(stance), |path, level| path.join(format!("n{level}")))
    }

    /// The beginning of the paths of all of them, as records have it.
    pub(super) fn cgroup_path(&self) -> String {
        format!("/{DRILL_CGROUP}/{}-", self.id)
    }
}

/// What a drill's domain may do.
fn policy(stance: Stance, tree: &Path, helper: &Path, gateway: SocketAddr, open: u16) -> String {
    let (tree, helper) = (tree.display(), literal(helper));
    let boundary = match stance {
        Stance::Plain | Stance::Own => String::new(),
        Stance::Lax => format!("boundary:\n  allow: [{LAX}]\n"),
        Stance::Raw => format!("boundary:\n  allow: [{LAX}, socket-families]\n"),
    };
    format!(
        "version: 1
policy: drill
applies_to: [{{ cgroup: /{DRILL_CGROUP}/** }}]
mode: enforce
gateway: [\"{gateway}\"]
audit: {{ allows: none, on_loss: block }}
exec:
  default: block
  rules:
    - {{ id: run, paths: [\"{tree}/open/**\", \"{helper}\"], verdict: allow }}
    - {{ id: no-run, paths: [\"{tree}/{{shut,blind}}/**\", \"{tree}/open/*/fresh/**\"], verdict: block }}
    - {{ id: no-words, paths: [\"{tree}/open/*/work/prog\"], args: [forbidden], verdict: block }}
load:
  default: allow
  rules:
    - {{ id: no-load, paths: [\"{tree}/{{shut,blind}}/**\"], verdict: block }}
connect:
  default: block
  rules:
    - {{ id: own, unix: [\"{tree}/open/**\"], verdict: allow }}
listen:
  default: block
  rules:
    - {{ id: dev, ports: [{open}/tcp], verdict: allow }}
write:
  default: allow
  rules:
    - {{ id: no-write, paths: [\"{tree}/{{shut,blind}}/**\"], verdict: block }}
read:
  default: allow
  rules:
    - {{ id: no-read, paths: [\"{tree}/blind/**\"], verdict: block }}
{boundary}"
    )
}

/// A path as a glob that matches it alone, within quotes.
fn literal(path: &Path) -> String {
    path.as_os_str().as_bytes().iter().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                out.push(char::from(*byte))
            }
            // Twice, for the quotes take one.
            _ => out.push_str(&format!("\\\\x{byte:02x}")),
        }
        out
    })
}

/// What an operator would never open.
const LAX: &str = "cap-sys-admin, cap-sys-chroot, cap-sys-module, cap-sys-time, cap-net-admin, cap-net-raw, \
    cap-dac-read-search, cap-sys-nice, cap-sys-ptrace, ptrace-outside";

/// A port that nobody uses now.
fn free_port() -> Result<u16, DrillError> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|at| at.port()).map_err(doing("find a free port"))
}

/// Differs from run to run.
fn seed() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness the process id must do.
    let _ = getrandom::fill(&mut bytes);
    u32::from_ne_bytes(bytes)
}

fn lock(run: &Path) -> Result<Flock<File>, DrillError> {
    let path = run.join("drill.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(doing(format!("open {}", path.display())))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| DrillError::Busy)
}

/// Removes what a drill that was killed has left.
fn sweep(options: &Options) {
    for entry in fs::read_dir(drill_directory(&options.run)).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
    remove_cgroups(&options.cgroups.join(DRILL_CGROUP));
    for entry in fs::read_dir(TREES).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = remove_tree(&entry.path());
        }
    }
}

/// Removes a cgroup and everything below it, and ends what is in it, if that is an attempt of the drill's: in the
/// cgroup outside every domain nothing is ended but by its id.
fn remove_cgroups(path: &Path) {
    let text = path.to_string_lossy();
    if [Stance::Plain, Stance::Lax, Stance::Own]
        .iter()
        .any(|stance| text.contains(&format!("-{}", stance.word())))
    {
        let _ = fs::write(path.join("cgroup.kill"), "1");
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    // Its tasks die in their own time.
    for _ in 0..100 {
        match fs::remove_dir(path) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                thread::sleep(Duration::from_millis(5))
            }
            _ => return,
        }
    }
}

/// Removes a tree, also where its paths are longer than the kernel takes: those directories are made short first.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for stance in self.stances.iter().copied() {
            remove_cgroups(&self.cgroups.join(self.stem(stance)));
            let _ = fs::remove_file(drill_directory(&self.run).join(format!("{}.yaml", self.stem(stance))));
        }
        remove_cgroups(&self.away);
        let _ = fs::remove_dir(&self.cgroups);
        let _ = remove_tree(&self.tree);
        // A daemon that does not answer forgets the policies when it next reads them.
        if let Ok(mut client) = Client::connect(&self.run) {
            let _ = client.ask::<Greeting>(&Request::Drill);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::parse;
    use crate::policy::source::Source;

    #[test]
    fn the_policies_of_a_drill_are_without_an_error() {
        let gateway = SocketAddr::from(([127, 0, 0, 1], 18080));
        for stance in [Stance::Plain, Stance::Lax, Stance::Raw] {
            let helper = Path::new("/opt/a {b}/*\"guard-attempt");
            let text = policy(stance, Path::new("/var/lib/guard-drill-1"), helper, gateway, 9090);
            let parsed = parse::parse(std::sync::Arc::new(Source::new("drill.yaml", text)));
            assert!(parsed.policy.is_some(), "{:?}", parsed.report.diagnostics);
        }
    }
}
