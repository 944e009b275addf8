//! Times, sizes, rates and plain numbers.

use std::time::Duration;

use super::{Cx, shown};
use crate::policy::diag::{Code, Diagnostic};
use crate::policy::source::Spanned;
use crate::policy::yaml::Node;

/// Longest time a policy may name: longer is a slip, and nanoseconds must fit 63 bits with room.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 86_400);

/// `8h`, `1h30m`, `500ms`.
pub(super) fn duration(cx: &mut Cx, node: &Node) -> Option<Spanned<Duration>> {
    let text = cx.text(node, "a time", "a time such as `5m` or `8h`")?;
    let problem = match parse_duration(&text) {
        Some(Duration::ZERO) => "the time must not be zero".to_owned(),
        Some(value) if value > MAX_DURATION => "the time is longer than ten years".to_owned(),
        Some(value) => return Some(Spanned::new(value, text.span)),
        None => format!("`{}` is not a time", shown(&text)),
    };
    let help = if text.parse::<u64>().is_ok_and(|n| n > 0) {
        format!("add the unit: `{}s`, `{}m` or `{}h`", text.value, text.value, text.value)
    } else {
        "write a number and a unit: `500ms`, `30s`, `5m`, `8h`, `2d`, or several as in `1h30m`".to_owned()
    };
    cx.push(Diagnostic::new(Code::BadDuration, text.span, problem).help(help));
    None
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (count, tail) = leading_number(rest)?;
        let (unit, tail) = unit_of(tail)?;
        total = total.checked_add(unit.checked_mul(u32::try_from(count).ok()?)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn unit_of(text: &str) -> Option<(Duration, &str)> {
    let units = [
        ("ms", Duration::from_millis(1)),
        ("s", Duration::from_secs(1)),
        ("m", Duration::from_secs(60)),
        ("h", Duration::from_secs(3_600)),
        ("d", Duration::from_secs(86_400)),
    ];
    units.into_iter().find_map(|(name, unit)| text.strip_prefix(name).map(|rest| (unit, rest)))
}

/// `600/1h` → count and time.
pub(super) fn rate(cx: &mut Cx, node: &Node) -> Option<(u32, Duration)> {
    let text = cx.text(node, "a rate", "a rate such as `600/1h`")?;
    let parsed = text.split_once('/').and_then(|(count, per)| {
        let per =
            if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
        Some((count.trim().parse::<u32>().ok()?, parse_duration(per.trim())?))
    });
    let problem = match parsed {
        Some((0, _)) => "a rate of zero allows nothing".to_owned(),
        Some((_, per)) if per == Duration::ZERO || per > MAX_DURATION => {
            "the rate's time is out of range".to_owned()
        }
        Some(good) => return Some(good),
        None => format!("`{}` is not a rate", shown(&text)),
    };
    let help = if problem.contains("zero allows") {
        "write `verdict: block`"
    } else {
        "write a count per time: `600/1h`, `5/s`"
    };
    cx.push(Diagnostic::new(Code::BadRate, text.span, problem).help(help));
    None
}

/// `8GiB`, `512MiB`, `1000000`.
pub(super) fn size(cx: &mut Cx, node: &Node) -> Option<Spanned<u64>> {
    let text = cx.text(node, "a size", "a size such as `8GiB`")?;
    if let Some(value) = parse_size(&text).filter(|value| *value > 0) {
        return Some(Spanned::new(value, text.span));
    }
    cx.push(
        Diagnostic::new(Code::BadNumber, text.span, format!("`{}` is not a size", shown(&text)))
            .help("write a number and a unit: `512MiB`, `8GiB`, or `1GB` for a thousand million bytes"),
    );
    None
}

fn parse_size(text: &str) -> Option<u64> {
    let (count, unit) = leading_number(text)?;
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    count.checked_mul(factor)
}

/// A whole number between 1 and `max`.
pub(super) fn number(cx: &mut Cx, node: &Node, max: u32) -> Option<Spanned<u32>> {
    let text = cx.text(node, "a number", "a whole number")?;
    match text.parse::<u32>() {
        Ok(value) if (1..=max).contains(&value) => Some(Spanned::new(value, text.span)),
        Ok(_) | Err(_) => {
            cx.push(
                Diagnostic::new(
                    Code::BadNumber,
                    text.span,
                    format!("`{}` is not a number from 1 to {max}", shown(&text)),
                )
                .help(format!("write a whole number from 1 to {max}")),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up_and_nonsense_is_no_time() {
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        for bad in
            ["", "h", "1", "1x", "1h 2m", "-1s", "99999999999999999999s", "4294967295d4294967295d", "1hm"]
        {
            assert!(parse_duration(bad).is_none_or(|value| value > MAX_DURATION), "{bad}");
        }
    }

    #[test]
    fn sizes_know_both_kinds_of_giga() {
        assert_eq!(parse_size("8GiB"), Some(8 << 30));
        assert_eq!(parse_size("1GB"), Some(1_000_000_000));
        assert_eq!(parse_size("99999999TiB"), None);
        assert_eq!(parse_size("1gb"), None);
    }
}
