//! Loading the programs, or taking over those that are pinned and still deciding.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

use aya::maps::{Map, MapData, RingBuf};
use aya::{Ebpf, EbpfLoader};
use guard_common::abi::offsets::Fact;
use guard_common::abi::{Control, Site};
use sha2::{Digest, Sha256};
use zerocopy::IntoBytes;

use super::btf::Btf;
use super::error::{LoadError, pin_error};
use super::facts::Facts;
use super::hooks::{Hook, Need, Tier, hooks};
use super::{Pins, attach, checks, data};
use crate::sys;

/// The programs, as built with this binary.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/guard-ebpf.o"));

/// Maps that outlive the daemon, and programs of another build. What only the programs of one build use is not among them:
/// it lives as long as they do, and may be laid out differently in the next.
const PINNED: &[&str] = &[
    "ARENAS",
    "CONTROL",
    "CGROUP_FILTER",
    "CGROUPS",
    "LAUNCHERS",
    "LABELS",
    "GROUPS",
    "MOVED",
    "CLOSED",
    "DOWN",
    "APPROVALS",
    "WHY",
    "ACCOUNTS",
    "FOREIGN",
    "EPOCH",
    "GENERATION",
    "CHANGES",
    "GATEWAYS",
    "SEEN",
    "HELD",
    "RULINGS",
    "BUDGETS",
    "PASSED",
    "MADE",
    "EVENTS",
    "SEQUENCE",
    "SITES",
];

/// What the kernel says of one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookState {
    /// Attached and pinned.
    Attached,
    /// This kernel has no such hook, and needs none; why.
    Absent(&'static str),
    /// Promised and not there; why.
    Missing(String),
}

impl fmt::Display for HookState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attached => f.write_str("attached"),
            Self::Absent(why) => write!(f, "absent: {why}"),
            Self::Missing(why) => write!(f, "missing: {why}"),
        }
    }
}

/// The kernel half, loaded and attached, its maps at hand.
#[derive(Debug)]
pub struct Kernel {
    pins: Pins,
    maps: BTreeMap<&'static str, OwnedFd>,
    hooks: BTreeMap<&'static str, HookState>,
    /// Whether the programs were there already.
    pub adopted: bool,
    /// Identity of the programs that are attached.
    pub build: String,
    pub tier: Tier,
    template: Option<OwnedFd>,
    /// The generation before the live one, see `install`.
    pub(super) retired: Mutex<Option<OwnedFd>>,
}

impl Kernel {
    /// Brings the kernel half up: takes over the pinned programs if they are of this build, else loads and
    /// attaches this build's beside whatever is there and then drops the older links. `cgroups` is where cgroup v2
    /// is mounted.
    pub fn start(pins: Pins, cgroups: &Path, tier: Tier) -> Result<Self, LoadError> {
        let btf = Btf::vmlinux()?;
        let build = build_id();
        if let Some(kernel) = Self::adopt(&pins, &build, tier) {
            return Ok(kernel);
        }
        let facts = checks::facts(&btf)?;
        let hooks = checks::check_prototypes(&btf, tier)?;
        let missing: Vec<String> = hooks
            .iter()
            .filter_map(|(name, state)| match state {
                HookState::Missing(why) => Some(format!("{name} ({why})")),
                HookState::Attached | HookState::Absent(_) => None,
            })
            .collect();
        if !missing.is_empty() {
            return Err(LoadError::Missing(missing));
        }
        // What is there goes on deciding until all of this is attached, be it incomplete or another build's.
        let set = pins.unfinished(&build);
        let filter = data::filter(&pins);
        let (mut object, maps, template) = load_object(&pins, &set, &facts)?;
        if let Err(error) = attach::attach(&mut object, &pins, &set, &hooks, cgroups, &btf) {
            let _ = pins.drop_links(&set);
            return Err(error);
        }
        pins.finish(&set, &build).map_err(|source| pin_error("move", &pins.links(&set), source))?;
        for old in pins.sets().into_iter().filter(|old| *old != build) {
            pins.drop_links(&old).map_err(|source| pin_error("remove", &pins.links(&old), source))?;
        }
        let kernel = Self {
            pins,
            maps,
            hooks,
            adopted: false,
            build,
            tier,
            template: Some(template),
            retired: Mutex::default(),
        };
        if let Some(filter) = filter {
            kernel
                .narrow_filter(&filter)
                .map_err(|source| pin_error("write", &kernel.pins.map("CGROUP_FILTER"), source))?;
        }
        Ok(kernel)
    }

