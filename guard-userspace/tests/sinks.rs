//! Sinks and metrics with the other side as it is, absent, slow or stalled: the log never waits.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{Place, records};
use guard_userspace::approvals::{Event, Request, message};
use guard_userspace::audit::{Host, Options};
use guard_userspace::config::{Settings, parse};
use guard_userspace::metrics::NAMES;
use guard_userspace::sinks::Sinks;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use serde_json::Value;

fn settings(text: &str) -> Settings {
    parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"))
}

fn start(text: &str) -> Sinks {
    Sinks::start(&settings(text)).unwrap()
}

/// Writes some records to a log and offers its lines.
fn offer(place: &Place, sinks: &Sinks, seqs: std::ops::Range<u64>) {
    let (mut log, _) = place.open(Options::default());
    log.append(&records(seqs)).unwrap();
    sinks.offer(log.written());
}

/// An HTTP server that gives each body on and answers with these status codes in turn, the last one for ever.
fn server(codes: &'static [u16]) -> (u16, mpsc::Receiver<Vec<u8>>) {
    let (port, requests) = listener(codes);
    let (send, bodies) = mpsc::channel();
    thread::spawn(move || requests.into_iter().try_for_each(|(_, body)| send.send(body)));
    (port, bodies)
}

/// As [`server`], with each request's head.
fn listener(codes: &'static [u16]) -> (u16, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, bodies) = mpsc::channel();
    thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let request = read_request(&mut stream);
            let code = codes[n.min(codes.len() - 1)];
            let _ = write!(stream, "HTTP/1.1 {code} x\r\nContent-Length: 0\r\n\r\n");
            if send.send(request).is_err() {
                return;
            }
        }
    });
    (port, bodies)
}

fn read_request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut some = [0; 4096];
    loop {
        let read = stream.read(&mut some).unwrap();
        bytes.extend_from_slice(&some[..read]);
        let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&bytes[..at]).into_owned();
        let head = text.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if bytes.len() >= at + 4 + length.parse::<usize>().unwrap() {
            return (text, bytes[at + 4..].to_vec());
        }
    }
}

const SOON: Duration = Duration::from_secs(20);

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn otlp_is_what_the_protocols_own_types_read() {
    let place = Place::new("sink-otlp");
    // The collector is not ready at first.
    let (port, bodies) = server(&[503, 200]);
    let sinks = start(&format!("sinks: [{{ otlp: 'http://127.0.0.1:{port}/v1/logs' }}]\n"));
    offer(&place, &sinks, 0..10);
    let first = bodies.recv_timeout(SOON).unwrap();
    let body = bodies.recv_timeout(SOON).unwrap();
    assert_eq!(first, body, "what failed is tried again");
    let request: ExportLogsServiceRequest = serde_json::from_slice(&body).unwrap();
    let scope = &request.resource_logs[0].scope_logs[0];
    let decisions: Vec<_> =
        scope.log_records.iter().filter(|record| record.event_name == "guard.decision").collect();
    assert_eq!(decisions.len(), 10);
    let object = decisions[3].attributes.iter().find(|attribute| attribute.key == "guard.object").unwrap();
    let value = object.value.as_ref().and_then(|value| value.value.as_ref());
    assert_eq!(value, Some(&Any::StringValue("/srv/file-3".into())));
    assert!(decisions[3].time_unix_nano > 0);
    wait_until("sent", || sinks.standing()[0].sent >= 10);
    assert_eq!((sinks.standing()[0].failed, sinks.standing()[0].dropped), (1, 0));
}

#[test]
fn a_webhook_gets_refusals_as_they_stand_in_the_log() {
    let place = Place::new("sink-webhook");
    let (port, bodies) = server(&[204]);
    let sinks = start(&format!("sinks: [{{ webhook: 'http://127.0.0.1:{port}/x' }}]\n"));
    offer(&place, &sinks, 0..3);
    let body: Value = serde_json::from_slice(&bodies.recv_timeout(SOON).unwrap()).unwrap();
    let objects: Vec<&str> =
        body["records"].as_array().unwrap().iter().map(|record| record["object"].as_str().unwrap()).collect();
    assert_eq!(objects, ["/srv/file-0", "/srv/file-1", "/srv/file-2"]);
}

#[test]
fn what_the_other_side_will_never_take_is_left_out_and_counted() {
    let place = Place::new("sink-never");
    let (port, bodies) = server(&[400]);
    let sinks = start(&format!("sinks: [{{ webhook: 'http://127.0.0.1:{port}/x' }}]\n"));
    offer(&place, &sinks, 0..3);
    bodies.recv_timeout(SOON).unwrap();
    wait_until("counted", || sinks.standing()[0].dropped == 3);
}

