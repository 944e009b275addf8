//! A second oracle for the automata: a general regex engine, at sizes it can bear.

use guard_common::abi::{Action, Verdict};
use guard_tests::oracle::generate;
use guard_tests::oracle::lower;
use guard_tests::oracle::model::{Attempt, Document};
use guard_tests::oracle::random::Random;
use guard_userspace::compile::compile_alone;
use guard_userspace::policy::glob::{Glob, Token};
use guard_userspace::policy::source::Span;
use regex_automata::Input;
use regex_automata::dfa::{Automaton as _, dense};
use regex_automata::util::syntax;

fn regex(tokens: &[Token]) -> String {
    tokens.iter().map(part).collect()
}

fn part(token: &Token) -> String {
    let byte = |byte: &u8| format!("\\x{byte:02x}");
    match token {
        Token::Literal(bytes) => bytes.iter().map(byte).collect(),
        Token::One => "[^/]".into(),
        Token::Star => "[^/]*".into(),
        Token::Dirs => "(?:.*/)?".into(),
        Token::Below => ".+".into(),
        Token::Class(class) => {
            let negated = if class.negated { "^/" } else { "" };
            let ranges = class.ranges.iter().map(|(first, last)| format!("{}-{}", byte(first), byte(last)));
            format!("[{negated}{}]", ranges.collect::<String>())
        }
        Token::Alternation(branches) => {
            let branches: Vec<String> = branches.iter().map(|branch| regex(branch)).collect();
            format!("(?:{})", branches.join("|"))
        }
    }
}

fn engine(globs: &[String]) -> dense::DFA<Vec<u32>> {
    let patterns = globs.iter().map(|text| regex(&Glob::path(text, Span::default()).unwrap().tokens));
    let all = format!("^(?:{})$", patterns.collect::<Vec<_>>().join("|"));
    let syntax = syntax::Config::new().unicode(false).utf8(false).dot_matches_new_line(true);
    dense::Builder::new()
        .syntax(syntax)
        .thompson(regex_automata::nfa::thompson::Config::new().utf8(false))
        .build(&all)
        .unwrap()
}

#[test]
fn a_regex_engine_agrees_with_the_automata() {
    for seed in 0..250 {
        let mut random = Random::new(seed ^ 0x4e6);
        let globs: Vec<String> = (0..1 + random.below(4)).map(|_| generate::path(&mut random)).collect();
        let mut rule = generate::rule(&mut random, Action::Load, 0);
        rule.paths.clone_from(&globs);
        rule.except.clear();
        (rule.verdict, rule.shadow) = (Verdict::Block, false);
        let section = guard_tests::oracle::model::Section {
            action: Action::Load,
            default: Some(Verdict::Allow),
            rules: vec![rule],
        };
        let document = Document {
            name: "regex".into(),
            shadow: false,
            gateway: Vec::new(),
            sections: vec![section],
            profiles: Vec::new(),
        };
        let plan = compile_alone(&lower::policy(&document)).unwrap();
        let engine = engine(&globs);
        for _ in 0..100 {
            let attempt = generate::attempt(&mut random, std::slice::from_ref(&document));
            let Attempt::File { path, .. } = attempt else { continue };
            let wanted = engine.try_search_fwd(&Input::new(&path)).unwrap().is_some();
            let question = lower::question(&Attempt::File { action: Action::Load, path: path.clone() });
            let verdict = plan.decide(1, &question).verdict();
            let text = String::from_utf8_lossy(&path).into_owned();
            assert_eq!(verdict == Verdict::Block, wanted, "seed {seed}: {globs:?} on {text:?}");
        }
    }
}
