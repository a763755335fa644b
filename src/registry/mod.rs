//! The models that can be served: the catalogue, the store on disk, downloads, labels, and loading them all.
//!
//! Called by `cli`; hands `LoadedModel`s to `classifier`. The only room that reads model files.

mod beside;
mod builtin;
mod catalog;
mod error;
mod exporters;
mod fetch;
mod fetch_error;
mod fetch_options;
mod hashed;
mod labels;
mod load;
mod output_kind;
mod part;
mod parts;
mod python_json;
mod recipe;
mod reference;
mod rounded_softmax;
mod spec;
mod store;
mod target;
mod text;
mod version;

pub use self::beside::directories_of;
pub use self::builtin::{BUILTINS, Builtin};
pub use self::catalog::{Catalog, CatalogEntry, CatalogError, LabelSet, nearest};
pub use self::error::ModelError;
pub use self::fetch::{FetchError, FetchOptions, FetchSource, Progress, ProxySettings, fetch};
pub use self::labels::{Label, Labels, LabelsError};
pub use self::load::{LoadedModel, NoFeatures, file_of, load, preprocess_of};
pub use self::output_kind::OutputKind;
pub use self::reference::{ModelOrigin, ModelRef};
pub use self::store::{ModelState, Store, Verdict, sha256_of};
pub use self::version::{is_same_model, split_version, version_of};