    /// The object with its maps and none of its programs.
    pub(super) fn unattached(pins: Pins, facts: &Facts) -> Result<(Ebpf, Self), LoadError> {
        let build = build_id();
        let (object, maps, template) = load_object(&pins, &build, facts)?;
        let (hooks, template) = (BTreeMap::new(), Some(template));
        Ok((
            object,
            Self {
                pins,
                maps,
                hooks,
                adopted: false,
                build,
                tier: Tier::Full,
                template,
                retired: Mutex::default(),
            },
        ))
    }

    /// Opens what is pinned without loading anything, for `guard status` and for a daemon of the same build.
    pub fn adopt(pins: &Pins, build: &str, tier: Tier) -> Option<Self> {
        let hooks = pinned_hooks(pins, build, tier);
        if hooks.values().any(|state| matches!(state, HookState::Missing(_))) {
            return None;
        }
        Self::open(pins, build, tier, hooks)
    }

    /// Opens whatever is pinned, complete or not.
    pub fn inspect(pins: &Pins) -> Option<Self> {
        let build = pins.builds().pop()?;
        // Only the partial tier has hooks of its own.
        let partial = hooks(Tier::Partial)
            .any(|hook| !hook.is_of(Tier::Full) && pins.links(&build).join(hook.name).exists());
        let tier = if partial { Tier::Partial } else { Tier::Full };
        let hooks = pinned_hooks(pins, &build, tier);
        Self::open(pins, &build, tier, hooks)
    }

    fn open(pins: &Pins, build: &str, tier: Tier, hooks: BTreeMap<&'static str, HookState>) -> Option<Self> {
        let mut maps = BTreeMap::new();
        for name in PINNED {
            match sys::bpf::open_pin(&pins.map(name)) {
                Ok(map) => maps.insert(*name, map),
                // Another build has others, and what it has says what it does.
                Err(_) if build != build_id() => None,
                Err(_) => return None,
            };
        }
        let (pins, build) = (pins.clone(), build.to_owned());
        Some(Self {
            pins,
            maps,
            hooks,
            adopted: true,
            build,
            tier,
            template: None,
            retired: Mutex::default(),
        })
    }

    /// Each hook's state.
    pub fn hooks(&self) -> &BTreeMap<&'static str, HookState> {
        &self.hooks
    }

    /// Where this is pinned.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// A map by its name in the programs.
    pub(crate) fn map(&self, name: &str) -> io::Result<BorrowedFd<'_>> {
        self.maps
            .get(name)
            .map(OwnedFd::as_fd)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("map {name}")))
    }

    /// The ring of events.
    pub fn events(&self) -> io::Result<RingBuf<MapData>> {
        let fd = self.map("EVENTS")?.try_clone_to_owned()?;
        let data = MapData::from_fd(fd).map_err(io::Error::other)?;
        let map = Map::from_map_data(data).map_err(io::Error::other)?;
        RingBuf::try_from(map).map_err(io::Error::other)
    }

    /// How many events each CPU has sent, or tried to.
    pub(crate) fn sent(&self) -> io::Result<Vec<u64>> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let mut given = vec![0u64; cpus];
        sys::bpf::lookup(self.map("SEQUENCE")?, 0u32.as_bytes(), given.as_mut_bytes())?;
        Ok(given)
    }

    /// The counters by site, as the kernel holds them.
    pub fn sites(&self) -> io::Result<[u64; Site::COUNT]> {
        let mut counters = [0u64; Site::COUNT];
        sys::bpf::lookup(self.map("SITES")?, 0u32.as_bytes(), counters.as_mut_bytes())?;
        Ok(counters)
    }

    /// Tells the programs about the daemon.
    pub fn set_control(&self, control: &Control) -> io::Result<()> {
        sys::bpf::update(self.map("CONTROL")?, 0u32.as_bytes(), control.as_bytes())
    }

    /// A map that says what an arena looks like.
    pub(crate) fn template(&self) -> Option<BorrowedFd<'_>> {
        self.template.as_ref().map(OwnedFd::as_fd)
    }
}

/// Lets go of the pages that hold the programs: they are in the kernel now.
pub(crate) fn forget_object() {
    sys::return_program_pages(OBJECT);
}

