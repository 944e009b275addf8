//! How much stack the programs' calls need, as the kernel counts it: 6.1 rounds each frame up to 32 bytes, refuses more
//! than 512 in a chain of calls, and more than eight frames. Here it is seen without a guest.

use std::collections::{BTreeMap, BTreeSet};

use super::load::OBJECT;

const SLOT: usize = 8;
const MOST: u32 = 512;
const STEP: u32 = 32;
const MOST_FRAMES: usize = 8;

const CALL: u8 = 0x85;
const LOAD_IMMEDIATE_64: u8 = 0x18;
const MOVE: u8 = 0xbf;
const ADD_IMMEDIATE: u8 = 0x07;
/// `BPF_PSEUDO_CALL`: a call of one of the object's own functions.
const OWN: u8 = 1;
/// The frame pointer.
const FRAME: u8 = 10;

/// Section and place of a function.
type Place = (usize, usize);

#[derive(Default)]
struct Function {
    name: String,
    /// Bytes of stack.
    depth: u32,
    calls: BTreeSet<Place>,
}

struct Section {
    kind: u64,
    /// Of relocations, the section that they are for.
    info: usize,
    bytes: &'static [u8],
}

struct Symbol {
    name: String,
    kind: u8,
    section: usize,
    value: usize,
    size: usize,
}

fn number(bytes: &[u8], at: usize, size: usize) -> usize {
    bytes[at..at + size].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// `Elf64_Shdr`.
fn sections() -> Vec<Section> {
    let (table, size, count) = (number(OBJECT, 40, 8), number(OBJECT, 58, 2), number(OBJECT, 60, 2));
    let section = |n: usize| {
        let at = table + n * size;
        let (begin, length) = (number(OBJECT, at + 24, 8), number(OBJECT, at + 32, 8));
        let kind = number(OBJECT, at + 4, 4) as u64;
        // A section without bits in the file has none.
        let bytes = OBJECT.get(begin..begin + length).filter(|_| kind != 8).unwrap_or_default();
        Section { kind, info: number(OBJECT, at + 44, 4), bytes }
    };
    (0..count).map(section).collect()
}

/// `Elf64_Sym`, and the names behind them.
fn symbols(sections: &[Section]) -> Vec<Symbol> {
    const SYMBOLS: u64 = 2;
    let Some(at) = sections.iter().position(|section| section.kind == SYMBOLS) else { return Vec::new() };
    let table = number(OBJECT, 40, 8) + at * number(OBJECT, 58, 2);
    let names = sections[number(OBJECT, table + 40, 4)].bytes;
    let symbol = |entry: &[u8]| {
        let name = &names[number(entry, 0, 4)..];
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Symbol {
            name: String::from_utf8_lossy(name).into_owned(),
            kind: entry[4] & 15,
            section: number(entry, 6, 2),
            value: number(entry, 8, 8),
            size: number(entry, 16, 8),
        }
    };
    sections[at].bytes.chunks_exact(24).map(symbol).collect()
}

/// What the instruction at each place is to refer to: `Elf64_Rel`.
fn relocations(sections: &[Section]) -> BTreeMap<Place, usize> {
    const RELOCATIONS: u64 = 9;
    let of = |section: &'static [u8], info| {
        section.chunks_exact(16).map(move |entry| ((info, number(entry, 0, 8)), number(entry, 12, 4)))
    };
    let tables = sections.iter().filter(|section| section.kind == RELOCATIONS);
    tables.flat_map(|section| of(section.bytes, section.info)).collect()
}

fn functions() -> BTreeMap<Place, Function> {
    const FUNCTION: u8 = 2;
    const SECTION: u8 = 3;
    let sections = sections();
    let (symbols, relocations) = (symbols(&sections), relocations(&sections));
    let mut found = BTreeMap::new();
    for symbol in symbols.iter().filter(|symbol| symbol.kind == FUNCTION) {
        let code = sections[symbol.section].bytes;
        let mut function = Function { name: symbol.name.clone(), ..Function::default() };
        for at in (symbol.value..symbol.value + symbol.size).step_by(SLOT) {
            let (operation, registers) = (code[at], code[at + 1]);
            let offset = i16::from_le_bytes([code[at + 2], code[at + 3]]);
            let immediate = number(code, at + 4, 4) as u32 as i32;
            let (to, from) = (registers & 15, registers >> 4);
            let deeper = match operation & 7 {
                // Loads; stores of numbers and of registers.
                1 if from == FRAME => -i32::from(offset),
                2 | 3 if to == FRAME => -i32::from(offset),
                7 if operation == ADD_IMMEDIATE && at > symbol.value => {
                    let before = &code[at - SLOT..at];
                    let of_frame = before[0] == MOVE && before[1] == FRAME << 4 | to;
                    if of_frame { -immediate } else { 0 }
                }
                _ => 0,
            };
            function.depth = function.depth.max(u32::try_from(deeper).unwrap_or(0));
            let refers = (operation == CALL && from == OWN) || operation == LOAD_IMMEDIATE_64;
            let meant = relocations.get(&(symbol.section, at)).map(|&symbol| &symbols[symbol]);
            match meant {
                Some(meant) if refers && meant.kind == FUNCTION => {
                    function.calls.insert((meant.section, meant.value));
                }
                Some(meant) if refers && meant.kind == SECTION && operation == CALL => {
                    function.calls.insert((meant.section, (immediate + 1) as usize * SLOT));
                }
                None if operation == CALL && from == OWN => {
                    let to = at as i64 + (i64::from(immediate) + 1) * SLOT as i64;
                    function.calls.insert((symbol.section, to as usize));
                }
                _ => {}
            }
        }
        found.insert((symbol.section, symbol.value), function);
    }
    found
}

/// Of a function and all that it calls: most stack that a chain needs, that chain, and most frames.
#[derive(Clone, Default)]
struct Need {
    stack: u32,
    chain: Vec<String>,
    frames: usize,
}

fn need(functions: &BTreeMap<Place, Function>, of: Place, known: &mut BTreeMap<Place, Need>) -> Need {
    if let Some(known) = known.get(&of) {
        return known.clone();
    }
    let function = &functions[&of];
    let (mut deepest, mut frames) = (Need::default(), 0);
    for &call in &function.calls {
        let below = need(functions, call, known);
        frames = frames.max(below.frames);
        if below.stack > deepest.stack {
            deepest = below;
        }
    }
    deepest.stack += function.depth.max(1).next_multiple_of(STEP);
    deepest.chain.insert(0, format!("{} {}", function.name, function.depth));
    deepest.frames = frames + 1;
    known.insert(of, deepest.clone());
    deepest
}

#[test]
fn no_chain_of_calls_needs_more_stack_than_the_oldest_kernel_gives() {
    let functions = functions();
    assert!(functions.values().any(|function| function.depth > 100 && !function.calls.is_empty()));
    let mut known = BTreeMap::new();
    for place in functions.keys() {
        let need = need(&functions, *place, &mut known);
        assert!(need.stack <= MOST, "{} bytes of {MOST}: {}", need.stack, need.chain.join(", "));
        assert!(need.frames <= MOST_FRAMES, "{} frames behind {}", need.frames, need.chain[0]);
    }
}
