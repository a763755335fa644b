//! The names of the query's parameters.
//!
//! Read by `target`; `upload` looks for them where they mean nothing.

/// The parameters that every route with images has.
pub(super) const OF_ALL: [&str; 4] = ["model", "top_k", "exif", "timeout_ms"];

/// The parameters that ask for more than classes in the answer.
pub(super) const OF_WISHES: [&str; 5] = [
    "explain",
    "explain_class",
    "explain_image",
    "embedding",
    "timing",
];
