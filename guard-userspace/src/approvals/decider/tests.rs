use std::fs;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream as Stream};
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use super::*;

const DIGEST: &str = "00000000000000aa";
const QUESTION: &[u8] = br#"{"event":"ask"}"#;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A directory of the test's own, which goes with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("guard-decider-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    fn decider(&self, deadline: u64) -> Decider {
        let deadline = Duration::from_millis(deadline);
        Decider { ask: Ask::Socket(self.socket()), deadline, at_once: 1 }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn asked(decider: &Decider) -> Result<Said, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(decider, DIGEST, QUESTION))
}

/// Answers each connection with the next of these texts, once it has read the question.
fn answering(place: &Place, texts: &'static [&'static str]) {
    let listener = UnixListener::bind(place.socket()).unwrap();
    thread::spawn(move || {
        for text in texts {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = Vec::new();
            io::BufReader::new(&stream).read_until(b'\n', &mut line).unwrap();
            assert_eq!(line.strip_suffix(b"\n"), Some(QUESTION));
            stream.write_all(text.as_bytes()).unwrap();
        }
    });
}

#[test]
fn an_answer_is_one_line() {
    let place = Place::new("line");
    answering(&place, &["{\"answer\":\"approve\",\"note\":\"known\",\"digest\":\"00000000000000aa\"}\nmore"]);
    let said = asked(&place.decider(5000)).unwrap();
    assert_eq!((said.word, said.note.as_str()), (Word::Approve, "known"));
    assert_eq!(said.peer.map(|peer| peer.pid), Some(std::process::id()));
    for (text, word) in
        [("{\"answer\":\"deny\"}", Word::Deny), ("{\"answer\":\"pass\",\"note\":null}", Word::Pass)]
    {
        assert_eq!(read(text.as_bytes(), DIGEST, None).unwrap().word, word);
    }
}

#[test]
fn what_is_not_quite_an_answer_is_none() {
    let note = format!("{{\"answer\":\"approve\",\"note\":\"{}\"}}", "x".repeat(NOTE + 1));
    let long = format!("{{\"answer\":\"approve\"}}{}", " ".repeat(LONGEST));
    for (text, says) in [
        ("", "is not {"),
        ("approve", "is not {"),
        ("{}", "missing field `answer`"),
        ("{\"answer\":\"yes\"}", "unknown variant `yes`"),
        ("{\"answer\":\"Approve\"}", "unknown variant"),
        ("{\"answer\":true}", "is not {"),
        ("{\"answer\":\"approve\"", "EOF"),
        ("{\"answer\":\"approve\"} {\"answer\":\"deny\"}", "trailing"),
        ("{\"answer\":\"approve\",\"answer\":\"deny\"}", "duplicate field"),
        ("{\"answer\":\"approve\",\"unless\":\"x\"}", "unknown field `unless`"),
        ("[\"approve\",null,null]", "is not {"),
        ("{\"answer\":\"approve\",\"digest\":\"00000000000000ab\"}", "another call"),
        (&note, "its note"),
        (&long, "more than"),
    ] {
        let why = read(text.as_bytes(), DIGEST, None).expect_err(text);
        assert!(why.contains(says), "{text}: {why}");
    }
}

#[test]
fn who_says_nothing_is_waited_for_until_the_deadline() {
    let place = Place::new("silent");
    let listener = UnixListener::bind(place.socket()).unwrap();
    let kept: thread::JoinHandle<Stream> = thread::spawn(move || listener.accept().unwrap().0);
    let begun = Instant::now();
    let why = asked(&place.decider(300)).unwrap_err();
    assert_eq!(why, "no answer within 300 ms");
    assert!((Duration::from_millis(300)..Duration::from_secs(3)).contains(&begun.elapsed()));
    drop(kept);
}

#[test]
fn one_that_is_not_there_or_hangs_up_is_asked_again_until_the_deadline() {
    let place = Place::new("away");
    let why = asked(&place.decider(200)).unwrap_err();
    assert!(why.starts_with("no answer within 200 ms, at last: No such file"), "{why}");
    // Nobody listens behind the name any more.
    drop(UnixListener::bind(place.socket()).unwrap());
    let why = asked(&place.decider(200)).unwrap_err();
    assert!(why.contains("refused"), "{why}");
    // It comes while it is waited for, dies once over the question, and comes back.
    fs::remove_file(place.socket()).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| asked(&place.decider(10_000)));
        thread::sleep(Duration::from_millis(150));
        answering(&place, &["", "{\"answer\":\"deny\"}\n"]);
        assert_eq!(waiting.join().unwrap().unwrap().word, Word::Deny);
    });
}

