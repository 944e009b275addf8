//! The guests must be able to fail: each way in which a command or a guest can end badly is tried.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::report::Report;
use crate::guest::{Failure, Guest, Output, Status};

const PLACE: &str = "vm";

/// A way to end, and how it must be reported.
struct Case {
    name: &'static str,
    script: &'static str,
    expect: Expect,
}

enum Expect {
    Status(Status),
    GuestFails { says: &'static str },
}

const CASES: &[Case] = &[
    Case {
        name: "a command that fails is reported with its own status",
        script: "exit 7",
        expect: Expect::Status(Status::Exited(7)),
    },
    Case {
        name: "a command that is killed is reported with its signal",
        script: "kill -9 $$",
        expect: Expect::Status(Status::Killed(9)),
    },
    Case {
        name: "killing PID 1 is a failure of the guest",
        script: "kill -9 1; sleep 9",
        expect: Expect::GuestFails { says: "SIGKILL to PID 1" },
    },
    Case {
        name: "a kernel panic is a failure of the guest",
        script: "echo c > /proc/sysrq-trigger",
        expect: Expect::GuestFails { says: "Kernel panic" },
    },
    Case {
        name: "powering off before the end is a failure of the guest",
        script: "poweroff -f",
        expect: Expect::GuestFails { says: "without saying" },
    },
    Case {
        name: "a guest that hangs is a failure of the guest",
        script: "sleep 999",
        expect: Expect::GuestFails { says: "did not end within" },
    },
];

pub(super) fn run(report: &mut Report, series: &str) {
    report.check(PLACE, "output comes back as it was written", faithful(series));
    for case in CASES {
        report.check(PLACE, case.name, try_case(series, case));
    }
}

fn sh(series: &str, script: &str) -> Result<Output> {
    let argv = ["sh", "-c", script].map(str::to_owned);
    // The guest that hangs hangs this long; the others are done long before, even on a busy machine.
    Guest::new(series)?.timeout(Duration::from_secs(30)).run(&argv)
}

/// Every byte value, more than a pipe holds, both streams.
fn faithful(series: &str) -> Result<()> {
    let script = "i=0; while [ $i -lt 256 ]; do printf \"\\\\$(printf %o $i)\"; i=$((i+1)); done > /tmp/all; \
                  n=0; while [ $n -lt 400 ]; do cat /tmp/all; n=$((n+1)); done; cat /tmp/all >&2; exit 3";
    let output = sh(series, script)?;
    let all: Vec<u8> = (0..=255).collect();
    ensure!(output.status == Status::Exited(3), "status {:?}", output.status);
    ensure!(output.stderr == all, "standard error differs");
    ensure!(output.stdout == all.repeat(400), "standard output differs ({} bytes)", output.stdout.len());
    Ok(())
}

fn try_case(series: &str, case: &Case) -> Result<()> {
    let outcome = sh(series, case.script);
    match (&case.expect, outcome) {
        (Expect::Status(expected), Ok(output)) if output.status == *expected => Ok(()),
        (_, Ok(output)) => bail!("it ended with {:?}", output.status),
        (Expect::GuestFails { says }, Err(error)) => match error.downcast_ref::<Failure>() {
            Some(failure) if failure.why.contains(says) => Ok(()),
            _ => Err(error.context(format!("it should say {says:?}"))),
        },
        (Expect::Status(_), Err(error)) => Err(error),
    }
}
