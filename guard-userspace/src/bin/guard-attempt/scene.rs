//! What an attempt is made on, as `guard drill` tells it: `WORD=VALUE` on the command line.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::sys;

/// How long the content of a file before an attempt is.
pub(crate) const CONTENT: &[u8] = b"before\n";

/// The words, and what they stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scene {
    words: BTreeMap<String, String>,
    /// The directory that is tried to be changed, read or run from.
    pub(crate) d: PathBuf,
    /// A directory where everything is allowed.
    pub(crate) work: PathBuf,
}

impl Scene {
    pub(crate) fn parse(words: &[&str]) -> Self {
        let words: BTreeMap<String, String> = words
            .iter()
            .filter_map(|word| word.split_once('='))
            .map(|(word, value)| (word.to_owned(), value.to_owned()))
            .collect();
        let path = |word| words.get(word).map(PathBuf::from).unwrap_or_default();
        Self { d: path("d"), work: path("work"), words }
    }

    pub(crate) fn text(&self, word: &str) -> Option<&str> {
        self.words.get(word).map(String::as_str)
    }

    /// The words once more, for the program that goes on after an exec.
    pub(crate) fn words(&self) -> impl Iterator<Item = String> + '_ {
        self.words.iter().map(|(word, value)| format!("{word}={value}"))
    }

    /// A word without which the technique makes no sense.
    pub(crate) fn need<T: FromStr>(&self, word: &str) -> io::Result<T> {
        let text = self.text(word).unwrap_or_default();
        text.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{word}={text}")))
    }

    pub(crate) fn path(&self, word: &str) -> io::Result<PathBuf> {
        self.need::<String>(word).map(PathBuf::from)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.d.join("file")
    }

    pub(crate) fn on(&self, name: &str) -> PathBuf {
        self.d.join(name)
    }

    pub(crate) fn at_work(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// A `struct sockaddr` of the address behind a word.
    pub(crate) fn address(&self, word: &str) -> io::Result<Vec<u8>> {
        Ok(match self.need::<SocketAddr>(word)? {
            SocketAddr::V4(at) => sys::v4(at.ip().octets(), at.port()),
            SocketAddr::V6(at) => sys::v6(at.ip().octets(), at.port()),
        })
    }

    /// The port behind a word, on another address.
    pub(crate) fn elsewhere(&self, word: &str, ip: [u8; 4]) -> io::Result<Vec<u8>> {
        Ok(sys::v4(ip, self.need::<SocketAddr>(word)?.port()))
    }

    pub(crate) fn ip(&self, word: &str) -> io::Result<[u8; 4]> {
        match self.need::<SocketAddr>(word)? {
            SocketAddr::V4(at) => Ok(at.ip().octets()),
            SocketAddr::V6(_) => Ok(Ipv4Addr::UNSPECIFIED.octets()),
        }
    }
}
