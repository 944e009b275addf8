//! Policy text → [`Policy`](model::Policy): pure, without a kernel and without root.
//!
//! Order of the data's way: [`source`] (bytes with positions) → [`glob`] and [`model`] (what the text
//! means, every part still knowing where it was written).

pub mod glob;
pub mod model;
pub mod source;
