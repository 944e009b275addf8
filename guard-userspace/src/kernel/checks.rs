//! What must be known of the running kernel before anything is loaded, each fact checked.

use std::collections::BTreeMap;
use std::io;

use guard_common::abi::offsets::{
    ABSENT, ADJACENT, CACHE_NEEDS, Fact, INIT_NSPROXY, MEMBERS, MOUNT_LOCK, Member, RENAME_LOCK,
    SOCK_KERNEL_BIT, STORAGE_LOCK, STORAGE_LOCKLESS, STORAGE_MEMBERS,
};

use super::btf::Btf;
use super::error::LoadError;
use super::facts::Facts;
use super::hooks::{Hook, Need, Tier, hooks};
use super::load::HookState;
use super::symbols;

/// What the programs must be told.
pub(super) fn facts(btf: &Btf) -> Result<Facts, LoadError> {
    let mut facts = Facts::default();
    let [renames, mounts, namespaces, lock, lockless] =
        symbols::addresses([RENAME_LOCK, MOUNT_LOCK, INIT_NSPROXY, STORAGE_LOCK, STORAGE_LOCKLESS]);
    let busy = lock.is_some() && lockless.is_none();
    facts.set(Fact::STORAGE_BUSY, u64::from(busy));
    let required = |member: &Member| member.required || busy && STORAGE_MEMBERS.contains(&member.fact);
    for member in MEMBERS {
        let value = match btf.offset(member.of, member.member)? {
            Some(offset) => offset,
            None if required(member) => {
                return Err(LoadError::Member { of: member.of, member: member.member });
            }
            None => ABSENT,
        };
        facts.set(member.fact, value);
    }
    for (of, first, second) in ADJACENT {
        let (a, b) = (btf.offset(of, first)?, btf.offset(of, second)?);
        if a.map(|a| a + 8) != b {
            return Err(LoadError::Adjacent { of, first, second });
        }
    }
    for (global, name, address) in [
        ("RENAME_LOCK", RENAME_LOCK, renames),
        ("MOUNT_LOCK", MOUNT_LOCK, mounts),
        ("INIT_NSPROXY", INIT_NSPROXY, namespaces),
    ] {
        facts.words.push((global, address.ok_or(LoadError::Symbol { name })?));
    }
    let (of, member) = SOCK_KERNEL_BIT;
    let bit = btf.bits(of, member)?.ok_or(LoadError::Member { of, member })?;
    facts.set(Fact::SOCK_KERNEL_BYTE, bit / 8);
    facts.set(Fact::SOCK_KERNEL_MASK, 1 << (bit % 8));
    facts.set(Fact::CAST, btf.cast().map_or(ABSENT, u64::from));
    if CACHE_NEEDS.iter().any(|fact| facts.is_absent(*fact)) {
        facts.set(Fact::LOCAL_STORAGE_CACHE, ABSENT);
    }
    for (fact, of) in [
        (Fact::TASK_TYPE, "task_struct"),
        (Fact::DENTRY_TYPE, "dentry"),
        (Fact::PATH_TYPE, "path"),
        (Fact::INODE_TYPE, "inode"),
        (Fact::SOCKET_TYPE, "sock"),
        (Fact::WORDS_TYPE, "itimerspec64"),
    ] {
        let id = btf.structure(of).ok_or(LoadError::Member { of, member: "itself" })?;
        facts.set(fact, id.into());
    }
    let setattr = btf.arguments("bpf_lsm_inode_setattr")?.unwrap_or_default();
    let shifted = setattr.get(1).is_some_and(|argument| argument == "*dentry");
    facts.set(Fact::SETATTR_SHIFT, u64::from(shifted));
    let mut key = [0u8; 8];
    let _ = io::Read::read_exact(
        &mut std::fs::File::open("/dev/urandom").map_err(|source| LoadError::Pin {
            what: "open",
            path: "/dev/urandom".to_owned(),
            source,
        })?,
        &mut key,
    );
    facts.words.push(("DIGEST_KEY", u64::from_ne_bytes(key)));
    Ok(facts)
}

/// Compares every hook's arguments with what its program reads.
pub(super) fn check_prototypes(
    btf: &Btf,
    tier: Tier,
) -> Result<BTreeMap<&'static str, HookState>, LoadError> {
    let mut states = BTreeMap::new();
    for hook in hooks(tier) {
        let state = match hook.prototype() {
            None => HookState::Attached,
            Some(prototype) => match btf.arguments(&prototype)? {
                None => absent(hook),
                Some(arguments) => mismatch(hook, &arguments),
            },
        };
        states.insert(hook.name, state);
    }
    Ok(states)
}

fn absent(hook: &Hook) -> HookState {
    match hook.need {
        Need::Always => HookState::Missing("this kernel has no such hook".to_owned()),
        Need::IfPresent(why) => HookState::Absent(why),
    }
}

fn mismatch(hook: &Hook, arguments: &[String]) -> HookState {
    for (at, wanted) in hook.reads {
        let found = arguments.get(at + hook.shift()).map_or("nothing", String::as_str);
        if found != *wanted {
            return HookState::Missing(format!("argument {at} is {found}, not {wanted}"));
        }
    }
    HookState::Attached
}
