//! The flags that several commands have, and what they mean.
//!
//! A command flattens what it needs into its own.

pub(crate) mod arithmetic;
mod exif;
mod log;
mod log_json;
mod log_sample;
mod log_text;
mod model;
mod store;

pub(crate) use self::exif::ExifArgs;
pub(crate) use self::log::{LogArgs, would_be_json};
pub(crate) use self::log_sample::LogSample;
pub(crate) use self::model::ModelArgs;
pub(crate) use self::store::{StoreArgs, find, is_builtin};
