//! Whatever a policy file is, `guard policy check` ends with a clear error, within a second of processor time and
//! 64 MiB of memory.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// Data segment and private writable mappings, in KiB: what a process can fill.
const MEMORY_KIB: u32 = 64 << 10;

fn scratch() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hostile-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn check(path: &Path) -> Output {
    let script = format!("ulimit -d {MEMORY_KIB} || exit 99; exec \"$0\" policy check \"$1\"");
    Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_guard")])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn ends_with(path: &Path, code: &str) {
    let shown = check(path);
    let text = String::from_utf8(shown.stdout).unwrap();
    let errors = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(text.contains(&format!("error[{code}]")), "{}: {text}{errors}", path.display());
    assert!(matches!(shown.status.code(), Some(1 | 3)), "{}: {:?} {errors}", path.display(), shown.status);
    assert!(!text.contains('\x1b') && !text.contains('\0'), "{}", path.display());
}

/// All in one test: the processor time of children is known only for all of them together.
#[test]
fn hostile_files_end_in_a_clear_error_within_their_bounds() {
    let dir = scratch();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let link = |name: &str, to: &str| {
        let path = dir.join(name);
        drop(std::fs::remove_file(&path));
        std::os::unix::fs::symlink(to, &path).unwrap();
        path
    };
    let fifo = dir.join("fifo.yaml");
    drop(std::fs::remove_file(&fifo));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();

    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..60 {
        let before = format!("*a{}", n - 1);
        laughs.push_str(&format!("a{n}: &a{n} [{}]\n", [before.as_str(); 10].join(", ")));
    }
    let sparse = dir.join("sparse.yaml");
    std::fs::File::create(&sparse).unwrap().set_len(100 << 20).unwrap();
    let limit = 2 << 20;
    let many = |item: &str| item.repeat(limit / item.len());

    let cases: Vec<(PathBuf, &str)> = vec![
        (file("laughs.yaml", laughs.as_bytes()), "P008"),
        (file("big.yaml", &vec![b'a'; 100 << 20]), "P003"),
        (sparse, "P003"),
        (file("deep-flow.yaml", "[".repeat(1_000_000).as_bytes()), "P007"),
        (file("deep-block.yaml", &deep_block(1_400)), "P007"),
        (file("deep-dash.yaml", "- ".repeat(1_000_000).as_bytes()), "P007"),
        (file("wide.yaml", format!("policy: [{}]", many("a,")).as_bytes()), "P003"),
        (file("wide-enough.yaml", format!("policy: [{}]", "a,".repeat(900_000)).as_bytes()), "P007"),
        (file("keys.yaml", many("a: 1\n").as_bytes()), "P007"),
        (file("same-keys.yaml", "mode: 1\n".repeat(100_000).as_bytes()), "P011"),
        (file("comments.yaml", many("#\n").as_bytes()), "P013"),
        (file("one-line.yaml", format!("policy: {}", "x".repeat(2_000_000)).as_bytes()), "P015"),
        (file("quotes.yaml", format!("policy: \"{}", "\\u0041".repeat(300_000)).as_bytes()), "P006"),
        (file("globs.yaml", hostile_globs().as_bytes()), "P019"),
        (file("args.yaml", hostile_args().as_bytes()), "P019"),
        (file("nul.yaml", b"version: 1\0\n"), "P005"),
        (file("nuls.yaml", &vec![0; 1 << 20]), "P005"),
        (file("latin.yaml", b"policy: caf\xe9\n"), "P004"),
        (file("utf16.yaml", b"\xff\xfep\0o\0l\0i\0c\0y\0"), "P004"),
        (file("empty.yaml", b""), "P013"),
        (link("loop.yaml", "loop.yaml"), "P001"),
        (link("far.yaml", "/dev/zero"), "P002"),
        (fifo, "P002"),
        (PathBuf::from("/dev/zero"), "P002"),
        (PathBuf::from("/dev/full"), "P002"),
        (PathBuf::from("/proc/self/mem"), "P001"),
        (PathBuf::from("/no/such/file.yaml"), "P001"),
    ];
    for (path, code) in cases {
        let before = cpu();
        ends_with(&path, code);
        let spent = cpu() - before;
        assert!(spent < Duration::from_secs(1), "{} took {spent:?}", path.display());
    }
    std::fs::remove_dir_all(dir).unwrap();
}

fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64;
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

fn deep_block(levels: usize) -> Vec<u8> {
    (0..levels).flat_map(|level| format!("{}a:\n", " ".repeat(level)).into_bytes()).collect()
}

/// Rules whose questions ("does one swallow the other?") explode if they are not bounded.
fn hostile_globs() -> String {
    let mut text = String::from("version: 1\npolicy: p\napplies_to: [{ cgroup: /a/** }]\nexec:\n  rules:\n");
    for n in 0..600 {
        let wide = "*a?".repeat(10);
        text.push_str(&format!(
            "    - {{ id: r{n}, paths: [\"/**/{n}{wide}\"], except: [\"/**/{wide}{n}\"], verdict: "
        ));
        text.push_str(if n % 2 == 0 { "block }\n" } else { "allow }\n" });
    }
    text
}

fn hostile_args() -> String {
    let nested = format!("/{}a{}", "{a,".repeat(8), "}".repeat(8));
    let mut text = String::from("version: 1\npolicy: p\napplies_to: [{ cgroup: /a/** }]\nread:\n  rules:\n");
    for n in 0..3_000 {
        text.push_str(&format!(
            "    - {{ id: r{n}, paths: [\"{nested}\", \"/x{n}/**\"], verdict: block }}\n"
        ));
    }
    text
}
