//! Runs the drills and judges them.

mod judge;
mod own;
mod plan;
mod result;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::arm::{self, Ended, Start};
use super::chaos::Chaos;
use super::ground::Ground;
use super::oracle::{Outsider, snapshot};
use super::own::{derive, read};
use super::records::Records;
use super::stage::Stage;
use super::{Drill, DrillError, Effect, End, Expect, Profile, Stance, Tier, Way, doing};
use crate::kernel::Pins;

pub use plan::{Selected, select};
pub use result::{Arm, Outcome, Report, Status, Summary};

/// What to run, and where everything is.
#[derive(Clone, Debug)]
pub struct Options {
    pub run: PathBuf,
    pub state: PathBuf,
    pub policies: PathBuf,
    /// Whose own rules are tried too.
    pub policy: Option<PathBuf>,
    pub pins: Pins,
    pub cgroups: PathBuf,
    /// The program that tries.
    pub helper: PathBuf,
    /// Names, tags, hooks; none is all.
    pub only: Vec<String>,
    pub tier: Option<Tier>,
    pub profile: Profile,
    /// Every way by which a task is inside, for every drill.
    pub thorough: bool,
    /// Set when somebody wants it to stop.
    pub stop: Arc<AtomicBool>,
}

/// A process that has not ended by then never will.
const LIMIT: Duration = Duration::from_secs(15);
/// The same where everything is slow on purpose.
const LIMIT_IN_CHAOS: Duration = Duration::from_secs(20);
/// How often, and after how long, a control that ran into a shortage made on purpose is tried again.
const SHORTAGES: u32 = 60;
const SHORTAGE: Duration = Duration::from_millis(500);

/// One attempt that was made, and what was seen of it from outside.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) tier: Tier,
    pub(super) way: Way,
    pub(super) inside: bool,
    pub(super) ended: Ended,
    pub(super) effect: bool,
    pub(super) news: Vec<String>,
    /// By how much the counters that the drill names grew.
    pub(super) counted: u64,
}

/// Runs them all.
pub fn run(options: &Options) -> Result<Report, DrillError> {
    let begun = Instant::now();
    let selected = select(options)?;
    let own = match &options.policy {
        Some(file) => derive(&read(file)?)?,
        None => Vec::new(),
    };
    let mut session = Session::open(options)?;
    let chaos = match options.profile {
        Profile::Chaos => Some(Chaos::begin(options, &session.stage)?),
        Profile::Host | Profile::Vm => None,
    };
    let (mut tried, mut tried_own) = (Vec::new(), Vec::new());
    for drill in &selected {
        tried.push(session.drill(drill)?);
    }
    for rule in &own {
        session.go_on()?;
        tried_own.push(own::run(&mut session, rule)?);
    }
    let disturbed = chaos.as_ref().map(Chaos::disturbed);
    drop(chaos);
    let recorded = if disturbed.is_some() { None } else { Some(session.catch_up()?) };
    let records = &session.records;
    let judged = selected.iter().zip(&tried).map(|(one, tried)| judge::judge(one, tried, records, recorded));
    let judged_own = own.iter().zip(&tried_own).map(|(own, tried)| own::judge(own, tried, records));
    let outcomes = judged.chain(judged_own).collect();
    Ok(Report::new(options, outcomes, disturbed, begun.elapsed()))
}

/// Everything that stands while drills run.
struct Session<'o> {
    options: &'o Options,
    stage: Stage,
    records: Records,
    /// One for each tier: starting a program takes as long as all the rest of an attempt.
    outsiders: BTreeMap<Tier, Outsider>,
    number: u32,
    own: PathBuf,
}

impl<'o> Session<'o> {
    fn open(options: &'o Options) -> Result<Self, DrillError> {
        let stage = Stage::set(options)?;
        let records = Records::follow(&options.state.join("audit"), &stage.cgroup_path())?;
        let own = std::env::current_exe().map_err(doing("find this program"))?;
        Ok(Self { options, stage, records, outsiders: BTreeMap::new(), number: 0, own })
    }

    /// Every arm of one drill, the control of a tier before its attempts.
    fn drill(&mut self, selected: &Selected) -> Result<Vec<Tried>, DrillError> {
        let mut tried = Vec::new();
        if selected.skip.is_some() {
            return Ok(tried);
        }
        for (tier, way, inside) in selected.arms(self.options.thorough) {
            self.go_on()?;
            let mut one = self.arm(&selected.drill, tier, way, inside)?;
            let mut left = if inside || self.options.profile != Profile::Chaos { 0 } else { SHORTAGES };
            while left > 0 && one.ended.end.is_shortage() {
                std::thread::sleep(SHORTAGE);
                left -= 1;
                self.go_on()?;
                one = self.arm(&selected.drill, tier, way, inside)?;
            }
            // What does not work outside proves nothing inside.
            let hopeless = !inside && !selected.drill.control.contains(&one.ended.end);
            tried.push(one);
            if hopeless && tier == Tier::Root {
                break;
            }
        }
        Ok(tried)
    }

    fn limit(&self) -> Duration {
        if self.options.profile == Profile::Chaos { LIMIT_IN_CHAOS } else { LIMIT }
    }

    /// Unless somebody wants it to stop.
    fn go_on(&self) -> Result<(), DrillError> {
        if self.options.stop.load(Ordering::Relaxed) { Err(DrillError::Interrupted) } else { Ok(()) }
    }

