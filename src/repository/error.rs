//! Why the models that are served stay what they are.

use crate::batcher::StartError;
use crate::registry::ModelError;

/// Why a change was not made. A client reads it [`without_directories`](RepositoryError::without_directories).
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// Another change is being made.
    #[error("another model is being loaded or unloaded")]
    Busy,
    /// There is no model of that name, or none that may be loaded by it.
    #[error(transparent)]
    NotFound(ModelError),
    /// The model is not served.
    #[error("there is no model \"{0}\" that could be unloaded")]
    NotServed(String),
    /// The model to be unloaded is the only one.
    #[error("\"{0}\" is the only model: load another one first")]
    LastModel(String),
    /// The model cannot be served.
    #[error(transparent)]
    Refused(ModelError),
    /// None of the models whose files have changed can be served; the log has the reason of each.
    #[error("{} cannot be read again", .0.join(", "))]
    NotReloaded(Vec<String>),
    /// The workers of the new models cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl RepositoryError {
    /// The text for a client, whom directories of the server are no business of.
    #[must_use]
    pub fn without_directories(&self) -> String {
        match self {
            RepositoryError::NotFound(error) | RepositoryError::Refused(error) => {
                error.without_directories()
            }
            other => other.to_string(),
        }
    }
}