#[test]
fn a_socket_that_others_could_replace_is_not_asked() {
    let place = Place::new("open");
    answering(&place, &["{\"answer\":\"approve\"}\n"]);
    for mode in [0o777, 0o1777, 0o720] {
        fs::set_permissions(&place.0, fs::Permissions::from_mode(mode)).unwrap();
        let why = asked(&place.decider(5000)).unwrap_err();
        assert!(why.contains("others could put a socket in its place"), "{mode:o}: {why}");
    }
    fs::set_permissions(&place.0, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(asked(&place.decider(5000)).unwrap().word, Word::Approve);
}

/// A server that answers one request with what `answer` makes of its head and body.
fn server(answer: impl FnOnce(&str, &[u8]) -> Vec<u8> + Send + 'static) -> Decider {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (head, body) = request(&mut stream);
        stream.write_all(&answer(&head, &body)).unwrap();
    });
    let url = Url { host: "127.0.0.1".to_owned(), port, path: "/held".to_owned() };
    Decider { ask: Ask::Http(url, Secret::of(SECRET)), deadline: Duration::from_secs(5), at_once: 1 }
}

fn request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let (mut bytes, mut some) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut some).unwrap();
        bytes.extend_from_slice(&some[..read]);
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n")
            && bytes.len() >= at + 4 + QUESTION.len()
        {
            return (String::from_utf8(bytes[..at].to_vec()).unwrap(), bytes[at + 4..].to_vec());
        }
    }
}

/// What the server's own openssl makes of it.
fn hmac(text: &[u8]) -> String {
    let mut openssl = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", std::str::from_utf8(SECRET).unwrap()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("openssl is there");
    openssl.stdin.take().unwrap().write_all(text).unwrap();
    let output = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
    output.trim().rsplit(' ').next().unwrap().to_owned()
}

fn of<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {head}"))
}

fn reply(body: &str, signature: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nGuard-Signature: {signature}\r\nContent-Length: {length}\r\n\r\n{body}")
        .into()
}

#[test]
fn both_sides_sign_over_http() {
    const BODY: &str = "{\"answer\":\"approve\"}";
    let said = asked(&server(|head, body| {
        assert!(head.starts_with("POST /held HTTP/1.1\r\n") && body == QUESTION, "{head}");
        let (time, signature) = (of(head, "Guard-Timestamp: "), of(head, "Guard-Signature: "));
        let signed = [time.as_bytes(), b".", body].concat();
        assert_eq!(signature, format!("v1={}", hmac(&signed)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(time.parse().unwrap()) < 60);
        reply(BODY, &format!("v1={}", hmac(format!("{signature}.{BODY}").as_bytes())))
    }));
    assert_eq!(said.unwrap().word, Word::Approve);
}

#[test]
fn an_unsigned_answer_is_none() {
    const BODY: &str = "{\"answer\":\"approve\"}";
    type Answer = fn(&str, &[u8]) -> Vec<u8>;
    let wrong: [(Answer, &str); 7] = [
        (|_, _| format!("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{BODY}").into(), "not signed"),
        (|_, _| reply(BODY, "v1=00"), "not signed"),
        // What was asked, sent back.
        (|head, body| reply(std::str::from_utf8(body).unwrap(), of(head, "Guard-Signature: ")), "not signed"),
        // Signed, but to no question.
        (|_, _| reply(BODY, &format!("v1={}", hmac(format!(".{BODY}").as_bytes()))), "not signed"),
        (|_, _| b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec(), "status 500"),
        (
            |_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"answer\"".to_vec(),
            "before its Content-Length",
        ),
        (|_, _| vec![b'x'; LONGEST + 4096], "more than"),
    ];
    for (answer, says) in wrong {
        let why = asked(&server(answer)).unwrap_err();
        assert!(why.contains(says), "{why}, not {says}");
    }
}
