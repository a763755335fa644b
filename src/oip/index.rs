//! The extension `model_repository`: which models there are, served or not.
//!
//! Asked by the protocols that carry it.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::desk::{Desk, DeskError, or_expired};
use crate::fair_queue::ClientId;
use crate::registry::split_version;

/// A model in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedModel {
    /// Its name without the version.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Whether it is served.
    pub state: IndexState,
}

/// Whether a model is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexState {
    /// The model is served.
    Ready,
    /// The model is not served; a client with the right to load models can load it.
    Unavailable,
}

impl IndexState {
    /// The protocol's name of the state.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            IndexState::Ready => "READY",
            IndexState::Unavailable => "UNAVAILABLE",
        }
    }

    /// Why the model is not ready; empty if it is.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            IndexState::Ready => "",
            IndexState::Unavailable => "not loaded",
        }
    }
}

/// The models that are served, in their order.
///
/// # Errors
/// [`DeskError::NotReady`] until the models are loaded.
pub fn ready(desk: &Desk) -> Result<Vec<IndexedModel>, DeskError> {
    let classifier = desk.classifier()?;
    let models = classifier.models().iter();
    Ok(models
        .map(|model| IndexedModel {
            name: model.info.base_name().to_owned(),
            version: model.info.version(),
            state: IndexState::Ready,
        })
        .collect())
}

/// The models that are served, and behind them, by name, those that are not: what was given at the start, and what lies
/// in the models directory.
///
/// # Errors
/// As of [`ready`]; [`ClassifyError::Expired`](crate::classifier::ClassifyError::Expired) if no thread is free to look
/// within the time that a request has, [`DeskError::Panicked`].
pub async fn all(desk: &Desk, client: ClientId) -> Result<Vec<IndexedModel>, DeskError> {
    let deadline = Instant::now() + desk.limits().request_timeout;
    let known = or_expired(Some(deadline), desk.known_models(client)).await??;
    Ok(with_others(ready(desk)?, &known))
}

/// The models that are served, and those of the names that none of them has.
fn with_others(served: Vec<IndexedModel>, known: &[String]) -> Vec<IndexedModel> {
    let names = known.iter().map(|name| split_version(name));
    let names = names.map(|(name, version)| (name, version.unwrap_or(1)));
    let names: BTreeSet<(&str, u32)> = names.collect();
    let is_served = |(name, version): &(&str, u32)| {
        { served.iter() }.any(|model| model.name == *name && model.version == *version)
    };
    let others = names.into_iter().filter(|name| !is_served(name));
    let others = others.map(|(name, version)| IndexedModel {
        name: name.to_owned(),
        version,
        state: IndexState::Unavailable,
    });
    let others: Vec<IndexedModel> = others.collect();
    [served, others].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_comes_first_and_nothing_twice() {
        let model = |name: &str, version, state| IndexedModel {
            name: name.into(),
            version,
            state,
        };
        let served = [("owls", 1), ("birds", 2)]
            .map(|(name, version)| model(name, version, IndexState::Ready));
        let known = [
            "owls", "birds@10", "birds@2", "birds", "ants", "birds@1", "birds@9",
        ];
        let index = with_others(served.to_vec(), &known.map(str::to_owned));
        let others = [("ants", 1), ("birds", 1), ("birds", 9), ("birds", 10)];
        let others = others.map(|(name, version)| model(name, version, IndexState::Unavailable));
        assert_eq!(index, [&served[..], &others].concat());
    }
}
