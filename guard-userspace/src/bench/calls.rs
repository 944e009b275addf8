//! What a system call takes this process, wherever it runs: outside every domain, or in a session of `guard run`.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{BenchError, Figure};

/// The program that is started and does nothing.
const PROGRAM: &str = "/bin/true";
/// A path that every policy lets be read.
const FILE: &str = "/etc/ld.so.cache";

type Call<'a> = (&'static str, Box<dyn FnMut() -> io::Result<()> + 'a>);

/// A call that a policy refuses is a figure too: what a refusal takes.
pub(super) fn measure(scratch: &Path, patience: Duration) -> Result<Vec<Figure>, BenchError> {
    let made = scratch.join("made");
    let peer = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|peer| Ok((peer.local_addr()?, peer)));
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let mut calls: Vec<Call<'_>> = vec![
        (
            "getppid (control)",
            Box::new(|| {
                std::hint::black_box(nix::unistd::getppid());
                Ok(())
            }),
        ),
        ("open and close", Box::new(|| File::open(FILE).map(drop))),
        (
            "create and remove",
            Box::new(|| {
                File::create(&made)?;
                fs::remove_file(&made)
            }),
        ),
        (
            "start a program and wait",
            Box::new(|| {
                let quiet = Command::new(PROGRAM).stdin(Stdio::null()).stdout(Stdio::null()).status();
                quiet.map(drop)
            }),
        ),
    ];
    if let Ok((address, listener)) = &peer {
        calls.push((
            "connect and accept on loopback",
            Box::new(move || {
                let stream = TcpStream::connect(address)?;
                listener.accept()?;
                drop(stream);
                Ok(())
            }),
        ));
    }
    if let (Ok((address, _)), Ok(sender)) = (&peer, &sender) {
        calls.push(("send a datagram", Box::new(move || sender.send_to(b"x", address).map(drop))));
    }
    let each = patience / calls.len() as u32;
    Ok(calls.into_iter().map(|(name, call)| time(name, each, call)).collect())
}

fn time(name: &str, patience: Duration, mut call: impl FnMut() -> io::Result<()>) -> Figure {
    let (mut took, mut refused) = (Vec::new(), None);
    let begun = Instant::now();
    while took.is_empty() || begun.elapsed() < patience {
        let start = Instant::now();
        let ended = call();
        took.push(start.elapsed());
        if let Err(error) = ended {
            refused = Some(error);
        }
    }
    took.sort_unstable();
    let microseconds = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1e6;
    let told = refused.map_or_else(String::new, |error| format!(", refused: {error}"));
    Figure::new(name, microseconds(50), "µs").beside(format!(
        "99 of 100 within {:.1} µs, of {} calls{told}",
        microseconds(99),
        took.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_a_refusal_are_told() {
        let slow = time("slow", Duration::from_millis(30), || {
            std::thread::sleep(Duration::from_millis(2));
            Err(io::Error::from_raw_os_error(1))
        });
        assert!(
            slow.value >= 2_000.0 && slow.beside.contains("refused: Operation not permitted"),
            "{slow:?}"
        );
    }
}
