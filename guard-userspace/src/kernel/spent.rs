//! What sessions have sent, and which gateways are down: words beside the policy.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use guard_common::abi::Spent;
use guard_common::key;
use zerocopy::IntoBytes;

use super::Kernel;
use crate::events::{Peer, Protocol};
use crate::sys::bpf;

/// The protocol of every gateway.
const TCP: u8 = 6;

impl Kernel {
    /// Begins to count what sessions send; what has been counted stays.
    pub(super) fn open_accounts(&self, sessions: impl Iterator<Item = u64>) -> io::Result<()> {
        let map = self.map("SPENT")?;
        for session in sessions {
            bpf::insert(map, session.as_bytes(), Spent::default().as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn close_account(&self, session: u64) -> io::Result<()> {
        bpf::delete(self.map("SPENT")?, session.as_bytes()).map(drop)
    }

    /// What each session has sent, as the kernel counts it.
    pub fn spent(&self) -> io::Result<BTreeMap<u64, Spent>> {
        let map = self.map("SPENT")?;
        let (mut all, mut key, mut next) = (BTreeMap::new(), None::<u64>, 0u64);
        while bpf::next_key(map, key.as_ref().map(IntoBytes::as_bytes), next.as_mut_bytes())? {
            let mut spent = Spent::default();
            if bpf::lookup(map, next.as_bytes(), spent.as_mut_bytes())? {
                all.insert(next, spent);
            }
            key = Some(next);
        }
        Ok(all)
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