/// What Python's own library makes of a message and a secret in a file.
fn python_signature(secret: &Path, time: &str, body: &[u8]) -> String {
    const SCRIPT: &str = "import hashlib, hmac, sys\n\
        key = open(sys.argv[1], 'rb').read().removesuffix(b'\\n')\n\
        text = sys.argv[2].encode() + b'.' + sys.stdin.buffer.read()\n\
        print('v1=' + hmac.new(key, text, hashlib.sha256).hexdigest())";
    let mut python = Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(secret)
        .arg(time)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    python.stdin.take().unwrap().write_all(body).unwrap();
    String::from_utf8(python.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

fn secret(place: &Place) -> PathBuf {
    let path = place.0.join("secret");
    std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_message_about_a_held_call_is_signed_and_tried_again() {
    let place = Place::new("sink-held");
    let secret = secret(&place);
    let (port, requests) = listener(&[500, 200]);
    let sinks = start(&format!(
        "approvals: {{ webhook: 'http://127.0.0.1:{port}/held', secret: {} }}\n",
        secret.display()
    ));
    assert!(sinks.wants_held() && !sinks.wants_lines());
    // Records are not for it.
    offer(&place, &sinks, 0..3);
    let host = Host { name: "h".into(), boot: "b".into() };
    let call = Request { id: 4, object: "/srv/\u{e4}".into(), ..Request::default() };
    let sent = message(Event::Held, &host, &call, None);
    sinks.tell(&sent);
    for _ in 0..2 {
        let (head, body) = requests.recv_timeout(SOON).unwrap();
        assert_eq!(body, sent);
        let header = |name: &str| {
            let found = head.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            found.trim_start_matches(": ").to_owned()
        };
        let time = header("Guard-Timestamp");
        assert_eq!(header("Guard-Signature"), python_signature(&secret, &time, &body));
    }
    wait_until("sent", || sinks.standing()[0].sent == 1);
    let standing = &sinks.standing()[0];
    assert_eq!((standing.failed, standing.dropped), (1, 0));
    assert_eq!(standing.name, format!("approvals http://127.0.0.1:{port}/held"));
}

#[test]
fn a_stalled_webhook_takes_no_more_than_its_queue() {
    let place = Place::new("sink-held-stalled");
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stalled.local_addr().unwrap().port();
    let sinks = start(&format!(
        "approvals: {{ webhook: 'http://127.0.0.1:{port}/', secret: {}, queue: 64KiB }}\n",
        secret(&place).display()
    ));
    let begun = Instant::now();
    (0..1000).for_each(|_| sinks.tell(&[b'x'; 1000]));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let standing = &sinks.standing()[0];
    assert!(standing.waiting_bytes <= 64 << 10 && standing.dropped > 900, "{standing:?}");
}

#[test]
fn journald_gets_one_datagram_a_record() {
    let place = Place::new("sink-journald");
    let socket = place.0.join("socket");
    let journal = UnixDatagram::bind(&socket).unwrap();
    journal.set_read_timeout(Some(SOON)).unwrap();
    let sinks = start(&format!("sinks: [{{ journald: '{}', only: refused }}]\n", socket.display()));
    offer(&place, &sinks, 0..2);
    let mut room = [0; 65536];
    for n in 0..2 {
        let length = journal.recv(&mut room).unwrap();
        let text = String::from_utf8(room[..length].to_vec()).unwrap();
        assert!(text.contains("PRIORITY=4\nSYSLOG_IDENTIFIER=guard\n"), "{text}");
        assert!(text.contains(&format!("GUARD_OBJECT=/srv/file-{n}\n")) && text.ends_with("\"}\n"), "{text}");
        assert!(text.lines().all(|line| line.split_once('=').is_some()), "{text}");
    }
}

#[test]
fn a_stalled_sink_never_touches_the_log() {
    let place = Place::new("sink-stalled");
    // Takes connections into its backlog and never answers; another is not there; a third is a full socket.
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stalled.local_addr().unwrap().port();
    let socket = place.0.join("socket");
    let _journal = UnixDatagram::bind(&socket).unwrap();
    let sinks = start(&format!(
        "sinks:\n  - {{ otlp: 'http://127.0.0.1:{port}/', queue: 1MiB }}\n  \
         - {{ webhook: 'http://127.0.0.1:1/', queue: 1MiB }}\n  \
         - {{ journald: '{}', queue: 1MiB }}\n",
        socket.display()
    ));
    let (mut log, _) = place.open(Options::default());
    let begun = Instant::now();
    let (mut longest, mut written) = (Duration::ZERO, 0);
    for batch in 0..100 {
        let batch = records(batch * 100..(batch + 1) * 100);
        let one = Instant::now();
        log.append(&batch).unwrap();
        sinks.offer(log.written());
        longest = longest.max(one.elapsed());
        written += batch.len() as u64;
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}, one batch {longest:?}", begun.elapsed());
    assert_eq!(log.status().refused, 0);
    for sink in sinks.standing() {
        assert!(sink.dropped > 0 && sink.waiting_bytes <= 1 << 20, "bounded: {sink:?}");
    }
    log.checkpoint().unwrap();
    drop(log);
    let report = guard_userspace::audit::verify::verify(&place.log(), &place.keys(), None).unwrap();
    assert!(report.is_whole() && report.lines > written, "{report:?}");
}

fn get(socket: &Path, request: &str) -> String {
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_are_served_to_who_asks_rightly() {
    let place = Place::new("metrics");
    let socket = place.0.join("metrics.sock");
    let sinks = start(&format!("metrics: {{ listen: 'unix:{}' }}\n", socket.display()));
    sinks.page().unwrap().put("guard_sessions 3\n".to_owned());
    let answer = get(&socket, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nguard_sessions 3\n"),
        "{answer}"
    );
    assert!(answer.contains("Content-Length: 17\r\n"), "{answer}");
    assert!(get(&socket, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(get(&socket, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(get(&socket, &"x".repeat(9000)).starts_with("HTTP/1.1 400"));
    // Whoever says nothing takes no place from the others for ever.
    let _silent: Vec<_> = (0..7).map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap()).collect();
    assert!(get(&socket, "GET /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200"));
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/grafana/guard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut asked = std::collections::BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expr = target["expr"].as_str().unwrap();
            let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            asked.extend(words.filter(|word| word.starts_with("guard_")).map(str::to_owned));
        }
    }
    let known: std::collections::BTreeSet<String> =
        NAMES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(asked, known, "every metric is shown, and nothing else is asked for");
}
