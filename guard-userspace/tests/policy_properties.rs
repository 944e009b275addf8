//! Properties of the policy language that hold for any text: reading never panics, formatting keeps the meaning and
//! the comments and is done after one run.

use std::path::Path;
use std::sync::Arc;

use guard_userspace::policy::check;
use guard_userspace::policy::diag::{Style, render};
use guard_userspace::policy::fmt::{FmtError, canonical};
use guard_userspace::policy::parse::{Parsed, parse};
use guard_userspace::policy::source::Source;
use proptest::prelude::*;

fn shipped() -> Vec<String> {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let mut texts = Vec::new();
    for dir in [policies.clone(), policies.join("examples")] {
        let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "yaml"))
        {
            texts.push(std::fs::read_to_string(file).unwrap());
        }
    }
    assert!(!texts.is_empty());
    texts
}

fn read(text: &str) -> Parsed {
    parse(Arc::new(Source::new("random.yaml", text)))
}

/// Reads, checks and shows everything; only a panic can fail.
fn survives(text: &str) {
    let mut parsed = read(text);
    if let Some(policy) = &parsed.policy {
        check::advice(policy, &mut parsed.report);
    }
    for found in &parsed.report.diagnostics {
        let shown = render(found, &parsed.report.source, Style::Plain);
        assert!(shown.contains(found.code.id()));
        assert!(
            parsed.report.source.text.get(found.span.start as usize..found.span.end as usize).is_some(),
            "{found:?}"
        );
    }
    assert!(parsed.policy.is_some() || parsed.report.has_errors(), "refused without an error");
}

/// Words that get further into the parser than random characters do.
fn word() -> impl Strategy<Value = String> {
    let words = [
        "version: 1\n",
        "policy: p\n",
        "applies_to:\n",
        "  - cgroup: /a/**\n",
        "exec:\n",
        "  default: block\n",
        "  rules:\n",
        "    - id: r\n",
        "      paths: [\"/x/**\"]\n",
        "      verdict: allow\n",
        "connect: { default: block }\n",
        "{",
        "}",
        "[",
        "]",
        ",",
        ": ",
        "- ",
        "\n",
        "  ",
        "\"",
        "'",
        "#c\n",
        "&a ",
        "*a ",
        "!t ",
        "|\n",
        ">\n",
        "? ",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "~",
        "null",
        "é",
        "\t",
        "\\",
        "\u{feff}",
        "write:\n",
        "tests:\n",
        "profiles:\n",
        "<<: ",
        "\r\n",
    ];
    prop_oneof![3 => prop::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_random_text_never_panics(words in prop::collection::vec(word(), 0..60)) {
        survives(&words.concat());
    }

    #[test]
    fn reading_a_damaged_policy_never_panics(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, word()), 1..5),
    ) {
        let mut chars: Vec<char> = which.get(&shipped()).chars().collect();
        for (at, len, put) in cuts {
            let from = at.index(chars.len() + 1);
            let to = (from + len).min(chars.len());
            chars.splice(from..to, put.chars());
        }
        survives(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn formatting_keeps_the_meaning_and_is_done_after_one_run(
        which in any::<prop::sample::Index>(),
        comments in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..9, any::<bool>()), 0..8),
        blanks in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let texts = shipped();
        let mut lines: Vec<String> = which.get(&texts).lines().map(str::to_owned).collect();
        for (at, indent, own_line) in comments {
            let at = at.index(lines.len());
            if own_line {
                lines.insert(at, format!("{}# on its own", " ".repeat(indent)));
            } else if !lines[at].contains('#') && !lines[at].is_empty() {
                lines[at].push_str(" # beside");
            }
        }
        for at in blanks {
            lines.insert(at.index(lines.len()), String::new());
        }
        let source = Arc::new(Source::new("random.yaml", lines.join("\n")));
        let before = parse(Arc::clone(&source)).policy;
        prop_assume!(before.is_some());
        let once = canonical(&source).unwrap();
        let again = canonical(&Arc::new(Source::new("random.yaml", once.clone()))).unwrap();
        prop_assert_eq!(&once, &again);
        prop_assert_eq!(read(&once).policy, before);
        for comment in ["# on its own", "# beside"] {
            prop_assert_eq!(source.text.matches(comment).count(), once.matches(comment).count());
        }
    }
}

#[test]
fn formatting_orders_keys_and_refuses_what_has_errors() {
    let text = "# head\nwrite: {default: block}\n# why\nexec:\n  rules: [{verdict: allow, paths: ['/usr/bin/*'], id: a}] # last\n  default: block\nconnect: {default: block}\n\napplies_to: [{cgroup: /a/**}]\npolicy: p\nversion: 1\n";
    let shown = canonical(&Arc::new(Source::new("x.yaml", text))).unwrap();
    let wanted = "# head\nversion: 1\npolicy: p\n\napplies_to:\n  - cgroup: \"/a/**\"\n# why\nexec:\n  default: block\n  rules: # last\n    - { id: a, paths: [\"/usr/bin/*\"], verdict: allow }\nconnect: { default: block }\nwrite: { default: block }\n";
    assert_eq!(shown, wanted);
    let bad = Arc::new(Source::new("x.yaml", "version: 1\n"));
    assert!(matches!(canonical(&bad), Err(FmtError::HasErrors)));
}

#[test]
fn shipped_policies_are_canonical() {
    for text in shipped() {
        let source = Arc::new(Source::new("shipped.yaml", text));
        assert_eq!(
            canonical(&source).unwrap(),
            source.text,
            "run `guard policy fmt policies policies/examples`"
        );
    }
}
