//! `guard policy diff OLD NEW`.

use std::path::PathBuf;

use guard_userspace::policy::diff::{Change, Difference, Direction, How, Said, diff};
use guard_userspace::policy::model::written;

use super::super::{Ending, term};
use super::load_one;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 1 if anything is answered differently.")]
pub(crate) struct Args {
    /// The policy as it is
    old: PathBuf,
    /// The policy as it would be
    new: PathBuf,
    /// Print the differences as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        let (old, new) = match (load_one(&self.old), load_one(&self.new)) {
            (Ok(old), Ok(new)) => (old, new),
            (Err(ending), Ok(_)) | (Ok(_), Err(ending)) => return Ok(ending),
            (Err(first), Err(second)) => return Ok(first.max(second)),
        };
        let difference = diff(&old, &new);
        if self.json {
            term::print_json(&json(&difference))?;
        } else {
            term::print(&text(&difference))?;
        }
        Ok(if difference.is_empty() { Ending::Fine } else { Ending::Finding })
    }
}

pub(crate) fn text(difference: &Difference) -> String {
    if difference.is_empty() {
        return "no request is answered differently\n".to_owned();
    }
    let mut out = String::new();
    let titles =
        [(Direction::Laxer, "laxer"), (Direction::Stricter, "stricter"), (Direction::Other, "otherwise")];
    for (direction, title) in titles {
        let changes: Vec<&Change> =
            difference.changes.iter().filter(|change| change.direction() == direction).collect();
        if changes.is_empty() {
            continue;
        }
        out.push_str(&format!(
            "{title} ({})\n",
            term::count(changes.len(), "class").replace("classs", "classes")
        ));
        changes.iter().for_each(|change| out.push_str(&one(change)));
        out.push('\n');
    }
    if !difference.settings.is_empty() {
        out.push_str("settings\n");
        difference.settings.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
        out.push('\n');
    }
    for action in &difference.incomplete {
        out.push_str(&format!(
            "{action}: there are more classes than could be looked at; this list may not be whole\n"
        ));
    }
    out
}

fn one(change: &Change) -> String {
    let with = change.args.as_ref().map_or(String::new(), |args| format!(" {}", args.join(" ")));
    let life = change.profile.as_ref().map_or(String::new(), |profile| format!(" (in profile {profile})"));
    let patterns = if change.old.rule.is_none() && change.new.rule.is_none() {
        "\n           whatever no rule names".to_owned()
    } else if change.patterns.is_empty() {
        String::new()
    } else {
        format!("\n           among {}", change.patterns.join(" "))
    };
    let (old, new) = (said(&change.old), said(&change.new));
    format!(
        "  {:<8} {}{with}{life}\n           {old} → {new}{patterns}\n",
        change.action.name(),
        change.example
    )
}

fn said(said: &Said) -> String {
    let how = match &said.how {
        How::Plain => String::new(),
        how => format!(" {how}"),
    };
    match &said.rule {
        Some(rule) => format!("{}{how} by `{rule}`", said.verdict.name()),
        None => format!("{}{how} by default", said.verdict.name()),
    }
}

pub(crate) fn json(difference: &Difference) -> serde_json::Value {
    let said = |said: &Said| {
        let mut out = serde_json::json!({ "verdict": said.verdict.name(), "rule": said.rule });
        match &said.how {
            How::Plain => {}
            How::Budget { count, per, burst } => {
                out["rate"] = serde_json::json!(format!("{count}/{}", written(*per)));
                out["burst"] = serde_json::json!(burst);
            }
            How::Profile(name) => out["profile"] = serde_json::json!(name),
        }
        out
    };
    let changes: Vec<serde_json::Value> = difference
        .changes
        .iter()
        .map(|change| {
            serde_json::json!({
                "action": change.action.name(),
                "direction": match change.direction() {
                    Direction::Laxer => "laxer",
                    Direction::Stricter => "stricter",
                    Direction::Other => "otherwise",
                },
                "profile": change.profile,
                "example": change.example,
                "args": change.args,
                "patterns": change.patterns,
                "old": said(&change.old),
                "new": said(&change.new),
            })
        })
        .collect();
    serde_json::json!({
        "changes": changes,
        "settings": difference.settings,
        "incomplete": difference.incomplete.iter().map(|action| action.name()).collect::<Vec<_>>(),
    })
}
