//! Policy text → [`Policy`](model::Policy): pure, without a kernel and without root.
//!
//! Order of the data's way: [`read`] (file → text) → [`yaml`] (text → tree) → [`parse`] (tree → [`model`], by the
//! key tables of [`words`]) → [`check`] (what only the whole document can show). Whatever is wrong on
//! that way is a [`diag::Diagnostic`].

pub mod check;
pub mod decide;
pub mod diag;
pub mod diff;
pub mod fmt;
pub mod glob;
pub mod lang;
pub mod matching;
pub mod mode;
pub mod model;
pub mod parse;
pub mod read;
pub mod schema;
pub mod source;
pub mod testing;
pub mod words;
mod yaml;
