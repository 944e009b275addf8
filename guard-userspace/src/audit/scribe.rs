//! Ring entries → records: the numbers named, the gaps found.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use guard_common::abi::{Action, EventFlags, EventKind, Reason};
use sha2::{Digest as _, Sha256};

use super::cgroups::Cgroups;
use super::clock::Clock;
use super::fast::FastMap;
use super::names::{Cause, Names, Who};
use super::programs::Programs;
use super::record::{Argv, Body, EventRecord, Record, Value};
use super::seal;
use super::sessions::{Life, Sessions};
use crate::events::{Event, Gap, Sequences};

/// Which machine, and which run of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    /// The kernel's random id of this boot.
    pub boot: String,
}

impl Host {
    /// This machine, now.
    pub fn read() -> io::Result<Self> {
        let line = |path| fs::read_to_string(path).map(|text| text.trim_end().to_owned());
        Ok(Self { name: line("/proc/sys/kernel/hostname")?, boot: line("/proc/sys/kernel/random/boot_id")? })
    }
}

/// A call that waits for an answer.
#[derive(Clone, Debug)]
pub struct HeldCall {
    pub record: EventRecord,
    /// argv of an exec from its second entry on, whether or not records may hold it: for whoever answers.
    pub argv: Option<Vec<Vec<u8>>>,
}

/// Entries of a table that is emptied when it has this many: what is forgotten is found again.
const KEPT: usize = 65_536;
/// Sessions that have ended and whose names are known still: a record of theirs may come late.
const ENDED: usize = 4096;

/// Makes records of what the kernel sends.
#[derive(Debug)]
pub struct Scribe<N> {
    /// What the numbers are called.
    pub names: N,
    /// Not everything that was promised is enforced.
    pub degraded: bool,
    host: Host,
    clock: Clock,
    sequences: Sequences,
    gaps: Vec<Gap>,
    /// By session: what is known of it, without a cgroup.
    sessions: HashMap<u64, Who>,
    /// The sessions that have ended, the oldest first.
    ended: VecDeque<u64>,
    /// Sessions whose cgroup is not made yet, by its path.
    expected: HashMap<Vec<u8>, Who>,
    /// By session and cgroup.
    whos: FastMap<(u64, u64), Arc<Who>>,
    cgroups: Cgroups,
    /// Calls that wait for an answer, for whoever answers them; taken away by the reader of the ring.
    pub held: Vec<HeldCall>,
    programs: Programs,
    lives: Sessions,
    /// Sessions have begun or ended since they were written down.
    changed: bool,
    /// Of what is no decision.
    nothing: Arc<Cause>,
}

impl<N: Names> Scribe<N> {
    /// `cgroups` is where cgroup v2 is mounted.
    pub fn new(names: N, host: Host, cgroups: &Path) -> nix::Result<Self> {
        Ok(Self {
            names,
            degraded: false,
            host,
            clock: Clock::now()?,
            sequences: Sequences::default(),
            gaps: Vec::new(),
            sessions: HashMap::new(),
            ended: VecDeque::new(),
            expected: HashMap::new(),
            whos: FastMap::default(),
            cgroups: Cgroups::of(cgroups),
            held: Vec::new(),
            programs: Programs::default(),
            lives: Sessions::default(),
            changed: false,
            nothing: Arc::new(Cause::nothing()),
        })
    }

    /// The host whose records it makes.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Goes on with the sessions that the last daemon of this boot knew; `file` is where they are kept.
    pub fn remember_sessions(&mut self, file: &Path) {
        self.lives.remember(file, &self.host.boot);
    }

    /// The sessions that live, by number.
    pub fn sessions(&self) -> &BTreeMap<u64, Life> {
        &self.lives.live
    }

    /// The directory of a session's cgroup, if it is still there.
    pub fn directory(&mut self, session: u64) -> Option<PathBuf> {
        let path = self.cgroups.path(session);
        if path.is_empty() {
            return None;
        }
        let below = path.strip_prefix(b"/").unwrap_or(&path);
        let directory = self.cgroups.root.join(OsStr::from_bytes(below));
        // Another one may have been made in its place.
        fs::metadata(&directory).is_ok_and(|facts| facts.ino() == session).then_some(directory)
    }

    /// The record of a session's end. Gives the number of one that ended long ago, of which nothing is known any more.
    pub fn end_session(&mut self, session: u64, gone: bool, out: &mut Vec<Record>) -> Option<u64> {
        let life = self.lives.live.remove(&session)?;
        self.changed = true;
        let now = Clock::boottime().unwrap_or_default();
        let mut fields = self.session_fields(session);
        fields.extend([
            ("nanoseconds", Value::Number(now.saturating_sub(life.since))),
            ("decisions", Value::Number(life.decisions)),
            ("refused", Value::Number(life.refused)),
            ("programs", Value::Number(life.programs)),
            ("cgroup_gone", Value::Flag(gone)),
        ]);
        out.push(self.note("session-end", fields));
        self.ended.push_back(session);
        if self.ended.len() <= ENDED {
            return None;
        }
        let oldest = self.ended.pop_front()?;
        // Whoever comes into an empty cgroup that is still there belongs to the same session.
        if self.lives.live.contains_key(&oldest) || self.ended.contains(&oldest) {
            return None;
        }
        self.sessions.remove(&oldest);
        Some(oldest)
    }

