use std::time::Duration;

use guard_common::abi::{
    self, Action, Asked, BoundaryItem, Capability, EventFlags, EventKind, Op, Reason, Verdict,
};
use guard_common::table::Answer;
use thiserror::Error;
use zerocopy::FromBytes as _;

/// One event of the kernel, every number parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub seq: u64,
    pub cpu: u32,
    /// CLOCK_BOOTTIME in nanoseconds.
    pub time: u64,
    /// The task's start, CLOCK_BOOTTIME in nanoseconds.
    pub start_time: u64,
    /// The id of the cgroup the task is in.
    pub cgroup: u64,
    /// The id of the top cgroup the task's tree entered by.
    pub session: u64,
    pub generation: u64,
    pub detail: u64,
    pub pid: u32,
    pub tid: u32,
    pub ppid: u32,
    pub uid: u32,
    pub loginuid: u32,
    pub domain: u32,
    pub answer: Answer,
    /// What shadow rules and policies would have said; [`Answer::NONE`] for nothing stricter.
    pub shadow: Answer,
    /// Which of the joined policies won.
    pub policy: u8,
    /// Which of them gave `shadow`.
    pub shadow_policy: u8,
    /// As errno.h has it; 0 if the call went on.
    pub errno: u32,
    pub reason: Reason,
    pub kind: EventKind,
    pub action: Action,
    pub op: Op,
    pub verdict: Verdict,
    pub flags: Flags,
    /// Ends with NULs. Bytes of the agent's choice.
    pub comm: [u8; 16],
    /// A path, an address key, a socket name; empty for none. Bytes of the agent's choice.
    pub object: Vec<u8>,
    /// Of an exec that is held, the file that is to be run.
    pub asked: Option<Asked>,
}

/// [`EventFlags`], none of them unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    const KNOWN: u32 = EventFlags::SHADOWED
        | EventFlags::IO_WORKER
        | EventFlags::DIRECTORY
        | EventFlags::ADDRESS
        | EventFlags::CUT;

    pub const fn new(bits: u32) -> Option<Self> {
        if bits & !Self::KNOWN == 0 { Some(Self(bits)) } else { None }
    }

    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// What was wrong with an event's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Length,
    Object,
    Errno,
    Reason,
    Kind,
    Action,
    Op,
    Verdict,
    Flags,
    Item,
}

impl Field {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Object => "object",
            Self::Errno => "errno",
            Self::Reason => "reason",
            Self::Kind => "kind",
            Self::Action => "action",
            Self::Op => "op",
            Self::Verdict => "verdict",
            Self::Flags => "flags",
            Self::Item => "boundary item",
        }
    }
}

/// Bytes that are no event. What could be read of them is kept, so that no gap is seen where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("an event of {} bytes has an unknown {}: {value}", bytes.len(), field.name())]
pub struct Corrupt {
    pub field: Field,
    pub value: u64,
    /// CPU and sequence number, if there was a header.
    pub place: Option<(u32, u64)>,
    /// The bytes as they lay in the ring.
    pub bytes: Vec<u8>,
}

impl Event {
    /// Parses one entry of the ring.
    pub fn parse(bytes: &[u8]) -> Result<Self, Corrupt> {
        let Ok((raw, _)) = abi::Event::read_from_prefix(bytes) else {
            let value = bytes.len() as u64;
            return Err(Corrupt { field: Field::Length, value, place: None, bytes: bytes.to_vec() });
        };
        Self::checked(&raw, bytes).map_err(|(field, value)| Corrupt {
            field,
            value,
            place: Some((raw.cpu, raw.seq)),
            bytes: bytes.to_vec(),
        })
    }

