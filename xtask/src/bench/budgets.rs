//! `bench/budgets.toml`: what may be passed by nothing.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use super::results::Results;
use crate::paths;

const FILE: &str = "bench/budgets.toml";

/// Counts repeat to one part in so many: pages and programs do not always come to lie in the same places.
const SHIFT: i64 = 200;

/// What an arm may cost more than another one.
#[derive(Debug)]
struct Limits {
    arm: String,
    over: String,
    /// For every operation, in per cent of the other arm.
    percent: Option<f64>,
    inline: BTreeMap<String, i64>,
}

#[derive(Debug)]
pub(super) struct Budgets {
    limits: Vec<Limits>,
    /// By kernel and program.
    verified: BTreeMap<String, BTreeMap<String, i64>>,
    /// Instructions from the daemon's start to enforcing, by kernel.
    start: BTreeMap<String, i64>,
    /// Of the daemon's time, for each recorded operation.
    daemon: Option<i64>,
}

impl Budgets {
    pub(super) fn read() -> Result<Self> {
        let text = fs::read_to_string(paths::root().join(FILE)).with_context(|| format!("read {FILE}"))?;
        Self::parse(&text).with_context(|| format!("read {FILE}"))
    }

    fn parse(text: &str) -> Result<Self> {
        let table: Table = text.parse()?;
        let numbers = |value: &Value| -> Result<BTreeMap<String, i64>> {
            let table = value.as_table().context("not a table")?;
            let number = |(name, value): (&String, &Value)| match value.as_integer() {
                Some(number) => Ok((name.clone(), number)),
                None => bail!("{name} is not a number"),
            };
            table.iter().map(number).collect()
        };
        let mut budgets =
            Self { limits: Vec::new(), verified: BTreeMap::new(), start: BTreeMap::new(), daemon: None };
        for (name, value) in &table {
            match name.as_str() {
                "arm" => {
                    for (arm, value) in value.as_table().context("[arm] is not a table")? {
                        budgets.limits.push(limits(arm, value.as_table().context("an arm is no table")?)?);
                    }
                }
                "verified" => {
                    for (kernel, value) in value.as_table().context("[verified] is not a table")? {
                        budgets.verified.insert(kernel.clone(), numbers(value)?);
                    }
                }
                "start" => budgets.start = numbers(value)?,
                "daemon" => budgets.daemon = value.as_integer(),
                other => bail!("{other}: write arm, verified, start or daemon"),
            }
        }
        Ok(budgets)
    }

    /// A sentence for each figure that passes its budget. A budget of an arm that was not measured says nothing, and the
    /// daemon's own instructions are only those of the `packaged` program.
    pub(super) fn broken(&self, results: &Results, packaged: bool) -> Vec<String> {
        let mut said = Vec::new();
        for limits in &self.limits {
            let Limits { arm, over, percent, inline } = limits;
            for op in &results.ops {
                let (Some(this), Some(base)) = (results.get(arm, op), results.get(over, op)) else {
                    continue;
                };
                if this.failed > 0 {
                    said.push(format!(
                        "{arm}: {op} failed {} times, so its figure means nothing",
                        this.failed
                    ));
                    continue;
                }
                let more = this.inline.cast_signed() - base.inline.cast_signed();
                let most = inline.get(op).copied();
                let most = most.or(percent.map(|percent| (base.inline as f64 * percent / 100.0) as i64));
                let shift = base.inline.cast_signed() / SHIFT;
                if let Some(most) = most.filter(|most| more > *most + shift) {
                    said.push(format!("{arm}: {op} costs {more} more than {over}; the budget is {most}"));
                }
            }
        }
        let programs = self.verified.get(&results.kernel).into_iter().flatten();
        for (program, most) in programs {
            if let Some(verified) = results.verified.get(program).filter(|v| v.cast_signed() > *most) {
                let kernel = &results.kernel;
                said.push(format!(
                    "{program}: the verifier of {kernel} processes {verified} instructions; the budget is {most}"
                ));
            }
        }
        if !packaged {
            return said;
        }
        if let (Some(most), Some(start)) = (self.start.get(&results.kernel), results.start)
            && start.cast_signed() > *most
        {
            said.push(format!("start: {start} instructions until guard enforces; the budget is {most}"));
        }
        if let (Some(most), Some(open)) = (self.daemon, results.get("recorded", "open"))
            && open.daemon.cast_signed() > most
        {
            said.push(format!(
                "recorded: a record costs {} of the daemon; the budget is {most}",
                open.daemon
            ));
        }
        said
    }
}

fn limits(arm: &str, table: &Table) -> Result<Limits> {
    let mut limits =
        Limits { arm: arm.to_owned(), over: String::new(), percent: None, inline: BTreeMap::new() };
    for (name, value) in table {
        match (name.as_str(), value) {
            ("over", Value::String(over)) => limits.over.clone_from(over),
            ("percent", Value::Float(percent)) => limits.percent = Some(*percent),
            ("percent", Value::Integer(percent)) => limits.percent = Some(*percent as f64),
            (_, Value::Integer(most)) => {
                limits.inline.insert(name.clone(), *most);
            }
            _ => bail!("arm {arm}: {name} is not a number"),
        }
    }
    if limits.over.is_empty() {
        bail!("arm {arm}: say what it is compared with: over = \"none\"");
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let mut results = Results::new("6.12");
        for line in [
            r#"{"arm":"none","op":"open","inline":1000,"failed":0}"#,
            r#"{"arm":"inside","op":"open","inline":1500,"failed":0}"#,
            r#"{"arm":"inside","program":"file_open","verified":900,"milliseconds":1}"#,
            r#"{"arm":"inside","start":70}"#,
        ] {
            results.add(line).unwrap();
        }
        results
    }

    #[test]
    fn a_budget_that_is_passed_is_named_with_arm_and_figure() {
        let broken = |text: &str| Budgets::parse(text).unwrap().broken(&results(), true);
        assert!(broken("[arm.inside]\nover = \"none\"\nopen = 500").is_empty());
        assert!(broken("[arm.inside]\nover = \"none\"\nopen = 495").is_empty());
        let said = broken("[arm.inside]\nover = \"none\"\nopen = 494");
        assert_eq!(said, ["inside: open costs 500 more than none; the budget is 494"]);
        assert_eq!(broken("[arm.inside]\nover = \"none\"\npercent = 10").len(), 1);
        assert_eq!(broken("[verified.\"6.12\"]\nfile_open = 899").len(), 1);
        assert!(broken("[verified.\"6.1\"]\nfile_open = 899").is_empty());
        let start = "[start]\n\"6.12\" = 69";
        assert_eq!(broken(start).len(), 1);
        assert!(Budgets::parse(start).unwrap().broken(&results(), false).is_empty());
    }

    #[test]
    fn what_is_not_a_budget_is_refused() {
        for text in ["open = 1", "[arm.inside]\nopen = 1", "[arm.inside]\nover = \"none\"\nopen = \"1\""] {
            assert!(Budgets::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_file_can_be_read() {
        Budgets::read().unwrap();
    }
}
