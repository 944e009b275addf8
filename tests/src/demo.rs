//! The demonstration: `guard daemon` with a shipped policy, a sample agent in a governed cgroup, and an account of
//! what it was allowed to do and what not. It runs as root in a guest, or on a host whose kernel allows it.

mod account;
mod agent;
mod attempts;
mod stage;

use std::process::ExitCode;

use anyhow::Result;

/// `demo` is the whole show; `demo agent` is the part that runs inside the domain.
pub fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        None => show(),
        Some("agent") => agent::main().map(|()| true),
        Some(other) => Err(anyhow::anyhow!("demo has no part called {other:?}")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// Whether everything came out as the policy says.
fn show() -> Result<bool> {
    let stage = stage::Stage::set()?;
    println!("guard enforces policy demo for {} on Linux {}\n", stage.domain(), stage.kernel());
    let outcomes = agent::run(&stage)?;
    let records = account::records()?;
    let as_told = account::print(&outcomes, &records);
    let outside = stage::runs_outside()?;
    account::print_outside(outside);
    stage.clear()?;
    Ok(as_told && outside)
}
