//! Answers and truths to figures: which photo shows what, and how often a model is right.
//!
//! Called by `resnet eval`: [`Listing`] reads the labels, [`Score`] takes the answers, [`Report`] tells the figures.
//! `resnet quantize` uses the listing alone. Touches no argument and runs no model.

mod classes;
mod labels;
mod report;
mod score;

pub use self::labels::{Labelled, Listing, Photo};
pub use self::report::Report;
pub use self::score::{Failure, Proportion, Score, TOP_K};
