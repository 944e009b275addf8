//! The arms: who is measured under what. One line of JSON for each operation of each arm.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::policy::{self, Record};
use crate::stage::{DOMAIN, Guard, OUTSIDE, Stage, own_program, siblings};
use crate::{floor, rivals};

/// What stays from one arm to the next.
struct Session {
    stage: Stage,
    scale: u64,
    guard: Option<Guard>,
}

pub(crate) fn main(scale: u64, arms: &[&str]) -> Result<()> {
    let mut session = Session { stage: Stage::set()?, scale, guard: None };
    // The kernel changes its clock a few seconds after boot, and everything before that counts differently.
    std::thread::sleep(std::time::Duration::from_secs(5));
    for arm in arms {
        for mut line in session.run(arm).with_context(|| format!("arm {arm}"))? {
            line["arm"] = json!(arm);
            println!("{line}");
        }
    }
    session.guard.map_or(Ok(()), Guard::stop)
}

impl Session {
    fn run(&mut self, arm: &str) -> Result<Vec<Value>> {
        let own = own_program()?;
        let inside = [own.as_str(), "enter", DOMAIN];
        let outside = [own.as_str(), "enter", OUTSIDE];
        let shipped = |record| Ok::<_, anyhow::Error>(vec![policy::shipped(record)?]);
        let sized = |rules| vec![policy::of_size(rules)];
        match arm {
            "none" | "no lsm" | "apparmor idle" => self.measure(&outside),
            "floor" => {
                let programs = floor::attach()?;
                let lines = self.measure(&outside);
                drop(programs);
                lines
            }
            "outside" => self.guarded(&shipped(Record::None)?, &outside),
            "inside" => self.guarded(&shipped(Record::None)?, &inside),
            "recorded" => self.guarded(&shipped(Record::Every)?, &inside),
            "first" => self.guarded(&shipped(Record::First)?, &inside),
            "10 rules" => self.guarded(&sized(10), &inside),
            "500 rules" => self.guarded(&sized(500), &inside),
            "5000 rules" => self.guarded(&sized(5_000), &inside),
            "1000 cgroups" | "10000 cgroups" => {
                let count = arm.split(' ').next().unwrap_or_default().parse::<usize>()?;
                siblings(count - 1)?;
                self.guarded(&shipped(Record::None)?, &inside)
            }
            "candidate" => {
                let both = vec![policy::shipped(Record::None)?, policy::candidate()?];
                self.guarded(&both, &inside)
            }
            "landlock" => self.measure(&[own.as_str(), "landlock"]),
            "seccomp-notify" => self.measure(&[own.as_str(), "notify"]),
            "fanotify" => {
                let responder = rivals::fanotify_responder()?;
                let lines = self.measure(&outside);
                responder.end()?;
                lines
            }
            "apparmor" => {
                rivals::load_apparmor()?;
                self.measure(&[own.as_str(), "apparmor", "bench"])
            }
            other => bail!("no arm is called {other:?}"),
        }
    }

    fn measure(&self, wrap: &[&str]) -> Result<Vec<Value>> {
        self.stage.measure(wrap, self.scale, &[])
    }

    /// Measures with guard enforcing these policies; it is started once and then told of the new ones.
    fn guarded(&mut self, policies: &[(String, String)], wrap: &[&str]) -> Result<Vec<Value>> {
        fs::create_dir_all(DOMAIN).with_context(|| format!("create {DOMAIN}"))?;
        let mut lines = Vec::new();
        match &mut self.guard {
            Some(guard) => lines.push(json!({ "reload": guard.reload(policies)? })),
            None => {
                let guard = Guard::start(policies)?;
                lines = guard.programs();
                lines.push(json!({ "start": guard.start, "start_worked": guard.worked, "resident": guard.resident()? }));
                self.guard = Some(guard);
            }
        }
        lines.extend(self.measure(wrap)?);
        Ok(lines)
    }
}