/// Identity of the programs in this binary.
pub fn build_id() -> String {
    Sha256::digest(OBJECT).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// How much this kernel lets guard enforce, whatever the policy; less than everything only if that is allowed.
pub fn fitness(allow_partial: bool) -> Result<Tier, LoadError> {
    refuse_old_kernels()?;
    match refuse_unlisted() {
        Ok(()) => Ok(Tier::Full),
        Err(_) if allow_partial => Ok(Tier::Partial),
        Err(refused) => Err(refused),
    }
}

/// Kernels that guard promises nothing for.
pub fn refuse_old_kernels() -> Result<(), LoadError> {
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 1) { Err(LoadError::TooOld { release }) } else { Ok(()) }
}

/// A kernel without `bpf` in its list takes every program and calls none.
fn refuse_unlisted() -> Result<(), LoadError> {
    let list = std::fs::read_to_string("/sys/kernel/security/lsm").map_err(LoadError::NoList)?;
    let list = list.trim().to_owned();
    if list.split(',').any(|name| name == "bpf") { Ok(()) } else { Err(LoadError::NotListed { list }) }
}

/// Checks every fact about this kernel that the programs need, and counts them.
pub fn facts() -> Result<usize, LoadError> {
    let btf = Btf::vmlinux()?;
    let hooks = checks::check_prototypes(&btf, Tier::Full)?;
    let missing: Vec<String> = hooks
        .iter()
        .filter(|(_, state)| matches!(state, HookState::Missing(_)))
        .map(|(name, state)| format!("{name}: {state}"))
        .collect();
    if missing.is_empty() {
        Ok(checks::facts(&btf)?.count() + hooks.len())
    } else {
        Err(LoadError::Missing(missing))
    }
}

/// Loads one LSM program, attaches it to nothing, and lets it go: the only proof that a kernel takes them.
pub fn probe() -> Result<(), LoadError> {
    let btf = Btf::vmlinux()?;
    let facts = checks::facts(&btf)?;
    let object = facts.written_into(OBJECT)?;
    let mut object = loader(&facts).load(&object).map_err(|error| LoadError::Object(Box::new(error)))?;
    attach::probe(&mut object, &btf)
}

fn loader(facts: &Facts) -> EbpfLoader<'_> {
    let mut loader = EbpfLoader::new();
    // The object has no relocations by type, for which aya would read the kernel's types once more.
    loader.btf(None).allow_unsupported_maps();
    for (name, value) in &facts.words {
        loader.override_global(name, value, true);
    }
    // What is never needed is not set aside either: spares here, berths there.
    if facts.get(Fact::STORAGE_BUSY) == Some(1) {
        loader.map_max_entries("BERTHS", 1);
    } else {
        loader.map_max_entries("SPARE_SCRATCH", 1).map_max_entries("SPARE_EXECS", 1);
    }
    loader
}

type Loaded = (Ebpf, BTreeMap<&'static str, OwnedFd>, OwnedFd);

fn load_object(pins: &Pins, build: &str, facts: &Facts) -> Result<Loaded, LoadError> {
    pins.prepare(build).map_err(|source| pin_error("make", pins.root(), source))?;
    let written = facts.written_into(OBJECT)?;
    let kept = data::kept(pins)?;
    let mut loader = loader(facts);
    for (name, bytes) in &kept {
        loader.override_global(name, bytes.as_slice(), true);
    }
    for name in PINNED {
        loader.map_pin_path(data::section(name), pins.map(name));
    }
    let object = loader.load(&written).map_err(|error| LoadError::Object(Box::new(error)))?;
    let mut maps = BTreeMap::new();
    for name in PINNED {
        let path = pins.map(name);
        let map = sys::bpf::open_pin(&path).map_err(|source| pin_error("open", &path, source))?;
        maps.insert(*name, map);
    }
    let template = match object.map("TEMPLATE") {
        Some(Map::Array(map)) => map.fd().as_fd().try_clone_to_owned(),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
    .map_err(|source| pin_error("find", Path::new("TEMPLATE"), source))?;
    Ok((object, maps, template))
}

/// Which hooks one build has pinned. A pin is a link, and a link that is pinned is attached.
fn pinned_hooks(pins: &Pins, build: &str, tier: Tier) -> BTreeMap<&'static str, HookState> {
    let present = |hook: &Hook| sys::bpf::open_pin(&pins.links(build).join(hook.name)).is_ok();
    hooks(tier)
        .map(|hook| {
            let state = match hook.need {
                _ if present(hook) => HookState::Attached,
                Need::IfPresent(why) => HookState::Absent(why),
                Need::Always => HookState::Missing("no pinned link".to_owned()),
            };
            (hook.name, state)
        })
        .collect()
}
