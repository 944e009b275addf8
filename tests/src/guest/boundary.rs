//! The boundary: what is refused whole, whatever the rules say. The domain these attempts are made in has policies
//! that allow everything else, so that nothing but the boundary can be what refuses.

mod files;
mod kernel;
mod mounts;
mod tasks;

use std::fs::File;
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pause};

use super::Test;
use super::agent::{End, REFUSED, Way, Who, attempt};
use super::ground::{At, Kind};
use super::stage::Stage;
use super::sys;

pub(super) const TESTS: &[Test] = &[
    Test::new("no namespace is made or entered", || try_all(mounts::NAMESPACES)).within(200),
    Test::new("nothing is mounted, moved or unmounted", || try_all(mounts::MOUNTS)).within(200),
    Test::new("no task outside is traced, read or written", || try_all(tasks::TRACES)).within(200),
    Test::new("no task outside is signalled", || try_all(tasks::SIGNALS)).within(200),
    Test::new("no task outside is slowed, limited or moved", || try_all(tasks::LIMITS)).within(200),
    Test::new("the kernel takes no program, module, key helper or special ring", || try_all(kernel::CALLS))
        .within(200),
    Test::new("no call that is the machine's owner's goes through", || try_all(kernel::OWNERS)).within(200),
    Test::new("no knob of the kernel is turned, wherever it is mounted", || try_all(files::KNOBS))
        .within(200),
    Test::new("no device but the harmless ones is opened or made", || try_all(files::DEVICES)).within(200),
    Test::new("guard's own files, pins and process are out of reach", || try_all(files::GUARDS)).within(200),
];

/// What attempts are made on.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    /// A process outside, of the same user.
    pub(super) outsider: Pid,
    pub(super) guard: Pid,
    /// Where everything is allowed.
    pub(super) at: At,
}

/// One thing that the boundary refuses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fence {
    says: &'static str,
    act: fn(&Scene) -> io::Result<()>,
    who: &'static [Who],
    controls: &'static [End],
    refusals: &'static [End],
    fatal: bool,
    way: Option<Way>,
}

impl Fence {
    pub(super) const fn root(says: &'static str, act: fn(&Scene) -> io::Result<()>) -> Self {
        Self {
            says,
            act,
            who: &[Who::Root],
            controls: &[End::Did],
            refusals: &[REFUSED],
            fatal: false,
            way: None,
        }
    }

    /// An ordinary user could do it too.
    pub(super) const fn anybody(says: &'static str, act: fn(&Scene) -> io::Result<()>) -> Self {
        Self { who: &Who::BOTH, ..Self::root(says, act) }
    }

    /// How it ends outside, if not well: it reaches the point where the boundary would have stood.
    pub(super) const fn control(self, controls: &'static [End]) -> Self {
        Self { controls, ..self }
    }

    pub(super) const fn ends(self, refusals: &'static [End]) -> Self {
        Self { refusals, ..self }
    }

    /// By the moved process itself: another way has side effects.
    pub(super) const fn directly(self) -> Self {
        Self { way: Some(Way::Direct), ..self }
    }

    /// Outside, it ends the outsider.
    pub(super) const fn kills(self) -> Self {
        Self { fatal: true, ..self }
    }

    fn arm(&self, stage: &Stage, inside: bool, who: Who, way: Way) -> Result<(End, bool)> {
        let outsider = Outsider::start(who)?;
        let scene = Scene { outsider: outsider.0, guard: stage.daemon, at: At::fresh(Kind::Open, who)? };
        let cgroup = if inside { Some(stage.cgroup("wide")?) } else { None };
        let end = attempt(
            cgroup.as_ref().map(|cgroup| cgroup.path()),
            who,
            way,
            || Ok(()),
            |()| (self.act)(&scene),
        )?;
        Ok((end, outsider.lives()))
    }

    fn judge(&self, stage: &Stage, who: Who, way: Way) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let (end, lives) = self.arm(stage, false, who, way)?;
        if !self.controls.contains(&end) || lives == self.fatal {
            wrong.push(format!("the control outside ended with {end:?}, the outsider lives: {lives}"));
        }
        let (end, lives) = self.arm(stage, true, who, way)?;
        if !self.refusals.contains(&end) || !lives {
            wrong.push(format!("inside it ended with {end:?}, the outsider lives: {lives}"));
        }
        Ok(wrong)
    }
}

/// A process that waits to be done something to.
struct Outsider(Pid);

impl Outsider {
    fn start(who: Who) -> Result<Self> {
        let (ready_here, ready_there) = nix::unistd::pipe()?;
        let Some(child) = sys::split()? else {
            sys::end_with(|| {
                if who.become_it().is_ok() {
                    drop((ready_here, ready_there));
                    loop {
                        pause();
                    }
                }
                1
            })
        };
        drop(ready_there);
        // Until then nobody else of that user could do anything to it.
        File::from(ready_here).read_to_end(&mut Vec::new())?;
        Ok(Self(child))
    }

    /// A signal needs a moment.
    fn lives(&self) -> bool {
        for _ in 0..20 {
            if waitpid(self.0, Some(WaitPidFlag::WNOHANG)) != Ok(WaitStatus::StillAlive) {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

fn try_all(fences: &[Fence]) -> Result<()> {
    let stage = Stage::set()?;
    let (mut bad, mut tried) = (Vec::new(), 0);
    for (n, fence) in fences.iter().enumerate() {
        for who in fence.who {
            tried += 1;
            let way = fence.way.unwrap_or(Way::ALL[(n + usize::from(*who == Who::Root)) % Way::ALL.len()]);
            let wrong = fence.judge(&stage, *who, way).unwrap_or_else(|error| vec![format!("{error:#}")]);
            for wrong in &wrong {
                println!("{}, as {who:?}, {way:?}: {wrong}", fence.says);
            }
            if !wrong.is_empty() {
                bad.push(format!("{} ({who:?})", fence.says));
            }
        }
    }
    if !bad.is_empty() {
        bail!("{} of {tried} wrong: {}", bad.len(), bad.join("; "));
    }
    Ok(())
}
