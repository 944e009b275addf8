//! A path, a socket's name or arguments that a rule decides.

use crate::policy::glob::Glob;
use crate::policy::lang::{Effort, Globs};
use crate::policy::model::{Action, Request, Rule};

/// Enough for a file that a person wrote; a rule that needs more is not tried, and says so.
const EFFORT: usize = 400_000;
/// How many paths are asked about for each rule.
const ASKED: usize = 2_000;

fn request(action: Action, path: Vec<u8>, args: &[Vec<u8>]) -> Option<Request> {
    Some(match action {
        Action::Exec => {
            let argv = std::iter::once(path.clone()).chain(args.iter().cloned()).collect();
            Request::Exec { path, argv }
        }
        Action::Load => Request::Load(path),
        Action::Write => Request::Write(path),
        Action::Read => Request::Read(path),
        Action::Connect => Request::ConnectUnix(path),
        Action::Listen | Action::Boundary => return None,
    })
}

/// Can there be such a file?
fn possible(path: &[u8]) -> bool {
    let Some(below) = path.strip_prefix(b"/") else { return false };
    path.len() < 4000
        && below
            .split(|byte| *byte == b'/')
            .all(|name| (1..=255).contains(&name.len()) && name != b"." && name != b"..")
}

/// The shortest bytes of the globs, without those of `except`, that `decided` takes.
fn shortest(of: &[Glob], except: &[Glob], mut decided: impl FnMut(Vec<u8>) -> bool) -> Option<Vec<u8>> {
    let mut globs = Globs::default();
    globs.add_all(0, of);
    globs.add_all(1, except);
    let (mut found, mut asked) = (None, 0);
    globs.walk(
        &Effort::new(EFFORT),
        |tags| tags.contains(&0),
        |tags, example| {
            if tags == [0] {
                asked += 1;
                let bytes = example();
                if decided(bytes.clone()) {
                    found = Some(bytes);
                }
            }
            found.is_none() && asked < ASKED
        },
    );
    found
}

/// One example of each argument's glob.
fn arguments(rule: &Rule) -> Option<Vec<Vec<u8>>> {
    rule.args.iter().map(|glob| shortest(std::slice::from_ref(glob), &[], |_| true)).collect()
}

pub(super) fn path(action: Action, rule: &Rule, decided: impl Fn(&Request) -> bool) -> Option<Request> {
    let args = arguments(rule)?;
    let fits = |bytes: Vec<u8>| {
        possible(&bytes) && request(action, bytes, &args).is_some_and(|request| decided(&request))
    };
    let one = |glob: &Glob| shortest(std::slice::from_ref(glob), &rule.except, fits);
    // The walk finds the shortest of one glob by its own letters; those of a class are asked for after it.
    let bytes = rule.paths.iter().find_map(|glob| one(glob).or_else(|| longer(glob, &rule.except, fits)))?;
    request(action, bytes, &args)
}

/// Names that other rules do not speak of by chance: the walk knows only this rule's letters.
fn longer(glob: &Glob, except: &[Glob], decided: impl Fn(Vec<u8>) -> bool) -> Option<Vec<u8>> {
    let text = glob.text.as_str();
    NAMES.iter().find_map(|name| {
        let path = text.replace("/**/", &format!("/{name}/")).replace("**", name).replace('*', name);
        let bytes = path.into_bytes();
        let fits = glob.matches(&bytes) && !except.iter().any(|glob| glob.matches(&bytes));
        (fits && decided(bytes.clone())).then_some(bytes)
    })
}

const NAMES: &[&str] = &["guard-drill", "guard-drill/file", "guard-drill.txt", "a/guard/drill.d/file"];

pub(super) fn unix(rule: &Rule, decided: impl Fn(&Request) -> bool) -> Option<Request> {
    let fits = |bytes: Vec<u8>| {
        let name = bytes.strip_prefix(b"@");
        // What fits into an address, and what can be a file.
        let bindable = bytes.len() < 100 && name.map_or_else(|| possible(&bytes), |name| !name.is_empty());
        bindable && decided(&Request::ConnectUnix(bytes))
    };
    let bytes = rule.unix.iter().find_map(|glob| shortest(std::slice::from_ref(glob), &rule.except, fits))?;
    Some(Request::ConnectUnix(bytes))
}

/// Paths that no rule is likely to speak of.
pub(super) fn anywhere(action: Action) -> impl Iterator<Item = Request> {
    const PLACES: &[&str] = &[
        "/guard-drill",
        "/guard-drill.d/file",
        "/srv/guard-drill/x",
        "/opt/guard-drill",
        "/usr/bin/guard-drill",
    ];
    PLACES.iter().filter_map(move |path| request(action, path.as_bytes().to_vec(), &[]))
}
