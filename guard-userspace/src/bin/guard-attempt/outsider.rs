//! A process outside every domain that waits to be done something to.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use super::scene::Scene;
use super::tier;

/// What lies in its memory; nobody but itself should read or change it.
static MEMORY: [std::sync::atomic::AtomicU8; 16] = [const { std::sync::atomic::AtomicU8::new(b's') }; 16];

/// Becomes the tier, tells where its memory is, and waits until its standard input is closed.
pub(crate) fn wait(words: &[&str]) -> ExitCode {
    let scene = Scene::parse(words);
    if let Err(error) = tier::become_it(scene.text("tier").unwrap_or("user")) {
        eprintln!("guard-attempt: {error}");
        return ExitCode::FAILURE;
    }
    // Somebody's file, to be stolen or linked to.
    println!("ready {} {}", std::process::id(), MEMORY.as_ptr() as usize);
    let _ = io::stdout().flush();
    let mut all = Vec::new();
    let _ = io::stdin().read_to_end(&mut all);
    ExitCode::SUCCESS
}
