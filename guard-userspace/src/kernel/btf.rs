//! The running kernel's type information: where members lie, what a hook's arguments are.
//!
//! aya reads BTF for relocations but offers no look-up of a member by name, so this reads the format itself
//! (Documentation/bpf/btf.rst).

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use thiserror::Error;

/// Where the kernel shows its own type information.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Why type information could not be used.
#[derive(Debug, Error)]
pub enum BtfError {
    /// There is none.
    #[error("read {path}: the kernel must be built with CONFIG_DEBUG_INFO_BTF")]
    Read {
        /// Where it should be.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is not what the format says.
    #[error("type information at byte {at} is not well formed")]
    Malformed {
        /// Where.
        at: usize,
    },
}

const PTR: u32 = 2;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;

/// The kernel's function that casts a pointer for reading, with the NUL that ends its name.
const CAST: &[u8] = b"bpf_rdonly_cast\0";

/// Parsed type information.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    /// Byte offset of each type; type 0 is void.
    types: Vec<usize>,
    structs: HashMap<String, Vec<usize>>,
    functions: HashMap<String, usize>,
    cast: Option<u32>,
}

impl Btf {
    /// The running kernel's.
    pub fn vmlinux() -> Result<Self, BtfError> {
        let data = fs::read(Path::new(VMLINUX))
            .map_err(|source| BtfError::Read { path: VMLINUX.to_owned(), source })?;
        Self::parse(data)
    }

