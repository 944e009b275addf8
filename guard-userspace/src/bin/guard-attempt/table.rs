//! Every technique there is, by name. A new one is a line in the table of its family; what it means, and what must
//! come of it, says the catalogue of `guard drill`.

use std::io;
use std::os::fd::OwnedFd;

use super::scene::Scene;

/// One technique.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) name: &'static str,
    /// Runs outside, before: what a careless launcher would hand in.
    pub(crate) before: fn(&Scene) -> io::Result<Vec<OwnedFd>>,
    pub(crate) act: fn(&Scene, &[OwnedFd]) -> io::Result<()>,
}

fn nothing(_: &Scene) -> io::Result<Vec<OwnedFd>> {
    Ok(Vec::new())
}

/// A technique that needs nothing from outside.
pub(crate) const fn plain(name: &'static str, act: fn(&Scene, &[OwnedFd]) -> io::Result<()>) -> Attempt {
    Attempt { name, before: nothing, act }
}

/// A technique with what was made outside.
pub(crate) const fn handed(
    name: &'static str,
    before: fn(&Scene) -> io::Result<Vec<OwnedFd>>,
    act: fn(&Scene, &[OwnedFd]) -> io::Result<()>,
) -> Attempt {
    Attempt { name, before, act }
}

pub(crate) fn all() -> impl Iterator<Item = &'static Attempt> {
    [
        super::files::open::TRIES,
        super::files::read::TRIES,
        super::files::names::TRIES,
        super::files::uring::TRIES,
        super::files::meta::TRIES,
        super::files::inherited::TRIES,
        super::files::strange::TRIES,
        super::fsview::TRIES,
        super::exec::TRIES,
        super::exec::load::TRIES,
        super::identity::TRIES,
        super::net::TRIES,
        super::net::before::TRIES,
        super::net::listen::TRIES,
        super::net::uring::TRIES,
        super::odd::TRIES,
        super::options::TRIES,
        super::unix::TRIES,
        super::ipc::TRIES,
        super::kernel::TRIES,
        super::kernel::calls::TRIES,
        super::knobs::TRIES,
        super::tasks::TRIES,
        super::tasks::trace::TRIES,
        super::keep::TRIES,
    ]
    .into_iter()
    .flatten()
}
