//! What the loader found out about the running kernel, and how the programs come to know it: members' places and other
//! small numbers are written into the very instructions that use them, addresses into read-only words.
//!
//! The programs mark such an instruction by an immediate, see [`offsets::VALUE`] and [`offsets::MEMBER`]. A load of a
//! member then is one instruction in the kernel, where a place in a read-only word made it five.

use guard_common::abi::offsets::{self, ABSENT, Fact, MEMBERS};
use thiserror::Error;

/// Each fact by its number, and the words by their symbols.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    by_number: Vec<Option<u64>>,
    pub(super) words: Vec<(&'static str, u64)>,
}

/// Why the facts could not be written into the programs. Each means that the programs and this loader do not belong
/// together, or a kernel whose structures are larger than an instruction can say.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FactError {
    /// Not the object file that is expected.
    #[error("the programs are no ELF file for BPF")]
    NotElf,
    /// A mark for a fact that the loader does not know.
    #[error("the programs want fact number {0}, which nobody has looked up")]
    Unknown(u32),
    /// The place does not fit.
    #[error("{of}.{member} lies {value} bytes into its structure, further than an instruction can say")]
    TooFar {
        /// The structure.
        of: &'static str,
        /// The member.
        member: &'static str,
        /// Where it lies.
        value: u64,
    },
}

impl Facts {
    pub(super) fn set(&mut self, fact: Fact, value: u64) {
        let at = fact as usize;
        if self.by_number.len() <= at {
            self.by_number.resize(at + 1, None);
        }
        self.by_number[at] = Some(value);
    }

    pub(super) fn get(&self, fact: Fact) -> Option<u64> {
        self.by_number.get(fact as usize).copied().flatten()
    }

    /// Whether this kernel has nothing of the kind.
    pub(super) fn is_absent(&self, fact: Fact) -> bool {
        self.by_number.get(fact as usize).copied().flatten().is_none_or(|value| value == ABSENT)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.by_number.iter().flatten().count() + self.words.len()
    }

    fn value(&self, number: u32) -> Result<u64, FactError> {
        self.by_number.get(number as usize).copied().flatten().ok_or(FactError::Unknown(number))
    }

    fn place(&self, number: u32, further: i16) -> Result<i16, FactError> {
        let value = self.value(number)?;
        if value == ABSENT {
            // Behind a question for it; the kernel refuses a program that would come here.
            return Ok(i16::MAX);
        }
        i16::try_from(value).ok().and_then(|place| place.checked_add(further)).ok_or_else(|| {
            let (of, member) =
                MEMBERS.get(number as usize).map_or(("", ""), |member| (member.of, member.member));
            FactError::TooFar { of, member, value }
        })
    }

    /// The object with the facts in its instructions.
    pub(super) fn written_into(&self, object: &[u8]) -> Result<Vec<u8>, FactError> {
        let mut written = object.to_vec();
        for section in code(object)? {
            let instructions = written.get_mut(section).ok_or(FactError::NotElf)?;
            let mut at = 0;
            while at + SLOT <= instructions.len() {
                at += self.write(instructions, at)?;
            }
        }
        Ok(written)
    }

    /// Looks at one instruction; gives how many bytes it has been.
    fn write(&self, code: &mut [u8], at: usize) -> Result<usize, FactError> {
        let operation = code[at];
        if operation == LOAD_IMMEDIATE_64 {
            return Ok(2 * SLOT);
        }
        let (offset, marked) = (offset(code, at), immediate(code, at));
        if operation == MOVE_IMMEDIATE && marked & !0xffff == offsets::VALUE {
            let number = marked & 0xffff;
            // All ones for one that is absent, as the programs know it: an immediate is extended by its sign.
            let value = self.value(number)? as i64;
            let value = i32::try_from(value).map_err(|_| FactError::Unknown(number))?;
            code[at + 4..at + 8].copy_from_slice(&value.to_le_bytes());
        } else if operation == CALL && marked & !0xffff == offsets::VALUE {
            let number = marked & 0xffff;
            let instruction = match self.value(number)? {
                ABSENT => [MOVE, FIRST_TO_RESULT, 0, 0, 0, 0, 0, 0],
                function => {
                    let [a, b, c, d] =
                        u32::try_from(function).map_err(|_| FactError::Unknown(number))?.to_le_bytes();
                    [CALL, OF_THE_KERNEL, 0, 0, a, b, c, d]
                }
            };
            code[at..at + SLOT].copy_from_slice(&instruction);
        } else if operation & CLASS_AND_MODE == LOAD_MEMORY && offset >= offsets::MEMBER as i16 {
            let marked = u32::from(offset.unsigned_abs()) - offsets::MEMBER;
            let further = (marked % offsets::MEMBER_STRIDE) as i16;
            let place = self.place(marked / offsets::MEMBER_STRIDE, further)?;
            code[at + 2..at + 4].copy_from_slice(&place.to_le_bytes());
        }
        Ok(SLOT)
    }
}

/// Bytes of an instruction.
const SLOT: usize = 8;
const LOAD_IMMEDIATE_64: u8 = 0x18;
const MOVE_IMMEDIATE: u8 = 0xb7;
const MOVE: u8 = 0xbf;
/// Register 1 to register 0.
const FIRST_TO_RESULT: u8 = 0x10;
const CALL: u8 = 0x85;
/// BPF_PSEUDO_KFUNC_CALL.
const OF_THE_KERNEL: u8 = 0x20;
const CLASS_AND_MODE: u8 = 0xe7;
const LOAD_MEMORY: u8 = 0x61;