    /// Parses raw type information.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let word = |at: usize| word_at(&data, at);
        let header = word(4)? as usize;
        let (type_at, type_len) = (header + word(8)? as usize, word(12)? as usize);
        let strings = header + word(16)? as usize;
        let mut btf = Self {
            strings,
            types: vec![0],
            structs: HashMap::new(),
            functions: HashMap::new(),
            cast: None,
            data: Vec::new(),
        };
        let mut named = Vec::new();
        let mut at = type_at;
        while at < type_at + type_len {
            let (info, id) = (word(at + 4)?, btf.types.len());
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            if matches!(kind, STRUCT | UNION | FUNC | TYPEDEF) {
                named.push((kind, at, id));
            }
            btf.types.push(at);
            at += 12
                + match kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    STRUCT | UNION | 15 | 19 => count * 12,
                    6 | FUNC_PROTO => count * 8,
                    _ => 0,
                };
        }
        btf.data = data;
        for (kind, at, id) in named {
            // Of a hundred thousand functions only the hooks count; a tracepoint's arguments are those of the
            // pointer type named after it.
            let prefix = match kind {
                FUNC => "bpf_lsm_",
                TYPEDEF => "btf_trace_",
                _ => "",
            };
            let spelt = strings + btf.word(at)? as usize;
            if kind == FUNC && btf.data.get(spelt..).is_some_and(|rest| rest.starts_with(CAST)) {
                btf.cast = u32::try_from(id).ok();
            }
            if !btf.data.get(spelt..).is_some_and(|rest| rest.starts_with(prefix.as_bytes())) {
                continue;
            }
            let name = btf.name(at)?.to_owned();
            if name.is_empty() {
                continue;
            }
            if matches!(kind, FUNC | TYPEDEF) {
                btf.functions.insert(name, id);
            } else {
                btf.structs.entry(name).or_default().push(at);
            }
        }
        Ok(btf)
    }

    /// Type information with the same numbers in which only the hooks have names. aya looks a hook up among all the
    /// kernel's functions, name by name, for each program; that took most of the time of a start.
    pub fn skeleton(&self) -> Vec<u8> {
        const FORWARD: u32 = 7;
        let mut ids: Vec<(usize, &str)> =
            self.functions.iter().map(|(name, id)| (*id, name.as_str())).collect();
        ids.sort_unstable();
        let last = ids.last().map_or(0, |(id, _)| *id);
        let (mut types, mut strings) = (Vec::with_capacity(last * 12), vec![0u8]);
        let mut ids = ids.into_iter().peekable();
        for id in 1..=last {
            let (name, kind) = match ids.next_if(|(next, _)| *next == id) {
                Some((_, name)) => {
                    let at = strings.len() as u32;
                    strings.extend(name.as_bytes());
                    strings.push(0);
                    (at, if name.starts_with("bpf_lsm_") { FUNC } else { TYPEDEF })
                }
                None => (0, FORWARD),
            };
            for word in [name, kind << 24, 0] {
                types.extend(word.to_ne_bytes());
            }
        }
        let mut blob = Vec::new();
        // Magic, version 1, no flags; then the header's length and where types and strings lie behind it.
        blob.extend(0x0001_eb9fu32.to_ne_bytes());
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            blob.extend(word.to_ne_bytes());
        }
        blob.extend(types);
        blob.extend(strings);
        blob
    }

    /// The type id of a function, or of a tracepoint's pointer type.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.functions.get(name).and_then(|id| u32::try_from(*id).ok())
    }

    /// The type id of the function that casts a pointer for reading, from 6.2 on.
    pub fn cast(&self) -> Option<u32> {
        self.cast
    }

    /// The type id of a structure.
    pub fn structure(&self, name: &str) -> Option<u32> {
        let at =
            self.structs.get(name)?.iter().find(|at| self.kind(**at).is_ok_and(|kind| kind == STRUCT))?;
        self.types.binary_search(at).ok().and_then(|id| u32::try_from(id).ok())
    }

    fn word(&self, at: usize) -> Result<u32, BtfError> {
        word_at(&self.data, at)
    }

    fn name(&self, type_at: usize) -> Result<&str, BtfError> {
        self.string(self.word(type_at)? as usize)
    }

    fn string(&self, offset: usize) -> Result<&str, BtfError> {
        let at = self.strings + offset;
        let rest = self.data.get(at..).ok_or(BtfError::Malformed { at })?;
        let end = rest.iter().position(|byte| *byte == 0).ok_or(BtfError::Malformed { at })?;
        std::str::from_utf8(&rest[..end]).map_err(|_| BtfError::Malformed { at })
    }

    fn type_at(&self, id: u32) -> Result<usize, BtfError> {
        self.types.get(id as usize).copied().ok_or(BtfError::Malformed { at: id as usize })
    }

    fn kind(&self, type_at: usize) -> Result<u32, BtfError> {
        Ok(self.word(type_at + 4)? >> 24 & 0x1f)
    }

    /// Follows const, volatile, restrict, typedefs and tags to the type they qualify; `None` is void.
    fn resolve(&self, mut id: u32) -> Result<Option<usize>, BtfError> {
        for _ in 0..32 {
            if id == 0 {
                return Ok(None);
            }
            let at = self.type_at(id)?;
            if !matches!(self.kind(at)?, 8..=11 | 18) {
                return Ok(Some(at));
            }
            id = self.word(at + 8)?;
        }
        Err(BtfError::Malformed { at: id as usize })
    }

    /// Byte offset of a member, anonymous members searched too. `None` if the kernel has no such member. A dot
    /// leads into a member that is a structure.
    pub fn offset(&self, of: &str, member: &str) -> Result<Option<u64>, BtfError> {
        Ok(self.bits(of, member)?.map(|bits| bits / 8))
    }

    /// The same in bits, for a member that shares its byte.
    pub fn bits(&self, of: &str, member: &str) -> Result<Option<u64>, BtfError> {
        for at in self.structs.get(of).into_iter().flatten() {
            if let Some(bits) = self.member(*at, member, 0)? {
                return Ok(Some(bits));
            }
        }
        Ok(None)
    }

    fn member(&self, type_at: usize, whole: &str, depth: u32) -> Result<Option<u64>, BtfError> {
        let (first, rest) = whole.split_once('.').map_or((whole, None), |(first, rest)| (first, Some(rest)));
        let info = self.word(type_at + 4)?;
        for i in 0..(info & 0xffff) as usize {
            let at = type_at + 12 + i * 12;
            let name = self.string(self.word(at)? as usize)?;
            let raw = self.word(at + 8)?;
            let bits = u64::from(if info >> 31 == 1 { raw & 0xff_ffff } else { raw });
            if name == first && rest.is_none() {
                return Ok(Some(bits));
            }
            let below = if name == first { rest } else { None };
            if below.is_none() && !name.is_empty() || depth > 8 {
                continue;
            }
            let Some(inner) = self.resolve(self.word(at + 4)?)? else { continue };
            if matches!(self.kind(inner)?, STRUCT | UNION)
                && let Some(more) = self.member(inner, below.unwrap_or(whole), depth + 1)?
            {
                return Ok(Some(bits + more));
            }
        }
        Ok(None)
    }

    /// The arguments of a function as short words: `*file` for a pointer to a structure, `int` for any
    /// number, `*` for any other pointer. `None` if the kernel has no such function.
    pub fn arguments(&self, function: &str) -> Result<Option<Vec<String>>, BtfError> {
        let Some(id) = self.functions.get(function) else { return Ok(None) };
        let mut proto = self.type_at(self.word(self.types[*id] + 8)?)?;
        if self.kind(proto)? == PTR {
            proto = self.type_at(self.word(proto + 8)?)?;
        }
        let count = (self.word(proto + 4)? & 0xffff) as usize;
        (0..count)
            .map(|i| self.describe(self.word(proto + 12 + i * 8 + 4)?))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn describe(&self, id: u32) -> Result<String, BtfError> {
        let Some(at) = self.resolve(id)? else { return Ok("void".to_owned()) };
        if self.kind(at)? != PTR {
            return Ok("int".to_owned());
        }
        let Some(target) = self.resolve(self.word(at + 8)?)? else { return Ok("*".to_owned()) };
        Ok(match self.kind(target)? {
            STRUCT | UNION | 7 => format!("*{}", self.name(target)?),
            _ => "*".to_owned(),
        })
    }
}

fn word_at(data: &[u8], at: usize) -> Result<u32, BtfError> {
    let bytes = data.get(at..at + 4).ok_or(BtfError::Malformed { at })?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_empty_blob_is_an_error_and_not_a_panic() {
        assert!(Btf::parse(Vec::new()).is_err());
        if let Ok(whole) = fs::read(VMLINUX) {
            assert!(Btf::parse(whole[..whole.len() / 2].to_vec()).is_err());
        }
    }

    #[test]
    fn members_of_anonymous_structures_are_found() {
        let Ok(btf) = Btf::vmlinux() else { return };
        assert!(btf.offset("mm_struct", "exe_file").is_ok_and(|offset| offset.is_some_and(|o| o > 0)));
        assert!(btf.offset("mm_struct", "no_such_member").is_ok_and(|offset| offset.is_none()));
    }

    #[test]
    fn a_dot_leads_into_a_member_and_only_there() {
        let Ok(btf) = Btf::vmlinux() else { return };
        let offset = |of, member| btf.offset(of, member).ok().flatten();
        assert_eq!(offset("sock", "__sk_common.skc_family"), offset("sock_common", "skc_family"));
        assert!(offset("sock", "skc_family").is_none() && offset("sock", "sk_type.skc_family").is_none());
    }
}
