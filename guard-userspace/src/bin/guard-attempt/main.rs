//! `guard-attempt`: tries one technique, and says how it ended. `guard drill` starts it outside every domain, moves
//! it inside and looks from outside at what came of it; it needs nothing of the host but the kernel, so that it also
//! runs in a container or an initramfs.
//!
//! `guard-attempt NAME [WORD=VALUE…]` prepares, prints `ready`, waits for a line on standard input, tries, prints
//! `end ERRNO PROCESS` and exits. `guard-attempt --list` names the techniques, `guard-attempt outsider` waits to be
//! done something to, and `guard-attempt rule` tries a rule of somebody's own policy.

mod exec;
mod files;
mod fsview;
mod identity;
mod ipc;
mod keep;
mod kernel;
mod knobs;
mod net;
mod odd;
mod options;
mod outsider;
mod rule;
mod scene;
mod storm;
mod sys;
mod table;
mod tasks;
mod tier;
mod unix;
mod way;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--list"] => {
            table::all().for_each(|attempt| println!("{}", attempt.name));
            ExitCode::SUCCESS
        }
        ["outsider", rest @ ..] => outsider::wait(rest),
        ["storm", file] => storm::beat(file),
        ["rule", action, rest @ ..] => rule::run(action, rest),
        [name, rest @ ..] => match table::all().find(|attempt| attempt.name == *name) {
            Some(attempt) => way::run(attempt, rest),
            None => {
                eprintln!("guard-attempt: no technique is called {name:?}; --list names them");
                ExitCode::from(2)
            }
        },
        [] => {
            eprintln!("guard-attempt: name a technique; --list names them");
            ExitCode::from(2)
        }
    }
}