fn offset(code: &[u8], at: usize) -> i16 {
    i16::from_le_bytes([code[at + 2], code[at + 3]])
}

fn immediate(code: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([code[at + 4], code[at + 5], code[at + 6], code[at + 7]])
}

/// Where the sections with instructions lie in the file (`Elf64_Ehdr`, `Elf64_Shdr`).
fn code(object: &[u8]) -> Result<Vec<std::ops::Range<usize>>, FactError> {
    const PROGBITS: u64 = 1;
    const EXECUTABLE: u64 = 4;
    let number = |at: usize, size: usize| -> Result<u64, FactError> {
        let bytes = object.get(at..at + size).ok_or(FactError::NotElf)?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    // 64 bits, little-endian; 247 is EM_BPF.
    if !object.starts_with(b"\x7fELF\x02\x01") || number(18, 2)? != 247 {
        return Err(FactError::NotElf);
    }
    let (table, size, count) = (number(40, 8)? as usize, number(58, 2)? as usize, number(60, 2)? as usize);
    let mut found = Vec::new();
    for section in 0..count {
        let at = table + section * size;
        if number(at + 4, 4)? == PROGBITS && number(at + 8, 8)? & EXECUTABLE != 0 {
            let (start, length) = (number(at + 24, 8)? as usize, number(at + 32, 8)? as usize);
            found.push(start..start + length);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTO_R3: u8 = 3;

    fn instruction(operation: u8, registers: u8, offset: i16, immediate: u32) -> [u8; 8] {
        let (o, i) = (offset.to_le_bytes(), immediate.to_le_bytes());
        [operation, registers, o[0], o[1], i[0], i[1], i[2], i[3]]
    }

    fn facts() -> Facts {
        let mut facts = Facts::default();
        facts.set(Fact::TASK_TGID, 1000);
        facts.set(Fact::TASK_PID, 40_000);
        facts.set(Fact::TASK_IO_URING, ABSENT);
        facts
    }

    fn written(code: &[[u8; 8]]) -> Result<Vec<[u8; 8]>, FactError> {
        let mut bytes = code.concat();
        let mut at = 0;
        while at < bytes.len() {
            at += facts().write(&mut bytes, at)?;
        }
        Ok(bytes.chunks_exact(8).map(|chunk| chunk.try_into().unwrap_or_default()).collect())
    }

    fn load_of(fact: Fact, further: u32) -> [u8; 8] {
        let place = offsets::MEMBER + fact as u32 * offsets::MEMBER_STRIDE + further;
        instruction(0x61, 0x13, place as i16, 0)
    }

    #[test]
    fn a_marked_load_gets_its_place_and_a_marked_move_its_value() {
        let value = instruction(MOVE_IMMEDIATE, INTO_R3, 0, offsets::VALUE + Fact::TASK_IO_URING as u32);
        let code = [load_of(Fact::TASK_TGID, 0), load_of(Fact::TASK_TGID, 4), value];
        let expected = [
            instruction(0x61, 0x13, 1000, 0),
            instruction(0x61, 0x13, 1004, 0),
            instruction(MOVE_IMMEDIATE, INTO_R3, 0, u32::MAX),
        ];
        assert_eq!(written(&code), Ok(expected.to_vec()));
    }

    #[test]
    fn a_marked_call_is_one_of_the_kernel_or_a_move_where_it_has_none() {
        let call = instruction(CALL, 0, 0, offsets::VALUE + Fact::TASK_TGID as u32);
        assert_eq!(written(&[call]), Ok(vec![instruction(CALL, OF_THE_KERNEL, 0, 1000)]));
        let call = instruction(CALL, 0, 0, offsets::VALUE + Fact::TASK_IO_URING as u32);
        assert_eq!(written(&[call]), Ok(vec![instruction(MOVE, FIRST_TO_RESULT, 0, 0)]));
    }

    #[test]
    fn what_only_looks_like_a_mark_is_left_alone() {
        let mark = offsets::VALUE + Fact::TASK_TGID as u32;
        // The two halves of a 64-bit immediate, an addition, a store, a load of the stack.
        let code = [
            instruction(LOAD_IMMEDIATE_64, 1, 0, mark),
            instruction(MOVE_IMMEDIATE, 0, 0, mark),
            instruction(0x07, 1, 0, mark),
            instruction(0x63, 0x13, offsets::MEMBER as i16, 0),
            instruction(0x79, 0xa3, -8, 0),
        ];
        assert_eq!(written(&code), Ok(code.to_vec()));
    }

    #[test]
    fn a_mark_that_cannot_be_followed_is_an_error_that_names_it() {
        let unknown = FactError::Unknown(Fact::TASK_COMM as u32);
        assert_eq!(written(&[load_of(Fact::TASK_COMM, 0)]), Err(unknown));
        let far = FactError::TooFar { of: "task_struct", member: "pid", value: 40_000 };
        assert_eq!(written(&[load_of(Fact::TASK_PID, 0)]), Err(far));
        assert_eq!(facts().written_into(b"#!/bin/sh"), Err(FactError::NotElf));
    }
}
