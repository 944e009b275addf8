//! One picture of the table: for the operations that matter, what each arm adds.

use std::fmt::Write;

use super::results::Results;
use super::table::grouped;

const OPS: &[&str] = &["open", "create+unlink", "TCP connect", "UDP send", "exec"];

/// Arm, what it is compared with, its name in the picture, its colour.
const BARS: &[(&str, &str, &str, &str)] = &[
    ("outside", "none", "guard, outside", "#9ecae1"),
    ("inside", "none", "guard, inside", "#3182bd"),
    ("recorded", "none", "guard, recorded", "#08519c"),
    ("landlock", "no lsm", "Landlock", "#a1d99b"),
    ("apparmor", "no lsm", "AppArmor", "#31a354"),
    ("seccomp-notify", "no lsm", "seccomp notify", "#fdae6b"),
    ("fanotify", "no lsm", "fanotify", "#e6550d"),
];

const WIDTH: usize = 860;
const LEFT: usize = 150;
const RIGHT: usize = 110;
const BAR: usize = 15;
const GAP: usize = 34;
const TOP: usize = 66;

/// A panel for each operation, with a scale of its own; the figure stands beside its bar.
pub(super) fn svg(results: &Results) -> String {
    let mut body = String::new();
    let mut y = TOP;
    for op in OPS {
        let bars: Vec<_> = BARS
            .iter()
            .filter_map(|(arm, over, name, colour)| {
                let failed = results.get(arm, op)?.failed;
                Some((results.over(arm, over, op)?, *name, *colour)).filter(|_| failed == 0)
            })
            .collect();
        let Some(longest) = bars.iter().map(|bar| bar.0).max().filter(|longest| *longest > 0) else {
            continue;
        };
        let base = results.get("none", op).map_or(0, |figure| figure.inline);
        let _ = writeln!(
            body,
            r#"<text x="12" y="{y}" class="op">{op}</text><text x="{LEFT}" y="{y}" class="base">a call costs {} without any of them</text>"#,
            grouped(base.cast_signed())
        );
        y += 10;
        for (more, name, colour) in bars {
            let room = (WIDTH - LEFT - RIGHT) as f64;
            let length = (more.max(0) as f64 / longest as f64 * room).max(1.0);
            let text = y + BAR - 4;
            let _ = writeln!(
                body,
                r#"<text x="{}" y="{text}" class="name">{name}</text><rect x="{LEFT}" y="{y}" width="{length:.1}" height="{}" fill="{colour}"/><text x="{:.1}" y="{text}" class="figure">{}{}</text>"#,
                LEFT - 8,
                BAR - 3,
                LEFT as f64 + length + 6.0,
                if more < 0 { "" } else { "+" },
                grouped(more)
            );
            y += BAR;
        }
        y += GAP;
    }
    let height = y - GAP + 16;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">
<title>What enforcement adds to a call</title>
<style>text{{font-family:system-ui,sans-serif;font-size:12px;fill:#222}}.head{{font-size:16px;font-weight:600}}.op{{font-weight:600;font-size:13px}}.base,.sub{{fill:#666}}.name{{text-anchor:end}}.figure{{font-variant-numeric:tabular-nums}}</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="12" y="24" class="head">What enforcement adds to a call, in instructions</text>
<text x="12" y="42" class="sub">Linux {}, in the caller, each over the same kernel without it; daemons' work comes on top</text>
{body}</svg>
"##,
        results.release
    )
}
