//! Which models are served: loaded at the start, and exchanged while requests run.
//!
//! Asked by `desk`, for clients that may, and by `resnet serve` at the start and on SIGHUP. A change loads what is new
//! beside what is served, warms all of it up, and hands over a whole classifier; one that fails has changed nothing.
//! Synchronous: whoever calls waits as long as loading takes.

mod error;
mod stamp;

use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};

use crate::classifier::{Classifier, ClassifierOptions};
use crate::metrics::Metrics;
use crate::registry::{
    LoadedModel, ModelError, ModelOrigin, ModelRef, is_same_model, split_version,
};

pub use self::error::RepositoryError;

use self::stamp::Stamp;

/// Finds the model of a name that a client has given.
pub type Find = dyn Fn(&str) -> Result<ModelRef, ModelError> + Send + Sync;

/// The names of the models that clients may load and that lie in the models directory.
pub type List = dyn Fn() -> Vec<String> + Send + Sync;

/// Loads a model that was found.
pub type Load = dyn Fn(&ModelRef) -> Result<LoadedModel, ModelError> + Send + Sync;

/// The names that clients may give, and the models that they mean.
pub struct Names {
    /// The model of a name that was not given at the start: from the catalogue and the models directory alone, never by a
    /// path.
    pub find: Box<Find>,
    /// The names among them that lie in the models directory.
    pub list: Box<List>,
}

/// How models are found and loaded, as the flags say.
pub struct Source {
    /// The names that clients may give.
    pub names: Names,
    /// Loads a model.
    pub load: Box<Load>,
    /// Tells log and metrics of a model that is served from now on.
    pub announce: Box<dyn Fn(&LoadedModel) + Send + Sync>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

/// What is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The model of this name is to be served; anew if it is served already.
    Load(String),
    /// The model of this name is to be served no more.
    Unload(String),
    /// Files that have changed are to be read again; what is built in, or of the catalogue, cannot change. A model that
    /// cannot be read stays as it is served, and keeps no other from being read.
    Reload,
}

impl Change {
    /// The word for the change in the log.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Change::Load(_) => "load",
            Change::Unload(_) => "unload",
            Change::Reload => "reload",
        }
    }

    /// The name of the model to be loaded or unloaded.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        match self {
            Change::Load(name) | Change::Unload(name) => Some(name),
            Change::Reload => None,
        }
    }
}

/// A model that is served, and where it came from.
#[derive(Debug, Clone)]
struct Served {
    reference: ModelRef,
    /// The stamp of its files, taken before they were read.
    stamp: Option<Stamp>,
    model: LoadedModel,
}

/// The models that are served, the default first.
pub struct Repository {
    source: Source,
    options: ClassifierOptions,
    metrics: Arc<Metrics>,
    /// The models that were given at the start; each is loaded again by its name, wherever it lies. For a directory of
    /// versions, the version that was the newest at the start.
    given: OnceLock<Vec<ModelRef>>,
    /// Locked for all of a change: there is one at a time.
    served: Mutex<Vec<Served>>,
}

impl Repository {
    /// A repository that serves no model yet.
    #[must_use]
    pub fn new(source: Source, options: ClassifierOptions, metrics: Arc<Metrics>) -> Repository {
        Repository {
            source,
            options,
            metrics,
            given: OnceLock::new(),
            served: Mutex::new(Vec::new()),
        }
    }

    /// Loads the first models.
    ///
    /// # Errors
    /// That of the first model that cannot be served; then none is.
    pub fn start(&self, references: Vec<ModelRef>) -> Result<Classifier, RepositoryError> {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.given.set(references.clone()); // a server starts once
        let loaded = references.into_iter().map(|reference| self.load(reference));
        let first = loaded.collect::<Result<Vec<_>, _>>()?;
        first.iter().for_each(|s| (self.source.announce)(&s.model));
        let classifier = self.classifier(None, &first)?;
        *served = first;
        Ok(classifier)
    }

    /// Makes a change and puts its classifier in charge by `put`, in place of `before`; whether there was anything to
    /// change.
    ///
    /// # Errors
    /// [`RepositoryError`]; then nothing has changed.
    pub fn change(
        &self,
        change: &Change,
        before: Option<&Classifier>,
        put: impl FnOnce(Classifier),
    ) -> Result<bool, RepositoryError> {
        let mut served = match self.served.try_lock() {
            Ok(served) => served,
            // Nothing in it changes before all that can panic is done.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(RepositoryError::Busy),
        };
        let Some(next) = self.next(&served, change)? else {
            return Ok(false);
        };
        let classifier = self.classifier(before, &next)?;
        let is_same = |a: &Served, b: &Served| Arc::ptr_eq(&a.model.model, &b.model.model);
        let gone = served
            .iter()
            .filter(|old| !next.iter().any(|new| is_same(old, new)));
        gone.for_each(|old| self.metrics.forget(&old.model.name));
        let new = next
            .iter()
            .filter(|new| !served.iter().any(|old| is_same(old, new)));
        new.for_each(|new| (self.source.announce)(&new.model));
        put(classifier);
        *served = next;
        Ok(true)
    }

