//! Files that the rules do not give.

mod meta;
mod names;
mod open;
mod read;
mod strange;
mod uring;

use super::build::Names;
use crate::drill::Expect;
use crate::drill::Expect::Rule;

pub(super) use meta::METADATA;
pub(super) use names::NAMES;
pub(super) use open::OPENING;
pub(super) use read::READING;
pub(super) use strange::STRANGE;
pub(super) use uring::URING;

const OPEN: &[Expect] = &[Rule("write", "open")];
const CREATE: &[Expect] = &[Rule("write", "create"), Rule("write", "mknod")];
const TRUNCATE: &[Expect] = &[Rule("write", "truncate"), Rule("write", "open")];
const RENAME: &[Expect] = &[Rule("write", "rename-from"), Rule("write", "rename-to")];
const LINK: &[Expect] = &[Rule("write", "link-from"), Rule("write", "link-to")];
const XATTR: &[Expect] = &[Rule("write", "xattr")];
const F01: Names = &["F01"];
const FILE_OPEN: Names = &["file_open"];