    fn checked(raw: &abi::Event, bytes: &[u8]) -> Result<Self, (Field, u64)> {
        let unknown = |field, value: u64| move || (field, value);
        let reason = Reason::from_repr(raw.reason).ok_or_else(unknown(Field::Reason, raw.reason.into()))?;
        let event = Self {
            seq: raw.seq,
            cpu: raw.cpu,
            time: raw.time,
            start_time: raw.start_time,
            cgroup: raw.cgroup,
            session: raw.session,
            generation: raw.generation,
            detail: raw.detail,
            pid: raw.pid,
            tid: raw.tid,
            ppid: raw.ppid,
            uid: raw.uid,
            loginuid: raw.loginuid,
            domain: raw.domain,
            answer: answer(raw.answer),
            shadow: answer(raw.shadow),
            policy: raw.policy as u8,
            shadow_policy: (raw.policy >> 8) as u8,
            errno: errno(raw.errno).ok_or_else(unknown(Field::Errno, raw.errno as u32 as u64))?,
            reason,
            kind: EventKind::from_repr(raw.kind).ok_or_else(unknown(Field::Kind, raw.kind.into()))?,
            action: Action::from_repr(raw.action).ok_or_else(unknown(Field::Action, raw.action.into()))?,
            op: Op::from_repr(raw.op).ok_or_else(unknown(Field::Op, raw.op.into()))?,
            verdict: Verdict::from_repr(raw.verdict)
                .ok_or_else(unknown(Field::Verdict, raw.verdict.into()))?,
            flags: Flags::new(raw.flags).ok_or_else(unknown(Field::Flags, raw.flags.into()))?,
            comm: raw.comm,
            object: object(raw, bytes).ok_or_else(unknown(Field::Object, raw.object_at.into()))?.to_vec(),
            asked: asked(raw, bytes),
        };
        if matches!(reason, Reason::Boundary) && event.item().is_none()
            || matches!(reason, Reason::Capability) && event.capability().is_none()
        {
            return Err((Field::Item, raw.detail));
        }
        Ok(event)
    }

    /// The task's name without the NULs behind it.
    pub fn comm(&self) -> &[u8] {
        self.comm.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Which of the boundary's items was tried. The kernel packs it into the low 16 bits of `detail`.
    pub fn item(&self) -> Option<BoundaryItem> {
        if self.reason != Reason::Boundary {
            return None;
        }
        u8::try_from(self.detail & 0xffff).ok().and_then(BoundaryItem::from_repr)
    }

    /// Which capability was asked for, from the bits above an item's.
    pub fn capability(&self) -> Option<Capability> {
        if self.reason != Reason::Capability {
            return None;
        }
        u8::try_from(self.detail >> 16).ok().and_then(Capability::from_repr)
    }

    /// When a call that was over its budget would have fitted into it.
    pub fn retry_after(&self) -> Option<Duration> {
        (self.reason == Reason::OverBudget).then(|| Duration::from_nanos(self.detail))
    }

    /// What a boundary item says beside its name: the target's process, a device number.
    pub const fn item_detail(&self) -> u64 {
        self.detail >> 16
    }
}

/// 0 is how events write "none".
const fn answer(word: u32) -> Answer {
    if word == 0 { Answer::NONE } else { Answer(word) }
}

/// The largest error number there is (`MAX_ERRNO`, include/linux/err.h).
const MAX_ERRNO: u32 = 4095;

fn errno(code: i32) -> Option<u32> {
    let number = code.unsigned_abs();
    (code <= 0 && number <= MAX_ERRNO).then_some(number)
}

/// The object's bytes; the ring may pad the entry behind them.
fn object<'a>(raw: &abi::Event, bytes: &'a [u8]) -> Option<&'a [u8]> {
    if raw.object_len == 0 {
        return Some(&[]);
    }
    let start = usize::from(raw.object_at);
    if start < size_of::<abi::Event>() {
        return None;
    }
    bytes.get(start..start + usize::from(raw.object_len))
}

/// What lies between header and object when a call is held. Without it a call is held all the same: then nobody can say which
/// file it would run, and it cannot be approved.
fn asked(raw: &abi::Event, bytes: &[u8]) -> Option<Asked> {
    const END: usize = size_of::<abi::Event>() + size_of::<Asked>();
    if raw.reason != Reason::Held as u16 || usize::from(raw.object_at) < END {
        return None;
    }
    let asked = Asked::read_from_bytes(bytes.get(size_of::<abi::Event>()..END)?).ok()?;
    (asked.ino != 0).then_some(asked)
}

#[cfg(test)]
pub(crate) mod tests {
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    /// A denied write, as the kernel sends it.
    pub(crate) fn raw(seq: u64) -> abi::Event {
        let mut raw = abi::Event::new_zeroed();
        raw.seq = seq;
        raw.cpu = 1;
        raw.time = 5_000_000_000 + seq;
        raw.pid = 4242;
        raw.domain = 1;
        raw.generation = 1;
        raw.answer = Answer::new(Verdict::Block, 0, 0).0;
        raw.errno = -1;
        raw.reason = Reason::Rule as u16;
        raw.kind = EventKind::Decision as u8;
        raw.action = Action::Write as u8;
        raw.op = Op::Open as u8;
        raw.verdict = Verdict::Block as u8;
        raw.comm[..4].copy_from_slice(b"bash");
        raw
    }

