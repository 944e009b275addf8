//! The fuzz targets without a fuzzer: over their corpus, and over mutations of it that are the same every time.

use std::path::Path;
use std::{env, fs};

use guard_tests::fuzz;
use guard_tests::oracle::random::Random;

/// Mutations of the whole corpus; `GUARD_FUZZ_ROUNDS` asks for more.
fn rounds(usual: usize) -> usize {
    env::var("GUARD_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!corpus.is_empty());
    corpus
}

/// One to four changes: a bit, a byte, a piece left out, doubled, moved, or taken from another file.
fn mutate(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    const TOKENS: &[&[u8]] = &[
        b"*", b"**", b"/**", b"/**/", b"?", b"[a-z]", b"{a,b}", b"{", b"}", b"\\", b"/", b"//", b"-", b"--",
        b"\0", b"\xff", b"\n", b": ", b"- ", b"block", b"allow", b"&a ", b"*a", b"!!", b"|", b"'", b"\"",
        b"\t", b"\r", b"#",
    ];
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len() + 1);
        let piece = |random: &mut Random, from: &[u8]| {
            let at = random.below(from.len() + 1);
            from[at..(at + random.below(24)).min(from.len())].to_vec()
        };
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = (random.word() & 0xff) as u8,
            2 => {
                let end = (at + random.below(24)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let piece = piece(random, &bytes);
                bytes.splice(at..at, piece);
            }
            4 => {
                let piece = piece(random, other);
                bytes.splice(at..at, piece);
            }
            _ => {
                let token = random.pick(TOKENS);
                bytes.splice(at..at, token.iter().copied());
            }
        }
    }
    bytes
}

fn run(name: &str, target: fn(&[u8]), rounds: usize) {
    let corpus = corpus(name);
    corpus.iter().for_each(|bytes| target(bytes));
    let mut random = Random::new(0xf022);
    for round in 0..rounds {
        for seed in &corpus {
            let other = random.choose(&corpus).cloned().unwrap_or_default();
            let bytes = mutate(&mut random, seed, &other);
            let tried = bytes.clone();
            let failed = std::panic::catch_unwind(move || target(&tried)).is_err();
            assert!(!failed, "round {round}: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn the_control_sockets_reader_bears_mutations_of_its_corpus() {
    run("control", fuzz::control, rounds(2_000));
}

#[test]
fn the_matcher_bears_mutations_of_its_corpus() {
    run("matcher", fuzz::matcher, rounds(400));
}

#[test]
fn the_parser_bears_mutations_of_its_corpus() {
    run("parser", fuzz::parser, rounds(60));
}
