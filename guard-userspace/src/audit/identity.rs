//! Who signs: the host's key, and the genesis that the first segment goes on from.

use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _, KeypairBytes};
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::Deserialize;
use thiserror::Error;

use super::head::Head;
use super::scribe::Host;
use super::{Hash, clock, escape, files, hash, seal};

const KEY: &str = "audit.key";
const PUBLIC: &str = "audit.pub";
const GENESIS: &str = "genesis";
/// Version of `docs/audit-format.md`.
pub(super) const FORMAT: u64 = 1;

/// Why there is no identity to sign with or to check against.
#[derive(Debug, Error)]
pub enum IdentityError {
    #[error("{operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is no Ed25519 key in PEM", .0.display())]
    Key(PathBuf),
    #[error("{} is no genesis of this format", .0.display())]
    Genesis(PathBuf),
    #[error(
        "{} does not belong to the key beside it: put the right one back, or move the whole directory aside to \
         begin anew, which `guard audit verify` will show",
        .0.display()
    )]
    Foreign(PathBuf),
    #[error(
        "{} is missing, and what is left beside it cannot be used without: put it back, or move the whole directory \
         aside to begin anew, which `guard audit verify` will show",
        .0.display()
    )]
    Missing(PathBuf),
    #[error("get random bytes")]
    Random(#[source] getrandom::Error),
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::Io { operation, path, source }
}

/// What a log begins with; pinned beside the key, so that a log made up from nothing does not pass for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    pub host: String,
    pub key: VerifyingKey,
    /// What the first segment names as the line before it.
    pub hash: Hash,
}

#[derive(Deserialize)]
struct Line {
    kind: String,
    format: u64,
    host: String,
    key: String,
}

impl Genesis {
    /// Reads the public half of an identity: `audit.pub` and `genesis`.
    pub fn read(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join(PUBLIC);
        let pem = files::read(&path).map_err(io_error("read", &path))?;
        let pem = pem.ok_or_else(|| IdentityError::Missing(path.clone()))?;
        let key = std::str::from_utf8(&pem).ok().and_then(|pem| VerifyingKey::from_public_key_pem(pem).ok());
        let key = key.ok_or_else(|| IdentityError::Key(path.clone()))?;
        let path = directory.join(GENESIS);
        let text = files::read(&path).map_err(io_error("read", &path))?;
        let text = text.ok_or_else(|| IdentityError::Missing(path.clone()))?;
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        let line: Line = serde_json::from_slice(text).map_err(|_| IdentityError::Genesis(path.clone()))?;
        if line.kind != "genesis" || line.format != FORMAT {
            return Err(IdentityError::Genesis(path));
        }
        if line.key != seal::hex(key.as_bytes()) || !seal::is_signed(text, &key) {
            return Err(IdentityError::Foreign(path));
        }
        Ok(Self { host: line.host, key, hash: hash(text) })
    }
}

/// The host's key together with its genesis and what the host is called now.
#[derive(Debug)]
pub struct Identity {
    pub(super) key: SigningKey,
    pub(super) host: Host,
    pub(super) directory: PathBuf,
    pub genesis: Genesis,
}

impl Identity {
    /// Opens the identity in `directory`, or makes one if there is nothing of it.
    pub fn open(directory: &Path, host: Host) -> Result<Self, IdentityError> {
        files::private_directory(directory).map_err(io_error("create", directory))?;
        let path = directory.join(KEY);
        let key = match files::read(&path).map_err(io_error("read", &path))? {
            Some(pem) => std::str::from_utf8(&pem)
                .ok()
                .and_then(|pem| SigningKey::from_pkcs8_pem(pem).ok())
                .ok_or(IdentityError::Key(path))?,
            None if directory.join(PUBLIC).exists() || directory.join(GENESIS).exists() => {
                return Err(IdentityError::Missing(path));
            }
            None => Self::make(directory, &host)?,
        };
        let genesis = Genesis::read(directory)?;
        if genesis.key != key.verifying_key() {
            return Err(IdentityError::Foreign(directory.join(PUBLIC)));
        }
        Ok(Self { key, host, directory: directory.to_owned(), genesis })
    }

    /// Makes a key and its genesis. A crash in between leaves an error that says what to do, and no log yet.
    fn make(directory: &Path, host: &Host) -> Result<SigningKey, IdentityError> {
        let mut random = [0; 48];
        getrandom::fill(&mut random).map_err(IdentityError::Random)?;
        let (seed, nonce) = random.split_at(32);
        let seed = <[u8; 32]>::try_from(seed).unwrap_or_default();
        let key = SigningKey::from_bytes(&seed);
        let write = |name: &str, bytes: &[u8], mode| {
            let path = directory.join(name);
            files::replace(&path, bytes, mode).map_err(io_error("write", &path))
        };
        let no_pem = |_| IdentityError::Key(directory.join(KEY));
        // Without the public half, as openssl 3.0 reads it.
        let pair = KeypairBytes { secret_key: seed, public_key: None };
        let pem =
            ed25519_dalek::pkcs8::EncodePrivateKey::to_pkcs8_pem(&pair, LineEnding::LF).map_err(no_pem)?;
        write(KEY, pem.as_bytes(), files::PRIVATE)?;
        let public = key
            .verifying_key()
            .to_public_key_pem(LineEnding::LF)
            .map_err(|_| IdentityError::Key(directory.join(PUBLIC)))?;
        write(PUBLIC, public.as_bytes(), files::PUBLIC)?;
        let mut line = genesis_line(&key, host, nonce);
        let genesis = hash(&line);
        line.push(b'\n');
        write(GENESIS, &line, files::PUBLIC)?;
        Head::before_all(genesis)
            .write(directory, &key, &host.name, now())
            .map_err(io_error("write the head in", directory))?;
        Ok(key)
    }
}

/// Wall clock, in nanoseconds since 1970.
fn now() -> u64 {
    clock::Clock::now().map_or(0, |clock| clock.wall(clock::Clock::boottime().unwrap_or(0)))
}

fn genesis_line(key: &SigningKey, host: &Host, nonce: &[u8]) -> Vec<u8> {
    let mut line = format!("{{\"kind\":\"genesis\",\"format\":{FORMAT},\"host\":\"").into_bytes();
    escape::push_name(&mut line, host.name.as_bytes());
    line.extend_from_slice(
        format!(
            "\",\"time\":\"{}\",\"key\":\"{}\",\"nonce\":\"{}\"}}",
            clock::timestamp(now()),
            seal::hex(key.verifying_key().as_bytes()),
            seal::hex(nonce)
        )
        .as_bytes(),
    );
    seal::sign(&mut line, key);
    line
}