    pub(crate) fn bytes(mut raw: abi::Event, object: &[u8]) -> Vec<u8> {
        // The kernel leaves up to seven bytes between header and object.
        raw.object_at = size_of::<abi::Event>() as u16 + 3;
        raw.object_len = object.len() as u16;
        let mut bytes = raw.as_bytes().to_vec();
        bytes.extend([0xee; 3]);
        bytes.extend(object);
        bytes
    }

    #[test]
    fn a_whole_event_comes_out_as_it_went_in() {
        let event = Event::parse(&bytes(raw(7), b"/etc/shadow")).unwrap();
        assert_eq!((event.seq, event.cpu, event.errno), (7, 1, 1));
        assert_eq!(event.object, b"/etc/shadow");
        assert_eq!(event.comm(), b"bash");
        assert_eq!((event.action, event.verdict), (Action::Write, Verdict::Block));
        assert!(event.shadow.is_none());
    }

    #[test]
    fn every_unknown_number_makes_a_corrupt_event_that_keeps_its_place() {
        type Break = fn(&mut abi::Event);
        let breaks: [(Field, Break); 7] = [
            (Field::Kind, |raw| raw.kind = 99),
            (Field::Action, |raw| raw.action = 77),
            (Field::Op, |raw| raw.op = 200),
            (Field::Verdict, |raw| raw.verdict = 0x1f),
            (Field::Reason, |raw| raw.reason = 9999),
            (Field::Errno, |raw| raw.errno = 1),
            (Field::Flags, |raw| raw.flags = 1 << 31),
        ];
        for (field, spoil) in breaks {
            let mut event = raw(3);
            spoil(&mut event);
            let corrupt = Event::parse(&bytes(event, b"/x")).unwrap_err();
            assert_eq!((corrupt.field, corrupt.place), (field, Some((1, 3))));
        }
    }

    #[test]
    fn an_object_outside_the_entry_is_corrupt() {
        let mut whole = bytes(raw(1), b"/etc/shadow");
        whole.pop();
        assert_eq!(Event::parse(&whole).unwrap_err().field, Field::Object);
        assert_eq!(Event::parse(&whole[..100]).unwrap_err().field, Field::Length);
        let mut inside = raw(1);
        inside.object_len = 4;
        inside.object_at = 8;
        assert_eq!(Event::parse(inside.as_bytes()).unwrap_err().field, Field::Object);
    }

    #[test]
    fn a_held_call_names_the_file_that_it_would_run() {
        let asked = Asked { ino: 7, size: 8, seconds: 9, nanoseconds: 10, dev: 11 };
        let held = |reason: Reason, asked: Asked, short: usize| {
            let mut raw = raw(1);
            raw.reason = reason as u16;
            raw.object_at = (size_of::<abi::Event>() + size_of::<Asked>() - short) as u16;
            raw.object_len = 2;
            let bytes = [raw.as_bytes(), &asked.as_bytes()[short..], b"/x"].concat();
            Event::parse(&bytes).unwrap().asked
        };
        assert_eq!(held(Reason::Held, asked, 0), Some(asked));
        assert_eq!(held(Reason::Held, asked, 1), None);
        assert_eq!(held(Reason::Rule, asked, 0), None);
        assert_eq!(held(Reason::Held, Asked { ino: 0, ..asked }, 0), None);
    }

    #[test]
    fn a_call_over_its_budget_says_when_to_come_again() {
        let mut event = raw(1);
        event.detail = 1_500_000_000;
        assert_eq!(Event::parse(event.as_bytes()).unwrap().retry_after(), None);
        event.reason = Reason::OverBudget as u16;
        assert_eq!(Event::parse(event.as_bytes()).unwrap().retry_after(), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn a_boundary_event_names_its_item() {
        let mut event = raw(1);
        event.action = Action::Boundary as u8;
        event.reason = Reason::Boundary as u16;
        event.detail = BoundaryItem::PtraceOutside as u64 | 31337 << 16;
        let parsed = Event::parse(event.as_bytes()).unwrap();
        assert_eq!((parsed.item(), parsed.item_detail()), (Some(BoundaryItem::PtraceOutside), 31337));
        event.detail = 63;
        assert_eq!(Event::parse(event.as_bytes()).unwrap_err().field, Field::Item);
        event.reason = Reason::Capability as u16;
        event.detail = (Capability::SysAdmin as u64) << 16;
        assert_eq!(Event::parse(event.as_bytes()).unwrap().capability(), Some(Capability::SysAdmin));
    }
}
