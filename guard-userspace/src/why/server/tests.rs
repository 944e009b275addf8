use std::path::PathBuf;

use super::super::{Account, WhyError, ask};
use super::*;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("guard-why-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A server whose loop tells whoever has a session its number, and `client` in a thread of its own.
fn with_server<T: Send + 'static>(
    name: &str,
    session: Option<u64>,
    client: impl FnOnce(PathBuf) -> T + Send + 'static,
) -> T {
    let run = directory(name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let listener = listen(&run, |_| Ok(())).unwrap();
        let mut server = Server::start(listener, move |_| Ok(session)).unwrap();
        let path = run.clone();
        let mut done = tokio::task::spawn_blocking(move || client(path));
        loop {
            tokio::select! {
                result = &mut done => break result.unwrap(),
                question = server.question() => {
                    assert_eq!(question.pid, Some(std::process::id()));
                    let answer = question.session.map_or_else(
                        || Answer::Error("no domain".to_owned()),
                        |session| Answer::Ok(Account {
                            session: session.to_string(),
                            since: String::new(),
                            forgotten: 0,
                            refusals: Vec::new(),
                        }),
                    );
                    question.answer(answer);
                }
            }
        }
    });
    fs::remove_dir_all(run).unwrap();
    result
}

#[test]
fn whoever_is_inside_is_told_and_whoever_is_not_is_told_so() {
    let account = with_server("inside", Some(7), |run| ask(&run).unwrap());
    assert_eq!(account.session, "7");
    let untold = with_server("outside", None, |run| ask(&run).unwrap_err());
    assert!(matches!(&untold, WhyError::Untold(text) if text == "no domain"), "{untold:?}");
}

#[test]
fn clients_that_hang_up_talk_or_say_nothing_keep_nobody_waiting() {
    let account = with_server("others", Some(7), |run| {
        let silent: Vec<_> = (0..20).map(|_| net::UnixStream::connect(run.join(SOCKET)).unwrap()).collect();
        for _ in 0..20 {
            use std::io::Write as _;
            let mut stream = net::UnixStream::connect(run.join(SOCKET)).unwrap();
            stream.write_all(b"{\"session\":\"somebody else's\"}\n").unwrap();
        }
        let account = ask(&run).unwrap();
        drop(silent);
        account
    });
    assert_eq!(account.session, "7");
}

#[test]
fn everybody_gets_through_to_the_socket_and_sees_nothing_beside_it() {
    let run = directory("modes");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    let first = listen(&run, |_| Ok(())).unwrap();
    assert_eq!((mode(&run), mode(&run.join(SOCKET))), (0o711, 0o666));
    drop(first);
    assert!(matches!(ask(&run), Err(WhyError::NoDaemon { .. })), "an old socket is nobody");
    // The next daemon takes its place.
    let _second = listen(&run, |_| Ok(())).unwrap();
    fs::remove_dir_all(run).unwrap();
}

#[test]
fn a_socket_that_cannot_be_marked_is_none() {
    let run = directory("unmarked");
    assert!(listen(&run, |_| Err(io::ErrorKind::Other.into())).is_err());
    assert!(!run.join(SOCKET).exists());
    fs::remove_dir_all(run).unwrap();
}

#[test]
fn a_daemon_that_ends_before_it_answers_is_nobody_too() {
    let run = directory("ending");
    let listener = listen(&run, |_| Ok(())).unwrap();
    let path = run.clone();
    let client = std::thread::spawn(move || ask(&path).unwrap_err());
    nix::poll::poll(
        &mut [nix::poll::PollFd::new(listener.as_fd(), nix::poll::PollFlags::POLLIN)],
        nix::poll::PollTimeout::NONE,
    )
    .unwrap();
    // Connected, and in the backlog.
    drop(listener);
    assert!(matches!(client.join().unwrap(), WhyError::NoDaemon { .. }));
    fs::remove_dir_all(run).unwrap();
}

#[test]
fn nobody_there_is_said_in_a_sentence() {
    let run = directory("nobody");
    let error = ask(&run).unwrap_err().to_string();
    assert!(error.contains("no daemon answers at") && error.contains("start it"), "{error}");
    fs::remove_dir_all(run).unwrap();
}