    fn arm(&mut self, drill: &Drill, tier: Tier, way: Way, inside: bool) -> Result<Tried, DrillError> {
        self.number += 1;
        let ground = Ground::fresh(&self.stage.tree, self.number, drill.on, tier)
            .map_err(doing(format!("furnish the ground for {}", drill.name)))?;
        let outsider = self.outsider(tier)?;
        let mut arguments = vec![drill.name.to_owned()];
        arguments.extend(self.words(&ground, tier, way, outsider));
        let cgroup = inside.then(|| match way {
            Way::Nested => self.stage.nested(drill.stance),
            _ => self.stage.cgroup(drill.stance),
        });
        if matches!(way, Way::Cloned | Way::ClonedLeft) {
            let into = cgroup.as_deref().unwrap_or(&self.stage.away);
            arguments.push(format!("cgroup={}", into.display()));
        }
        let program = if way == Way::Launched {
            arguments.splice(0..0, ["drill-launch".to_owned(), self.options.helper.display().to_string()]);
            &self.own
        } else {
            &self.options.helper
        };
        let start =
            Start { program, arguments, way, cgroup, away: self.stage.away.clone(), limit: self.limit() };
        let (mut was, mut counted) = (Vec::new(), 0);
        let far = &mut self.stage.far;
        let pins = &self.options.pins;
        let ended = arm::run(&start, || {
            was = snapshot(&ground.d).unwrap_or_default();
            counted = counters(pins, drill.record);
            far.arrived();
        })
        .map_err(doing(format!("try {}", drill.name)))?;
        let counted = counters(pins, drill.record).saturating_sub(counted);
        let is = snapshot(&ground.d).unwrap_or_default();
        let news: Vec<String> = is.iter().filter(|line| !was.contains(line)).take(2).cloned().collect();
        let changed = is != was;
        let arrived = far.arrived() > 0;
        let harmed = self.outsiders.get_mut(&tier).is_some_and(Outsider::harmed);
        let succeeded = ended.end == End::Did;
        let effect = match drill.effect {
            Effect::Changes => changed,
            Effect::Runs => ended.end == End::Became(super::ground::RAN),
            Effect::Arrives => arrived,
            Effect::Harms => harmed,
            Effect::Succeeds => succeeded,
            Effect::OnlyRecorded => false,
        };
        // Whatever else it was meant to do, these must not happen inside.
        let effect = effect || inside && (harmed || arrived || drill.on != super::On::Open && changed);
        Ok(Tried { tier, way, inside, ended, effect, news, counted })
    }

    /// Its process and where its memory is.
    fn outsider(&mut self, tier: Tier) -> Result<(u32, u64), DrillError> {
        if let Some(outsider) = self.outsiders.get_mut(&tier)
            && outsider.serves()
        {
            return Ok((outsider.pid(), outsider.memory));
        }
        let fresh = Outsider::start(&self.options.helper, tier).map_err(doing("start an outsider"))?;
        let what = (fresh.pid(), fresh.memory);
        self.outsiders.insert(tier, fresh);
        Ok(what)
    }

    /// What the helper is told.
    fn words(&self, ground: &Ground, tier: Tier, way: Way, outsider: (u32, u64)) -> Vec<String> {
        let (stage, options) = (&self.stage, self.options);
        let mut words = vec![
            format!("tier={}", tier.name()),
            format!("way={}", way.word()),
            format!("outsider={}", outsider.0),
            format!("memory={}", outsider.1),
            format!("guard={}", stage.guard),
            format!("hidden={}", stage.hidden),
            format!("free={}", stage.free_port),
            format!("open={}", stage.open_port),
        ];
        let far = &stage.far;
        let addresses = [
            ("gateway", Some(far.gateway)),
            ("web", Some(far.web)),
            ("dns", Some(far.dns)),
            ("web6", far.web6),
            ("dns6", far.dns6),
            ("other", Some(far.other)),
            ("twin", far.twin),
        ];
        words.extend(addresses.iter().filter_map(|(word, at)| at.map(|at| format!("{word}={at}"))));
        let sockets = stage.tree.join("sockets");
        let paths: [(&str, &Path); 11] = [
            ("d", &ground.d),
            ("work", &ground.work),
            ("sockets", &sockets),
            ("away", &stage.away),
            ("cgroups", &options.cgroups),
            ("self", &options.helper),
            ("policies", &options.policies),
            ("state", &options.state),
            ("run", &options.run),
            ("pins", options.pins.root()),
            ("binary", &self.own),
        ];
        words.extend(paths.iter().map(|(word, path)| format!("{word}={}", path.display())));
        words
    }

    /// Waits until the log has told of everything so far.
    fn catch_up(&mut self) -> Result<bool, DrillError> {
        let mut sentinels = Vec::new();
        for (name, on) in [("open-write", super::On::Shut), ("bpf-map-create", super::On::Open)] {
            let drill = super::catalogue::find(name).ok_or_else(|| DrillError::Unknown(name.to_owned()))?;
            let drill = Drill { on, stance: Stance::Plain, ..*drill };
            sentinels.push(self.arm(&drill, Tier::Root, Way::Direct, true)?.ended);
        }
        self.records.reached(&sentinels)
    }
}

/// The sum of the counters that are named.
fn counters(pins: &Pins, wanted: &[Expect]) -> u64 {
    let names: Vec<&str> = wanted
        .iter()
        .filter_map(|expect| match expect {
            Expect::Counter(name) => Some(*name),
            Expect::Rule(..) | Expect::Item(..) | Expect::Capability(_) | Expect::Nothing(_) => None,
        })
        .collect();
    if names.is_empty() {
        return 0;
    }
    let sites = crate::kernel::Kernel::inspect(pins).and_then(|kernel| kernel.sites().ok());
    sites.map_or(0, |sites| {
        let all = guard_common::abi::Site::ALL.iter();
        all.filter(|site| names.contains(&site.name())).map(|site| sites[*site as usize]).sum()
    })
}