    /// Writes down which sessions live, if that has changed.
    pub fn keep_sessions(&mut self) -> io::Result<()> {
        if !self.changed {
            return Ok(());
        }
        self.lives.keep(&self.host.boot)?;
        self.changed = false;
        Ok(())
    }

    fn session_fields(&mut self, session: u64) -> Vec<(&'static str, Value)> {
        let mut who = self.announced(session);
        if who.session.is_empty() {
            who.session = self.uuid(session);
        }
        let mut fields = vec![
            ("session", Value::Text(who.session)),
            ("principal", Value::Text(who.principal)),
            ("trace", Value::Text(who.trace)),
        ];
        if !who.purpose.is_empty() {
            fields.push(("purpose", Value::Text(who.purpose)));
        }
        fields.push(("cgroup", Value::Name(self.cgroups.path(session))));
        fields.push(("cgroup_id", Value::Number(session)));
        fields
    }

    fn begin_session(&mut self, event: &Event) -> Record {
        self.changed = true;
        let mut fields = self.session_fields(event.session);
        fields.push(("domain", Value::Number(event.domain.into())));
        fields.push(("policy", Value::Text(self.names.policies(event.domain))));
        Record::note(self.clock.wall(event.time), event.time, "session-start", fields)
    }

    /// Goes on with the sequence numbers that a log ends with: only if the programs that count them were running
    /// all the time. What was lost while nobody read then becomes a record.
    pub fn resume(&mut self, next: impl IntoIterator<Item = (u32, u64)>) {
        next.into_iter().for_each(|(cpu, next)| self.sequences.resume(cpu, next));
    }

    /// Says on whose behalf a session runs; without this it has the UUID that its number stands for, and no more.
    pub fn session(&mut self, session: u64, who: Who) {
        self.whos.retain(|(known, _), _| *known != session);
        self.sessions.insert(session, who);
    }

    /// The same for the session that the cgroup of this path will be the top of, before there is such a cgroup: its
    /// first event finds it known.
    pub fn expect(&mut self, path: Vec<u8>, who: Who) {
        self.expected.insert(path, who);
    }

    /// The path of a cgroup; empty if it is gone and was never seen.
    pub fn cgroup_path(&mut self, id: u64) -> Vec<u8> {
        let path = self.cgroups.path(id);
        if path.is_empty() {
            // The kernel speaks of a cgroup a moment before its directory can be seen.
            self.cgroups.forget(id);
        }
        path
    }

    /// The UUID that stands for a session without one of its own: the same after a restart of the daemon, and a
    /// different one after a reboot.
    pub fn uuid(&self, session: u64) -> String {
        let digest =
            Sha256::new().chain_update(self.host.boot.as_bytes()).chain_update(session.to_be_bytes());
        let mut bytes: [u8; 32] = digest.finalize().into();
        // Version 8, "custom", of RFC 9562.
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let text = seal::hex(&bytes[..16]);
        format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
    }