    /// The models after a change; none if it would change nothing.
    fn next(
        &self,
        served: &[Served],
        change: &Change,
    ) -> Result<Option<Vec<Served>>, RepositoryError> {
        let is_called = |s: &Served, name: &str| is_same_model(&s.reference.name, name);
        let position = |name: &str| served.iter().position(|s| is_called(s, name));
        let references = || served.iter().map(|s| &s.reference);
        let mut next = served.to_vec();
        match change {
            Change::Load(name) => {
                let reference = match self.of_versions(name, references())? {
                    Some(reference) => reference,
                    None => match position(name) {
                        Some(at) => served[at].reference.clone(),
                        None => self.find(name, references())?,
                    },
                };
                // A name without a version may have been found to be that of one that is served.
                let at = position(&reference.name);
                let loaded = self.load(reference)?;
                match at {
                    Some(at) => next[at] = loaded,
                    None => next.push(loaded),
                }
            }
            Change::Unload(name) => {
                let of_newest = || position(&newest(name, references())?.name);
                let at = position(name).or_else(of_newest);
                let at = at.ok_or_else(|| RepositoryError::NotServed(name.clone()))?;
                if served.len() == 1 {
                    return Err(RepositoryError::LastModel(name.clone()));
                }
                next.remove(at);
            }
            Change::Reload => {
                let is_file = |s: &&mut Served| {
                    let origin = &s.reference.source;
                    matches!(origin, ModelOrigin::File(_) | ModelOrigin::Directory(_))
                };
                let (mut any, mut refused) = (false, Vec::new());
                let changed = |s: &&mut Served| {
                    let now = Stamp::of(&s.reference.source);
                    now.is_none() || now != s.stamp
                };
                for old in next.iter_mut().filter(is_file).filter(changed) {
                    match self.load(old.reference.clone()) {
                        Ok(new) => (*old, any) = (new, true),
                        Err(error) => refused.push((old.reference.name.clone(), error)),
                    }
                }
                tell(&refused);
                if !any {
                    let names: Vec<String> = refused.into_iter().map(|(name, _)| name).collect();
                    return match names.is_empty() {
                        true => Ok(None),
                        false => Err(RepositoryError::NotReloaded(names)),
                    };
                }
            }
        }
        Ok(Some(next))
    }

    /// What a directory of versions holds now under a name, if one was given at the start or is served by the name: the
    /// newest version, whichever is served, or the one that is asked for. None of a version that a directory does not
    /// have; it may lie elsewhere.
    fn of_versions<'a>(
        &'a self,
        name: &str,
        served: impl Iterator<Item = &'a ModelRef>,
    ) -> Result<Option<ModelRef>, RepositoryError> {
        let (base, number) = split_version(name);
        let is_given = |g: &ModelRef| g.versions.is_none() && is_same_model(&g.name, name);
        if number.is_some() && self.given().iter().any(is_given) {
            return Ok(None); // this very version was given otherwise
        }
        let mut known = self.given().iter().chain(served);
        let Some(of_name) = known.find_map(|reference| {
            let is_called = split_version(&reference.name).0 == base;
            reference.version(number).filter(|_| is_called)
        }) else {
            return Ok(None);
        };
        match of_name {
            Ok(reference) => Ok(Some(reference)),
            Err(_) if number.is_some() => Ok(None),
            Err(error) => Err(RepositoryError::Refused(error)),
        }
    }

    /// The names of the models that can be loaded: what was given at the start, and what lies in the models directory;
    /// some may be there twice. Reads directories.
    #[must_use]
    pub fn known(&self) -> Vec<String> {
        let given = self.given().iter().flat_map(ModelRef::names);
        given.chain((self.source.names.list)()).collect()
    }

    fn given(&self) -> &[ModelRef] {
        self.given.get().map_or(&[], Vec::as_slice)
    }

    /// The model of a name that is not served: as it was given at the start, else what clients may name, else the
    /// newest version of it that is known.
    fn find<'a>(
        &'a self,
        name: &str,
        served: impl Iterator<Item = &'a ModelRef>,
    ) -> Result<ModelRef, RepositoryError> {
        let given = self.given();
        if let Some(same) = given.iter().find(|g| is_same_model(&g.name, name)) {
            return Ok(same.clone());
        }
        (self.source.names.find)(name).or_else(|error| {
            let known = newest(name, served.chain(given));
            known.cloned().ok_or(RepositoryError::NotFound(error))
        })
    }

    fn load(&self, reference: ModelRef) -> Result<Served, RepositoryError> {
        let stamp = Stamp::of(&reference.source);
        let model = (self.source.load)(&reference).map_err(RepositoryError::Refused)?;
        Ok(Served {
            reference,
            stamp,
            model,
        })
    }

    fn classifier(
        &self,
        before: Option<&Classifier>,
        served: &[Served],
    ) -> Result<Classifier, RepositoryError> {
        let models = served.iter().map(|s| s.model.clone()).collect();
        let metrics = Arc::clone(&self.metrics);
        let options = self.options.clone();
        Ok(Classifier::start_after(before, models, options, metrics)?)
    }
}

/// Logs why models stay as they are served while others are read again.
fn tell(refused: &[(String, RepositoryError)]) {
    for (model, error) in refused {
        tracing::error!(model, %error, "the model stays as it is served");
    }
}

/// The newest version of a name without one.
fn newest<'a>(name: &str, known: impl Iterator<Item = &'a ModelRef>) -> Option<&'a ModelRef> {
    let (name, None) = split_version(name) else {
        return None;
    };
    let versions = known.filter(|reference| split_version(&reference.name).0 == name);
    versions.max_by_key(|reference| split_version(&reference.name).1.unwrap_or(1))
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").finish_non_exhaustive()
    }
}
