//! A process outside every domain that waits to be done something to.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use super::scene::Scene;
use super::tier;

/// What lies in its memory; nobody but itself should read or change it.
static MEMORY: [std::sync::atomic::AtomicU8; 16] = [const { std::sync::atomic::AtomicU8::new(b's') }; 16];

/// Becomes the tier, tells where its memory is, and answers each byte until its standard input is closed.
pub(crate) fn wait(words: &[&str]) -> ExitCode {
    let scene = Scene::parse(words);
    if let Err(error) = tier::become_it(scene.text("tier").unwrap_or("user")) {
        eprintln!("guard-attempt: {error}");
        return ExitCode::FAILURE;
    }
    // Somebody's file, to be stolen or linked to.
    println!("ready {} {}", std::process::id(), MEMORY.as_ptr() as usize);
    let _ = io::stdout().flush();
    // Whoever asks gets an answer, as long as it is there to give one.
    let mut byte = [0];
    while matches!(io::stdin().read(&mut byte), Ok(1)) {
        let mut out = io::stdout();
        let _ = out.write_all(&byte).and_then(|()| out.flush());
    }
    ExitCode::SUCCESS
}
