//! The canonical form of a policy file: keys in the language's order, one rule to a line where it fits, comments
//! where they were.
//!
//! What comes out is parsed again; if it does not say the same, or a comment is missing, nothing is written.

mod comments;
mod emit;

use std::path::Path;
use std::sync::Arc;

use super::parse::{self, Parsed};
use super::source::Source;
use super::yaml;

/// Why a file was not formatted.
#[derive(Debug, thiserror::Error)]
pub enum FmtError {
    #[error("the file has errors; mend them first (`guard policy check` shows them)")]
    HasErrors,
    #[error("the canonical form would not say the same as the file; the file stays as it is")]
    MeaningLost,
    #[error("the canonical form would lose a comment; the file stays as it is")]
    CommentLost,
}

/// The canonical form of `source`.
pub fn canonical(source: &Arc<Source>) -> Result<String, FmtError> {
    let Parsed { policy: Some(before), .. } = parse::parse(Arc::clone(source)) else {
        return Err(FmtError::HasErrors);
    };
    let tree = yaml::read(&source.text);
    let Some(root) = &tree.root else { return Err(FmtError::HasErrors) };
    let mut comments = comments::Comments::place(&source.text, root, &tree.comments);
    let text = emit::document(root, &mut comments);
    let again = Arc::new(Source::new(Path::new("formatted"), text));
    if parse::parse(Arc::clone(&again)).policy.as_ref() != Some(&before) {
        return Err(FmtError::MeaningLost);
    }
    if yaml::read(&again.text).comments.len() != tree.comments.len() {
        return Err(FmtError::CommentLost);
    }
    let again = Arc::try_unwrap(again).unwrap_or_else(|shared| (*shared).clone());
    Ok(again.text)
}
