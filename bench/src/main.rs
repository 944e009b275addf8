//! What guard costs, measured in a guest under instruction counting: `cargo xtask bench` boots it, this is what runs
//! there. `arms` sets up one stage after the other and runs `ops` in each; the rest are parts of stages.
#![deny(unsafe_code)]

mod arms;
mod clock;
mod floor;
mod ops;
mod policy;
mod rivals;
mod stage;
mod sys;

use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guard-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["arms", scale, arms @ ..] => arms::main(scale.parse()?, arms),
        ["ops", scale, home, ops @ ..] => ops::main(scale.parse()?, home.as_ref(), ops),
        ["enter", cgroup, command @ ..] => stage::enter(cgroup.as_ref(), command),
        ["landlock", command @ ..] => rivals::landlock(command),
        ["notify", command @ ..] => rivals::notify(command),
        ["fanotify", directory] => rivals::fanotify(directory.as_ref()),
        ["apparmor", profile, command @ ..] => rivals::apparmor(profile, command),
        _ => bail!("usage: guard-bench arms SCALE ARM…"),
    }
}