    /// Takes one entry of the ring; its records go to `out`: usually one, more if a gap became certain.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<Record>) {
        match Event::parse(bytes) {
            Ok(event) => {
                self.sequences.saw(event.cpu, event.seq, event.time, &mut self.gaps);
                self.tell_gaps(out);
                if self.lives.saw(&event) {
                    out.push(self.begin_session(&event));
                }
                out.push(self.event(event));
            }
            Err(corrupt) => {
                let time = Clock::boottime().unwrap_or_default();
                if let Some((cpu, seq)) = corrupt.place {
                    self.sequences.saw(cpu, seq, time, &mut self.gaps);
                    self.tell_gaps(out);
                }
                out.push(self.stamped(time, Body::Corrupt(Box::new(corrupt))));
            }
        }
    }

    /// Takes note of how many events each CPU had sent, once all of them that are to be had have been taken.
    pub fn sent(&mut self, given: &[u64]) {
        let Ok(now) = Clock::boottime() else { return };
        for (cpu, given) in given.iter().enumerate() {
            self.sequences.gave(u32::try_from(cpu).unwrap_or(u32::MAX), *given, now);
        }
    }

    /// To be called between batches, and now and then when there are none: tells gaps that have become certain
    /// and jumps of the wall clock.
    pub fn settle(&mut self, out: &mut Vec<Record>) {
        let now = Clock::boottime().ok();
        if now.is_some() {
            self.sequences.settle(now, &mut self.gaps);
            self.tell_gaps(out);
        }
        if let Ok(Some(jump)) = self.clock.refresh() {
            out.push(self.note("clock-jump", vec![("nanoseconds", Value::Signed(jump))]));
        }
    }

    /// Tells every gap there is: nothing will follow.
    pub fn finish(&mut self, out: &mut Vec<Record>) {
        self.sequences.settle(None, &mut self.gaps);
        self.tell_gaps(out);
    }

    /// A record of the daemon's own, now.
    pub fn note(&self, kind: &'static str, fields: Vec<(&'static str, Value)>) -> Record {
        let now = Clock::boottime().unwrap_or_default();
        Record::note(self.clock.wall(now), now, kind, fields)
    }

    fn tell_gaps(&mut self, out: &mut Vec<Record>) {
        while let Some(gap) = self.gaps.pop() {
            out.push(self.stamped(gap.before, Body::Lost(gap)));
        }
    }

    fn stamped(&self, boottime: u64, body: Body) -> Record {
        Record { time: self.clock.wall(boottime), boottime, body }
    }

    fn event(&mut self, mut event: Event) -> Record {
        let who = self.who(&event);
        let exe = self.programs.of(&event);
        let decision = event.kind == EventKind::Decision;
        let decided = if decision { self.names.cause(&event) } else { Arc::clone(&self.nothing) };
        let candidate = if decision { self.names.candidate(&event) } else { None };
        let held = (decision && event.reason == Reason::Held).then(|| event.object.clone());
        let argv = split_argv(&mut event, |event| self.names.keeps_argv(event));
        self.programs.saw(&event);
        let time = event.time;
        let degraded = self.degraded;
        let record = EventRecord { event, who, exe, decided, candidate, argv, degraded };
        if let Some(object) = held {
            let argv = object
                .iter()
                .position(|byte| *byte == 0)
                .map(|end| entries(&object[end + 1..]).map(<[u8]>::to_vec).collect::<Vec<_>>());
            self.held.push(HeldCall { record: record.clone(), argv });
        }
        self.stamped(time, Body::Event(Box::new(record)))
    }

    /// What was said of a session, by its number or by its path; nothing if nothing was.
    fn announced(&mut self, session: u64) -> Who {
        if !self.expected.is_empty() && session != 0 && !self.sessions.contains_key(&session) {
            let path = self.cgroup_path(session);
            if let Some(who) = self.expected.remove(&path) {
                self.sessions.insert(session, who);
            }
        }
        self.sessions.get(&session).cloned().unwrap_or_default()
    }

    fn who(&mut self, event: &Event) -> Arc<Who> {
        let key = (event.session, event.cgroup);
        if let Some(known) = self.whos.get(&key) {
            return Arc::clone(known);
        }
        let mut who = self.announced(event.session);
        if who.session.is_empty() && event.session != 0 {
            who.session = self.uuid(event.session);
        }
        who.cgroup = self.cgroups.path(event.cgroup);
        let who = Arc::new(who);
        if self.whos.len() >= KEPT {
            self.whos.clear();
        }
        self.whos.insert(key, Arc::clone(&who));
        who
    }
}

/// Takes argv off the object of an exec: what stands behind the path's NUL, an entry before each NUL. An image that
/// has begun to run shows all of argv; its first entry, which is the caller's word for the program, is left out.
fn split_argv(event: &mut Event, keeps: impl Fn(&Event) -> bool) -> Option<Argv> {
    if event.action != Action::Exec {
        return None;
    }
    let end = event.object.iter().position(|byte| *byte == 0)?;
    let tail = event.object.split_off(end);
    let first = usize::from(event.kind == EventKind::Exec);
    let words = || entries(&tail[1..]).skip(first);
    let text = keeps(event).then(|| words().map(<[u8]>::to_vec).collect());
    let mut digest = Sha256::new();
    let mut count = 0;
    for entry in words() {
        digest.update(entry);
        digest.update([0]);
        count += 1;
    }
    if event.flags.has(EventFlags::CUT) {
        count = u32::try_from(event.detail).unwrap_or(u32::MAX).saturating_sub(1);
    }
    Some(Argv { count, digest: digest.finalize().into(), text })
}

/// The entries of an argv in which a NUL stands behind each.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let none = bytes.is_empty();
    bytes.split(|byte| *byte == 0).filter(move |_| !none)
}

#[cfg(test)]
mod tests {
    use super::super::names::PlanNames;
    use super::*;

    #[test]
    fn the_names_of_sessions_do_not_pile_up() {
        let host = Host { name: "here".to_owned(), boot: "now".to_owned() };
        let mut scribe =
            Scribe::new(PlanNames::default(), host, Path::new("/nonexistent")).expect("the clock runs");
        let (mut out, mut forgotten) = (Vec::new(), 0);
        let all = ENDED as u64 + 100;
        for session in 1..=all {
            let who = Who { principal: format!("p{session}"), ..Who::default() };
            scribe.session(session, who);
            scribe.lives.live.insert(session, Life::default());
            forgotten += usize::from(scribe.end_session(session, true, &mut out).is_some());
        }
        assert_eq!((forgotten, scribe.sessions.len()), (100, ENDED));
        assert_eq!(scribe.announced(all).principal, format!("p{all}"));
        scribe.session(7_000_000, Who::default());
        for _ in 0..2 * ENDED {
            scribe.lives.live.insert(7_000_000, Life::default());
            scribe.end_session(7_000_000, false, &mut out);
        }
        assert_eq!(scribe.sessions.len(), 1, "it is the only one that has ended lately");
    }
}
