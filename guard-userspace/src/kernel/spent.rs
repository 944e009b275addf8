//! What sessions have sent, and which gateways are down: words beside the policy.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use guard_common::abi::{ACCOUNT_PROBES, Spent, first_account};
use guard_common::key;
use guard_common::limits::ACCOUNTS;
use zerocopy::IntoBytes;

use super::Kernel;
use crate::events::{Peer, Protocol};
use crate::sys::bpf;
use crate::sys::shared::Shared;

/// The protocol of every gateway.
const TCP: u8 = 6;

/// The accounts, as the programs have them: a table that both write, so its words are changed as they change them.
struct Accounts(Shared);

/// Words of [`Spent`].
const WORDS: usize = size_of::<Spent>() / 8;
const BYTES: usize = 1;
const CLOSED_AT: usize = 2;

impl Accounts {
    /// The places that an account can have.
    fn places(session: u64) -> impl Iterator<Item = usize> {
        (0..ACCOUNT_PROBES).map(move |n| ((first_account(session) + n) & (ACCOUNTS - 1)) as usize)
    }

    fn word(&self, place: usize, word: usize) -> &AtomicU64 {
        self.0.word(place * WORDS + word)
    }

    fn find(&self, session: u64) -> Option<usize> {
        Self::places(session).find(|place| self.word(*place, 0).load(Ordering::Acquire) == session)
    }

    /// False if there is no room: packets of a session without an account do not go where it has a limit.
    fn open(&self, session: u64) -> bool {
        if self.find(session).is_some() {
            return true;
        }
        let claim = |place: &usize| {
            self.word(*place, 0).compare_exchange(0, session, Ordering::AcqRel, Ordering::Acquire).is_ok()
        };
        let Some(place) = Self::places(session).find(claim) else { return false };
        // A packet of whoever had it before may have come by late.
        self.word(place, BYTES).store(0, Ordering::Release);
        self.word(place, CLOSED_AT).store(0, Ordering::Release);
        true
    }

    fn close(&self, session: u64) {
        while let Some(place) = self.find(session) {
            self.word(place, BYTES).store(0, Ordering::Release);
            self.word(place, CLOSED_AT).store(0, Ordering::Release);
            self.word(place, 0).store(0, Ordering::Release);
        }
    }
}

impl Kernel {
    fn accounts(&self) -> io::Result<Accounts> {
        Shared::map(self.map("ACCOUNTS")?, ACCOUNTS as usize * WORDS).map(Accounts)
    }

    /// Begins to count what sessions send; what has been counted stays.
    pub(super) fn open_accounts(&self, sessions: impl Iterator<Item = u64>) -> io::Result<()> {
        let accounts = self.accounts()?;
        for session in sessions.filter(|session| !accounts.open(*session)) {
            tracing::warn!(
                session,
                "no room for the session's account: under max_bytes_out it sends nothing"
            );
        }
        Ok(())
    }

    pub(super) fn close_accounts(&self, sessions: impl Iterator<Item = u64>) -> io::Result<()> {
        let accounts = self.accounts()?;
        sessions.for_each(|session| accounts.close(session));
        Ok(())
    }

    /// What each session of a governed cgroup has sent, as the kernel counts it.
    pub fn spent(&self) -> io::Result<BTreeMap<u64, Spent>> {
        let accounts = self.accounts()?;
        let account = |session: u64| {
            let place = accounts.find(session)?;
            let word = |which| accounts.word(place, which).load(Ordering::Acquire);
            Some((session, Spent { session, bytes: word(BYTES), closed_at: word(CLOSED_AT), _pad: 0 }))
        };
        Ok(self.sessions()?.into_iter().filter_map(account).collect())
    }

    /// Keeps domains from a gateway until then, in nanoseconds of CLOCK_BOOTTIME; `None` no longer keeps them.
    pub fn close_gateway(&self, gateway: SocketAddr, until: Option<u64>) -> io::Result<()> {
        let (map, key) = (self.map("GATEWAYS")?, words(gateway));
        match until {
            Some(until) => {
                bpf::update(map, &key, until.as_bytes())?;
                // Only now do the programs look there.
                bpf::update(self.map("DOWN")?, 0u32.as_bytes(), 1u64.as_bytes())
            }
            None => bpf::delete(map, &key).map(drop),
        }
    }
}

/// The key's bytes at the end of three words, as the programs keep them.
fn words(gateway: SocketAddr) -> [u8; 24] {
    const _: () = assert!(key::V6_LEN <= 24);
    let mut words = [0; 24];
    let key = Peer { address: gateway, protocol: Protocol(TCP) }.to_key();
    words[24 - key.len()..].copy_from_slice(&key);
    words
}
