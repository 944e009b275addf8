//! What must be known of the running kernel before anything is loaded, each fact checked.

use std::collections::BTreeMap;
use std::io;

use guard_common::abi::offsets::{
    ABSENT, ADJACENT, INIT_NSPROXY, MEMBERS, MOUNT_LOCK, Member, RENAME_LOCK, SOCK_KERNEL_BIT, STORAGE_LOCK,
    STORAGE_LOCKLESS, STORAGE_MEMBERS,
};

use super::btf::Btf;
use super::hooks::{Hook, Need, Tier, hooks};
use super::load::{HookState, LoadError};
use super::symbols;

/// The words that the programs read as constants.
pub(super) fn words(btf: &Btf) -> Result<Vec<(&'static str, u64)>, LoadError> {
    let mut words = Vec::new();
    let [renames, mounts, namespaces, lock, lockless] =
        symbols::addresses([RENAME_LOCK, MOUNT_LOCK, INIT_NSPROXY, STORAGE_LOCK, STORAGE_LOCKLESS]);
    let busy = lock.is_some() && lockless.is_none();
    words.push(("STORAGE_BUSY", u64::from(busy)));
    let required = |member: &Member| member.required || busy && STORAGE_MEMBERS.contains(&member.global);
    for member in MEMBERS {
        let value = match btf.offset(member.of, member.member)? {
            Some(offset) => offset,
            None if required(member) => {
                return Err(LoadError::Member { of: member.of, member: member.member });
            }
            None => ABSENT,
        };
        words.push((member.global, value));
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
        words.push((global, address.ok_or(LoadError::Symbol { name })?));
    }
    let (of, member) = SOCK_KERNEL_BIT;
    let bit = btf.bits(of, member)?.ok_or(LoadError::Member { of, member })?;
    words.push(("SOCK_KERNEL_BIT", bit));
    let setattr = btf.arguments("bpf_lsm_inode_setattr")?.unwrap_or_default();
    words.push(("SETATTR_SHIFT", u64::from(setattr.get(1).is_some_and(|argument| argument == "*dentry"))));
    let mut key = [0u8; 8];
    let _ = io::Read::read_exact(
        &mut std::fs::File::open("/dev/urandom").map_err(|source| LoadError::Pin {
            what: "open",
            path: "/dev/urandom".to_owned(),
            source,
        })?,
        &mut key,
    );
    words.push(("DIGEST_KEY", u64::from_ne_bytes(key)));
    Ok(words)
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
