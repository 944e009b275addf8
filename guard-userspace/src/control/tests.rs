use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net;
use std::path::PathBuf;

use super::super::{Client, ControlError, Greeting};
use super::*;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("guard-control-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A server whose loop greets whoever asks, and `client` in a thread of its own.
fn with_server<T: Send + 'static>(name: &str, client: impl FnOnce(PathBuf) -> T + Send + 'static) -> T {
    let run = directory(name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let mut server = Server::open(&run).unwrap();
        let path = run.clone();
        let mut done = tokio::task::spawn_blocking(move || client(path));
        loop {
            tokio::select! {
                result = &mut done => break result.unwrap(),
                call = server.call() => {
                    let greeting = Greeting { version: call.peer.user.clone(), pid: call.peer.pid, generation: 7 };
                    let reply = match call.request {
                        Request::Hello => Reply::ok(&greeting),
                        _ => Reply::Error(Refusal::Unknown("nothing of that kind".to_owned())),
                    };
                    call.answer(reply);
                }
            }
        }
    });
    fs::remove_dir_all(run).unwrap();
    result
}

fn raw(run: &Path, text: &[u8]) -> String {
    let stream = net::UnixStream::connect(run.join(SOCKET)).unwrap();
    (&stream).write_all(text).unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn a_client_is_answered_and_known() {
    let greeting = with_server("hello", |run| {
        let mut client = Client::connect(&run).unwrap();
        let _: Greeting = client.ask(&Request::Hello).unwrap();
        client.ask::<Greeting>(&Request::Hello).unwrap()
    });
    assert_eq!((greeting.pid, greeting.generation), (std::process::id(), 7));
}

#[test]
fn a_refusal_is_an_error_with_its_sentence() {
    let error = with_server("refusal", |run| {
        Client::connect(&run).unwrap().ask::<Greeting>(&Request::Reload).unwrap_err()
    });
    assert_eq!(error.to_string(), "nothing of that kind");
}

#[test]
fn nobody_there_says_what_to_start() {
    let run = directory("nobody");
    let error = Client::connect(&run).unwrap_err();
    assert!(matches!(error, ControlError::NoDaemon { .. }), "{error:?}");
    assert!(error.to_string().contains("start `guard daemon`"), "{error}");
    fs::remove_dir_all(run).unwrap();
}

#[test]
fn clients_that_say_nothing_keep_nobody_out_for_long() {
    let (silent, waited) = with_server("silent", |run| {
        let silent: Vec<net::UnixStream> =
            (0..CLIENTS + KEPT).map(|_| net::UnixStream::connect(run.join(SOCKET)).unwrap()).collect();
        let begun = std::time::Instant::now();
        let _: Greeting = Client::connect(&run).unwrap().ask(&Request::Hello).unwrap();
        (silent.len(), begun.elapsed())
    });
    assert!(waited < FIRST * 2, "{silent} silent clients kept another one waiting for {waited:?}");
}

#[test]
fn some_places_are_roots_alone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (room, soon) = (Room::new(), Duration::from_millis(1));
        let mut taken = Vec::new();
        for _ in 0..CLIENTS {
            taken.push(timeout(soon, room.place(1000)).await.unwrap().unwrap());
        }
        assert!(timeout(soon, room.place(1000)).await.is_err());
        for _ in 0..KEPT {
            taken.push(timeout(soon, room.place(0)).await.unwrap().unwrap());
        }
        assert!(timeout(soon, room.place(0)).await.is_err());
    });
}

#[test]
fn nonsense_is_answered_and_the_next_line_still_read() {
    let (first, second) = with_server("nonsense", |run| {
        let stream = net::UnixStream::connect(run.join(SOCKET)).unwrap();
        (&stream).write_all(b"\xff\xfe{]\n{\"version\":1,\"do\":\"hello\"}\n").unwrap();
        let mut lines = BufReader::new(&stream).lines();
        (lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap())
    });
    assert!(first.contains("malformed"), "{first}");
    assert!(second.contains("\"generation\":7"), "{second}");
}

#[test]
fn a_line_without_end_is_cut_off() {
    let answer = with_server("endless", |run| {
        let stream = net::UnixStream::connect(run.join(SOCKET)).unwrap();
        (&stream).write_all(&vec![b'x'; LONGEST + 1]).unwrap();
        let mut answer = String::new();
        (&stream).read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.contains("at most 65536 bytes"), "{answer}");
}

#[test]
fn clients_that_say_nothing_take_no_place_from_the_loop() {
    let answer = with_server("crowd", |run| {
        let crowd: Vec<_> =
            (0..CLIENTS - 1).map(|_| net::UnixStream::connect(run.join(SOCKET)).unwrap()).collect();
        let answer = raw(&run, b"{\"version\":1,\"do\":\"hello\"}\n");
        drop(crowd);
        answer
    });
    assert!(answer.contains("\"ok\""), "{answer}");
}

#[test]
fn the_socket_is_for_root_and_its_group_alone() {
    let mode =
        with_server("mode", |run| fs::metadata(run.join(SOCKET)).unwrap().permissions().mode() & 0o777);
    assert!(mode == 0o600 || mode == 0o660, "{mode:o}");
}
