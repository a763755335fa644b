//! The set of models in charge, which can be replaced whole while requests run.
//!
//! Held by whoever hands requests to a classifier. A request takes the set once and keeps it to its end; the set that
//! was replaced ends with the last request that uses it.

use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use super::Classifier;

/// The classifier that new requests get; none before the first is there.
#[derive(Debug, Default)]
pub struct ActiveClassifier {
    current: RwLock<Option<Arc<SharedClassifier>>>,
}

impl ActiveClassifier {
    /// The classifier in charge, for one request to its end.
    #[must_use]
    pub fn get(&self) -> Option<Arc<SharedClassifier>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// Puts a warmed-up classifier in charge. Requests under way keep the one that they have.
    pub fn replace(&self, classifier: Classifier) {
        let new = Some(Arc::new(SharedClassifier(Some(classifier))));
        let old = {
            let current = self.current.write();
            let mut current = current.unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, new)
        };
        drop(old); // not under the lock: it may be the last user
    }
}

/// A classifier with several users. The last of them, which may be a request on one of tokio's threads, does not wait
/// for the classifier's own threads to end.
#[derive(Debug)]
pub struct SharedClassifier(Option<Classifier>);

impl Deref for SharedClassifier {
    type Target = Classifier;

    fn deref(&self) -> &Classifier {
        self.0.as_ref().expect("it is taken out by drop alone")
    }
}

impl Drop for SharedClassifier {
    fn drop(&mut self) {
        let classifier = self.0.take();
        // Without a thread the closure is dropped here, and the classifier in it.
        let _ = std::thread::Builder::new()
            .name("retire".into())
            .spawn(move || drop(classifier));
    }
}
